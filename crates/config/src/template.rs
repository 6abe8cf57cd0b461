//! A boot script's template with the parts that it includes, read once and whole: what runs later renders what was checked,
//! whatever happens to the files meanwhile.
//!
//! Which parts there are is read off the text and not off a rendering, so that a part in a branch that `check` does not
//! take is there when a machine takes it. So a name must be written out: `{% include "guest.sh.j2" %}`.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use minijinja::{Environment, UndefinedBehavior};

/// Longest file. Clouds take far less (EC2: 16 KB); more is a mistyped path.
const MAX_BYTES: u64 = 1024 * 1024;

/// Most parts of one script, parts of parts included. More is a mistake that would be read on and on.
const MAX_PARTS: usize = 32;

/// The tags of the template language that name another file.
const NAMING: [&str; 4] = ["include", "import", "from", "extends"];

/// A boot script's template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its file, for messages.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The text of each file that it includes, and that those include, by the name it is included by.
    pub parts: BTreeMap<String, String>,
}

impl Template {
    /// Reads a script and its parts, which lie in the same folder. `Err` says in words what cannot be read and why.
    pub(crate) fn read(base: &Path, path: &str) -> Result<Self, String> {
        let file = base.join(path);
        let text = read_text(&file).map_err(|why| {
            format!("{path} cannot be read (the path is relative to this file): {why}")
        })?;
        let folder = file.parent().unwrap_or(base);
        let mut parts = BTreeMap::new();
        let mut open = named(&text);
        while let Some(name) = open.pop() {
            if parts.contains_key(&name) {
                continue;
            }
            if parts.len() == MAX_PARTS {
                return Err(format!("{path} includes more than {MAX_PARTS} files"));
            }
            // no way out of the folder, and a name is the same file wherever it is written
            if name.contains(['/', '\\']) {
                return Err(format!(
                    "{path} includes {name:?}: write the name of a file in the folder of {path}, without a path"
                ));
            }
            let part = read_text(&folder.join(&name)).map_err(|why| {
                format!("{path} includes {name}, which cannot be read (it must lie in the same folder): {why}")
            })?;
            open.extend(named(&part));
            parts.insert(name, part);
        }
        Ok(Self {
            name: path.to_owned(),
            text,
            parts,
        })
    }

    /// The files it was read from.
    pub(crate) fn files(&self, base: &Path) -> impl Iterator<Item = PathBuf> {
        let file = base.join(&self.name);
        let folder = file.parent().unwrap_or(base).to_owned();
        let parts = self.parts.keys().map(move |name| folder.join(name));
        std::iter::once(file).chain(parts)
    }

    /// What renders it. A variable that does not exist is an error: half a script boots, and never joins.
    ///
    /// # Errors
    ///
    /// When the text or a part is no template.
    pub fn environment(&self) -> Result<Environment<'_>, minijinja::Error> {
        let mut environment = empty_environment();
        for (name, text) in &self.parts {
            environment.add_template(name, text)?;
        }
        environment.add_template(&self.name, &self.text)?;
        Ok(environment)
    }
}

/// What a script is parsed and rendered with.
pub(crate) fn empty_environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
}

fn read_text(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text);
    match read {
        Ok(bytes) if bytes as u64 > MAX_BYTES => {
            Err(format!("it is larger than {MAX_BYTES} bytes"))
        }
        Ok(_) => Ok(text),
        Err(error) => Err(error.to_string()),
    }
}

/// The names of other files in a template: every text in quotes in a tag that names some. One that is made up when the
/// script is rendered is not found, and is then an error of the rendering.
fn named(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("{%") {
        let (tag, behind) = after.split_once("%}").unwrap_or((after, ""));
        let word = tag.trim_start_matches(['-', '+']).trim_start();
        if NAMING.iter().any(|naming| {
            word.strip_prefix(naming)
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        }) {
            names.extend(quoted(word));
        }
        rest = behind;
    }
    names
}

/// What stands in quotes.
fn quoted(tag: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = tag;
    while let Some(start) = rest.find(['"', '\'']) {
        let (quote, after) = rest[start..].split_at(1);
        let Some((name, behind)) = after.split_once(quote) else {
            break;
        };
        found.push(name.to_owned());
        rest = behind;
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use minijinja::context;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn parts_are_read_with_the_script_and_rendered_when_their_files_are_gone() {
        let folder = folder(&[
            (
                "a.j2",
                "{% if machine %}{% include \"b.j2\" %}{% endif %}\n",
            ),
            ("b.j2", "b of {{ machine }}{%- include 'c.j2' -%}"),
            ("c.j2", ", c"),
        ]);
        let template = Template::read(folder.path(), "a.j2").unwrap();
        drop(folder);
        let environment = template.environment().unwrap();
        let script = environment.get_template("a.j2").unwrap();
        assert_eq!(
            script.render(context! { machine => "m" }).unwrap(),
            "b of m, c"
        );
        assert!(script.render(context! {}).is_err(), "strict in parts too");
    }

    #[test]
    fn every_tag_that_names_a_file_is_seen_and_nothing_else() {
        let text = r#"{% set x = "no" %} {% include ["a", 'b'] ignore missing %} {%- from "c" import d %}
            {% includes "no" %} "no" {{ "no" }} {% import "e" as f %}{% extends 'g' %}{% include "#;
        assert_eq!(named(text), ["a", "b", "c", "e", "g"]);
    }

    #[test]
    fn a_part_that_is_missing_elsewhere_or_endless_is_said() {
        let files = [
            ("missing.j2", "{% include 'nowhere.j2' %}"),
            ("outside.j2", "{% include '../a.j2' %}"),
            ("round.j2", "{% include 'round.j2' %}"),
        ];
        let folder = folder(&files);
        let read = |name| Template::read(folder.path(), name);
        let missing = read("missing.j2").unwrap_err();
        assert!(
            missing.contains("nowhere.j2, which cannot be read"),
            "{missing}"
        );
        let outside = read("outside.j2").unwrap_err();
        assert!(outside.contains("without a path"), "{outside}");
        let round = read("round.j2").unwrap();
        let environment = round.environment().unwrap();
        let rendered = environment.get_template("round.j2").unwrap().render(());
        assert!(rendered.is_err(), "it ends");
    }
}
