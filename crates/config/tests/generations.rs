//! What counts as a change of what machines are made from. A mistake here replaces every machine of every fleet.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use config::check_text;
use support::{good, registries};

/// The generation of the only offer of [`good`], with these replacements and this boot script.
fn generation(replacements: &[(&str, &str)], script: &str) -> String {
    generation_with(replacements, script, "a part\n")
}

/// The same with a part that the script may include.
fn generation_with(replacements: &[(&str, &str)], script: &str, part: &str) -> String {
    let mut text = good();
    for (from, to) in replacements {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("runner.j2"), script).unwrap();
    std::fs::write(folder.path().join("part.j2"), part).unwrap();
    let (settings, _) = check_text(&text, "parmanu.yaml", folder.path(), &registries()).unwrap();
    let pool = settings.pools.values().next().unwrap();
    pool.policy.offers[0].generation.to_string()
}

const SCRIPT: &str = "#!/bin/sh\nrun {{ executor.token }} {{ machine }}\n";

/// An upgrade of Parmanu that changes this number replaces all machines of all fleets: do not change it in passing.
#[test]
fn it_is_the_same_in_every_version() {
    assert_eq!(generation(&[], SCRIPT), "29ec23ed1516f24a");
}

#[test]
fn limits_prices_times_rules_and_the_order_of_keys_change_nothing() {
    let same = generation(&[], SCRIPT);
    for change in [
        ("max: 3", "max: 30"),
        ("idle_for: 10m", "idle_for: 1m"),
        ("types: [m7i.large] }", "types: [m7i.large], price: 0.1 }"),
        ("slots: 1", "slots: 2"),
        ("    slots: 1\n", "    boot: { timeout: 20m }\n"),
        (
            "{ provider: aws, image: ami-0123456789abcdef0, types: [m7i.large] }",
            "{ types: [m7i.large], image: ami-0123456789abcdef0, provider: aws }",
        ),
        ("linux-m", "linux-large"),
    ] {
        assert_eq!(generation(&[change], SCRIPT), same, "{change:?}");
    }
}

#[test]
fn image_script_and_registration_change_it() {
    let before = generation(&[], SCRIPT);
    for change in [
        ("ami-0123456789abcdef0", "ami-0fedcba9876543210"),
        ("m7i.large", "m7i.xlarge"),
        ("tags: [linux, docker]", "tags: [linux]"),
        ("run_untagged: true", "run_untagged: false"),
    ] {
        assert_ne!(generation(&[change], SCRIPT), before, "{change:?}");
    }
    assert_ne!(
        generation(
            &[],
            "#!/bin/sh\nanother {{ executor.token }} {{ machine }}\n"
        ),
        before
    );
    // the text is the same, and what it includes is not
    let including = format!("{SCRIPT}{{% include \"part.j2\" %}}");
    let with = |part: &str| generation_with(&[], &including, part);
    assert_ne!(with("a part\n"), with("another part\n"));
    assert_eq!(with("a part\n"), with("a part\n"));
}
