//! A server that answers everything with the same evil.

use std::error::Error;
use std::sync::Arc;

use model::Work;
use ports::{Clock, EmitterError, EmitterErrorKind as Kind, Register};

use super::evil::Evil;
use super::server::Server;
use super::{PROBE_TIMEOUT, Plugin, RuntimeClock, VERB_TIMEOUT};
use crate::emitter::{EPOCH, instance};

/// Makes the plugin for an address.
pub type At = dyn Fn(&str, Arc<dyn Clock>) -> Plugin + Sync;

/// Without it one answer fills the memory.
pub async fn a_body_of_a_gibibyte_is_cut(at: &At) {
    suffers(at, Evil::Gibibyte, &[Kind::TooLarge]).await;
}

/// Without it a queue that somebody filled does.
pub async fn a_queue_of_a_thousand_million_jobs_is_cut(at: &At) {
    suffers(at, Evil::EndlessRows, &[Kind::TooLarge]).await;
}

/// Without it a small answer does, which a limit on what comes over the wire lets through.
pub async fn a_gzip_bomb_is_cut(at: &At) {
    suffers(at, Evil::GzipBomb, &[Kind::TooLarge, Kind::BadAnswer]).await;
}

/// Without it an answer of a legal size does, since a parsed document is many times as large.
pub async fn a_document_of_empty_lists_is_refused(at: &At) {
    suffers(at, Evil::Dense, &[Kind::TooLarge, Kind::BadAnswer]).await;
}

/// Without it an answer of a legal size overflows the stack, which no error handling survives.
pub async fn a_document_of_brackets_is_refused(at: &At) {
    suffers(at, Evil::Deep, &[Kind::TooLarge, Kind::BadAnswer]).await;
}

/// Without it the limit holds for good answers only.
pub async fn a_refusal_without_end_is_a_refusal(at: &At) {
    for (status, kind) in [
        (500, Kind::Unavailable),
        (403, Kind::Forbidden),
        (401, Kind::Unauthorized),
    ] {
        suffers(at, Evil::EndlessRefusal(status), &[kind, Kind::TooLarge]).await;
    }
}

/// Without it the limit holds for bodies only.
pub async fn headers_without_end_are_cut(at: &At) {
    let kinds = [Kind::TooLarge, Kind::BadAnswer, Kind::Unreachable];
    suffers(at, Evil::EndlessHead, &kinds).await;
}

/// Without it a wrong line in a proxy holds the probe up and floods the server.
pub async fn a_redirect_to_itself_is_not_followed_for_ever(at: &At) {
    suffers(at, Evil::RedirectToItself, &[Kind::BadAnswer]).await;
}

/// Without it a loop that is not seen as one does.
pub async fn redirects_onward_are_not_followed_for_ever(at: &At) {
    suffers(at, Evil::RedirectOnward, &[Kind::BadAnswer]).await;
}

/// Without it the token is sent to whoever the server names.
pub async fn a_redirect_to_another_host_is_never_followed(at: &At) {
    let other = Server::start(Evil::Json("{}")).await;
    let evil = Evil::RedirectTo(other.url().to_owned());
    suffers(at, evil, &[Kind::BadAnswer]).await;
    assert_eq!(other.asked(), 0, "the other host was asked");
}

/// Without it a server that crashes looks like one without work.
pub async fn a_connection_that_is_closed_is_an_error(at: &At) {
    suffers(at, Evil::HangUp, &[Kind::Unreachable, Kind::TimedOut]).await;
}

/// Without it a wrong port does.
pub async fn another_protocol_is_an_error(at: &At) {
    let kinds = [Kind::Unreachable, Kind::BadAnswer];
    suffers(at, Evil::NotHttp, &kinds).await;
}

/// Without it a session that ended does.
pub async fn a_login_page_is_an_error(at: &At) {
    suffers(at, Evil::LoginPage, &[Kind::BadAnswer]).await;
}

