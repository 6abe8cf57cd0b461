//! A server that does what hurts most: it answers with what it was sent, credentials and all.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Longest body that is read; more is no request of ours.
const LONGEST: usize = 1 << 20;

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// 401, with the request in JSON.
    Unauthorized,
    /// 403, with the request as a text.
    Forbidden,
    /// 500, with the request in HTML.
    Broken,
    /// 200, with the request where an answer is expected.
    Garbage,
    /// 302 to another server, with the request in the address.
    Elsewhere,
}

impl Manner {
    pub const ALL: [Manner; 5] = [
        Manner::Unauthorized,
        Manner::Forbidden,
        Manner::Broken,
        Manner::Garbage,
        Manner::Elsewhere,
    ];

    /// A name for the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Manner::Unauthorized => "unauthorized",
            Manner::Forbidden => "forbidden",
            Manner::Broken => "broken",
            Manner::Garbage => "garbage",
            Manner::Elsewhere => "elsewhere",
        }
    }
}

/// A server that runs until the process ends, and everything it was sent.
pub struct Echo {
    pub port: u16,
    heard: Arc<Mutex<String>>,
}

impl Echo {
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(String::new()));
        let hears = heard.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let hears = hears.clone();
                std::thread::spawn(move || answer(stream, manner, &hears));
            }
        });
        Echo { port, heard }
    }

    pub fn heard(&self) -> String {
        let heard = self.heard.lock();
        heard.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn answer(stream: TcpStream, manner: Manner, hears: &Mutex<String>) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse::<usize>().ok()?.min(LONGEST);
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let request = format!("{head}\n{}", String::from_utf8_lossy(&body));
    let mut heard = hears.lock().unwrap_or_else(PoisonError::into_inner);
    heard.push_str(&request);
    drop(heard);
    let json = serde_json::json!({ "message": request, "error": request, "errors": [{ "message": request }] });
    let (status, kind, body, more) = match manner {
        Manner::Unauthorized => (
            "401 Unauthorized",
            "application/json",
            json.to_string(),
            String::new(),
        ),
        Manner::Forbidden => ("403 Forbidden", "text/plain", request, String::new()),
        Manner::Broken => (
            "500 Internal Server Error",
            "text/html",
            format!("<html>{request}</html>"),
            String::new(),
        ),
        Manner::Garbage => (
            "200 OK",
            "application/json",
            json.to_string(),
            String::new(),
        ),
        Manner::Elsewhere => {
            let query: String = request
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .take(2000)
                .collect();
            (
                "302 Found",
                "text/plain",
                String::new(),
                format!("Location: http://127.0.0.1:9/{query}\r\n"),
            )
        }
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n{more}\r\n{body}",
        body.len()
    );
    reader.into_inner().write_all(answer.as_bytes()).ok()
}
