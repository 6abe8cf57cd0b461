//! No text makes the reader panic, and a secret that stands in a file never leaves it.

mod support;

use std::path::Path;

use config::{LoadError, check_text};
use proptest::prelude::*;
use support::registries;

const SECRET: &str = "hunter2-Zq9";

/// Everything an operator could get to see of a text.
fn output(text: &str) -> String {
    match check_text(text, "parmanu.yaml", Path::new("."), &registries()) {
        Ok((settings, report)) => format!("{report}{report:?}{settings:?}"),
        Err(error @ LoadError::Invalid { .. }) => format!("{error}{error:?}"),
        Err(error) => panic!("{error}"),
    }
}

fn hidden(text: &str) {
    let shown = output(text);
    assert!(
        !shown.contains(SECRET),
        "the secret is shown:\n{text}\n---\n{shown}"
    );
}

fn with_emitter(keys: &str) -> String {
    format!(
        "version: 1\nfleet: acme\nemitters:\n  gitlab:\n    kind: gitlab\n    url: https://gitlab.example.com\n    scope: {{ instance: true }}\n{keys}\npools: {{}}\n"
    )
}

#[test]
fn a_literal_secret_is_warned_about_and_not_shown() {
    let text = with_emitter(&format!("    token: {SECRET}"));
    hidden(&text);
    assert!(output(&text).contains("stands in the configuration itself"));
}

/// Editors underline up to the end that is told; of a secret it would be the length.
#[test]
fn the_end_of_a_secret_is_not_told_and_that_of_a_word_is() {
    let ends = |line: &str| {
        let text = with_emitter(line);
        let checked = check_text(&text, "parmanu.yaml", Path::new("."), &registries());
        let (Ok((_, report)) | Err(LoadError::Invalid { report })) = checked else {
            panic!("no report of\n{text}");
        };
        let here = report
            .0
            .iter()
            .filter(|it| it.place.is_some_and(|at| at.0 == 8));
        here.map(|it| (it.place.map(|at| at.1), it.end))
            .collect::<Vec<_>>()
    };
    let literal = ends(&format!("    token: {SECRET}"));
    assert_eq!(literal, [(Some(12), None)]);
    // a mistyped key is meant, and not what stands behind it
    let mistyped = ends(&format!("    tokn: {SECRET}"));
    assert!(mistyped.contains(&(Some(5), Some(9))), "{mistyped:?}");
}

#[test]
fn a_secret_under_a_mistyped_key_is_not_shown() {
    for key in [
        "tokn",
        "Token",
        "tokens",
        "manage-token",
        "manage_tokn",
        "pasword",
        "api_key",
        "secrt",
    ] {
        hidden(&with_emitter(&format!("    {key}: {SECRET}")));
        hidden(&with_emitter(&format!("    {key}: [{SECRET}, x]")));
        hidden(&with_emitter(&format!("    {key}: {{ a: {SECRET} }}")));
    }
}

#[test]
fn a_secret_over_several_lines_is_not_shown() {
    for value in [
        format!("|\n      {SECRET}\n      more"),
        format!(">-\n      {SECRET}"),
        format!("\n      {SECRET}"),
        format!("\n      \"{SECRET}\""),
        format!("[\n      {SECRET},\n    ]"),
    ] {
        hidden(&with_emitter(&format!("    tokn: {value}")));
        hidden(&with_emitter(&format!("    token: {value}")));
        hidden(&with_emitter(&format!("    token: {value}\n   broken: [")));
    }
}

#[test]
fn a_secret_that_is_a_number_is_not_shown() {
    let shown = output(&with_emitter("    token: 192837465"));
    assert!(!shown.contains("192837465"), "{shown}");
}

#[test]
fn a_secret_in_an_address_is_not_shown() {
    for address in [
        format!("ftp://me:{SECRET}@gitlab.example.com"),
        format!("https//me:{SECRET}@gitlab"),
        format!("https://me:{SECRET}@gitlab.example.com"),
        format!("https://me:pa/{SECRET}@gitlab.example.com"),
    ] {
        hidden(&format!(
            "version: 1\nfleet: acme\nemitters:\n  gitlab: {{ kind: gitlab, url: \"{address}\", token: \"${{env:T}}\", scope: {{}} }}\n"
        ));
        hidden(&format!(
            "version: 1\nfleet: acme\nstore: {{ kind: redis, url: \"{address}\" }}\n"
        ));
        hidden(&format!(
            "version: 1\nfleet: acme\nstore: {{ kind: redis, ulr: \"{address}\" }}\n"
        ));
        hidden(&format!("version: 1\nfleet: \"{address}\"\n"));
    }
}

#[test]
fn a_secret_where_a_kind_or_a_list_is_expected_is_not_shown() {
    for keys in [
        format!("credentials: {SECRET}"),
        format!("credentials: {{ keys: {SECRET} }}"),
        format!("credentials: {{ keys: {{ id: a, secret: {SECRET}, sesion: {SECRET} }} }}"),
        format!("credentials: {{ {SECRET} }}"),
        format!("credentials: [{SECRET}]"),
    ] {
        hidden(&format!(
            "version: 1\nfleet: acme\nproviders:\n  aws: {{ kind: ec2, region: eu-central-1, {keys} }}\n"
        ));
    }
}

