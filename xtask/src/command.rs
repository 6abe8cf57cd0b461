//! Child processes, deadlines and the interrupt: the few system calls the tasks share.
//!
//! Waiting is done by looking again every few milliseconds, because two things must be waited for
//! at once (a child and the interrupt) and a task runner is no place for an async runtime.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Short against the shortest thing waited for (a server start, 100 ms), long enough to cost nothing.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How long an interrupted step may take to stop its own children before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Set by SIGINT and SIGTERM; everything started is then stopped in order.
fn interrupt_flag() -> &'static Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    FLAG.get_or_init(|| Arc::new(AtomicBool::new(false)))
}

/// Turns SIGINT and SIGTERM into a flag, so that the guards of started servers still run.
pub(crate) fn catch_interrupts() -> anyhow::Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(interrupt_flag()))
            .context("could not install the signal handler")?;
    }
    Ok(())
}

/// True once somebody asked this program to stop.
pub(crate) fn interrupted() -> bool {
    interrupt_flag().load(Ordering::Relaxed)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a task runner lives in real time"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a task runner lives in real time"
)]
pub(crate) fn sleep(time: Duration) {
    std::thread::sleep(time);
}

/// Looks until `ready` answers, the deadline passes, or the program is interrupted.
pub(crate) fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut ready: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let start = now();
    loop {
        if let Some(value) = ready()? {
            return Ok(value);
        }
        if interrupted() {
            bail!("interrupted while waiting for {what}");
        }
        if start.elapsed() > limit {
            bail!("{what} did not come within {} s", limit.as_secs());
        }
        sleep(LOOK_AGAIN);
    }
}

/// Runs one step in the foreground. An interrupt is passed on to it, then it is waited for.
pub(crate) fn foreground(command: &mut Command) -> anyhow::Result<ExitStatus> {
    if interrupted() {
        bail!("interrupted");
    }
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .spawn()
        .with_context(|| format!("could not start {name}"))?;
    let mut asked_at: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait().with_context(|| format!("lost {name}"))? {
            return Ok(status);
        }
        match asked_at {
            None if interrupted() => {
                ask_to_stop(&child);
                asked_at = Some(now());
            }
            Some(at) if at.elapsed() > PATIENCE => child.kill().context("could not stop a step")?,
            _ => {}
        }
        sleep(LOOK_AGAIN);
    }
}

/// Runs one step in the foreground and makes a bad exit an error.
pub(crate) fn must(command: &mut Command) -> anyhow::Result<()> {
    let words = line_of(command);
    let status = foreground(command)?;
    if !status.success() {
        bail!("`{words}` ended with {status}");
    }
    Ok(())
}

/// A command that dies with this program even when this program is killed (`setpriv` is part of
/// every Debian), and that a Ctrl-C at the terminal does not reach before its guard does.
pub(crate) fn stopped_with_us(program: &Path) -> Command {
    let mut command = match find("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL"]).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.process_group(0);
    command
}

/// Asks politely, by its process id, a child of ours to stop.
fn ask_to_stop(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // An error means that it has ended by itself, which is what was wanted.
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// The command as one could type it.
pub(crate) fn line_of(command: &Command) -> String {
    let path = Path::new(command.get_program());
    let name = path.file_name().unwrap_or(path.as_os_str());
    let words: Vec<_> = std::iter::once(name)
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    words.join(" ")
}

/// Finds a program in the PATH.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Debian keeps some tools where an ordinary user's PATH does not look.
    std::env::split_paths(&path)
        .chain(["/usr/bin", "/usr/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| is_program(file))
}

/// True for a file that may be executed by somebody.
pub(crate) fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|at| at.is_file() && at.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_and_a_missing_one_is_not() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program-of-parmanu"), None);
    }

    #[test]
    fn waiting_ends_at_the_deadline_with_the_name_of_what_was_missing() {
        let missed = wait_until::<()>("the moon", Duration::from_millis(30), || Ok(None));
        assert_eq!(
            missed.unwrap_err().to_string(),
            "the moon did not come within 0 s"
        );
    }

    #[test]
    fn a_failed_command_is_named() {
        let failed = must(Command::new("sh").args(["-c", "exit 3"]))
            .unwrap_err()
            .to_string();
        assert_eq!(failed, "`sh -c exit 3` ended with exit status: 3");
    }
}
