//! The reader, and what the page promises.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::Scene;
use super::account::{self, AWS, Account, GITLAB, GitLab, IMAGE, LOOKS, MANAGES};
use super::page::{Block, blocks, commands, commands_in_text};
use super::policy;
use super::shell::Shell;
use crate::cell::Network;
use crate::command::{must, now, wait_until};
use crate::containers::compile::image_that_compiles;
use crate::containers::engine::Engine;
use crate::containers::story::{REDIS, programs, stand_on};

/// What stands in the page, and what is read in its place: addresses, since there is no account; the image that compiles is one
/// of the same name (see [`compiler`]), and the address of the checkout is known to `git` as this repository.
const ACCOUNTS: [(&str, &str); 2] = [
    ("url: https://gitlab.example.com", GITLAB),
    ("region: eu-central-1", AWS),
];

/// What is typed where a command reads.
const TYPED: [(&str, &str); 2] = [
    ("cat > secrets/gitlab_token)", LOOKS),
    ("cat > secrets/gitlab_manage_token)", MANAGES),
];

/// Commands that go on until Ctrl-C, and what must have been seen by then.
const WATCHED: [(&str, fn(&str) -> bool); 3] = [
    ("logs --follow world", jobs_end),
    ("parmanu status --watch", |words| words.contains("linux")),
    ("docker compose logs --follow scaler", |words| {
        words.contains("plan changed")
    }),
];

/// "jobs: 41 pushed, 4 waiting, 28 running, 9 finished, 0 killed; ..."
fn jobs_end(words: &str) -> bool {
    let has = |line: &str| line.contains(", 0 killed") && !line.contains(" 0 finished");
    words
        .lines()
        .any(|line| line.contains("jobs: ") && has(line))
}

/// What the others must print.
const SAYS: [(&str, &[&str]); 5] = [
    ("parmanu check parmanu.yaml", &["fleet acme-ci: 1 emitter"]),
    (
        "parmanu doctor  ",
        &["0 machines", "nothing that was seen is wrong"],
    ),
    ("curl -s http://127.0.0.1:9642/readyz", &["\"ready\""]),
    (
        "parmanu probe gitlab --job",
        &["the only pool that takes it"],
    ),
    ("parmanu why machine", &["provider: aws", "booting"]),
];

/// The block behind which a job is pushed, and the section that is read while it waits.
const RUNNING: &str = "parmanu status --watch";
const DELETED: &str = "aws iam delete-policy";
const TROUBLE: &str = "When it does not";
/// The page's own names, which are not filled in by the reader.
const JOB: &str = "unit-tests";
const STRAY: &str = "on-a-mac";

/// Two minutes of the page, and two cores that do something else too.
const LIMIT: Duration = Duration::from_secs(480);

struct Reader<'a> {
    scene: &'a Scene,
    page: String,
    checkout: PathBuf,
    shell: Shell,
    gitlab: GitLab,
    account: Account,
    /// What of the tables above was met: what is not met any more is wrong here, or gone from the page.
    met: BTreeSet<&'static str>,
    count: usize,
}

/// Tells it, line by line; the last one is the summary.
pub(super) fn tell(scene: &Scene) -> anyhow::Result<()> {
    let start = now();
    let say = |words: &str| println!("{:4.0} s  {words}", start.elapsed().as_secs_f64());
    account::address()?;
    let engine = Engine::start(&scene.tools, &scene.repository, Network::Own)?;
    stand_on(&engine, &scene.bases)?;
    compiler(scene, &engine)?;
    let mut reader = Reader::new(scene)?;
    say("GitLab, AWS and an engine are there; the page begins");
    let mut section = String::new();
    for block in blocks(&reader.page) {
        if block.section != section {
            section.clone_from(&block.section);
            say(&format!("\"{section}\""));
        }
        if let Err(error) = reader.take(&block, &say) {
            reader.shows_the_logs();
            return Err(error);
        }
    }
    reader.nothing_is_left_at_aws()?;
    reader.all_was_met()?;
    let (count, seconds) = (reader.count, start.elapsed().as_secs());
    println!("{count} commands of the page in {seconds} s, a job built on a machine of its own");
    Ok(())
}

