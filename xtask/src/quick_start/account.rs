//! The accounts that the reader has: a group at GitLab, and an administrator at AWS.
//!
//! Both servers listen on an address of the cell's own, which containers reach as they reach any other host.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::Scene;
use crate::command::{must, stopped_with_us, wait_until};

/// On the loopback device of the cell.
const HOST: &str = "10.77.0.1";
pub(super) const GITLAB: &str = "http://10.77.0.1:8080";
pub(super) const AWS: &str = "http://10.77.0.1:5000";
/// What `examples/serve-gitlab.rs` of the fake made for the group.
pub(super) const LOOKS: &str = "glpat-looks-of-nobody";
pub(super) const MANAGES: &str = "glpat-manages-of-nobody";
const LIMIT: Duration = Duration::from_secs(60);

/// One image of Debian's own account and one that is newer and not theirs, which must not be taken.
const IMAGES: &str = r#"[
  { "ami_id": "ami-00000000000000010", "name": "debian-12-amd64-20261101-2000", "owner_id": "136693071363", "state": "available", "public": true,
    "architecture": "x86_64", "virtualization_type": "hvm", "hypervisor": "xen", "image_location": "debian/1", "image_type": "machine", "platform": null,
    "root_device_name": "/dev/xvda", "root_device_type": "ebs", "sriov": "simple", "description": "Debian 12", "creation_date": "2026-11-01T00:00:00.000Z" },
  { "ami_id": "ami-00000000000000666", "name": "debian-12-amd64-20991231-0001", "owner_id": "666666666666", "state": "available", "public": true,
    "architecture": "x86_64", "virtualization_type": "hvm", "hypervisor": "xen", "image_location": "nobody/1", "image_type": "machine", "platform": null,
    "root_device_name": "/dev/xvda", "root_device_type": "ebs", "sriov": "simple", "description": "Not Debian's", "creation_date": "2099-12-31T00:00:00.000Z" }
]"#;
pub(super) const IMAGE: &str = "ami-00000000000000010";

/// A GitLab that pushes what it is told to.
pub(super) struct GitLab {
    input: ChildStdin,
    // ends with the cell
    _child: Child,
}

impl GitLab {
    pub(super) fn start(scene: &Scene) -> anyhow::Result<Self> {
        let mut child = stopped_with_us(&scene.gitlab)
            .arg(GITLAB.trim_start_matches("http://"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("could not start the GitLab")?;
        let input = child.stdin.take().context("it takes no input")?;
        wait_until("the GitLab", LIMIT, || {
            let answer = call(&[
                "--header",
                &private(LOOKS),
                &format!("{GITLAB}/api/v4/user"),
            ]);
            Ok(answer.ok().map(drop))
        })?;
        Ok(Self {
            input,
            _child: child,
        })
    }

    /// Pushes a job with these tags.
    pub(super) fn push(&mut self, name: &str, tags: &str) -> anyhow::Result<()> {
        Ok(writeln!(self.input, "{name} {tags}")?)
    }

    /// The state of the newest job of this name; none is pushed so fast that it must be waited for.
    pub(super) fn state(&self, name: &str) -> anyhow::Result<String> {
        let url = format!("{GITLAB}/api/v4/projects/1/jobs");
        let jobs = call(&["--header", &private(LOOKS), &url])?;
        let found = jobs.as_array().into_iter().flatten();
        let job = found.into_iter().find(|job| job["name"] == name);
        Ok(job
            .map_or("", |job| job["status"].as_str().unwrap_or_default())
            .to_owned())
    }

    /// Takes a job as a runner with this token does.
    pub(super) fn take(&self, token: &str) -> anyhow::Result<Value> {
        let body = json!({ "token": token, "system_id": "s_of_the_machine" }).to_string();
        call(&["--json", &body, &format!("{GITLAB}/api/v4/jobs/request")])
    }

    /// Reports that a taken job succeeded.
    pub(super) fn finish(&self, job: &Value) -> anyhow::Result<()> {
        let body = json!({ "token": job["token"], "state": "success" }).to_string();
        let url = format!("{GITLAB}/api/v4/jobs/{}", job["id"]);
        call(&["--request", "PUT", "--json", &body, &url]).map(drop)
    }
}

fn private(token: &str) -> String {
    format!("PRIVATE-TOKEN: {token}")
}

/// One request; an answer without a body is null.
fn call(arguments: &[&str]) -> anyhow::Result<Value> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "10"]);
    let output = curl.args(arguments).output().context("no curl")?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", words.trim());
    if output.stdout.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&output.stdout).context("the answer is no JSON")
}

