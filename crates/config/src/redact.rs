//! What must not be repeated: secrets that stand in a file, whatever is wrong with the file.
//!
//! A report is pasted into tickets and chats. A literal secret is only a warning, and a broken file may have one under a
//! mistyped key or in the middle of what is not YAML, so the types of the keys cannot be relied on. Here a value is a
//! secret when its key *looks* like one, and its every occurrence in a report is replaced. Hiding too much costs a word
//! of a message, hiding too little a password.

use std::ops::Range;

use serde_json::{Map, Value};

/// Last words of keys that hold secrets. Compared loosely, since a mistyped key is what reports are about.
const WORDS: [&str; 14] = [
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "pass",
    "pwd",
    "credential",
    "credentials",
    "key",
    "keys",
    "auth",
    "session",
    "private",
];

/// As like as `tokn` to `token`; at 0.7 `version` would be a mistyped `session`.
const LIKE: f64 = 0.75;

/// Shorter texts are not searched for in messages: hiding each `abc` would hide half of the words. Where they stand
/// behind their key they are hidden all the same.
const SHORTEST: usize = 4;

/// What stands in the place of a secret.
const HIDDEN: char = '…';

/// Whether a key's value is to be hidden.
fn is_secret_word(key: &str) -> bool {
    let last = key.rsplit(|c: char| !c.is_alphanumeric()).next();
    let last = last.unwrap_or_default().to_lowercase();
    WORDS.iter().any(|word| {
        last.ends_with(word)
            || (word.len() >= 5 && strsim::normalized_damerau_levenshtein(&last, word) >= LIKE)
    })
}

/// Whether a text is a reference, or was meant to be one.
fn is_reference(text: &str) -> bool {
    let text = text.trim_matches(['"', '\'', ' ']);
    text.starts_with("${") && text.ends_with('}')
}

/// The values of the machines' own key `credential`, which says what kind of secret there is.
const PLAIN_VALUES: [&str; 2] = ["shared", "per-machine"];

/// The secrets of one text.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    /// Longest first, so that a part of a secret is not replaced before the whole.
    values: Vec<String>,
}

impl Secrets {
    /// The secrets of a text, and of what it means if it could be read.
    pub(crate) fn of(text: &str, document: &Map<String, Value>) -> Self {
        let mut values = Vec::new();
        lines_with_secrets(text, &mut values);
        map_with_secrets(document, false, 0, &mut values);
        values.retain(|value| value.chars().count() >= SHORTEST);
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        values.dedup();
        Secrets { values }
    }

    /// A message without secrets.
    pub(crate) fn hide(&self, words: &str) -> String {
        let mut ranges = self.occurrences(words);
        ranges.extend(names_in_addresses(words));
        cover(words, ranges, 0).0
    }

    /// A line of the file without secrets, and where in it the column (from 1) is now.
    pub(crate) fn hide_in_line(&self, line: &str, column: usize) -> (String, usize) {
        let mut ranges = self.occurrences(line);
        ranges.extend(names_in_addresses(line));
        ranges.extend(values_in_line(line));
        cover(line, ranges, column)
    }

    fn occurrences(&self, text: &str) -> Vec<Range<usize>> {
        let all = self.values.iter().flat_map(|value| {
            let found = text.match_indices(value.as_str());
            found.map(|(at, found)| at..at + found.len())
        });
        all.collect()
    }
}

/// Puts a sign in the place of the ranges and follows a column through the change.
fn cover(text: &str, mut ranges: Vec<Range<usize>>, column: usize) -> (String, usize) {
    ranges.sort_by_key(|range| range.start);
    let mut ranges = ranges.into_iter().peekable();
    let (mut covered, mut new_column, mut hidden_until) = (String::new(), column, 0);
    let mut written = 0;
    for (index, (at, c)) in text.char_indices().enumerate() {
        while let Some(range) = ranges.next_if(|range| range.start <= at) {
            if range.end > hidden_until && range.end > at {
                if at >= hidden_until {
                    covered.push(HIDDEN);
                    written += 1;
                }
                hidden_until = range.end;
            }
        }
        if at >= hidden_until {
            covered.push(c);
            written += 1;
        }
        if index + 1 == column {
            new_column = written;
        }
    }
    if column > text.chars().count() {
        new_column = written + (column - text.chars().count());
    }
    (covered, new_column)
}

