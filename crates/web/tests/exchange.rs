//! The exchange against servers that do what broken and hostile ones do.

mod server;

use std::sync::Arc;
use std::time::Duration;

use ports::EmitterErrorKind as Kind;
use server::{Hand, Server, answer};
use url::Url;
use web::{Client, Failure, Meter, Method, Request, Settings, header};

const TOKEN: &str = "not-a-real-token";

fn client(server: &Server, with: impl FnOnce(&mut Settings)) -> (Client, Arc<Hand>) {
    let clock = Arc::new(Hand::default());
    let mut settings = Settings::of("test");
    with(&mut settings);
    let client = Client::new(server.url(), clock.clone(), settings).expect("a client");
    (client, clock)
}

fn get(server: &Server, path: &str) -> Request {
    let url = server.url().join(path).expect("a path");
    Request::get(url)
        .secret(header::AUTHORIZATION, &TOKEN.into())
        .expect("a header")
}

/// Sends what must fail.
async fn fails(client: &Client, request: &Request) -> Failure {
    let sent = client.send(request, &Meter::default()).await;
    sent.err().expect("no answer")
}

/// Everything that a log could print of a failure.
fn printed(failure: &Failure) -> String {
    let mut text = format!("{failure:?} {}", failure.message);
    let mut source: Option<&dyn std::error::Error> = failure.source.as_deref().map(|e| e as _);
    while let Some(error) = source {
        text += &error.to_string();
        source = error.source();
    }
    text
}

