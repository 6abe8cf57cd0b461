//! serde's messages in an operator's words, and nothing of the value in them: the line is shown below, without secrets.

/// What was expected and what kind of thing was found.
pub(crate) fn plain(message: &str) -> String {
    let parts = |prefix: &str| {
        // the found text may hold anything, the expectation is ours
        message.strip_prefix(prefix)?.rsplit_once(", expected ")
    };
    if let Some((found, expected)) = parts("invalid type: ") {
        format!("expected {}, found {}", thing(expected), kind(found))
    } else if let Some((_, expected)) = parts("invalid value: ") {
        format!("expected {}", thing(expected))
    } else if let Some((_, expected)) = parts("invalid length ") {
        format!("expected {}", thing(expected))
    } else {
        message.to_owned()
    }
}

fn thing(expected: &str) -> &str {
    match expected {
        "a string" => "text",
        "u8" | "u16" | "u32" | "u64" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list, such as [a, b]",
        "a map" | "string or map" => "a mapping of keys",
        "map with a single key" => "a mapping with exactly one key",
        other if other.starts_with("struct ") => "a mapping of keys",
        other => other,
    }
}

fn kind(found: &str) -> &'static str {
    let kinds = [
        ("integer", "a number"),
        ("floating point", "a number"),
        ("string", "text"),
        ("boolean", "true or false"),
        ("sequence", "a list"),
        ("map", "a mapping"),
        ("null", "nothing"),
        ("unit", "nothing"),
    ];
    let known = kinds.iter().find(|(start, _)| found.starts_with(start));
    known.map_or("something else", |(_, words)| words)
}

/// At most so many names are listed: a fleet may have a thousand.
const MAX_NAMES: usize = 12;

/// A list of what is known.
pub(crate) fn list(names: &[impl AsRef<str>]) -> String {
    let shown: Vec<&str> = names.iter().take(MAX_NAMES).map(AsRef::as_ref).collect();
    match names.len() {
        0 => "none".to_owned(),
        all if all > MAX_NAMES => {
            format!("{} and {} more", shown.join(", "), all - MAX_NAMES)
        }
        _ => shown.join(", "),
    }
}
