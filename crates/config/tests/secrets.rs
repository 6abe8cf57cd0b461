//! No text makes the reader panic, and a secret that stands in a file never leaves it.

use std::path::Path;

use config::{LoadError, Registries, check_text};
use proptest::prelude::*;

const SECRET: &str = "hunter2-Zq9";

fn registries() -> Registries {
    Registries {
        emitters: plugins::emitters(),
        providers: plugins::providers(),
    }
}

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

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

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
}
