//! A shell that is typed into: one process for the whole page, so that folders, variables and functions stay.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::command::{must, stopped_with_us, wait_until};

/// The longest of them builds images, from programs that are there.
const LIMIT: Duration = Duration::from_secs(400);
/// Between Ctrl-C and the end of a command.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Shell {
    input: ChildStdin,
    folder: PathBuf,
    count: u32,
    // ends with the cell
    _child: Child,
}

impl Shell {
    /// A shell at home; its own files go to `folder`.
    pub(super) fn start(folder: &Path, home: &Path, path: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut command = stopped_with_us(Path::new("bash"));
        // nothing of this machine's own environment is a newcomer's
        command
            .args(["--norc", "--noprofile"])
            .current_dir(home)
            .env_clear()
            .env("HOME", home)
            .env("PATH", path)
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit());
        let mut child = command.spawn().context("could not start bash")?;
        let mut input = child.stdin.take().context("bash takes no input")?;
        // as at a terminal: a command in the background is a group of its own, which Ctrl-C reaches
        writeln!(input, "set -m")?;
        Ok(Self {
            input,
            folder: folder.to_owned(),
            count: 0,
            _child: child,
        })
    }

    /// Types a command and, where it reads, `words`; gives what was printed once it has ended.
    ///
    /// # Errors
    ///
    /// When it ends badly, with all that it printed.
    pub(super) fn run(&mut self, command: &str, words: &str) -> anyhow::Result<String> {
        let files = self.files(command, words)?;
        writeln!(self.input, "{}", files.line())?;
        let status = wait_until(command, LIMIT, || Ok(files.status()))?;
        let printed = files.printed();
        if status != "0" {
            bail!("`{command}` ended with {status}: {}", printed.trim());
        }
        Ok(printed)
    }

    /// Types a command that does not end by itself, and Ctrl-C once what it printed is enough.
    pub(super) fn watch(
        &mut self,
        command: &str,
        enough: fn(&str) -> bool,
    ) -> anyhow::Result<String> {
        let files = self.files(command, "")?;
        let group = files.of("group");
        let line = files.line();
        writeln!(
            self.input,
            "{{ {line}; }} & echo $! > '{}'",
            group.display()
        )?;
        let what = format!("`{command}` that says enough");
        let seen = wait_until(&what, LIMIT, || {
            if let Some(status) = files.status() {
                bail!("`{command}` ended with {status}: {}", files.printed());
            }
            Ok(enough(&files.printed()).then_some(()))
        });
        let printed = files.printed();
        let group = std::fs::read_to_string(group).context("its process is not known")?;
        let group = format!("-{}", group.trim());
        must(Command::new("kill").args(["-INT", "--", &group]))?;
        wait_until("its end after Ctrl-C", PATIENCE, || {
            let alive = Command::new("kill")
                .args(["-0", "--", &group])
                .stderr(Stdio::null())
                .status()?;
            Ok((!alive.success()).then_some(()))
        })?;
        seen.with_context(|| printed.clone())?;
        Ok(printed)
    }

    fn files(&mut self, command: &str, words: &str) -> anyhow::Result<Files> {
        self.count += 1;
        let files = Files(self.folder.join(self.count.to_string()));
        std::fs::write(files.of("command"), format!("{command}\n"))?;
        std::fs::write(files.of("input"), words)?;
        Ok(files)
    }
}

/// The files of one command.
struct Files(PathBuf);

impl Files {
    fn of(&self, what: &str) -> PathBuf {
        self.0.with_extension(what)
    }

    /// What the shell is given: the command with its input and output, and a file that says how it ended.
    fn line(&self) -> String {
        let name = self.0.display();
        // renamed, so that nobody reads half of it
        format!(
            ". '{name}.command' < '{name}.input' > '{name}.output' 2>&1; echo $? > '{name}.ended' && mv '{name}.ended' '{name}.status'"
        )
    }

    fn status(&self) -> Option<String> {
        let status = std::fs::read_to_string(self.of("status")).ok()?;
        Some(status.trim().to_owned())
    }

    fn printed(&self) -> String {
        std::fs::read(self.of("output"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_stays_and_a_failure_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut shell = Shell::start(&folder.path().join("t"), folder.path(), &path).unwrap();
        shell.run("say() { echo \"said $1\"; }", "").unwrap();
        assert_eq!(shell.run("say hello", "").unwrap(), "said hello\n");
        assert_eq!(shell.run("cat", "typed\n").unwrap(), "typed\n");
        let failed = shell.run("echo oh; false", "").unwrap_err().to_string();
        assert!(failed.ends_with("ended with 1: oh"), "{failed}");
        let seen = shell
            .watch("say more; sleep 600", |words| words.contains("more"))
            .unwrap();
        assert_eq!(seen, "said more\n");
    }
}