#[test]
fn a_secret_in_a_text_that_is_not_yaml_is_not_shown() {
    for text in [
        format!("token: {SECRET}: x"),
        format!("token: @{SECRET}"),
        format!("token: \"{SECRET}"),
        format!("token: \"\n{SECRET}"),
        format!("a: {{ token: {SECRET}\nb: ]"),
        format!("token: {SECRET}\ntoken: {SECRET}"),
        format!("\ttoken: {SECRET}"),
    ] {
        hidden(&text);
    }
}

fn noise() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "version: 1",
        "fleet: acme",
        "pools:",
        "  linux:",
        "emitters:",
        "  gitlab: {",
        "}",
        "[",
        "]",
        "- ",
        "\"",
        "'",
        ": ",
        "#",
        "|",
        ">-",
        "&a",
        "*a",
        "!x ",
        "\n",
        "\n  ",
        "\n    ",
        "\t",
        "kind: gitlab",
        "max: 3",
        "~",
        "---",
        "\u{feff}",
        "é",
        "\u{1b}[2J",
        "? ",
        "<<: *a",
        "${env:",
        "0x",
        ".nan",
        "%",
        "@",
        ", ",
    ]);
    prop::collection::vec(
        prop_oneof![4 => word.prop_map(str::to_owned), 1 => any::<String>()],
        0..24,
    )
    .prop_map(|words| words.concat())
}

// 256 cases each; `PROPTEST_CASES=20000 cargo test -p config --test secrets` looks longer
proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in noise()) {
        output(&text);
    }

    #[test]
    fn a_planted_secret_is_never_shown(
        before in noise(),
        key in prop::sample::select(vec!["token: ", "manage_token: ", "password: \"", "secret: '", "tokn: ", "api-key: "]),
        after in noise(),
        indent in 0usize..6,
    ) {
        let quote = match key.chars().last() { Some(c @ ('"' | '\'')) => c.to_string(), _ => String::new() };
        let text = format!("{before}\n{}{key}{SECRET}{quote}\n{after}", " ".repeat(indent));
        let shown = output(&text);
        prop_assert!(!shown.contains(SECRET), "{text}\n---\n{shown}");
    }

    /// Nearly right files reach the checks that nonsense does not.
    #[test]
    fn a_nearly_right_file_makes_no_panic_and_shows_no_secret(
        changes in prop::collection::vec((any::<prop::sample::Index>(), change()), 1..5),
    ) {
        let good = support::good().replace("\"${env:GITLAB_TOKEN}\"", SECRET);
        let mut lines: Vec<String> = good.lines().map(str::to_owned).collect();
        for (index, change) in changes {
            let index = index.index(lines.len());
            // a key that is cut in two is no word that anybody could know
            if !lines[index].contains(SECRET) {
                change.make(&mut lines, index);
            }
        }
        let text = lines.join("\n");
        let shown = output(&text);
        prop_assert!(!shown.contains(SECRET), "{text}\n---\n{shown}");
    }
}

#[derive(Debug, Clone)]
enum Change {
    Remove,
    Repeat,
    Indent(usize),
    Value(String),
    Insert(usize, String),
}

fn change() -> impl Strategy<Value = Change> {
    let values = [
        "-1",
        "0",
        "~",
        "[]",
        "{}",
        "[a, 1]",
        "1e400",
        "18446744073709551616",
        "9223372036854775807h",
        "\"\"",
        "*x",
        "&x y",
        "!t z",
        "|",
        "'",
        "\"",
        "${env:X}",
        "true",
        "99999",
    ];
    let value = prop::sample::select(values.to_vec());
    prop_oneof![
        Just(Change::Remove),
        Just(Change::Repeat),
        (0usize..8).prop_map(Change::Indent),
        value.prop_map(|value| Change::Value(value.to_owned())),
        (0usize..60, any::<char>()).prop_map(|(at, c)| Change::Insert(at, c.to_string())),
    ]
}

impl Change {
    fn make(self, lines: &mut Vec<String>, index: usize) {
        let line = lines[index].clone();
        match self {
            Change::Remove if lines.len() > 1 => drop(lines.remove(index)),
            Change::Remove => {}
            Change::Repeat => lines.insert(index, line),
            Change::Indent(by) => lines[index] = format!("{}{}", " ".repeat(by), line.trim_start()),
            Change::Value(value) => {
                if let Some((key, _)) = line.split_once(": ") {
                    lines[index] = format!("{key}: {value}");
                }
            }
            Change::Insert(at, text) => {
                let before: String = line.chars().take(at).collect();
                let after: String = line.chars().skip(at).collect();
                lines[index] = format!("{before}{text}{after}");
            }
        }
    }
}
