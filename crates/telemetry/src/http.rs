//! The endpoints every service has: `/healthz`, `/readyz`, `/metrics`.
//!
//! None of them changes anything or needs a token. A service merges its own routes into the
//! [`router`]. There is no TLS here: what stands before a service in production has it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::health::Readiness;
use crate::metrics::Metrics;

/// The content type that tells Prometheus to parse the answer as OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The three endpoints, to be served alone or merged with a service's own.
pub fn router(metrics: Arc<Metrics>, readiness: Readiness) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready).with_state(readiness))
        .route("/metrics", get(exposition).with_state(metrics))
}

/// Binds the address. Apart from [`serve`], so that a service fails at its start and knows its port
/// when it asked for port 0.
///
/// # Errors
///
/// When the address is taken or not ours.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until `shutdown` completes, then finishes the requests that are under way.
///
/// # Errors
///
/// When the listener breaks.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown)
        .await
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    let report = readiness.report();
    let status = if report.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(report)).into_response()
}

async fn exposition(State(metrics): State<Arc<Metrics>>) -> Response {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], metrics.exposition()).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    use super::*;
    use crate::metrics::Service;

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    }

    #[tokio::test]
    async fn the_endpoints_answer_until_the_shutdown() {
        let readiness = Readiness::default();
        let store = readiness.condition("store");
        let metrics = Arc::new(Metrics::new(Service::Scaler));
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(serve(listener, router(metrics, readiness), async {
            let _ = stopped.await;
        }));

        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        let reply = get(address, "/readyz").await;
        assert!(reply.starts_with("HTTP/1.1 503"), "{reply}");
        let body = r#"{"ready":false,"waiting_for":{"store":"not yet"},"have":[]}"#;
        assert!(reply.ends_with(body), "{reply}");
        store.ready();
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        let reply = get(address, "/metrics").await;
        assert!(reply.contains(OPEN_METRICS), "{reply}");
        assert!(reply.ends_with("# EOF\n"), "{reply}");

        stop.send(()).unwrap();
        served.await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}
