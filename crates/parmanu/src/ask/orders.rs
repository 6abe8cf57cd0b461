//! The verbs that give an order or take one back: each changes one override and shows those in force.

use std::process::ExitCode;

use clap::Subcommand;
use ports::units::Span;
use scaler::api::shapes::Overrides as InForce;
use serde_json::{Value, json};

use super::client::{Client, Found};
use super::status::say_overrides;
use super::{Asked, Author, code};
use crate::output::{Output, print_json};

/// Why an order is given, by whom, for how long, and to which scaler.
#[derive(clap::Args)]
pub(crate) struct Because {
    /// For how long, such as 2h; at most 168h. After that the rules decide again.
    #[arg(long = "for", value_name = "TIME")]
    lasts: Span,
    /// Why: it stands in every plan until the order is over.
    #[arg(long)]
    because: String,
    #[command(flatten)]
    author: Author,
    #[command(flatten)]
    asked: Asked,
}

/// Keeps a pool as it is.
#[derive(clap::Args)]
pub(crate) struct Pause {
    /// The pool.
    pool: String,
    #[command(flatten)]
    because: Because,
}

/// Takes a pause back.
#[derive(clap::Args)]
pub(crate) struct Resume {
    /// The pool.
    pool: String,
    #[command(flatten)]
    author: Author,
    #[command(flatten)]
    asked: Asked,
}

/// Gives a pool a size.
#[derive(clap::Args)]
pub(crate) struct Pin {
    /// The pool.
    pool: String,
    /// Machines, within its max.
    machines: u32,
    #[command(flatten)]
    because: Because,
}

/// Empties a machine, an image or a zone.
#[derive(clap::Args)]
pub(crate) struct Drain {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// One machine leaves after its job, and another stands in for it first where it is needed.
    Machine(Drained),
    /// All machines of an image or template leave, and none is made from it.
    Image(Drained),
    /// All machines in a zone leave, and none is made in it by an offer that names its zones.
    Zone(Drained),
}

#[derive(clap::Args)]
struct Drained {
    /// Its name.
    name: String,
    #[command(flatten)]
    because: Because,
}

/// Lets a changed configuration let many machines go.
#[derive(clap::Args)]
pub(crate) struct Confirm {
    /// The hash that `parmanu status` shows with the machines.
    hash: String,
    /// How long it holds; what has not begun to leave by then waits again. At most 168h.
    #[arg(long = "for", value_name = "TIME", default_value = "24h")]
    lasts: Span,
    /// Why: for the audit.
    #[arg(long)]
    because: String,
    #[command(flatten)]
    author: Author,
    #[command(flatten)]
    asked: Asked,
}

/// Shows the overrides in force, or takes one back.
#[derive(clap::Args)]
pub(crate) struct Overrides {
    /// Takes this one back, such as pin:linux.
    #[arg(long, value_name = "ID")]
    remove: Option<String>,
    #[command(flatten)]
    author: Author,
    #[command(flatten)]
    asked: Asked,
}

impl Pause {
    pub(crate) async fn run(&self) -> anyhow::Result<ExitCode> {
        let path = ["pools", &self.pool, "pause"];
        give(&path, &self.because, json!({})).await
    }
}

impl Confirm {
    /// Exit code 4 when nothing waits, 1 when something else does.
    pub(crate) async fn run(&self) -> anyhow::Result<ExitCode> {
        let body = json!({
            "who": self.author.who()?,
            "because": self.because,
            "for": format!("{}s", self.lasts.0.as_secs()),
        });
        let client = Client::with(&self.asked, &self.author)?;
        let path = ["confirmations", &self.hash];
        say(&self.asked, client.post(&path, &body).await?)
    }
}

impl Pin {
    pub(crate) async fn run(&self) -> anyhow::Result<ExitCode> {
        let path = ["pools", &self.pool, "pin"];
        let more = json!({ "machines": self.machines });
        give(&path, &self.because, more).await
    }
}

impl Drain {
    pub(crate) async fn run(&self) -> anyhow::Result<ExitCode> {
        let (drained, path, more) = match &self.what {
            What::Machine(it) => (it, vec!["machines", &it.name, "drain"], json!({})),
            What::Image(it) => (it, vec!["drains"], json!({ "image": it.name })),
            What::Zone(it) => (it, vec!["drains"], json!({ "zone": it.name })),
        };
        give(&path, &drained.because, more).await
    }
}

impl Resume {
    pub(crate) async fn run(&self) -> anyhow::Result<ExitCode> {
        let body = json!({ "who": self.author.who()? });
        let client = Client::with(&self.asked, &self.author)?;
        let path = ["pools", &self.pool, "resume"];
        say(&self.asked, client.post(&path, &body).await?)
    }
}

impl Overrides {
    pub(crate) async fn run(&self) -> anyhow::Result<ExitCode> {
        let Some(id) = &self.remove else {
            let client = Client::new(&self.asked)?;
            return say(&self.asked, client.get(&["overrides"]).await?);
        };
        let client = Client::with(&self.asked, &self.author)?;
        let path: Vec<&str> = ["overrides"].into_iter().chain(id.split('/')).collect();
        say(
            &self.asked,
            client.delete(&path, &self.author.who()?).await?,
        )
    }
}

async fn give(path: &[&str], because: &Because, more: Value) -> anyhow::Result<ExitCode> {
    let mut body = more;
    body["who"] = because.author.who()?.into();
    body["because"] = because.because.clone().into();
    body["for"] = format!("{}s", because.lasts.0.as_secs()).into();
    let client = Client::with(&because.asked, &because.author)?;
    say(&because.asked, client.post(path, &body).await?)
}

fn say(asked: &Asked, found: Found<InForce>) -> anyhow::Result<ExitCode> {
    let found = match found.or_say() {
        Ok(found) => found,
        Err(code) => return Ok(code),
    };
    if asked.output == Output::Json {
        print_json(&found)?;
        return Ok(code(found.unreadable.len()));
    }
    let mut text = String::new();
    say_overrides(&mut text, &found.overrides, &found.unreadable);
    if text.is_empty() {
        text.push_str("no overrides: the rules decide\n");
    }
    print!("{text}");
    Ok(code(found.unreadable.len()))
}
