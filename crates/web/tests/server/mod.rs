//! A server that writes whatever bytes a test wants, and a clock that is moved by hand.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use ports::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use url::Url;

/// Closes each connection after one answer.
pub(crate) struct Server {
    url: Url,
    heard: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    /// Answers each request head with the bytes that `reply` makes of it.
    pub(crate) async fn start(reply: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let reply = Arc::new(reply);
        Self::with(move |mut stream, head| {
            let bytes = reply(&head);
            async move {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    }

    /// Begins a good answer and sends a byte of it now and then, for ever.
    pub(crate) async fn dripping() -> Self {
        Self::with(|mut stream, _| async move {
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
            let mut sent = stream.write_all(head).await;
            let mut drops = tokio::time::interval(Duration::from_millis(10));
            while sent.is_ok() {
                drops.tick().await;
                sent = stream.write_all(b" ").await;
            }
        })
        .await
    }

    async fn with<F>(serve: impl Fn(TcpStream, String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let heard = Arc::new(AtomicUsize::new(0));
        let count = heard.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let head = head(&mut stream).await;
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, head));
            }
        });
        Self {
            url: Url::parse(&url).expect("a URL"),
            heard,
            task,
        }
    }

    pub(crate) fn url(&self) -> Url {
        self.url.clone()
    }

    /// Requests so far.
    pub(crate) fn heard(&self) -> usize {
        self.heard.load(Ordering::SeqCst)
    }

    pub(crate) async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).expect("text")
}

/// One whole answer.
pub(crate) fn answer(status: u16, header: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n{header}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// A clock that a test moves. Who sleeps on it sleeps until the test says otherwise.
#[derive(Default)]
pub(crate) struct Hand(Mutex<Duration>, AtomicBool);

impl Hand {
    pub(crate) fn end_sleeps(&self) {
        self.1.store(true, Ordering::SeqCst);
    }

    pub(crate) fn advance(&self, by: Duration) {
        *self.0.lock().expect("a clock") += by;
    }
}

#[async_trait]
impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + self.boottime()
    }

    fn boottime(&self) -> Duration {
        *self.0.lock().expect("a clock")
    }

    async fn sleep(&self, _: Duration) {
        if !self.1.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}
