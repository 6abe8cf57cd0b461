//! Reading one file, or a directory of files that are merged.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use ports::strict::{Problem, Problems, Severity, Step};
use ports::{EmitterRegistry, ProviderRegistry};
use serde_json::{Map, Value};

use crate::diagnostic::{Diagnostic, Report};
use crate::redact::Secrets;
use crate::yaml::{self, Unreadable};
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

/// One file's text, with what was learnt from it.
pub(crate) struct Source {
    pub(crate) file: String,
    pub(crate) text: String,
    pub(crate) secrets: Secrets,
    document: Map<String, Value>,
    unreadable: Option<Unreadable>,
}

impl Source {
    fn new(file: String, text: String) -> Self {
        // an editor's byte order mark is not a part of the first key
        let text = text
            .strip_prefix('\u{feff}')
            .map(str::to_owned)
            .unwrap_or(text);
        let (document, unreadable) = match yaml::parse(&text) {
            Ok(document) => (document, None),
            Err(unreadable) => (Map::new(), Some(unreadable)),
        };
        let secrets = Secrets::of(&text, &document);
        Source {
            file,
            text,
            secrets,
            document,
            unreadable,
        }
    }
}

/// At most this many problems are shown; with more than this the first ones have caused the others.
const MAX_SHOWN: usize = 100;

/// Loads the file at `path`, or all `*.yaml` and `*.yml` files of the directory at `path` that are not hidden, merged by
/// key. The report holds the warnings.
pub fn load(path: &Path, registries: &Registries) -> Result<(Settings, Report), LoadError> {
    let base = folder(path);
    let mut sources = Vec::new();
    for file in files(path)? {
        // one byte more than is read tells that there is more; the size of a pipe or a device says nothing
        let bound = yaml::MAX_BYTES as u64 + 1;
        let mut text = String::new();
        std::fs::File::open(&file)
            .and_then(|opened| opened.take(bound).read_to_string(&mut text))
            .map_err(|source| LoadError::Io {
                path: file.clone(),
                source,
            })?;
        sources.push(Source::new(file.display().to_string(), text));
    }
    check_sources(&sources, registries, base)
}

/// Where a configuration's relative paths begin.
pub(crate) fn folder(path: &Path) -> &Path {
    if path.is_dir() {
        return path;
    }
    path.parent().unwrap_or(Path::new("."))
}

pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>, LoadError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let io = |source| LoadError::Io {
        path: path.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(io)? {
        let file = entry.map_err(io)?.path();
        let yaml = file.extension().is_some_and(|e| e == "yaml" || e == "yml");
        // editors leave `.#pools.yaml` behind, and a Kubernetes volume keeps its real files in `..data`
        let name = file.file_name().unwrap_or_default();
        if yaml && !name.as_encoded_bytes().starts_with(b".") {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        let none = "the directory has no file that ends in .yaml or .yml";
        return Err(io(std::io::Error::other(none)));
    }
    Ok(files)
}

/// Checks one text, as if it stood in a file called `file` in the directory `base`.
pub fn check_text(
    text: &str,
    file: &str,
    base: &Path,
    registries: &Registries,
) -> Result<(Settings, Report), LoadError> {
    let source = Source::new(file.to_owned(), text.to_owned());
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
        match &source.unreadable {
            Some(unreadable) => report.0.push(not_read(unreadable, source)),
            None => merge(&mut merged, source, &mut report),
        }
    }
    // the other checks of half a configuration would only say that the other half is missing
    if report.has_errors() {
        return Err(LoadError::Invalid { report });
    }
    let document = Value::Object(merged);
    let mut problems = Problems::default();
    let settings = validate::settings(&document, registries, base, &mut problems);
    // errors first, so that warnings are what is left out of a long list
    problems.0.sort_by_key(|problem| problem.severity);
    let shown = problems.0.iter().take(MAX_SHOWN);
    let shown = shown.map(|problem| Diagnostic::new(problem, source_of(problem, sources)));
    report.0.extend(shown);
    report
        .0
        .sort_by(|a, b| (&a.file, a.place).cmp(&(&b.file, b.place)));
    let more = problems.0.len().saturating_sub(MAX_SHOWN);
    if let (Some(last), true) = (report.0.last().cloned(), more > 0) {
        report.0.push(Diagnostic {
            place: None,
            end: None,
            excerpt: None,
            message: format!("{more} more problems are not shown: mend these first"),
            suggestion: None,
            ..last
        });
    }
    match settings {
        Some(settings) if !report.has_errors() => Ok((settings, report)),
        Some(_) | None => Err(LoadError::Invalid { report }),
    }
}

fn error(path: Vec<Step>, at_key: bool, message: String) -> Problem {
    Problem {
        severity: Severity::Error,
        path,
        at_key,
        message,
        suggestion: None,
    }
}

fn not_read(unreadable: &Unreadable, source: &Source) -> Diagnostic {
    let problem = error(Vec::new(), false, unreadable.message.clone());
    Diagnostic::at(&problem, source, unreadable.place)
}

/// Merges section by section; an entry that two files define is an error, since nobody could tell which one counts.
fn merge(merged: &mut Map<String, Value>, source: &Source, report: &mut Report) {
    for (section, value) in source.document.clone() {
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
            (Some(there @ Value::Null), value) => *there = value,
            (Some(_), Value::Null) => {}
            (Some(_), _) => report.0.push(twice(vec![Step::Key(section)], source)),
            (None, value) => {
                merged.insert(section, value);
            }
        }
    }
}

fn twice(path: Vec<Step>, source: &Source) -> Diagnostic {
    let name = match path.last() {
        Some(Step::Key(name)) => name.clone(),
        Some(Step::Index(_)) | None => String::new(),
    };
    let message =
        format!("`{name}` is defined in another file of the directory too: keep one of them");
    Diagnostic::new(&error(path, true, message), source)
}

/// The file in which a path stands: the first of those that hold most of its steps.
fn source_of<'a>(problem: &Problem, sources: &'a [Source]) -> &'a Source {
    let mut best = (&sources[0], 0);
    for source in sources {
        let depth = depth(&source.document, &problem.path);
        if depth > best.1 {
            best = (source, depth);
        }
    }
    best.0
}

fn depth(document: &Map<String, Value>, path: &[Step]) -> usize {
    let Some((Step::Key(section), rest)) = path.split_first() else {
        return 0;
    };
    let Some(mut at) = document.get(section) else {
        return 0;
    };
    let mut depth = 1;
    for step in rest {
        let next = match step {
            Step::Key(key) => at.get(key),
            Step::Index(index) => at.get(index),
        };
        let Some(next) = next else { break };
        (at, depth) = (next, depth + 1);
    }
    depth
}
