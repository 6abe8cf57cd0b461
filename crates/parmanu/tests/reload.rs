//! `parmanu up` as a process whose file changes: what an operator sees in its log.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const FILE: &str = include_str!("../../config/tests/data/small.yaml");

/// The longest wait for one line: files are looked at every two seconds.
const DEADLINE: Duration = Duration::from_secs(60);

struct Up {
    child: Child,
    file: PathBuf,
    lines: Receiver<String>,
    _folder: TempDir,
}

impl Up {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("parmanu.yaml");
        std::fs::write(&file, FILE).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_parmanu"))
            .args(["up", "--listen", "127.0.0.1:0", "--log-format", "json"])
            .arg("--config")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let lines = log.lines().map_while(Result::ok);
            lines.for_each(|line| drop(sender.send(line)));
        });
        Up {
            child,
            file,
            lines,
            _folder: folder,
        }
    }

    /// The next line with this message.
    #[expect(clippy::disallowed_methods, reason = "a process lives in real time")]
    fn says(&self, message: &str) -> Value {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("it never says {message:?}"));
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            let said = line["message"].as_str().unwrap_or_default();
            if said.starts_with(message) {
                return line;
            }
        }
    }

    fn writes(&self, pool: &str) {
        std::fs::write(&self.file, FILE.replace("max: 10", pool)).unwrap();
    }

    fn hears(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_file_that_changes_is_taken_and_one_that_is_wrong_is_not_and_a_hangup_does_not_end_it() {
    let mut up = Up::start();
    let first = up.says("starts")["config"].clone();
    up.writes("max: 11");
    let second = up.says("a new configuration is in force");
    assert_eq!(second["before"], first);
    up.writes("maxx: 11");
    let refused = up.says("THE CONFIGURATION IS NOT TAKEN");
    assert_eq!(refused["in_force"], second["config"]);
    let why = refused["error"].as_str().unwrap();
    assert!(why.contains("did you mean `max`"), "{why}");
    up.writes("max: 10");
    assert_eq!(up.says("a new configuration is in force")["config"], first);
    up.says("the files are what is in force again");
    up.hears("-HUP");
    up.says("SIGHUP: the configuration is read again");
    up.says("the configuration means what it meant");
    up.hears("-TERM");
    assert!(up.child.wait().unwrap().success());
}
