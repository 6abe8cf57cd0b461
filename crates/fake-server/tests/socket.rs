//! The socket: whole answers, and the faults that only a socket can have.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_server::{Fake, Request, Response, Server, Transport};
use jiff::Timestamp;

/// Tells what it was asked, in the way it was asked to.
#[derive(Debug, Default)]
struct Echo {
    base: String,
    asked: u32,
}

impl Fake for Echo {
    fn answer(&mut self, request: &Request, now: Timestamp) -> Response {
        self.asked += 1;
        let (status, transport) = match request.path.as_str() {
            "/cut" => (200, Transport::Cut),
            "/lost" => (204, Transport::Lost),
            "/late" => (200, Transport::Late(Duration::from_millis(1))),
            _ => (200, Transport::Whole),
        };
        let words = format!(
            "{} {}{}?{} {} {} {now}",
            request.method,
            self.base,
            request.path,
            request.query,
            request.header("x-word").unwrap_or("-"),
            request.body.len(),
        );
        let body = if status == 204 { String::new() } else { words };
        Response {
            transport,
            ..Response::of(status, "text/plain", body)
                .with_header("x-asked", self.asked.to_string())
        }
    }

    fn listens_at(&mut self, base: String) {
        self.base = base;
    }
}

async fn start() -> (Arc<Mutex<Echo>>, Server) {
    let echo = Arc::new(Mutex::new(Echo::default()));
    let server = Server::start(echo.clone(), || Timestamp::UNIX_EPOCH).await;
    (echo, server.unwrap())
}

async fn post(server: &Server, target: &str, body: Vec<u8>) -> reqwest::Result<(u16, String)> {
    let request = reqwest::Client::new().post(format!("{}{target}", server.url()));
    let answer = request.header("x-word", "hello").body(body).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

#[tokio::test]
async fn requests_and_answers_travel_whole() {
    let (_echo, server) = start().await;
    let words = format!(
        "POST {}/a%20b?c=d hello 3 1970-01-01T00:00:00Z",
        server.url()
    );
    let answer = post(&server, "/a%20b?c=d", b"abc".to_vec()).await.unwrap();
    assert_eq!(answer, (200, words));
    let late = post(&server, "/late", Vec::new()).await.unwrap();
    assert!(late.1.contains("/late"), "{late:?}");
}

#[tokio::test]
async fn a_fake_on_all_addresses_is_told_what_it_is_called() {
    let echo = Arc::new(Mutex::new(Echo::default()));
    let name = "http://gitlab:8080".to_owned();
    let at = ([127, 0, 0, 1], 0).into();
    let server = Server::start_as(at, Some(name), echo, || Timestamp::UNIX_EPOCH).await;
    let answer = post(&server.unwrap(), "/a", Vec::new()).await.unwrap();
    assert!(
        answer.1.starts_with("POST http://gitlab:8080/a?"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn cut_and_lost_answers_were_carried_out_and_are_errors_at_the_client() {
    let (echo, server) = start().await;
    for target in ["/cut", "/lost"] {
        assert!(post(&server, target, Vec::new()).await.is_err(), "{target}");
    }
    assert_eq!(echo.lock().unwrap().asked, 2);
}

#[tokio::test]
async fn a_body_without_end_is_refused_before_the_fake_is_asked() {
    let (echo, server) = start().await;
    let answer = post(&server, "/", vec![b'x'; 2 << 20]).await.unwrap();
    assert_eq!(answer.0, 413);
    assert_eq!(echo.lock().unwrap().asked, 0);
}

#[tokio::test]
async fn a_dropped_server_stops_listening() {
    let (_echo, server) = start().await;
    let address = server.address();
    drop(server);
    let gone = async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone)
        .await
        .unwrap();
}
