//! One run of the program: a process group of its own, one request in, one reply out, and nothing left of it.
//!
//! The future of a run *is* the right of the program to run: when it is dropped, at a time-out or because the lease is over,
//! the whole group is killed at once. There is no polite signal first: whoever has lost the right to act may not go on acting
//! for as long as a clean-up takes. The request says how long there is, so a program can give up by itself in time.
//!
//! The number of a process group stays taken until its leader is buried. So an exit is noticed without taking its status, then
//! the group is killed, and only then the status taken: the kill never meets a stranger.
//!
//! Knows processes and bytes; what stands in a reply is `convert`'s.

use std::collections::BTreeMap;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::ProviderName;
use ports::{Clock, ProviderErrorKind, SecretRef, timeout};
use rustix::process::{Pid, Signal as Kill, WaitId, WaitIdOptions, kill_process_group, waitid};
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Failure, Fate};
use crate::listen::listen;
use crate::words::Words;

/// Largest reply: a machine takes half a KiB, so this is some thirty thousand of them.
const LARGEST_REPLY: usize = 16 << 20;
/// How long the output may stay open after the program has ended and its group was killed: the kernel closes what they held
/// at once, so whoever holds it left the group.
const HELD_OPEN: Duration = Duration::from_secs(1);
/// What a program gets of our own environment: where to find things, and which language and time to speak.
const INHERITED: [&str; 6] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// The program, and what it is started with.
pub(crate) struct Program {
    pub(crate) provider: ProviderName,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) arguments: Vec<String>,
    pub(crate) env: BTreeMap<String, SecretRef>,
}

/// A reply, and how to speak of it.
pub(crate) struct Said {
    pub(crate) reply: Vec<u8>,
    pub(crate) words: Words,
}

/// What is known of a run by somebody who gave it up.
#[derive(Default)]
pub(crate) struct Progress {
    begun: AtomicBool,
    last_words: Mutex<String>,
}

impl Progress {
    /// Whether the program was started: from then on it may have acted.
    pub(crate) fn begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// The last line on its standard error, as a part of a sentence; empty if it said nothing.
    pub(crate) fn last_words(&self) -> String {
        let last = self.last_words.lock();
        match last.as_deref().map(String::as_str) {
            Ok("") | Err(_) => String::new(),
            Ok(last) => format!("; it last said: {last}"),
        }
    }

    pub(crate) fn says(&self, line: String) {
        if let Ok(mut last) = self.last_words.lock() {
            *last = line;
        }
    }
}

impl Program {
    /// Runs it once. Not limited in time: dropping the future ends the run.
    pub(crate) async fn run(
        &self,
        verb: &'static str,
        request: &[u8],
        progress: &Progress,
    ) -> Result<Said, Failure> {
        let (mut command, words) = self.command()?;
        // before it is started, so that no exit is missed
        let exits = signal(SignalKind::child()).map_err(|error| self.not_started(error))?;
        let child = command.spawn().map_err(|error| self.not_started(error))?;
        progress.begun.store(true, Ordering::Release);
        let mut group = Group::of(child, exits);
        let reply = self
            .talk(&mut group, verb, request, &words, progress)
            .await?;
        let status = group.bury().await.map_err(lost)?;
        tracing::debug!(provider = %self.provider, verb, bytes = reply.len(), %status, "program ended");
        if status.success() {
            return Ok(Said { reply, words });
        }
        Err(ended_badly(status, progress))
    }

    /// Writes, reads and listens until the program has ended, then kills what it left in its group.
    async fn talk(
        &self,
        group: &mut Group,
        verb: &'static str,
        request: &[u8],
        words: &Words,
        progress: &Progress,
    ) -> Result<Vec<u8>, Failure> {
        let (stdin, stdout, stderr) = group.pipes()?;
        let talk = async {
            let write = async {
                write(stdin, request).await;
                Ok(())
            };
            let listen = async {
                listen(stderr, &self.provider, verb, words, progress).await;
                Ok(())
            };
            tokio::try_join!(write, read(stdout), listen)
        };
        let mut talk = std::pin::pin!(talk);
        let ((), reply, ()) = tokio::select! {
            said = &mut talk => {
                let said = said?;
                group.ended().await?;
                group.kill();
                said
            }
            ended = group.ended() => {
                ended?;
                group.kill();
                timeout(&*self.clock, HELD_OPEN, talk).await.ok_or_else(held_open)??
            }
        };
        Ok(reply)
    }