/// Where name and password stand in addresses: all before an `@`, from `//` if there is one.
fn names_in_addresses(text: &str) -> Vec<Range<usize>> {
    let ends = |c: char| c.is_whitespace() || "\"'`<>".contains(c);
    let mut found = Vec::new();
    let mut start = 0;
    for run in text.split(ends) {
        if let Some(at) = run.rfind('@') {
            let from = run.find("//").map_or(0, |slashes| slashes + 2);
            if from < at && run[from..at].contains(':') {
                found.push(start + from..start + at);
            }
        }
        start += run.len();
        start += text[start..].chars().next().map_or(0, char::len_utf8);
    }
    found
}

/// Where the literal values of secret keys stand in one line.
fn values_in_line(line: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let flow = line.find(['{', '[']);
    let mut covered = 0;
    for (colon, _) in line.match_indices(':') {
        // also keeps a line of a megabyte from being read a million times
        if colon < covered {
            continue;
        }
        let before = line[..colon].trim_end_matches([' ', '"', '\'']);
        let is_word = |c: char| c.is_alphanumeric() || "_-.".contains(c);
        let start = before
            .char_indices()
            .rev()
            .take_while(|(_, c)| is_word(*c))
            .last()
            .map_or(before.len(), |(at, _)| at);
        if !is_secret_word(&before[start..]) {
            continue;
        }
        let rest = &line[colon + 1..];
        let from = line.len() - rest.trim_start().len();
        let in_flow = flow.is_some_and(|at| at < start);
        let length = value_length(&line[from..], in_flow);
        let value = &line[from..from + length];
        covered = from + length;
        if length > 0 && !is_reference(value) && !PLAIN_VALUES.contains(&value) {
            found.push(from..from + length);
        }
    }
    found
}

fn value_length(value: &str, in_flow: bool) -> usize {
    let until = |ends: &str| value.find(ends).unwrap_or(value.len());
    match value.chars().next() {
        // a mapping has keys of its own; a block stands in the next lines
        None | Some('{' | '|' | '>' | '#') => 0,
        Some('[') => until("]"),
        Some(quote @ ('"' | '\'')) => {
            let inner = &value[1..];
            inner.find(quote).map_or(value.len(), |end| end + 2)
        }
        Some('$') if value.starts_with("${") => value.find('}').map_or(value.len(), |end| end + 1),
        Some(_) if in_flow => until(",").min(until("}")),
        Some(_) => until(" #"),
    }
}

/// Longest multi-line value that is followed; a key file has fifty lines.
const MAX_LINES: usize = 500;

/// Secrets that can be found without understanding the text: behind their key, or in the lines that go on from it.
fn lines_with_secrets(text: &str, into: &mut Vec<String>) {
    let lines: Vec<&str> = text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        for range in values_in_line(line) {
            into.extend(bare(&line[range]));
        }
        // may be more than one on a line, but only the last can go on
        let Some((before, value)) = line.rsplit_once(':') else {
            continue;
        };
        let key = before.trim_end_matches([' ', '"', '\'']);
        let key = key.rsplit([' ', '{', ',', '"', '\'']).next();
        if !is_secret_word(key.unwrap_or_default()) {
            continue;
        }
        let value = value.trim();
        let quote = ['"', '\'']
            .into_iter()
            .find(|quote| value.starts_with(*quote));
        let open = quote.filter(|quote| value.matches(*quote).count() == 1);
        let next = &lines[index + 1..];
        let next = &next[..next.len().min(MAX_LINES)];
        match (open, value.chars().next()) {
            (Some(quote), _) => quoted_lines(next, quote, into),
            (None, None | Some('|' | '>' | '[' | '&' | '!')) => {
                let block = value.starts_with(['|', '>']);
                indented_lines(next, indent(line), block, into);
            }
            (None, Some(_)) => indented_lines(next, indent(line), false, into),
        }
    }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn quoted_lines(lines: &[&str], quote: char, into: &mut Vec<String>) {
    for line in lines {
        let end = line.find(quote);
        into.extend(bare(&line[..end.unwrap_or(line.len())]));
        if end.is_some() {
            return;
        }
    }
}

