//! What a request asks for: the parameters of its query, and the fields of its body.

use fake_server::{Request, Response};
use serde_json::{Value, json};

use crate::answer;

/// The body as a JSON object; form bodies are read as strings, since runners may send either.
pub(crate) fn body(request: &Request) -> Result<Value, Response> {
    let form = request
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    if form {
        let pairs = url::form_urlencoded::parse(&request.body);
        return Ok(pairs
            .map(|(key, value)| (key.into_owned(), json!(value)))
            .collect());
    }
    if request.body.is_empty() {
        return Ok(json!({}));
    }
    match serde_json::from_slice::<Value>(&request.body) {
        Ok(value) if value.is_object() => Ok(value),
        _ => Err(answer::error(400, "The request body is not a JSON object")),
    }
}

/// Decoded query parameters, in the order sent.
#[derive(Debug)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    pub(crate) fn of(request: &Request) -> Self {
        let pairs = url::form_urlencoded::parse(request.query.as_bytes());
        Self(pairs.into_owned().collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Values given as `name[]=a&name[]=b`, as `name=a`, or as `name=a,b`.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let bracketed = format!("{name}[]");
        let chosen = self
            .0
            .iter()
            .filter(|(key, _)| *key == bracketed || key == name);
        let parts = chosen.flat_map(|(_, value)| value.split(','));
        parts
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// The parameters with one of them replaced or added, encoded again for a `Link` header.
    pub(crate) fn with(&self, name: &str, value: &str) -> String {
        let kept = self.0.iter().filter(|(key, _)| key != name);
        url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(kept)
            .append_pair(name, value)
            .finish()
    }
}
