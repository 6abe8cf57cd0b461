//! A page of the documentation as a reader takes it: its blocks to copy, section by section, and the commands in its text.

use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// Something to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The heading above it.
    pub(super) section: String,
    /// What stands behind the fence, such as `sh`.
    pub(super) language: String,
    /// The file that the text before it says to write it to, if it says one.
    pub(super) file: Option<String>,
    pub(super) text: String,
}

/// All blocks of a page, in order.
pub(super) fn blocks(page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let (mut section, mut prose) = (String::new(), String::new());
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            found.push(Block {
                section: section.clone(),
                language: language.to_owned(),
                file: file_to_write(&prose),
                text: text.join("\n") + "\n",
            });
            prose.clear();
        } else if let Some(heading) = line.strip_prefix("## ") {
            section = heading.to_owned();
            prose.clear();
        } else {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    found
}

fn file_to_write(prose: &str) -> Option<String> {
    let (_, rest) = prose.split_once("Write this to `")?;
    Some(rest.split_once('`')?.0.to_owned())
}

/// The commands in the running text of a section that begin with one of these programs, each once.
pub(super) fn commands_in_text(page: &str, section: &str, programs: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let below = page.split("\n## ").find(|text| text.starts_with(section));
    // the odd pieces stand between two backticks; a fence is three of them, with blocks of whole lines in between
    for word in below.unwrap_or_default().split('`').skip(1).step_by(2) {
        let program = word.split(' ').next().unwrap_or_default();
        let new = || !found.iter().any(|known| known == word);
        if programs.contains(&program) && !word.contains('\n') && new() {
            found.push(word.to_owned());
        }
    }
    found
}

/// The commands of a block, as a shell at a terminal would take them one after the other.
///
/// # Errors
///
/// When its end is not the end of a command.
pub(super) fn commands(block: &str) -> anyhow::Result<Vec<String>> {
    let mut commands = Vec::new();
    let mut command = String::new();
    for line in block.lines() {
        command.push_str(line);
        command.push('\n');
        if !line.ends_with('\\') && is_whole(&command)? {
            commands.push(std::mem::take(&mut command).trim_end().to_owned());
        }
    }
    if !command.is_empty() {
        bail!("no shell takes this as a command: {command}");
    }
    Ok(commands)
}

fn is_whole(command: &str) -> anyhow::Result<bool> {
    let mut shell = Command::new("bash");
    shell.args(["-n", "-c", command]).stderr(Stdio::null());
    Ok(shell.status().context("could not start bash")?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Page\n\n## 1. One\n\nText.\n\n```sh\ngit clone x && cd x\n```\n\n## 2. Two\n\nWrite this to `config/a.yaml`. Yours is `b`.\n\n\
        ```yaml\na: 1\n```\n\n## When it does not\n\n| it waits | `parmanu probe` or `scaler.yaml`, `parmanu probe` |\n";

    #[test]
    fn blocks_know_their_section_and_their_file() {
        let found = blocks(PAGE);
        let brief = |block: &Block| {
            (
                block.section.clone(),
                block.language.clone(),
                block.file.clone(),
            )
        };
        let words = |section: &str, language: &str, file: Option<&str>| {
            (
                section.to_owned(),
                language.to_owned(),
                file.map(str::to_owned),
            )
        };
        assert_eq!(
            found.iter().map(brief).collect::<Vec<_>>(),
            [
                words("1. One", "sh", None),
                words("2. Two", "yaml", Some("config/a.yaml"))
            ]
        );
        assert_eq!(found[1].text, "a: 1\n");
    }

    #[test]
    fn commands_in_a_table_are_found_once() {
        let found = commands_in_text(PAGE, "When it does not", &["parmanu"]);
        assert_eq!(found, ["parmanu probe"]);
    }

    #[test]
    fn a_command_may_take_several_lines() {
        let block = "A=1 B=2\nsed x |\n  jq y > z\n(umask 077 && a &&\n  b)\nfoo \\\n  --bar\n";
        assert_eq!(
            commands(block).unwrap(),
            [
                "A=1 B=2",
                "sed x |\n  jq y > z",
                "(umask 077 && a &&\n  b)",
                "foo \\\n  --bar"
            ]
        );
        assert!(commands("if true; then\n").is_err());
    }
}
