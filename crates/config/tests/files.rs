//! Files and directories as they are found on disk.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use expect_test::expect;
use support::{good, report_of};

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

const SCRIPT: (&str, &str) = ("runner.j2", "{{ executor.token }}");

/// The good file in two: what comes before `pools:`, and the rest.
fn halves() -> (String, String) {
    let text = good();
    let (first, second) = text.split_once("pools:\n").unwrap();
    (first.to_owned(), format!("pools:\n{second}"))
}

#[test]
fn the_files_of_a_directory_are_one_configuration() {
    let (first, second) = halves();
    let more = "machines:\n  other: { bootstrap: runner.j2, offers: [{ provider: aws, image: ami-0123456789abcdef0, types: [m7i.large] }] }\npools:\n  other: { emitter: gitlab, serves: [{ tags: [x] }], machine: other, max: 1 }\n";
    let folder = folder(&[
        SCRIPT,
        ("a.yaml", &first),
        ("b.yml", &second),
        ("c.yaml", more),
        (".d.yaml", "]"),
        ("e.txt", "]"),
    ]);
    assert_eq!(report_of(folder.path()), "good\n");
    // a mistake is shown in the file in which it stands
    let wrong = more.replace("machine: other", "machine: othr");
    std::fs::write(folder.path().join("c.yaml"), wrong).unwrap();
    expect![[r#"
        error: there is no machine `othr`; known are linux-m, other
         --> c.yaml:4:63
          |
        4 |   other: { emitter: gitlab, serves: [{ tags: [x] }], machine: othr, max: 1 }
          |                                                               ^^^^
          = did you mean `other`?

    "#]]
    .assert_eq(&report_of(folder.path()));
}

#[test]
fn an_entry_in_two_files_is_an_error_in_the_second() {
    let (first, second) = halves();
    let again = "fleet: acme\nrules:\n  gentle: { kind: scale-in, idle_for: 1m }\n";
    let folder = folder(&[
        SCRIPT,
        ("a.yaml", &first),
        ("b.yaml", &second),
        ("c.yaml", again),
    ]);
    expect![[r#"
        error: `fleet` is defined in another file of the directory too: keep one of them
         --> c.yaml:1:1
          |
        1 | fleet: acme
          | ^^^^^

        error: `gentle` is defined in another file of the directory too: keep one of them
         --> c.yaml:3:3
          |
        3 |   gentle: { kind: scale-in, idle_for: 1m }
          |   ^^^^^^

    "#]]
    .assert_eq(&report_of(folder.path()));
}

#[test]
fn all_unreadable_files_of_a_directory_are_told() {
    let folder = folder(&[("a.yaml", "a: ["), ("b.yaml", "- b"), ("c.yaml", "")]);
    expect![[r#"
        error: this is not YAML: did not find expected node content (a bracket or quote that is not closed, or a line that is indented otherwise than its neighbours)
         --> a.yaml

        error: expected a mapping of keys, such as `version: 1`
         --> b.yaml:1:1
          |
        1 | - b
          | ^

        error: the file is empty: a first one needs `version`, `fleet` and `pools`
         --> c.yaml

    "#]]
    .assert_eq(&report_of(folder.path()));
}

#[test]
fn a_directory_without_files_is_told() {
    let folder = folder(&[]);
    let report = report_of(folder.path());
    assert!(
        report.contains("has no file that ends in .yaml"),
        "{report}"
    );
}

#[test]
fn a_file_that_is_not_there_or_not_text_is_told() {
    let folder = folder(&[]);
    let report = report_of(&folder.path().join("nowhere.yaml"));
    assert!(report.contains("nowhere.yaml cannot be read"), "{report}");
    let binary = folder.path().join("binary.yaml");
    std::fs::write(&binary, [0xff, 0xfe, 0, 1]).unwrap();
    let report = report_of(&binary);
    assert!(report.contains("UTF-8"), "{report}");
}

#[test]
fn a_byte_order_mark_and_windows_lines_are_read() {
    let text = format!("\u{feff}{}", good().replace('\n', "\r\n"));
    let folder = folder(&[SCRIPT, ("parmanu.yaml", &text)]);
    assert_eq!(report_of(&folder.path().join("parmanu.yaml")), "good\n");
}

/// A minute is far more than any of these needs, and far less than they once took.
fn in_time(text: &str) -> String {
    let folder = folder(&[("parmanu.yaml", text)]);
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || send.send(report_of(&folder.path().join("parmanu.yaml"))));
    receive
        .recv_timeout(std::time::Duration::from_secs(60))
        .expect("a report within a minute")
}

#[test]
fn a_huge_file_is_refused() {
    let report = in_time(&"# a comment\n".repeat(1_000_000));
    assert!(report.contains("at most 1048576 are read"), "{report}");
    // a device has no size that could be looked at
    let report = report_of(std::path::Path::new("/dev/zero"));
    assert!(report.contains("at most 1048576 are read"), "{report}");
}

#[test]
fn deep_nesting_is_refused_in_time() {
    expect![[r#"
        error: more than 500 brackets are open here
         --> parmanu.yaml:1:501
          |
        1 | …[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[…
          |                                                              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    "#]].assert_eq(&in_time(&"[".repeat(1_000_000)));
    let blocks: String = (0..1000)
        .map(|depth| format!("{}a:\n", " ".repeat(depth)))
        .collect();
    let report = in_time(&blocks);
    assert!(report.contains("recursion limit"), "{report}");
}

#[test]
fn aliases_that_unfold_without_end_are_refused_in_time() {
    let mut text = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (name, before) in ('b'..='i').zip('a'..) {
        let aliases = vec![format!("*{before}"); 10].join(",");
        text.push_str(&format!("{name}: &{name} [{aliases}]\n"));
    }
    expect![[r#"
        error: this is not YAML: repetition limit exceeded (aliases unfold to too much)
         --> parmanu.yaml

    "#]]
    .assert_eq(&in_time(&text));
    // many anchors make the library's own limit a large one
    let padding: String = (0..20_000).map(|n| format!("p{n}: x\n")).collect();
    let report = in_time(&format!("{text}{padding}"));
    assert!(report.contains("aliases"), "{report}");
}

#[test]
fn an_endless_line_is_reported_in_time() {
    let report = in_time(&format!("x: {{ {} }}", "key:[],".repeat(40_000)));
    assert!(report.len() < 2_000, "{}", report.len());
    let report = in_time(&format!("fleet: \"{}\"", "token: a, ".repeat(30_000)));
    assert!(report.len() < 5_000, "{}", report.len());
}