#[tokio::test]
async fn an_answer_is_read_whole_and_counted() {
    let server = Server::start(|_| answer(200, "x: y", br#"{"a":1}"#)).await;
    let (client, _) = client(&server, |_| {});
    let meter = Meter::default();
    let request = Request::get(client.base().join("/x?secret=1").unwrap());
    let answer = client.send(&request, &meter).await.unwrap();
    assert_eq!(answer.endpoint, "GET /x");
    assert_eq!(answer.json().unwrap()["a"], 1);
    assert_eq!((meter.cost().requests, meter.cost().bytes), (1, 7));
}

#[tokio::test]
async fn we_say_who_we_are_and_what_we_read() {
    let server = Server::start(|request| {
        let request = request.to_ascii_lowercase();
        let all = [
            "user-agent: parmanu/",
            "accept: application/json",
            "accept-language: en",
        ];
        let said = all.iter().all(|line| request.contains(line));
        answer(if said { 200 } else { 400 }, "x: y", b"{}")
    })
    .await;
    let (client, _) = client(&server, |_| {});
    let answer = client.send(&get(&server, "/"), &Meter::default()).await;
    assert_eq!(answer.unwrap().status, 200);
}

#[tokio::test]
async fn a_body_above_the_bound_is_cut_off_wherever_it_ends() {
    let server = Server::start(|_| answer(200, "x: y", &[b'1'; 4096])).await;
    let (client, _) = client(&server, |settings| settings.largest_body = 4095);
    let meter = Meter::default();
    let failure = client.send(&get(&server, "/"), &meter).await.err().unwrap();
    assert_eq!(failure.kind, Kind::TooLarge);
}

#[tokio::test]
async fn what_unpacks_without_end_is_bounded_by_what_it_unpacks_to() {
    let server = Server::start(|_| {
        use std::io::Write as _;
        let mut packed = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
        packed.write_all(&vec![b' '; 8 << 20]).unwrap();
        let packed = packed.finish().unwrap();
        assert!(packed.len() < 10_000, "small on the wire");
        answer(200, "content-encoding: gzip", &packed)
    })
    .await;
    let (client, _) = client(&server, |settings| settings.largest_body = 100_000);
    let meter = Meter::default();
    let failure = client.send(&get(&server, "/"), &meter).await.err().unwrap();
    assert_eq!(failure.kind, Kind::TooLarge);
    assert!(
        meter.cost().bytes < 200_000,
        "it was read on: {:?}",
        meter.cost()
    );
}

#[tokio::test]
async fn a_packed_answer_is_read_like_a_plain_one() {
    let server = Server::start(|_| {
        use std::io::Write as _;
        let mut packed = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
        packed.write_all(b"[1]").unwrap();
        answer(200, "content-encoding: gzip", &packed.finish().unwrap())
    })
    .await;
    let (client, _) = client(&server, |_| {});
    let answer = client.send(&get(&server, "/"), &Meter::default()).await;
    assert_eq!(answer.unwrap().json().unwrap()[0], 1);
}

#[tokio::test]
async fn an_answer_that_drips_is_over_at_the_deadline() {
    let server = Server::dripping().await;
    let (client, _) = client(&server, |settings| {
        settings.exchange_timeout = Duration::from_millis(150);
    });
    let meter = Meter::default();
    let request = get(&server, "/");
    let sent = tokio::time::timeout(Duration::from_secs(20), client.send(&request, &meter));
    let failure = sent.await.expect("a deadline").err().unwrap();
    assert_eq!(failure.kind, Kind::TimedOut);
    assert!(meter.cost().bytes > 1, "it never paused for long");
}

#[tokio::test]
async fn json_is_followed_to_a_depth_that_no_stack_feels() {
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    for (levels, good) in [(120, true), (200, false), (200_000, false)] {
        let server = Server::start(move |_| answer(200, "x: y", deep(levels).as_bytes())).await;
        let (client, _) = client(&server, |_| {});
        let answer = client.send(&get(&server, "/"), &Meter::default()).await;
        let json = answer.unwrap().json();
        assert_eq!(json.is_ok(), good, "{levels} levels");
    }
}

#[tokio::test]
async fn nothing_quotes_a_body_or_a_token() {
    let page = format!("<p>wrong token {TOKEN}</p>");
    let kind = "content-type: text/html; charset=secret-charset";
    for status in [200, 302, 400, 401, 403, 404, 418, 429, 500, 503] {
        let page = page.clone();
        let server = Server::start(move |_| answer(status, kind, page.as_bytes())).await;
        let (client, _) = client(&server, |_| {});
        let request = get(&server, "/x?private_token=secret-query");
        let failure = client.send(&request, &Meter::default()).await;
        let failure = failure.unwrap().json().unwrap_err();
        let text = format!("{} {request:?}", printed(&failure));
        for secret in [TOKEN, "wrong token", "secret-charset"] {
            assert!(!text.contains(secret), "{status}: {text}");
        }
        assert!(!printed(&failure).contains("secret-query"), "{status}");
    }
}

#[tokio::test]
async fn a_server_that_asks_to_wait_is_left_alone_until_then() {
    for status in [429, 503] {
        let server = Server::start(move |_| answer(status, "retry-after: 30", b"")).await;
        let (client, clock) = client(&server, |_| {});
        let meter = Meter::default();
        let answer = client.send(&get(&server, "/"), &meter).await.unwrap();
        let wait = |seconds| Kind::RateLimited {
            retry_after: Some(Duration::from_secs(seconds)),
        };
        assert_eq!(answer.failure().kind, wait(30));
        clock.advance(Duration::from_secs(10));
        let failure = client.send(&get(&server, "/"), &meter).await.err().unwrap();
        assert_eq!(failure.kind, wait(20));
        assert_eq!(meter.cost().requests, 1);
        clock.advance(Duration::from_secs(20));
        client.send(&get(&server, "/"), &meter).await.unwrap();
        assert_eq!(meter.cost().requests, 2);
    }
}

#[tokio::test]
async fn who_keeps_no_waits_sees_a_503_as_trouble_and_asks_again() {
    let server = Server::start(|_| answer(503, "retry-after: 30", b"")).await;
    let (client, _) = client(&server, |settings| settings.keeps_waits = false);
    for _ in 0..2 {
        let answer = client.send(&get(&server, "/"), &Meter::default()).await;
        assert_eq!(answer.unwrap().failure().kind, Kind::Unavailable);
    }
}

#[tokio::test]
async fn a_get_follows_a_redirect_at_the_same_server_with_its_token() {
    let server = Server::start(|request| match request {
        moved if moved.starts_with("GET /old") => answer(301, "location: /new?a=b", b""),
        new if new.starts_with("GET /new?a=b") && new.contains(TOKEN) => answer(200, "x: y", b"1"),
        _ => answer(404, "x: y", b""),
    })
    .await;
    let (client, _) = client(&server, |_| {});
    let meter = Meter::default();
    let request = get(&server, "/old").following();
    let answer = client.send(&request, &meter).await.unwrap();
    assert_eq!((answer.status, answer.endpoint.as_str()), (200, "GET /new"));
    assert_eq!(meter.cost().requests, 2);
    // and only who wants to
    let answer = client.send(&get(&server, "/old"), &meter).await.unwrap();
    assert_eq!(answer.status, 301);
}

#[tokio::test]
async fn no_token_goes_to_another_server() {
    let thief = Server::start(|_| answer(200, "x: y", b"1")).await;
    let location = format!("location: {}", thief.url());
    let server = Server::start(move |_| answer(302, &location, b"")).await;
    let (client, _) = client(&server, |_| {});
    let request = get(&server, "/").following();
    let failure = fails(&client, &request).await;
    assert_eq!(failure.kind, Kind::BadAnswer);
    assert_eq!(thief.heard(), 0);
}

#[tokio::test]
async fn a_circle_ends_and_a_write_is_sent_once() {
    let server = Server::start(|_| answer(307, "location: /", b"")).await;
    let (client, _) = client(&server, |_| {});
    let request = get(&server, "/").following();
    let failure = fails(&client, &request).await;
    assert_eq!(failure.kind, Kind::BadAnswer);
    assert_eq!(server.heard(), 4);
    let write = Request::post(server.url()).following();
    let answer = client.send(&write, &Meter::default()).await.unwrap();
    assert_eq!((answer.status, server.heard()), (307, 5));
}

#[tokio::test]
async fn a_lost_answer_of_a_write_may_have_been_carried_out() {
    let server = Server::start(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec()).await;
    let (client, _) = client(&server, |_| {});
    let url = || server.url();
    for (request, kind) in [
        (Request::get(url()), Kind::Unreachable),
        (Request::post(url()), Kind::TimedOut),
        (Request::post(url()).asking(), Kind::Unreachable),
        (Request::new(Method::DELETE, url()), Kind::TimedOut),
    ] {
        let failure = fails(&client, &request).await;
        assert_eq!(failure.kind, kind, "{request:?}");
    }
}

#[tokio::test]
async fn nobody_there_is_unreachable_even_for_a_write() {
    let gone = Server::start(|_| vec![]).await;
    let (client, _) = client(&gone, |_| {});
    let request = Request::post(gone.url());
    gone.stop().await;
    let failure = fails(&client, &request).await;
    assert_eq!(failure.kind, Kind::Unreachable);
}

#[tokio::test]
async fn a_toll_is_asked_before_each_request_that_leaves() {
    let server = Server::start(|_| answer(302, "location: /", b"")).await;
    let (client, _) = client(&server, |settings| {
        settings.toll = Some(Box::new(|endpoint, sent| {
            let limited = Kind::RateLimited { retry_after: None };
            if sent < 2 {
                Ok(())
            } else {
                Err(Failure::new(limited, endpoint))
            }
        }));
    });
    let request = get(&server, "/").following();
    let failure = fails(&client, &request).await;
    assert_eq!(failure.message, "GET /");
    assert_eq!(server.heard(), 2);
}

#[tokio::test]
async fn pages_are_followed_at_this_server_only() {
    let link = r#"link: </x?page=1>; rel="prev", </x?page=3>; rel="next""#;
    let server = Server::start(move |_| answer(200, link, b"[]")).await;
    let (client, _) = client(&server, |_| {});
    let answer = client
        .send(&get(&server, "/x?page=2"), &Meter::default())
        .await;
    let answer = answer.unwrap();
    let next = client
        .here(&answer.url, answer.next_link().unwrap())
        .unwrap();
    assert_eq!((next.path(), next.query()), ("/x", Some("page=3")));
    let elsewhere = [
        "http://other.example/x",
        "//other.example/x",
        "ftp:x",
        "http://[",
    ];
    for elsewhere in elsewhere {
        assert_eq!(client.here(&answer.url, elsewhere), None, "{elsewhere}");
    }
}

/// Not that a server with this certificate is trusted: nobody has its key.
#[test]
fn a_file_of_certificates_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, include_str!("server/example-ca.pem").repeat(2)).unwrap();
    let settings = Settings {
        ca_file: Some(path),
        ..Settings::of("test")
    };
    let url = Url::parse("https://ci.example").unwrap();
    assert!(Client::new(url, Arc::new(Hand::default()), settings).is_ok());
}

