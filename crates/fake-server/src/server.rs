//! Any fake on a socket.
//!
//! A thin shell: it reads the clock it was given, locks, asks [`Fake::answer`] and sends what it
//! is told to send, faults included.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use futures::stream;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::http::{Request, Response, Transport};

/// Bodies above this are refused; no request of an autoscaler is near it.
const LARGEST_REQUEST: usize = 1 << 20;

/// A server that needs no socket.
pub trait Fake: Send + 'static {
    /// Answers one request. No I/O and no clock: the only thing that can change is the fake.
    fn answer(&mut self, request: &Request, now: Timestamp) -> Response;

    /// Told once, before the first request, where it is reached: `http://127.0.0.1:port`, the beginning
    /// of the addresses in its answers.
    fn listens_at(&mut self, base: String);
}

/// A running server; it stops when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
}

struct Shared<F> {
    fake: Arc<Mutex<F>>,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

impl<F: Fake> Shared<F> {
    fn answer(&self, request: &Request) -> Response {
        // a test that panicked while holding the lock has failed already; the others may go on
        let mut fake = self.fake.lock().unwrap_or_else(PoisonError::into_inner);
        fake.answer(request, (self.now)())
    }
}

impl Server {
    /// Serves on a free loopback port. `now` is asked once per request.
    pub async fn start<F: Fake>(
        fake: Arc<Mutex<F>>,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)), fake, now).await
    }

    /// Serves on this address.
    pub async fn start_on<F: Fake>(
        address: SocketAddr,
        fake: Arc<Mutex<F>>,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        Self::start_as(address, None, fake, now).await
    }

    /// Serves on this address and is told that it is reached at `base`, such as `http://gitlab:8080`: an address that stands for
    /// all of a machine is none that a client can be sent to.
    pub async fn start_as<F: Fake>(
        address: SocketAddr,
        base: Option<String>,
        fake: Arc<Mutex<F>>,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        fake.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .listens_at(base.unwrap_or_else(|| format!("http://{address}")));
        let shared = Arc::new(Shared {
            fake,
            now: Box::new(now),
        });
        let app = Router::new().fallback(answer::<F>).with_state(shared);
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let serve = axum::serve(listener, app);
            // not a graceful stop: open connections end with the server, as when it crashes
            tokio::select! {
                _ = serve.into_future() => {}
                _ = stopped => {}
            }
        });
        Ok(Self {
            address,
            stop: Some(stop),
        })
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // a server that already ended has nobody to tell
            let _ = stop.send(());
        }
    }
}

async fn answer<F: Fake>(
    State(shared): State<Arc<Shared<F>>>,
    request: axum::extract::Request,
) -> axum::response::Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LARGEST_REQUEST).await else {
        return send(Response::of(413, "text/plain", "Request Entity Too Large"));
    };
    let headers = parts.headers.iter().filter_map(|(name, value)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    });
    let request = Request {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or("").to_owned(),
        headers: headers.collect(),
        body: body.to_vec(),
    };
    let response = shared.answer(&request);
    if let Transport::Late(time) = response.transport {
        tokio::time::sleep(time).await;
    }
    send(response)
}

fn send(response: Response) -> axum::response::Response {
    let whole = response.body.len();
    let body = match response.transport {
        Transport::Whole | Transport::Late(_) => Body::from(response.body),
        Transport::Cut => broken(response.body[..whole / 2].to_vec()),
        Transport::Lost => broken(Vec::new()),
    };
    let broken = matches!(response.transport, Transport::Cut | Transport::Lost);
    // a lost answer must not look whole: a 204 would, as it has no body that could be missing
    let status = if response.transport == Transport::Lost {
        200
    } else {
        response.status
    };
    let mut answer = axum::response::Response::new(body);
    *answer.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = answer.headers_mut();
    for (name, value) in response.headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value)) {
            headers.append(name, value);
        }
    }
    if broken {
        // promised, and never sent in full; at least one byte, so that an empty answer breaks too
        headers.insert(
            axum::http::header::CONTENT_LENGTH,
            HeaderValue::from(whole.max(1)),
        );
    }
    answer
}

/// A body that ends the connection after these bytes.
fn broken(bytes: Vec<u8>) -> Body {
    let end = std::io::Error::other("the connection was cut");
    Body::from_stream(stream::iter([Ok(Bytes::from(bytes)), Err(end)]))
}
