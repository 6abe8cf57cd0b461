//! `--health`: a program that asks itself.
//!
//! What starts containers wants a command that tells whether the one inside lives, and our images have neither a shell nor
//! a client. It asks `/healthz` and nothing else: a service that is not *ready* is not mended by a restart.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use telemetry::SystemClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Arguments, Defaults};

/// An answer takes a millisecond. One that takes this long is none, and whoever asks has a limit of his own, of some seconds.
const LIMIT: Duration = Duration::from_secs(3);

/// Of an answer only the first line is looked at.
const MAX_ANSWER: u64 = 4096;

/// Asks the service that runs here whether it is alive.
///
/// # Errors
///
/// When nobody answers in time, or not that it lives.
pub async fn health(arguments: &Arguments, defaults: Defaults) -> anyhow::Result<()> {
    let name = defaults.name;
    let address = here(arguments.listen(defaults));
    let status = answers(name, address).await?;
    if status.split_whitespace().nth(1) != Some("200") {
        bail!("{name} at {address} answers {status:?} to /healthz");
    }
    Ok(())
}

/// Asks what listens here for `/healthz`; gives the first line of the answer, whatever it is.
///
/// # Errors
///
/// When nobody answers in time.
pub async fn answers(name: &str, listen: SocketAddr) -> anyhow::Result<String> {
    let address = here(listen);
    let answer = ports::timeout(&SystemClock, LIMIT, status(address)).await;
    let seconds = LIMIT.as_secs();
    answer
        .with_context(|| format!("{name} at {address} does not answer within {seconds} s"))?
        .with_context(|| format!("{name} at {address} cannot be asked"))
}

/// The same port on loopback, where a service listens on all addresses.
fn here(listen: SocketAddr) -> SocketAddr {
    let loopback: IpAddr = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(loopback, listen.port())
}

/// The first line of the answer.
async fn status(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::sync::Arc;

    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::get;
    use telemetry::logs::LogFormat;
    use telemetry::{Metrics, Readiness, http};

    use super::*;
    use crate::Half;

    const DEFAULTS: Defaults = Defaults {
        name: "probot",
        half: Half::Probot,
        port: 9,
        log_format: LogFormat::Json,
    };

    /// A server on all addresses; what `--health` is told of it.
    async fn serving(router: Router) -> Arguments {
        let listener = http::bind("0.0.0.0:0".parse().unwrap()).await.unwrap();
        let listen = listener.local_addr().unwrap();
        tokio::spawn(http::serve(listener, router, std::future::pending()));
        arguments(listen)
    }

    fn arguments(listen: SocketAddr) -> Arguments {
        Arguments {
            config: "nowhere.yaml".into(),
            listen: Some(listen),
            log_format: None,
            health: true,
        }
    }

    #[tokio::test]
    async fn one_that_lives_is_alive_though_it_is_not_ready() {
        let readiness = Readiness::default();
        readiness.condition("store").not_ready("it is away");
        let router = http::router(Arc::new(Metrics::new(Half::Probot)), readiness);
        health(&serving(router).await, DEFAULTS).await.unwrap();
    }

    #[tokio::test]
    async fn another_answer_and_none_are_told() {
        let broken = get(|| async { StatusCode::SERVICE_UNAVAILABLE });
        let served = serving(Router::new().route("/healthz", broken)).await;
        let error = health(&served, DEFAULTS).await.unwrap_err();
        assert!(error.to_string().contains("503"), "{error:#}");
        let free = http::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let listen = free.local_addr().unwrap();
        drop(free);
        let error = health(&arguments(listen), DEFAULTS).await.unwrap_err();
        assert!(error.to_string().contains("cannot be asked"), "{error:#}");
    }

    #[test]
    fn all_addresses_are_asked_at_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:2", "[::1]:2"),
            ("10.0.0.7:3", "10.0.0.7:3"),
        ] {
            assert_eq!(here(listen.parse().unwrap()).to_string(), asked);
        }
    }
}
