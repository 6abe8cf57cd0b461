//! Secrets by reference: `${env:NAME}` or `${file:/path}` in the configuration, read when they are used.
//!
//! A secret is read anew at each use, so that a rotated one is picked up without a restart; nothing here can print
//! one. A literal secret works too, and `parmanu check` warns about it.

use std::borrow::Cow;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer};

/// Where a secret is to be found.
#[derive(Clone)]
pub enum SecretRef {
    /// In this environment variable.
    Env(String),
    /// In this file; one trailing line end is dropped.
    File(PathBuf),
    /// In the configuration itself.
    Literal(SecretString),
}

/// Why a secret could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set or not text.
    #[error(
        "environment variable {name} is not set; the configuration refers to it as ${{env:{name}}}"
    )]
    Env {
        /// The variable.
        name: String,
    },
    /// The file cannot be read.
    #[error("secret file {path} cannot be read: {why}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        why: String,
    },
    /// The secret is there and empty.
    #[error("the secret in {place} is empty")]
    Empty {
        /// The variable or file.
        place: String,
    },
}

/// Longest secret read from a file: keys and service accounts are a few KiB; a mistyped path may be anything.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

impl SecretRef {
    /// Reads `${env:NAME}`, `${file:/path}` or a literal.
    pub fn parse(text: &str) -> Self {
        let inner = text
            .strip_prefix("${")
            .and_then(|rest| rest.strip_suffix('}'));
        match inner.and_then(|inner| inner.split_once(':')) {
            Some(("env", name)) => SecretRef::Env(name.to_owned()),
            Some(("file", path)) => SecretRef::File(path.into()),
            _ => SecretRef::Literal(text.into()),
        }
    }

    /// Reads the secret now.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        let (place, text) = match self {
            SecretRef::Env(name) => (
                format!("environment variable {name}"),
                std::env::var(name).map_err(|_| SecretError::Env { name: name.clone() })?,
            ),
            SecretRef::File(path) => (format!("file {}", path.display()), read_file(path)?),
            SecretRef::Literal(secret) => return Ok(secret.clone()),
        };
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            Err(SecretError::Empty { place })
        } else {
            Ok(text.into())
        }
    }

    /// Whether the secret stands in the configuration itself.
    pub fn is_literal(&self) -> bool {
        matches!(self, SecretRef::Literal(_))
    }
}

fn read_file(path: &std::path::Path) -> Result<String, SecretError> {
    use std::io::Read as _;
    let fail = |why: String| SecretError::File {
        path: path.display().to_string(),
        why,
    };
    let file = std::fs::File::open(path).map_err(|error| fail(error.to_string()))?;
    let mut text = String::new();
    let read = file.take(MAX_SECRET_BYTES + 1).read_to_string(&mut text);
    match read {
        Ok(bytes) if bytes as u64 > MAX_SECRET_BYTES => {
            Err(fail(format!("it is larger than {MAX_SECRET_BYTES} bytes")))
        }
        Ok(_) => Ok(text),
        Err(error) => Err(fail(error.to_string())),
    }
}

/// The same place, or the same text in the configuration itself. What stands in the place is not read.
impl PartialEq for SecretRef {
    fn eq(&self, other: &Self) -> bool {
        use secrecy::ExposeSecret as _;
        match (self, other) {
            (SecretRef::Env(name), SecretRef::Env(other)) => name == other,
            (SecretRef::File(path), SecretRef::File(other)) => path == other,
            (SecretRef::Literal(text), SecretRef::Literal(other)) => {
                text.expose_secret() == other.expose_secret()
            }
            (SecretRef::Env(_) | SecretRef::File(_) | SecretRef::Literal(_), _) => false,
        }
    }
}

impl Eq for SecretRef {}

impl std::fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SecretRef::Env(name) => write!(f, "${{env:{name}}}"),
            SecretRef::File(path) => write!(f, "${{file:{}}}", path.display()),
            SecretRef::Literal(_) => f.write_str("<secret>"),
        }
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(SecretRef::parse(&text))
    }
}

impl JsonSchema for SecretRef {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A secret by reference: ${env:NAME} or ${file:/path}, read anew when it is used.",
            "examples": ["${env:GITLAB_TOKEN}", "${file:/run/secrets/gitlab}"]
        })
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_literal_secret_is_never_printed() {
        let secret = SecretRef::parse("hunter2");
        assert!(secret.is_literal());
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert_eq!(secret.read().unwrap().expose_secret(), "hunter2");
    }

    #[test]
    fn a_file_is_read_anew_at_each_use_and_its_line_end_dropped() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let secret = SecretRef::parse(&format!("${{file:{}}}", file.path().display()));
        assert!(matches!(secret.read(), Err(SecretError::Empty { .. })));
        for text in ["first", "second"] {
            std::fs::write(file.path(), format!("{text}\n")).unwrap();
            assert_eq!(secret.read().unwrap().expose_secret(), text);
        }
        std::fs::write(file.path(), "x".repeat(70_000)).unwrap();
        assert!(secret.read().unwrap_err().to_string().contains("larger"));
    }

    #[test]
    fn a_missing_variable_is_named() {
        let error = SecretRef::parse("${env:PARMANU_NO_SUCH_VARIABLE}")
            .read()
            .unwrap_err();
        assert!(
            error.to_string().contains("PARMANU_NO_SUCH_VARIABLE"),
            "{error}"
        );
    }
}