/// An account at AWS whose administrator has the command set up.
pub(super) struct Account {
    aws: PathBuf,
    home: PathBuf,
    // ends with the cell
    _child: Child,
}

impl Account {
    /// Starts it. Whoever asks from now on needs the right to.
    pub(super) fn open(scene: &Scene, home: &Path) -> anyhow::Result<Self> {
        let folder = &scene.tools.folder;
        let images = folder.join("images.json");
        std::fs::write(&images, IMAGES)?;
        let log = File::create(folder.join("moto.log"))?;
        let child = stopped_with_us(&scene.moto)
            .args(["-H", HOST, "-p", "5000"])
            .env("MOTO_AMIS_PATH", images)
            .env("MOTO_ENABLE_AMI_VALIDATION", "1")
            .env("MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("could not start moto")?;
        let account = Self {
            aws: scene.aws.clone(),
            home: home.to_owned(),
            _child: child,
        };
        wait_until("moto", LIMIT, || {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--fail", "--output", "/dev/null"]);
            let status = curl.arg(format!("{AWS}/moto-api/")).status()?;
            Ok(status.success().then_some(()))
        })?;
        account.log_in("AKIAFIRSTOFALLNOBODY", "nobody")?;
        account.become_administrator()?;
        Ok(account)
    }

    /// The administrator's files, as `aws configure` writes them.
    fn log_in(&self, id: &str, secret: &str) -> anyhow::Result<()> {
        let folder = self.home.join(".aws");
        std::fs::create_dir_all(&folder)?;
        std::fs::write(
            folder.join("config"),
            format!("[default]\nendpoint_url = {AWS}\n"),
        )?;
        let keys =
            format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
        Ok(std::fs::write(folder.join("credentials"), keys)?)
    }

    fn become_administrator(&self) -> anyhow::Result<()> {
        let all = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
        let user = ["--user-name", "administrator"];
        self.aws(&[&["iam", "create-user"][..], &user].concat())?;
        let policy = ["--policy-name", "all", "--policy-document", all];
        self.aws(&[&["iam", "put-user-policy"][..], &user, &policy].concat())?;
        let made = self.aws(&[&["iam", "create-access-key"][..], &user].concat())?;
        let key = &made["AccessKey"];
        let text = |name: &str| key[name].as_str().with_context(|| format!("no {name}"));
        self.log_in(text("AccessKeyId")?, text("SecretAccessKey")?)?;
        // from the next request on; its own framework would eat a form
        let plain = ["--header", "Content-Type: text/plain", "--data", "0"];
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--fail", "--output", "/dev/null"])
            .args(plain);
        must(curl.arg(format!("{AWS}/moto-api/reset-auth")))
    }

    /// What Amazon's command says to the administrator.
    pub(super) fn aws(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        self.aws_as(None, arguments)
    }

    /// The same, to somebody else.
    pub(super) fn aws_as(
        &self,
        keys: Option<(&str, &str)>,
        arguments: &[&str],
    ) -> anyhow::Result<Value> {
        let mut command = Command::new(&self.aws);
        command
            .env_clear()
            .env("HOME", &self.home)
            .args(["--output", "json", "--region", "eu-central-1"])
            .args(arguments);
        if let Some((id, secret)) = keys {
            command.env("AWS_ACCESS_KEY_ID", id);
            command.env("AWS_SECRET_ACCESS_KEY", secret);
        }
        let output = command.output().context("could not start aws")?;
        let words = String::from_utf8_lossy(&output.stderr);
        let asked = || arguments.join(" ");
        ensure!(output.status.success(), "aws {}: {}", asked(), words.trim());
        if output.stdout.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&output.stdout).with_context(|| format!("aws {}", asked()))
    }
}

/// Gives the cell the address that both listen on.
pub(super) fn address() -> anyhow::Result<()> {
    let host = format!("{HOST}/32");
    must(Command::new("ip").args(["address", "add", &host, "dev", "lo"]))
}
