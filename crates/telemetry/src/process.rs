//! What every service's `main` needs of its process: a name for its leases, and the signal to stop.

use std::future::Future;

/// A name for this process that no other one has: host, process id and a random part, since containers often share
/// host names and all have process id 1.
#[must_use]
pub fn identity() -> String {
    let host = std::env::var("HOSTNAME")
        .ok()
        .or_else(|| std::fs::read_to_string("/etc/hostname").ok())
        .map(|host| host.trim().to_owned())
        .filter(|host| !host.is_empty())
        .unwrap_or_else(|| "unknown-host".to_owned());
    let random = fastrand::u32(..);
    format!("{host}/{}/{random:08x}", std::process::id())
}

/// Completes on SIGTERM or Ctrl-C.
///
/// # Errors
///
/// When the handlers cannot be installed.
pub fn stop_signal() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Completes with each SIGHUP, as long as it is asked. From the moment it is made the signal no longer ends the process.
///
/// # Errors
///
/// When the handler cannot be installed.
pub fn reload_signal() -> std::io::Result<tokio::signal::unix::Signal> {
    use tokio::signal::unix::{SignalKind, signal};
    signal(SignalKind::hangup())
}
