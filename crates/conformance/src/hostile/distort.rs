//! Good answers with something wrong in them.
//!
//! Stands between the plugin and a server that answers well, and changes the JSON on its way: one value at a time, so that
//! each value that a look or a read rests on is doubted once.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::server::{Answers, Request, find};

/// Largest good answer; those of a fake with one job are some kilobytes.
const LARGEST: u64 = 1 << 22;

/// An answer on its way to the plugin.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Names in lower case, without those that only carry the body.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Value,
}

/// What is done to the JSON of the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// Each number is this one.
    Numbers(i64),
    /// Each number has the other sign.
    Negative,
    /// Each row of each list comes twice.
    Twice,
    /// Only half of the body arrives.
    Half,
    /// In request number `.0`, value number `.1` is of another type.
    Retype(usize, usize),
    /// In request number `.0`, the value number `.1` is left out of its object.
    Drop(usize, usize),
    /// Each answer says that another page follows.
    AnotherPage,
    /// Each answer says that this very page follows.
    SamePage,
}

/// How an emitter's answers say that another page follows: changes the answer so that it names page `number`.
pub type AnotherPage = fn(&mut Answer, number: u64);

#[derive(Debug, Default)]
struct State {
    change: Option<Change>,
    requests: usize,
    /// The path of the value that was changed.
    changed: Option<String>,
    pages: u64,
}

/// Changes what the server at `upstream` (`127.0.0.1:port`) answers.
#[derive(Clone)]
pub(crate) struct Distorter {
    upstream: String,
    another_page: Option<AnotherPage>,
    state: Arc<Mutex<State>>,
}

impl Distorter {
    pub(crate) fn before(url: &str, another_page: Option<AnotherPage>) -> Self {
        let upstream = url.trim_start_matches("http://").trim_end_matches('/');
        Self {
            upstream: upstream.to_owned(),
            another_page,
            state: Arc::default(),
        }
    }

    /// Changes the answers like this from the next request on, which is number 0.
    pub(crate) fn begin(&self, change: Change) {
        *self.state() = State {
            change: Some(change),
            ..State::default()
        };
    }