/// The line of a table that speaks of this command.
fn of<T: Copy>(table: &[(&'static str, T)], command: &str) -> Option<(&'static str, T)> {
    table
        .iter()
        .find(|(part, _)| command.contains(part))
        .copied()
}

/// Puts something in the place of the image that compiles: its `cargo` gives out programs that were built before.
fn compiler(scene: &Scene, engine: &Engine<'_>) -> anyhow::Result<()> {
    let context = scene.tools.folder.join("compiler");
    programs(&scene.binaries, &context.join("programs"))?;
    let cargo = "#!/bin/sh\nmkdir -p target/release && cp /programs/* target/release/\n";
    std::fs::write(context.join("cargo"), cargo)?;
    let file =
        format!("FROM {REDIS}\nCOPY --chmod=0755 cargo /usr/local/bin/\nCOPY programs /programs\n");
    std::fs::write(context.join("Dockerfile"), file)?;
    let image = image_that_compiles(&scene.repository)?;
    let context = context.to_string_lossy().into_owned();
    engine.docker(["build", "--network", "none", "--tag", &image, &context])?;
    Ok(())
}

impl<'a> Reader<'a> {
    /// Somebody with an empty home, the programs that the page asks for, and two accounts.
    fn new(scene: &'a Scene) -> anyhow::Result<Self> {
        let home = scene.tools.folder.join("home");
        let programs = home.join("bin");
        std::fs::create_dir_all(&programs)?;
        std::os::unix::fs::symlink(&scene.aws, programs.join("aws"))?;
        std::os::unix::fs::symlink(&scene.tools.docker, programs.join("docker"))?;
        let plugins = home.join(".docker/cli-plugins");
        std::fs::create_dir_all(&plugins)?;
        std::os::unix::fs::symlink(&scene.tools.compose, plugins.join("docker-compose"))?;
        // root needs none, and a small machine has none
        let sudo = programs.join("sudo");
        std::fs::write(&sudo, "#!/bin/sh\nexec \"$@\"\n")?;
        must(Command::new("chmod").arg("+x").arg(&sudo))?;
        let git = format!(
            "[url \"{}\"]\n\tinsteadOf = https://github.com/parmanu/parmanu\n[safe]\n\tdirectory = *\n",
            scene.repository.display()
        );
        std::fs::write(home.join(".gitconfig"), git)?;
        let path = format!(
            "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            programs.display()
        );
        let mut shell = Shell::start(&scene.tools.folder.join("typed"), &home, &path)?;
        let engine = format!("export DOCKER_HOST={}", scene.tools.address());
        shell.run(&engine, "")?;
        let page = std::fs::read_to_string(scene.repository.join("docs/quick-start.md"))?;
        Ok(Self {
            scene,
            page,
            checkout: home.join("parmanu"),
            shell,
            gitlab: GitLab::start(scene)?,
            account: Account::open(scene, &home)?,
            met: BTreeSet::new(),
            count: 0,
        })
    }

    /// What a person would look at now.
    fn shows_the_logs(&mut self) {
        if let Ok(words) = self.shell.run("docker compose logs --tail 30", "") {
            println!("{words}");
        }
    }

    /// Copies a block to where the page says.
    fn take(&mut self, block: &Block, say: &impl Fn(&str)) -> anyhow::Result<()> {
        match (block.language.as_str(), &block.file) {
            ("sh", _) => self.type_all(block, say),
            ("yaml", Some(file)) => self.write(file, &block.text),
            (language, _) => bail!(
                "nobody knows what to do with the block of {language:?} in {:?}",
                block.section
            ),
        }
    }

    /// Writes the configuration, with the addresses of the accounts that there are.
    fn write(&mut self, file: &str, text: &str) -> anyhow::Result<()> {
        let mut text = text.to_owned();
        for (theirs, address) in ACCOUNTS {
            ensure!(
                text.matches(theirs).count() == 1,
                "not once in {file}: {theirs}"
            );
            let ours = match theirs.strip_prefix("url: ") {
                Some(_) => format!("url: {address}"),
                None => format!("{theirs}\n    endpoint: {address}"),
            };
            text = text.replace(theirs, &ours);
            self.met.insert(theirs);
        }
        std::fs::write(self.checkout.join(file), text)?;
        Ok(())
    }

    fn type_all(&mut self, block: &Block, say: &impl Fn(&str)) -> anyhow::Result<()> {
        let running = block.text.contains(RUNNING);
        if running {
            self.gitlab.push(JOB, "parmanu")?;
            self.gitlab.push(STRAY, "mac")?;
        }
        if block.text.contains(DELETED) {
            self.machines_stay()?;
            policy::give_back(&self.account)?;
            self.met.insert(DELETED);
        }
        for command in commands(&block.text)? {
            self.type_one(&command)?;
            self.count += 1;
        }
        if block.text.contains("aws iam create-access-key") {
            let secrets = self.checkout.join("secrets");
            policy::judge(&self.account, &self.scene.parliament, &secrets)?;
            say("the user of the policy may do what it names, and nothing else");
        }
        if running {
            self.met.insert(RUNNING);
            self.a_job_is_built(say)?;
        }
        Ok(())
    }

    fn type_one(&mut self, command: &str) -> anyhow::Result<String> {
        let watched = of(&WATCHED, command);
        let wanted = of(&SAYS, command);
        let typed = of(&TYPED, command);
        self.met.extend(watched.map(|(part, _)| part));
        self.met.extend(wanted.map(|(part, _)| part));
        self.met.extend(typed.map(|(part, _)| part));
        let printed = match watched {
            Some((_, seen)) => self.shell.watch(command, seen)?,
            None => {
                let words = typed.map(|(_, words)| format!("{words}\n"));
                self.shell.run(command, &words.unwrap_or_default())?
            }
        };
        println!("$ {command}\n{}", printed.trim_end());
        for words in wanted.map(|(_, words)| words).unwrap_or_default() {
            ensure!(
                printed.contains(words),
                "`{command}` does not say {words:?}: {printed}"
            );
        }
        Ok(printed)
    }

    /// The job gets a machine with the fleet's tag, of the right image; the machine runs it; the page says where to look.
    fn a_job_is_built(&mut self, say: &impl Fn(&str)) -> anyhow::Result<()> {
        let machine = wait_until("a machine", LIMIT, || Ok(self.machines()?.pop()))?;
        let text = |name: &str| machine[name].as_str().unwrap_or_default().to_owned();
        let id = text("InstanceId");
        ensure!(
            text("ImageId") == IMAGE,
            "it is made of {}",
            text("ImageId")
        );
        let tags = machine["Tags"].as_array().cloned().unwrap_or_default();
        let name = tags.iter().find(|tag| tag["Key"] == "Name");
        let name = name
            .and_then(|tag| tag["Value"].as_str())
            .context("it has no name")?;
        say(&format!("{id} is {name}"));
        let words = self.type_one("parmanu status")?;
        ensure!(words.contains("linux"), "{words}");
        self.look_at_what_the_page_says(name)?;
        let token = self.token_in_the_boot_script(&id)?;
        let job = self.gitlab.take(&token)?;
        ensure!(job["job_info"]["name"] == JOB, "its runner was given {job}");
        say("its runner was given the job");
        wait_until("a pool that is seen to run it", LIMIT, || {
            let words = self.shell.run("parmanu status", "")?;
            Ok(words.contains("1 busy").then_some(()))
        })?;
        self.gitlab.finish(&job)?;
        wait_until("the end of the job", LIMIT, || {
            Ok((self.gitlab.state(JOB)? == "success").then_some(()))
        })?;
        let stray = self.gitlab.state(STRAY)?;
        ensure!(stray == "pending", "the other job is {stray}");
        Ok(())
    }

    /// What the page tells to look at when something is wrong, while nothing is.
    fn look_at_what_the_page_says(&mut self, machine: &str) -> anyhow::Result<()> {
        let found = commands_in_text(&self.page, TROUBLE, &["parmanu", "docker"]);
        ensure!(found.len() > 3, "{TROUBLE:?} has no commands any more");
        for command in found {
            let name = if command.contains("--job") {
                JOB
            } else {
                machine
            };
            self.type_one(&command.replace("NAME", name))?;
            self.count += 1;
        }
        Ok(())
    }

    /// What exists at AWS and carries the fleet's tag.
    fn machines(&self) -> anyhow::Result<Vec<Value>> {
        let filters = [
            "Name=tag:parmanu:fleet,Values=acme-ci",
            "Name=instance-state-name,Values=pending,running",
        ];
        let asked = [&["ec2", "describe-instances", "--filters"][..], &filters].concat();
        let listed = self.account.aws(&asked)?;
        let reservations = listed["Reservations"].as_array().into_iter().flatten();
        let machines = reservations.filter_map(|it| it["Instances"].as_array());
        Ok(machines.flatten().cloned().collect())
    }

    fn token_in_the_boot_script(&self, id: &str) -> anyhow::Result<String> {
        let asked = [
            "ec2",
            "describe-instance-attribute",
            "--attribute",
            "userData",
        ];
        let data = self
            .account
            .aws(&[&asked[..], &["--instance-id", id]].concat())?;
        let data = data["UserData"]["Value"].as_str().context("no user data")?;
        let file = self.scene.tools.folder.join("user-data");
        std::fs::write(&file, data)?;
        let script = Command::new("base64").arg("--decode").arg(&file).output()?;
        let script = String::from_utf8_lossy(&script.stdout).into_owned();
        let token = script
            .split("token='")
            .nth(1)
            .and_then(|rest| rest.split('\'').next());
        Ok(token
            .with_context(|| format!("no token in {script}"))?
            .to_owned())
    }

    /// "Builds go on; nothing is deleted."
    fn machines_stay(&self) -> anyhow::Result<()> {
        ensure!(!self.machines()?.is_empty(), "the machine is gone");
        Ok(())
    }

    fn nothing_is_left_at_aws(&self) -> anyhow::Result<()> {
        let users = self.account.aws(&["iam", "list-users"])?.to_string();
        let local = ["iam", "list-policies", "--scope", "Local"];
        let policies = self.account.aws(&local)?.to_string();
        ensure!(
            users.contains("administrator"),
            "not even the reader: {users}"
        );
        let left = users.contains("parmanu-") || policies.contains("parmanu-");
        ensure!(!left, "{users} {policies}");
        Ok(())
    }

    fn all_was_met(&self) -> anyhow::Result<()> {
        let parts = ACCOUNTS.iter().chain(&TYPED).map(|(part, _)| *part);
        let more = WATCHED.iter().map(|(part, _)| *part);
        let says = SAYS.iter().map(|(part, _)| *part).chain([RUNNING, DELETED]);
        let missed: Vec<_> = parts
            .chain(more)
            .chain(says)
            .filter(|part| !self.met.contains(part))
            .collect();
        ensure!(
            missed.is_empty(),
            "the page does not have any more: {missed:?}"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the run would find after minutes, and only where there is an engine.
    #[test]
    fn the_page_has_all_that_is_looked_for() {
        let page = include_str!("../../../docs/quick-start.md");
        let mut typed = commands_in_text(page, TROUBLE, &["parmanu", "docker"]);
        let mut written = String::new();
        for block in blocks(page) {
            match block.language.as_str() {
                "sh" => typed.extend(commands(&block.text).unwrap()),
                _ => {
                    assert!(block.file.is_some(), "where to: {}", block.text);
                    written.push_str(&block.text);
                }
            }
        }
        let is_typed = |part: &str| typed.iter().any(|command| command.contains(part));
        let tables = TYPED.iter().map(|(part, _)| *part);
        let tables = tables.chain(WATCHED.iter().map(|(part, _)| *part));
        let tables = tables.chain(SAYS.iter().map(|(part, _)| *part));
        for part in tables.chain([RUNNING, DELETED]) {
            assert!(is_typed(part), "{part}");
        }
        for (part, _) in ACCOUNTS {
            assert_eq!(written.matches(part).count(), 1, "{part}");
        }
    }
}
