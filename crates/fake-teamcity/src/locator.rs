//! The locator language: `dimension:value,dimension:(nested:value)`, with `($base64:…)` for values of any letters.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fake_server::Response;

use crate::answer;

/// A parsed locator whose dimensions are taken out one by one; what is left at the end is refused, as the server does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Locator {
    dimensions: Vec<(String, String)>,
    /// A value without any dimension.
    single: Option<String>,
}

impl Locator {
    pub(crate) fn parse(text: &str) -> Result<Self, Response> {
        let bad = || answer::bad_request(&format!("Bad locator syntax: '{text}'"));
        let mut locator = Self::default();
        let parts = split(text).ok_or_else(bad)?;
        for part in parts {
            match part.split_once(':') {
                Some((name, value)) if !name.is_empty() && !value.is_empty() => {
                    locator
                        .dimensions
                        .push((name.to_owned(), open(value).ok_or_else(bad)?));
                }
                None if text == part && !part.is_empty() => locator.single = Some(part.to_owned()),
                _ => return Err(bad()),
            }
        }
        Ok(locator)
    }

    pub(crate) fn single(&self) -> Option<&str> {
        self.single.as_deref()
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let place = self.dimensions.iter().position(|(key, _)| key == name)?;
        Some(self.dimensions.remove(place).1)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.dimensions.iter().any(|(key, _)| key == name)
    }

    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, Response> {
        match self.take(name).as_deref() {
            None | Some("any") => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(answer::bad_request(&format!(
                "Invalid boolean value '{other}' for dimension '{name}'."
            ))),
        }
    }

    pub(crate) fn number(&mut self, name: &str) -> Result<Option<u64>, Response> {
        let Some(text) = self.take(name) else {
            return Ok(None);
        };
        let number = text.parse().map_err(|_| {
            answer::bad_request(&format!("Invalid value '{text}' of dimension '{name}'."))
        })?;
        Ok(Some(number))
    }

    /// Refuses what nobody took.
    pub(crate) fn done(&self) -> Result<(), Response> {
        match self.dimensions.first() {
            None => Ok(()),
            Some((name, _)) => Err(answer::bad_request(&format!(
                "Unknown locator dimension '{name}'. Locator is ignored, fix or remove it."
            ))),
        }
    }
}

/// Divides at the commas that stand outside of brackets.
fn split(text: &str) -> Option<Vec<&str>> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0_u32, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1)?,
            ',' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    (depth == 0).then_some(parts)
}

/// Takes the brackets and the encoding off a value.
fn open(value: &str) -> Option<String> {
    let inner = match value.strip_prefix('(') {
        Some(inner) => inner.strip_suffix(')')?,
        None => value,
    };
    match inner.strip_prefix("$base64:") {
        Some(words) => String::from_utf8(URL_SAFE_NO_PAD.decode(words).ok()?).ok(),
        None => Some(inner.to_owned()),
    }
}