    /// How many requests came since, and where something was changed.
    pub(crate) fn end(&self) -> (usize, Option<String>) {
        let state = self.state();
        (state.requests, state.changed.clone())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What arrives: the bytes of the body, and how many were promised.
    fn change(&self, answer: &mut Answer) -> (Vec<u8>, usize) {
        let mut state = self.state();
        let number = state.requests;
        state.requests += 1;
        match state.change.unwrap_or(Change::None) {
            Change::None | Change::Half => {}
            Change::Numbers(other) => numbers(&mut answer.body, &|_| other.into()),
            Change::Negative => numbers(&mut answer.body, &|value| {
                value.as_i64().map_or(-1, |value| -value - 1).into()
            }),
            Change::Twice => twice(&mut answer.body),
            Change::Retype(request, place) if request == number => {
                state.changed = walk(&mut answer.body, place, Wrong::Type);
            }
            Change::Drop(request, place) if request == number => {
                state.changed = walk(&mut answer.body, place, Wrong::Missing);
            }
            Change::Retype(..) | Change::Drop(..) => {}
            Change::AnotherPage => {
                state.pages += 1;
                self.page(answer, state.pages);
            }
            Change::SamePage => self.page(answer, 1),
        }
        let mut bytes = answer.body.to_string().into_bytes();
        let promised = bytes.len();
        if state.change == Some(Change::Half) {
            bytes.truncate(promised / 2);
        }
        (bytes, promised)
    }

    fn page(&self, answer: &mut Answer, number: u64) {
        if let Some(another_page) = self.another_page {
            another_page(answer, number);
        }
    }

    async fn ask(&self, request: &Request) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(&self.upstream).await?;
        let lines = request.head.lines().filter(|line| {
            let line = line.to_ascii_lowercase();
            // the answer is to be plain, and to end with the connection
            !line.starts_with("connection:") && !line.starts_with("accept-encoding:")
        });
        let mut head: String = lines
            .take_while(|line| !line.is_empty())
            .map(|line| format!("{line}\r\n"))
            .collect();
        head.push_str("connection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&request.body).await?;
        let mut answer = Vec::new();
        stream.take(LARGEST).read_to_end(&mut answer).await?;
        Ok(answer)
    }
}

#[async_trait]
impl Answers for Distorter {
    async fn answer(&self, request: Request, to: &mut TcpStream) -> std::io::Result<()> {
        let whole = self.ask(&request).await?;
        let Some((status, mut answer)) = parse(&whole) else {
            // no JSON: a redirect, an empty answer, an agent's file
            self.state().requests += 1;
            return to.write_all(&whole).await;
        };
        let (bytes, promised) = self.change(&mut answer);
        let mut head = format!("{status}\r\nconnection: close\r\ncontent-length: {promised}\r\n");
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        to.write_all(head.as_bytes()).await?;
        to.write_all(&bytes).await
    }
}

fn parse(whole: &[u8]) -> Option<(String, Answer)> {
    let end = find(whole, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&whole[..end]).ok()?;
    let mut lines = head.lines();
    let status = lines.next()?.to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let is_chunked = headers
        .iter()
        .any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let rest = &whole[end + 4..];
    let body = if is_chunked {
        serde_json::from_slice(&unchunked(rest)?).ok()?
    } else {
        serde_json::from_slice(rest).ok()?
    };
    let only_carry = ["content-length", "transfer-encoding", "connection"];
    let headers = headers
        .into_iter()
        .filter(|(name, _)| !only_carry.contains(&name.as_str()))
        .collect();
    Some((status, Answer { headers, body }))
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = find(rest, b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let start = end + 2;
        body.extend_from_slice(rest.get(start..start.checked_add(size)?)?);
        rest = rest.get(start + size + 2..)?;
    }
}

fn numbers(value: &mut Value, other: &impl Fn(&Value) -> Value) {
    match value {
        Value::Number(_) => *value = other(value),
        Value::Array(rows) => rows.iter_mut().for_each(|row| numbers(row, other)),
        Value::Object(rows) => rows.values_mut().for_each(|row| numbers(row, other)),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn twice(value: &mut Value) {
    match value {
        Value::Array(rows) => {
            rows.iter_mut().for_each(twice);
            rows.extend(rows.clone());
        }
        Value::Object(rows) => rows.values_mut().for_each(twice),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Type,
    Missing,
}

/// Changes value number `place` of those that can be changed so, in the order of a walk. Gives its path.
fn walk(value: &mut Value, place: usize, wrong: Wrong) -> Option<String> {
    let mut left = place;
    step(value, "", &mut left, wrong)
}

fn step(value: &mut Value, path: &str, left: &mut usize, wrong: Wrong) -> Option<String> {
    match value {
        Value::Object(members) => {
            let keys: Vec<String> = members.keys().cloned().collect();
            for key in keys {
                let path = format!("{path}.{key}");
                if hit(left) {
                    match wrong {
                        Wrong::Missing => drop(members.remove(&key)),
                        Wrong::Type => members[&key] = other_type(&members[&key]),
                    }
                    return Some(path);
                }
                let found = step(&mut members[&key], &path, left, wrong);
                if found.is_some() {
                    return found;
                }
            }
            None
        }
        Value::Array(rows) => {
            for (index, row) in rows.iter_mut().enumerate() {
                let path = format!("{path}[{index}]");
                // a row that is missing is a smaller truth, and nobody can tell
                if wrong == Wrong::Type && hit(left) {
                    *row = other_type(row);
                    return Some(path);
                }
                let found = step(row, &path, left, wrong);
                if found.is_some() {
                    return found;
                }
            }
            None
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn hit(left: &mut usize) -> bool {
    let hit = *left == 0;
    *left = left.wrapping_sub(1);
    hit
}

fn other_type(value: &Value) -> Value {
    match value {
        Value::Array(_) | Value::Object(_) => "another type".into(),
        Value::Null => Value::Object(serde_json::Map::new()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Value::Array(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_value_is_changed_once() {
        let good = json!({ "a": [{ "b": 1 }], "c": null });
        let all = |wrong| -> Vec<(String, Value)> {
            (0..10)
                .map_while(|place| {
                    let mut bad = good.clone();
                    walk(&mut bad, place, wrong).map(|path| (path, bad))
                })
                .collect()
        };
        let paths = |changes: &[(String, Value)]| -> Vec<String> {
            changes.iter().map(|(path, _)| path.clone()).collect()
        };
        let retyped = all(Wrong::Type);
        assert_eq!(paths(&retyped), [".a", ".a[0]", ".a[0].b", ".c"]);
        assert!(retyped.iter().all(|(_, bad)| *bad != good));
        assert_eq!(retyped[2].1, json!({ "a": [{ "b": [] }], "c": null }));
        let missing = all(Wrong::Missing);
        assert_eq!(paths(&missing), [".a", ".a[0].b", ".c"]);
        assert_eq!(missing[1].1, json!({ "a": [{}], "c": null }));
    }

    #[test]
    fn an_answer_in_chunks_is_read() {
        let whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nLink: x\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n";
        let (status, answer) = parse(whole).unwrap();
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert_eq!(answer.headers, [("link".to_owned(), "x".to_owned())]);
        assert_eq!(answer.body, json!([1, 2]));
    }
}
