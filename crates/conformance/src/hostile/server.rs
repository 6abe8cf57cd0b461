//! A server on a loopback port that answers each request with the same evil, byte by byte.
//!
//! No HTTP library: a library would refuse to send most of this. It keeps nothing of what it sends, so the memory that a
//! case measures is the plugin's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Longest request that is read; no emitter's is near it.
const LONGEST_REQUEST: usize = 1 << 20;

/// One request as it came.
pub(crate) struct Request {
    /// Request line and headers, with the empty line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// What each request is answered with. An error is the client's end of the connection.
#[async_trait]
pub(crate) trait Answers: Send + Sync + 'static {
    async fn answer(&self, request: Request, to: &mut TcpStream) -> std::io::Result<()>;
}

/// A running server; it stops when dropped.
pub(crate) struct Server {
    url: String,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(answers: impl Answers) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let answers = Arc::new(answers);
        let task = tokio::spawn(async move {
            // the connections end with the server
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let answers = answers.clone();
                connections.spawn(async move {
                    if let Some(request) = read(&mut stream).await {
                        // a client that has had enough hangs up
                        let _ = answers.answer(request, &mut stream).await;
                        let _ = stream.shutdown().await;
                    }
                });
            }
        });
        Server {
            url: format!("http://{address}"),
            asked,
            task,
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Connections so far; each carries one request.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let (end, length) = loop {
        if let Some(end) = find(&bytes, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            break (end + 4, length.unwrap_or(0usize));
        }
        more(stream, &mut bytes).await?;
    };
    while bytes.len() < end.saturating_add(length) {
        more(stream, &mut bytes).await?;
    }
    let body = bytes.split_off(end);
    Some(Request {
        head: String::from_utf8_lossy(&bytes).into_owned(),
        body,
    })
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let read = stream.read_buf(bytes).await.ok()?;
    (read > 0 && bytes.len() <= LONGEST_REQUEST).then_some(())
}

pub(crate) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}