fn indented_lines(lines: &[&str], than: usize, block: bool, into: &mut Vec<String>) {
    let deeper = lines
        .iter()
        .take_while(|line| line.trim().is_empty() || indent(line) > than);
    for line in deeper {
        let is_key = line.contains(": ") || line.trim_end().ends_with(':');
        if block || !is_key {
            into.extend(bare(line));
        }
    }
}

/// A value as it stands in the text, and without what YAML puts around it.
fn bare(text: &str) -> Vec<String> {
    let around = |c: char| c.is_whitespace() || "\"'[]{},-".contains(c);
    let text = text.trim();
    if is_reference(text) || PLAIN_VALUES.contains(&text) {
        return Vec::new();
    }
    vec![text.to_owned(), text.trim_matches(around).to_owned()]
}

fn leaves_with_secrets(value: &Value, secret: bool, depth: usize, into: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            if secret {
                into.extend(text.lines().flat_map(bare));
            }
            for range in names_in_addresses(text) {
                let password = text[range].split_once(':').map(|(_, password)| password);
                into.extend(password.map(str::to_owned));
            }
        }
        Value::Number(number) if secret => into.push(number.to_string()),
        Value::Array(list) => {
            for entry in list {
                leaves_with_secrets(entry, secret, depth + 1, into);
            }
        }
        Value::Object(map) => map_with_secrets(map, secret, depth, into),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn map_with_secrets(map: &Map<String, Value>, secret: bool, depth: usize, into: &mut Vec<String>) {
    for (key, value) in map {
        // a section or an entry may be called `token`; what stands in it is not one
        let is_name = depth <= 1 && value.is_object();
        // the one plain word below `credentials:`
        let inherited = secret && key != "profile";
        if secret && value.is_null() {
            into.push(key.clone());
        }
        let secret = inherited || (!is_name && is_secret_word(key));
        leaves_with_secrets(value, secret, depth + 1, into);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> String {
        Secrets::default().hide_in_line(text, 1).0
    }

    #[test]
    fn only_what_is_secret_is_hidden() {
        for (text, shown) in [
            ("  token: hunter2", "  token: …"),
            (
                "gitlab: { kind: gitlab, token: hunter2, scope: x }",
                "gitlab: { kind: gitlab, token: …, scope: x }",
            ),
            ("  PASSWORD: \"a\" # why", "  PASSWORD: … # why"),
            ("  tokn: abc", "  tokn: …"),
            ("  keys: [a, b]", "  keys: …]"),
            (
                "  url: redis://:pw@redis:6379/",
                "  url: redis://…@redis:6379/",
            ),
        ] {
            assert_eq!(line(text), shown);
        }
        for plain in [
            "  token: ${env:T}",
            "  token: \"${file:/run/t}\"",
            "  max: 3",
            "version: 1",
            "  key_name: builders",
            "  market: spot",
            "  credentials: { profile: ci }",
        ] {
            assert_eq!(line(plain), plain);
        }
    }

    #[test]
    fn a_column_is_followed_over_what_is_hidden() {
        let secrets = Secrets::of("token: hunter2", &Map::new());
        let text = "{ token: hunter2, max: x }";
        let column = text.find("max").unwrap() + 1;
        let (shown, column) = secrets.hide_in_line(text, column);
        assert_eq!(
            &shown.chars().skip(column - 1).collect::<String>(),
            "max: x }"
        );
    }

    #[test]
    fn a_pool_may_be_called_token() {
        let document = serde_json::json!({"pools": {"token": {"machine": "linux"}}});
        let document = document.as_object().unwrap();
        assert_eq!(Secrets::of("", document).values, [""; 0]);
    }
}
