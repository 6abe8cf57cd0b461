//! The fake behind a loopback port, for clients that speak HTTP.
//!
//! Thin on purpose: it reads a request, asks [`Ec2::handle`] and carries the answer as its
//! [`Delivery`] says. An answer that is dropped cuts its
//! connection.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use fake_server::line::{Lines, Switch};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::ec2::Ec2;
use crate::wire::{Delivery, Request, Response};

/// A running server; it stops when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

struct Shared {
    ec2: Arc<Mutex<Ec2>>,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Server {
    /// Serves on a free loopback port. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// If the port cannot be opened.
    pub fn start(
        ec2: Arc<Mutex<Ec2>>,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ec2, now)
    }

    /// Serves on this address: the one to come back to after [`Server::stop`], say.
    ///
    /// # Errors
    /// If the port cannot be opened.
    pub fn start_on(
        address: SocketAddr,
        ec2: Arc<Mutex<Ec2>>,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            ec2,
            now: Box::new(now),
        });
        let app = axum::Router::new().fallback(serve).with_state(shared);
        let app = app.into_make_service_with_connect_info::<Switch>();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let server = axum::serve(Lines(listener), app);
            let until = async { drop(stopped.await) };
            // an error here means that the listener is gone, and then there is nothing to serve
            drop(server.with_graceful_shutdown(until).await);
        });
        Ok(Self {
            address,
            stop: Some(stop),
            task: Some(task),
        })
    }

    /// The endpoint to give to a client.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address, for [`Server::start_on`] later.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops and waits until the port is free again.
    pub async fn stop(mut self) {
        self.stop.take();
        if let Some(task) = self.task.take() {
            drop(task.await);
        }
    }
}

async fn serve(
    ConnectInfo(line): ConnectInfo<Switch>,
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> axum::response::Response {
    let text =
        |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let request = Request {
        method: method.to_string(),
        path: uri.to_string(),
        headers: headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect(),
        body: body.to_vec(),
    };
    let now = (shared.now)();
    // a test that panicked while holding the lock has failed already; the others may go on
    let response = shared
        .ec2
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .handle(&request, now);
    match response.delivery {
        Delivery::Dropped => line.cut(),
        Delivery::After(wait) => tokio::time::sleep(wait).await,
        Delivery::Whole | Delivery::Cut(_) => {}
    }
    http(response)
}

fn http(mut response: Response) -> axum::response::Response {
    if let Delivery::Cut(bytes) = response.delivery {
        let end = (0..=bytes)
            .rev()
            .find(|&end| response.body.is_char_boundary(end));
        response.body.truncate(end.unwrap_or_default());
    }
    let mut answer = axum::response::Response::new(Body::from(response.body));
    *answer.status_mut() =
        StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in response.headers {
        let name = axum::http::HeaderName::try_from(name);
        if let (Ok(name), Ok(value)) = (name, axum::http::HeaderValue::try_from(value)) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}