/// Without it another service at the same address does.
pub async fn json_of_another_kind_is_no_complete_look(at: &At) {
    for body in [
        "null",
        "true",
        "7",
        "-1e308",
        "\"x\"",
        "{}",
        "[null]",
        "[7]",
        "[[]]",
        "[{}]",
        r#"{"data":null}"#,
        r#"{"data":{}}"#,
        r#"{"data":[]}"#,
        r#"{"errors":[]}"#,
        r#"{"errors":{"message":"x"}}"#,
        r#"{"message":"hello"}"#,
    ] {
        let server = Server::start(Evil::Json(body)).await;
        let clock = RuntimeClock::start();
        let plugin = at(server.url(), clock.clone());
        let looked = ports::timeout(&*clock, PROBE_TIMEOUT * 2, plugin.emitter.probe()).await;
        if let Ok(snapshot) = looked.expect("in time") {
            assert!(!snapshot.completeness.is_complete(), "{body}: {snapshot:?}");
        }
        never_idle(&plugin, &*clock).await;
    }
}

/// Without it one answer holds the emitter up for ever, a byte at a time.
pub async fn headers_that_dribble_end_in_time(at: &At) {
    suffers(at, Evil::SlowHead, &[Kind::TimedOut]).await;
}

/// Without it a body does.
pub async fn a_body_that_dribbles_ends_in_time(at: &At) {
    suffers(at, Evil::SlowBody, &[Kind::TimedOut]).await;
}

/// Without it a server that hangs does.
pub async fn an_answer_that_never_comes_ends_in_time(at: &At) {
    suffers(at, Evil::Silent, &[Kind::TimedOut]).await;
}

/// Looks and tries every verb; expects an error of one of these kinds, in time.
async fn suffers(at: &At, evil: Evil, kinds: &[Kind]) {
    let server = Server::start(evil.clone()).await;
    let clock = RuntimeClock::start();
    let plugin = at(server.url(), clock.clone());
    let looked = ports::timeout(&*clock, PROBE_TIMEOUT * 2, plugin.emitter.probe()).await;
    let took = clock.boottime();
    let limit = PROBE_TIMEOUT + PROBE_TIMEOUT / 20;
    assert!(took <= limit, "{evil:?}: the look took {took:?}");
    match looked.expect("in time") {
        Ok(snapshot) => panic!("{evil:?}: {snapshot:?}"),
        Err(error) => {
            assert!(kinds.contains(&error.kind), "{evil:?}: {error:?}");
            says_no_body(&error);
        }
    }
    never_idle(&plugin, &*clock).await;
    nothing_is_done(&plugin, &*clock, &evil).await;
    assert!(server.asked() > 0, "nobody asked the server");
}

/// A body may hold anything, a secret among it.
fn says_no_body(error: &EmitterError) {
    let mut next: Option<&dyn Error> = Some(error);
    while let Some(error) = next {
        let words = error.to_string();
        assert!(!words.contains("<html") && words.len() < 1000, "{words}");
        next = error.source();
    }
}

async fn never_idle(plugin: &Plugin, clock: &dyn Clock) {
    let Some(control) = &plugin.control else {
        return;
    };
    let read = ports::timeout(clock, VERB_TIMEOUT, control.read(&plugin.executor)).await;
    if let Ok(reading) = read.expect("in time") {
        assert!(matches!(reading.work, Work::Unknown { .. }), "{reading:?}");
    }
}

/// Without an answer that says so nothing has been carried out.
async fn nothing_is_done(plugin: &Plugin, clock: &dyn Clock, evil: &Evil) {
    let Some(control) = &plugin.control else {
        return;
    };
    let executor = &plugin.executor;
    let verbs = async {
        let request = Register::of(instance(0));
        [
            ("register", control.register(&request).await.map(drop)),
            ("cordon", control.cordon(executor, EPOCH).await),
            ("uncordon", control.uncordon(executor, EPOCH).await),
            ("remove", control.remove(executor).await),
        ]
    };
    let done = ports::timeout(clock, VERB_TIMEOUT * 4, verbs).await;
    for (verb, done) in done.expect("in time") {
        let error = done.expect_err(verb);
        assert_ne!(error.kind, Kind::NotFound, "{verb} under {evil:?}");
        says_no_body(&error);
    }
    let dismissed = ports::timeout(clock, VERB_TIMEOUT, control.dismiss(executor)).await;
    assert!(dismissed.is_some(), "dismiss under {evil:?}");
}
