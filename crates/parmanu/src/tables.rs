//! What the tables of several verbs share.

use std::fmt::Write;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use jiff::SignedDuration;

/// An empty table with these columns.
pub(crate) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    table
}

/// Says how many rows there are, and of how many they are.
pub(crate) fn headline(text: &mut String, noun: &str, all: usize, rows: usize) {
    let shown = match all > rows {
        true => format!(", the first {rows} (--rows shows more)"),
        false => String::new(),
    };
    let _ = writeln!(text, "\n{noun}: {all}{shown}");
}

/// Whole seconds in the usual units.
pub(crate) fn in_words(time: Duration) -> String {
    let time = SignedDuration::from_secs(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
    format!("{time:#}")
}
