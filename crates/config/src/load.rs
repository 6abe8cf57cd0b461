//! Reading one file, or a directory of files that are merged.

use std::path::{Path, PathBuf};

use ports::strict::{Problem, Problems, Severity, Step};
use ports::{EmitterRegistry, ProviderRegistry};
use serde_json::{Map, Value};

use crate::diagnostic::{Diagnostic, Report};
use crate::locate::Position;
use crate::{Settings, validate};

/// The plugins whose keys may stand in a configuration.
pub struct Registries {
    /// The emitters.
    pub emitters: EmitterRegistry,
    /// The providers.
    pub providers: ProviderRegistry,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// It was read and is wrong.
    #[error("the configuration is not usable\n{report}")]
    Invalid {
        /// All that is wrong.
        report: Report,
    },
}

/// Longest configuration file; a fleet of a thousand pools needs a tenth of this.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// One file's text.
pub(crate) struct Source {
    pub(crate) file: String,
    pub(crate) text: String,
}

/// Loads the file at `path`, or all `*.yaml` and `*.yml` files of the directory at `path`, merged by key. The report
/// holds the warnings.
pub fn load(path: &Path, registries: &Registries) -> Result<(Settings, Report), LoadError> {
    let io = |source| LoadError::Io {
        path: path.to_owned(),
        source,
    };
    let mut files = vec![path.to_owned()];
    let mut base = path.parent().unwrap_or(Path::new(".")).to_owned();
    if path.is_dir() {
        base = path.to_owned();
        files = std::fs::read_dir(path)
            .map_err(io)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|e| e == "yaml" || e == "yml"))
            .collect();
        files.sort();
    }
    let mut sources = Vec::new();
    for file in files {
        let read = |source| LoadError::Io {
            path: file.clone(),
            source,
        };
        if std::fs::metadata(&file).map_err(read)?.len() > MAX_BYTES {
            let large = format!("it is larger than {MAX_BYTES} bytes");
            return Err(read(std::io::Error::other(large)));
        }
        let text = std::fs::read_to_string(&file).map_err(read)?;
        sources.push(Source {
            file: file.display().to_string(),
            text,
        });
    }
    check_sources(&sources, registries, &base)
}

/// Checks one text, as if it stood in a file called `file` in the directory `base`.
pub fn check_text(
    text: &str,
    file: &str,
    base: &Path,
    registries: &Registries,
) -> Result<(Settings, Report), LoadError> {
    let source = Source {
        file: file.to_owned(),
        text: text.to_owned(),
    };
    check_sources(&[source], registries, base)
}

fn check_sources(
    sources: &[Source],
    registries: &Registries,
    base: &Path,
) -> Result<(Settings, Report), LoadError> {
    let mut report = Report::default();
    let mut merged = Map::new();
    for source in sources {
        match parse(source) {
            Ok(document) => merge(&mut merged, document, source, &mut report),
            Err(diagnostic) => report.0.push(*diagnostic),
        }
    }
    if report.has_errors() {
        return Err(LoadError::Invalid { report });
    }
    let document = Value::Object(merged);
    let mut problems = Problems::default();
    let settings = validate::settings(&document, registries, base, &mut problems);
    for problem in &problems.0 {
        let source = source_of(problem, sources);
        report
            .0
            .push(Diagnostic::new(problem, &source.file, &source.text));
    }
    report.0.sort_by_key(|d| (d.file.clone(), d.place));
    match settings {
        Some(settings) if !report.has_errors() => Ok((settings, report)),
        Some(_) | None => Err(LoadError::Invalid { report }),
    }
}

fn parse(source: &Source) -> Result<Map<String, Value>, Box<Diagnostic>> {
    let wrong = |message: String, place: Option<Position>| {
        let problem = Problem {
            severity: Severity::Error,
            path: Vec::new(),
            at_key: false,
            message,
            suggestion: None,
        };
        Box::new(Diagnostic::at(&problem, &source.file, &source.text, place))
    };
    // first as YAML, which refuses a key that stands twice; JSON would keep the last one in silence
    let yaml: serde_yaml::Value = serde_yaml::from_str(&source.text).map_err(|error| {
        let place = error.location().map(|p| Position {
            line: p.line(),
            column: p.column(),
        });
        wrong(error.to_string(), place)
    })?;
    match serde_json::to_value(&yaml) {
        Ok(Value::Object(document)) => Ok(document),
        Ok(_) => Err(wrong(
            "this is not a mapping of keys; see config/minimal.yaml for a first file".into(),
            Some(Position { line: 1, column: 1 }),
        )),
        Err(error) => Err(wrong(format!("keys must be text: {error}"), None)),
    }
}

/// Merges section by section; an entry that two files define is an error, since nobody could tell which one counts.
fn merge(
    merged: &mut Map<String, Value>,
    document: Map<String, Value>,
    source: &Source,
    report: &mut Report,
) {
    for (section, value) in document {
        match (merged.get_mut(&section), value) {
            (Some(Value::Object(there)), Value::Object(more)) => {
                for (name, entry) in more {
                    if there.contains_key(&name) {
                        let path = vec![Step::Key(section.clone()), Step::Key(name)];
                        report.0.push(twice(path, source));
                    } else {
                        there.insert(name, entry);
                    }
                }
            }
            (Some(_), _) => report.0.push(twice(vec![Step::Key(section)], source)),
            (None, value) => {
                merged.insert(section, value);
            }
        }
    }
}

fn twice(path: Vec<Step>, source: &Source) -> Diagnostic {
    let problem = Problem {
        severity: Severity::Error,
        path,
        at_key: true,
        message: "this is defined in another file of the directory too".into(),
        suggestion: None,
    };
    Diagnostic::new(&problem, &source.file, &source.text)
}

/// The file in which a path stands: the one that holds most of its steps.
fn source_of<'a>(problem: &Problem, sources: &'a [Source]) -> &'a Source {
    let depth = |source: &Source| {
        let yaml: Value = serde_yaml::from_str(&source.text).unwrap_or_default();
        let mut at = &yaml;
        let mut depth = 0;
        for step in &problem.path {
            let next = match step {
                Step::Key(key) => at.get(key),
                Step::Index(index) => at.get(index),
            };
            let Some(next) = next else { break };
            (at, depth) = (next, depth + 1);
        }
        depth
    };
    match sources {
        [only] => only,
        many => many
            .iter()
            .rev()
            .max_by_key(|source| depth(source))
            .unwrap_or(&many[0]),
    }
}
