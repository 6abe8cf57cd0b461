//! What the program says on its standard error: for the log, with a bound.
//!
//! It is read to its end whatever stands in it: a program must not hang because nobody listens.

use model::ProviderName;
use tokio::io::AsyncReadExt as _;
use tokio::process::ChildStderr;

use crate::program::Progress;
use crate::words::Words;

/// Most lines of one run that are logged; a program that says more says the same.
const MOST_LINES: usize = 100;
/// Longest line that is kept.
const LONGEST_LINE: usize = 2048;

pub(crate) async fn listen(
    mut stderr: ChildStderr,
    provider: &ProviderName,
    verb: &'static str,
    words: &Words,
    progress: &Progress,
) {
    let mut lines = Lines::default();
    let mut heard = 0_usize;
    let mut last = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let size = stderr.read(&mut buffer).await.unwrap_or(0);
        let mut hear = |line: &[u8]| {
            heard = heard.saturating_add(1);
            if heard <= MOST_LINES {
                log(line, provider, verb, words);
            }
            line.clone_into(&mut last);
        };
        match size {
            0 => lines.end(&mut hear),
            size => lines.feed(&buffer[..size], &mut hear),
        }
        // once for each piece and not for each line: a flood has millions of them
        progress.says(words.fit(&String::from_utf8_lossy(level_of(&last).1)));
        if size == 0 {
            break;
        }
    }
    let more = heard.saturating_sub(MOST_LINES);
    if more > 0 {
        tracing::warn!(%provider, verb, more, "program said more lines than are logged");
    }
}

fn log(line: &[u8], provider: &ProviderName, verb: &'static str, words: &Words) {
    let (level, text) = level_of(line);
    let said = words.fit(&String::from_utf8_lossy(text));
    match level {
        Level::Warn => tracing::warn!(%provider, verb, said, "program says"),
        Level::Info => tracing::info!(%provider, verb, said, "program says"),
        Level::Debug => tracing::debug!(%provider, verb, said, "program says"),
    }
}

/// How loud a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Warn,
    Info,
    Debug,
}

/// A line may begin with a level as the system log writes it, `<4>` for a warning (sd-daemon(3)).
fn level_of(line: &[u8]) -> (Level, &[u8]) {
    match line {
        [b'<', digit @ b'0'..=b'7', b'>', text @ ..] => match digit {
            b'0'..=b'4' => (Level::Warn, text),
            b'5' | b'6' => (Level::Info, text),
            _ => (Level::Debug, text),
        },
        _ => (Level::Info, line),
    }
}

/// Cuts a stream into lines, and lines that are too long.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn feed(&mut self, bytes: &[u8], hear: &mut impl FnMut(&[u8])) {
        let mut parts = bytes.split(|byte| *byte == b'\n');
        self.keep(parts.next().unwrap_or_default());
        for part in parts {
            self.end(hear);
            self.keep(part);
        }
    }

    fn keep(&mut self, part: &[u8]) {
        let room = LONGEST_LINE.saturating_sub(self.0.len());
        self.0.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn end(&mut self, hear: &mut impl FnMut(&[u8])) {
        if !self.0.is_empty() {
            hear(&self.0);
            self.0.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        let mut hear = |line: &[u8]| found.push(String::from_utf8_lossy(line).into_owned());
        let mut lines = Lines::default();
        for piece in pieces {
            lines.feed(piece.as_bytes(), &mut hear);
        }
        lines.end(&mut hear);
        found
    }

    #[test]
    fn lines_are_found_wherever_the_stream_is_cut() {
        assert_eq!(
            lines(&["one\ntw", "o\n", "\nthree"]),
            ["one", "two", "three"]
        );
        assert_eq!(lines(&["\n\n"]), [""; 0]);
    }

    #[test]
    fn a_line_without_end_takes_no_more_than_a_line() {
        let piece = "x".repeat(LONGEST_LINE - 1);
        let found = lines(&[&piece, &piece, &piece, "\nnext"]);
        assert_eq!(found[0].len(), LONGEST_LINE);
        assert_eq!(found[1], "next");
    }

    #[test]
    fn a_line_may_say_how_loud_it_is() {
        assert_eq!(level_of(b"<3>no room"), (Level::Warn, &b"no room"[..]));
        assert_eq!(level_of(b"<6>made"), (Level::Info, &b"made"[..]));
        assert_eq!(level_of(b"<7>asked"), (Level::Debug, &b"asked"[..]));
        assert_eq!(level_of(b"<9>x"), (Level::Info, &b"<9>x"[..]));
        assert_eq!(level_of(b"made"), (Level::Info, &b"made"[..]));
    }
}