    fn command(&self) -> Result<(Command, Words), Failure> {
        let Some((program, arguments)) = self.arguments.split_first() else {
            let message = "`program` is empty: name the program";
            return Err(not_sent(ProviderErrorKind::InvalidRequest, message));
        };
        let mut words = Words::default();
        let mut command = Command::new(program);
        command.args(arguments).env_clear();
        for name in INHERITED {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        for (name, reference) in &self.env {
            let value = reference.read().map_err(|error| {
                let message = format!("the value of `env: {name}` cannot be read");
                not_sent(ProviderErrorKind::Unauthorized, message).because(error)
            })?;
            words.hide(reference, &value);
            command.env(name, value.expose_secret());
        }
        command
            // so that nothing depends on where Parmanu was started
            .current_dir("/")
            .process_group(0)
            .kill_on_drop(true)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok((command, words))
    }

    fn not_started(&self, error: std::io::Error) -> Failure {
        let name = self.arguments.first().map_or("", String::as_str);
        let message = format!(
            "{name} could not be started: is it there, is it executable, and is its interpreter installed?"
        );
        not_sent(ProviderErrorKind::Unreachable, message).because(error)
    }
}

/// A program may end, or answer, without having read all of its request; its reply decides what that means.
async fn write(mut stdin: ChildStdin, request: &[u8]) {
    if let Err(error) = stdin.write_all(request).await {
        tracing::debug!(%error, "program did not read its whole request");
    }
}

async fn read(mut stdout: impl AsyncRead + Unpin) -> Result<Vec<u8>, Failure> {
    let mut reply = Vec::new();
    let limit = LARGEST_REPLY as u64 + 1;
    let read = (&mut stdout).take(limit).read_to_end(&mut reply).await;
    read.map_err(|error| Failure::bad_answer("its reply could not be read").because(error))?;
    if reply.len() > LARGEST_REPLY {
        let message = format!("its reply is larger than {LARGEST_REPLY} bytes: it was ended");
        return Err(Failure::bad_answer(message));
    }
    Ok(reply)
}

/// The program and all that it starts, unless that leaves the group. Dropping it kills them.
struct Group {
    /// Until it is buried.
    leader: Option<Child>,
    id: Option<Pid>,
    /// Tells that some child has ended.
    exits: Signal,
}

impl Group {
    fn of(leader: Child, exits: Signal) -> Self {
        let id = leader.id().and_then(|id| i32::try_from(id).ok());
        Self {
            leader: Some(leader),
            id: id.and_then(Pid::from_raw),
            exits,
        }
    }

    fn pipes(&mut self) -> Result<(ChildStdin, ChildStdout, ChildStderr), Failure> {
        let leader = self.leader.as_mut();
        leader
            .and_then(|leader| {
                Some((
                    leader.stdin.take()?,
                    leader.stdout.take()?,
                    leader.stderr.take()?,
                ))
            })
            .ok_or_else(|| lost(std::io::Error::other("it has no pipes")))
    }

    /// Waits until the program itself has ended. It is not buried yet, so its number is still its own.
    async fn ended(&mut self) -> Result<(), Failure> {
        let id = self
            .id
            .ok_or_else(|| lost(std::io::Error::other("it has no number")))?;
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        loop {
            let ended = waitid(WaitId::Pid(id), look).map_err(|error| lost(error.into()))?;
            if ended.is_some() {
                return Ok(());
            }
            self.exits.recv().await;
        }
    }

    /// Kills whatever is in the group. Only while the leader is not buried.
    fn kill(&self) {
        if let (Some(id), Some(_)) = (self.id, &self.leader) {
            // an error means that nobody is left, which is what was wanted
            let _ = kill_process_group(id, Kill::KILL);
        }
    }

    /// Takes the exit status, after which the number may be somebody else's.
    async fn bury(mut self) -> std::io::Result<ExitStatus> {
        match self.leader.take() {
            Some(mut leader) => leader.wait().await,
            None => Err(std::io::Error::other("it was buried before")),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        let Some(mut leader) = self.leader.take() else {
            return;
        };
        // it ends in a moment, and somebody must take its status. At the end of the runtime tokio does that as well as it can
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = leader.wait().await;
            });
        }
    }
}

/// A failure before the program was started.
pub(crate) fn not_sent(kind: ProviderErrorKind, message: impl Into<String>) -> Failure {
    Failure::new(kind, Fate::NotDone, message)
}

fn lost(error: std::io::Error) -> Failure {
    let message = "it was started, and what became of it cannot be told";
    Failure::new(ProviderErrorKind::UnknownOutcome, Fate::Unknown, message).because(error)
}

fn held_open() -> Failure {
    Failure::bad_answer(
        "it ended, and something that it started in a session of its own holds its output open: what goes on after the \
         reply must close its standard output and error",
    )
}

fn ended_badly(status: ExitStatus, progress: &Progress) -> Failure {
    let message = format!(
        "it ended with {status}, so its reply does not count{}",
        progress.last_words()
    );
    Failure::new(ProviderErrorKind::Unavailable, Fate::Unknown, message)
}
