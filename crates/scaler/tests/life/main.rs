//! The same life against the fakes of GitLab, Jenkins and TeamCity with those of EC2 and GCE.
//!
//! What is real: the loops of probot and scaler, wired from a checked configuration; the three emitters, down to the
//! finished HTTP request (`web::memory` carries it, instead of a socket); the engine, the ledger, the lease. What is
//! played: the machines and the people. What is judged: the fakes' own books. A build that ran on a machine when it was
//! deleted is a killed build, whatever anybody believes.
//!
//! - `random.rs`: everything goes wrong at random, for many seeds;
//! - `crash.rs`: one scale-out and one scale-in, cut off at every place;
//! - `sockets.rs`: a few lives of the binaries themselves, over loopback and through the real SDKs;
//! - `races.rs`: one departure, and a job that comes at every moment of it; there the judge is seen to report killed builds;
//! - `late.rs`: one departure of a machine that never joined, and its joining at every moment of it.
//! - `uncontrolled.rs`: one departure where executors may only be read; there the judge is seen to report what nobody excuses.
//!
//! `PARMANU_TEST_SEEDS` makes more lives of each CI server, `PARMANU_TEST_SEED` replays one, `PARMANU_TEST_LOG` shows
//! what the services say meanwhile.

mod ci;
#[path = "../support/clock.rs"]
mod clock;
mod cloud;
mod crash;
mod gate;
mod joining;
mod late;
mod liar;
mod operator;
mod ports;
mod races;
mod random;
mod setup;
mod sim;
mod sockets;
mod uncontrolled;
mod world;
