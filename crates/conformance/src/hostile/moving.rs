//! A queue that does not stand still while it is looked at.
//!
//! The look is held between two of its answers, at each place in turn, while the world moves on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use model::{Job, JobClass, JobId};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::distort::Distorter;
use super::server::{Answers, Request, Server};
use super::suffering::At;
use super::{PROBE_TIMEOUT, RuntimeClock};
use crate::emitter::{EmitterHarness, Shown, machine};

/// More than one page of jobs, whatever the size of a page.
const MANY: usize = 120;

/// Holds one request back until it is let go.
#[derive(Clone)]
struct Turnstile {
    /// The request that is held, counted from 0.
    at: Arc<Mutex<(usize, usize)>>,
    held: Arc<watch::Sender<bool>>,
    open: Arc<watch::Sender<bool>>,
    to: Distorter,
}

impl Turnstile {
    fn before(url: &str) -> Self {
        Self {
            at: Arc::default(),
            held: Arc::new(watch::Sender::new(false)),
            open: Arc::new(watch::Sender::new(true)),
            to: Distorter::before(url, None),
        }
    }

    fn hold(&self, request: usize) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = (request, 0);
        self.held.send_replace(false);
        self.open.send_replace(false);
    }

    /// Waits until the request is there.
    async fn reached(&self) {
        let mut held = self.held.subscribe();
        let seen = held.wait_for(|held| *held).await;
        assert!(seen.is_ok(), "the turnstile is gone");
    }

    fn let_go(&self) {
        self.open.send_replace(true);
    }
}

#[async_trait]
impl Answers for Turnstile {
    async fn answer(&self, request: Request, to: &mut TcpStream) -> std::io::Result<()> {
        let is_it = {
            let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
            at.1 += 1;
            at.1 == at.0 + 1
        };
        if is_it {
            self.held.send_replace(true);
            let mut open = self.open.subscribe();
            let _ = open.wait_for(|open| *open).await;
        }
        self.to.answer(request, to).await
    }
}

/// Without it a job that starts while it is looked at is neither waiting nor running, and its machine leaves.
pub async fn a_job_that_starts_during_a_look_is_not_lost(
    harness: &dyn EmitterHarness,
    at: &At,
) -> Shown {
    let turnstile = Turnstile::before(&harness.url()?);
    let server = Server::start(turnstile.clone()).await;
    let clock = RuntimeClock::start();
    let plugin = at(server.url(), clock.clone());
    let executor = machine(harness, 0).await.executor;
    for request in 0.. {
        let job = harness.queue().await;
        turnstile.hold(request);
        let probe = ports::timeout(&*clock, PROBE_TIMEOUT * 2, plugin.emitter.probe());
        let mut probe = std::pin::pin!(probe);
        let ended = tokio::select! {
            looked = &mut probe => Some(looked),
            () = turnstile.reached() => None,
        };
        if ended.is_some() {
            assert!(request > 1, "a look of {request} requests");
            return Ok(());
        }
        harness.start(&job, &executor).await;
        turnstile.let_go();
        let snapshot = probe.await.expect("in time").expect("a look");
        let is_seen = snapshot.jobs.iter().any(|seen| seen.id == job);
        assert!(
            is_seen || !snapshot.completeness.is_complete(),
            "before request {request}: {job} is not in {:?}",
            snapshot.jobs
        );
        harness.finish(&job).await;
    }
    Ok(())
}

/// Without it the jobs that move up when others leave slip from a page that is still to come onto one that was read.
pub async fn jobs_that_leave_during_a_look_hide_no_others(
    harness: &dyn EmitterHarness,
    at: &At,
) -> Shown {
    if harness.another_page().is_none() {
        return Err("it answers every list in one page");
    }
    let turnstile = Turnstile::before(&harness.url()?);
    let server = Server::start(turnstile.clone()).await;
    let clock = RuntimeClock::start();
    let plugin = at(server.url(), clock.clone());
    let executor = machine(harness, 0).await.executor;
    for request in 1..3 {
        let mut jobs = Vec::new();
        for _ in 0..MANY {
            jobs.push(harness.queue().await);
        }
        turnstile.hold(request);
        let probe = ports::timeout(&*clock, PROBE_TIMEOUT * 2, plugin.emitter.probe());
        let mut probe = std::pin::pin!(probe);
        tokio::select! {
            looked = &mut probe => panic!("a look of {request} requests: {looked:?}"),
            () = turnstile.reached() => {}
        }
        // at either end of the queue, whatever its order
        let stay = jobs.split_off(10);
        let (stay, last) = stay.split_at(stay.len() - 10);
        for job in jobs.iter().chain(last) {
            harness.start(job, &executor).await;
            harness.finish(job).await;
        }
        turnstile.let_go();
        let snapshot = probe.await.expect("in time").expect("a look");
        let waits = |job: &&Job| job.class == JobClass::Runnable;
        let seen: BTreeSet<&JobId> = snapshot
            .jobs
            .iter()
            .filter(waits)
            .map(|job| &job.id)
            .collect();
        let lost: Vec<&JobId> = stay.iter().filter(|job| !seen.contains(job)).collect();
        assert!(
            lost.is_empty() || !snapshot.completeness.is_complete(),
            "before request {request}: not seen: {lost:?}"
        );
        for job in stay {
            harness.start(job, &executor).await;
            harness.finish(job).await;
        }
    }
    Ok(())
}