#[test]
fn a_file_that_holds_no_certificate_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate\n").unwrap();
    let missing = folder.path().join("missing.pem");
    for path in [empty, missing] {
        let settings = Settings {
            ca_file: Some(path.clone()),
            ..Settings::of("test")
        };
        let url = Url::parse("https://ci.example").unwrap();
        let refused = Client::new(url, Arc::new(Hand::default()), settings);
        let message = refused.err().unwrap().message;
        assert!(message.contains(path.to_str().unwrap()), "{message}");
    }
}

#[tokio::test]
async fn a_look_ends_with_its_time_and_says_what_was_tried() {
    let name = "ci".parse().unwrap();
    let clock = Hand::default();
    let done = web::look(&clock, Duration::ZERO, &name, "look", async { Ok(7) }).await;
    assert_eq!(done.unwrap(), 7);
    let failed = async { Err::<u8, _>(Failure::bad_answer("no list")) };
    let failed = web::look(&clock, Duration::ZERO, &name, "look", failed).await;
    assert_eq!(failed.unwrap_err().kind, Kind::BadAnswer);
    clock.end_sleeps();
    let never = std::future::pending::<Result<u8, Failure>>();
    let late = web::look(&clock, Duration::from_secs(5), &name, "look", never).await;
    let late = late.unwrap_err();
    assert_eq!(late.kind, Kind::TimedOut);
    assert_eq!(
        late.to_string(),
        "ci could not look: the probe took more than 5s: raise `probe.timeout`, or let it see less"
    );
}
