//! Every way in which a configuration changes on a disk is seen, and what is no change is none.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use config::{Settings, Trace};
use tempfile::TempDir;

/// With a boot script, which is a file of the configuration too.
fn file() -> String {
    let text = include_str!("data/small.yaml");
    text.replace(
        "credential: shared",
        "credential: shared, bootstrap: boot.j2",
    )
}

fn written(folder: &Path) {
    fs::write(folder.join("parmanu.yaml"), file()).unwrap();
    fs::write(
        folder.join("boot.j2"),
        "#!/bin/sh\n{% include \"part.j2\" %}\n",
    )
    .unwrap();
    fs::write(folder.join("part.j2"), "echo one\n").unwrap();
}

fn loaded(path: &Path) -> Settings {
    let loaded = config::load(path, &support::registries());
    loaded.unwrap_or_else(|error| panic!("{error}")).0
}

/// Loads what is there, changes it, and says whether the files and what they mean are other ones.
fn changed(path: &Path, change: impl FnOnce()) -> (bool, bool) {
    let before = loaded(path);
    let trace = Trace::of(path, &before);
    assert_eq!(trace, Trace::of(path, &before), "nothing changed");
    change();
    let seen = trace != Trace::of(path, &before);
    (seen, before.hash != loaded(path).hash)
}

#[test]
fn an_editor_that_renames_over_the_file_is_seen() {
    let folder = TempDir::new().unwrap();
    written(folder.path());
    let path = folder.path().join("parmanu.yaml");
    let rename = || {
        let new = folder.path().join(".parmanu.yaml.swp");
        fs::write(&new, file().replace("max: 10", "max: 11")).unwrap();
        fs::rename(new, &path).unwrap();
    };
    assert_eq!(changed(&path, rename), (true, true));
}

#[test]
fn a_comment_is_another_file_and_the_same_configuration() {
    let folder = TempDir::new().unwrap();
    written(folder.path());
    let path = folder.path().join("parmanu.yaml");
    let comment = || fs::write(&path, format!("# why\n{}", file())).unwrap();
    assert_eq!(changed(&path, comment), (true, false));
    let touched = || fs::write(&path, format!("# why\n{}", file())).unwrap();
    assert_eq!(changed(&path, touched), (false, false));
}

#[test]
fn a_boot_script_and_what_it_includes_are_seen() {
    let folder = TempDir::new().unwrap();
    written(folder.path());
    for path in [folder.path().to_owned(), folder.path().join("parmanu.yaml")] {
        for (file, text) in [
            ("boot.j2", "#!/bin/bash\n{% include \"part.j2\" %}\n"),
            ("part.j2", "echo two\n"),
        ] {
            let file = folder.path().join(file);
            assert_eq!(
                changed(&path, || fs::write(file, text).unwrap()),
                (true, true)
            );
        }
        written(folder.path());
    }
}

/// As the kubelet does it: files are links through `..data`, and that is what is swapped.
#[test]
fn a_swapped_volume_of_kubernetes_is_seen() {
    let folder = TempDir::new().unwrap();
    let versions = ["..2026_01", "..2026_02"].map(|version| folder.path().join(version));
    for version in &versions {
        fs::create_dir(version).unwrap();
        written(version);
    }
    let changed_file = versions[1].join("parmanu.yaml");
    fs::write(changed_file, file().replace("max: 10", "max: 11")).unwrap();
    let data = folder.path().join("..data");
    symlink("..2026_01", &data).unwrap();
    for name in ["parmanu.yaml", "boot.j2", "part.j2"] {
        symlink(Path::new("..data").join(name), folder.path().join(name)).unwrap();
    }
    let swap = || {
        let new = folder.path().join("..data_tmp");
        symlink("..2026_02", &new).unwrap();
        fs::rename(new, &data).unwrap();
    };
    assert_eq!(changed(folder.path(), swap), (true, true));
}

#[test]
fn a_file_that_came_or_went_is_seen() {
    let folder = TempDir::new().unwrap();
    written(folder.path());
    let more = folder.path().join("more.yaml");
    let rules = "rules: { soon: { kind: reserve, idle: 1 } }\n";
    assert_eq!(
        changed(folder.path(), || fs::write(&more, rules).unwrap()),
        (true, true)
    );
    let before = loaded(folder.path());
    let trace = Trace::of(folder.path(), &before);
    fs::remove_file(folder.path().join("part.j2")).unwrap();
    assert_ne!(trace, Trace::of(folder.path(), &before));
}
