//! The fake on a port, to try a client by hand: `cargo run -p fake-gitlab --example serve-gitlab -- 127.0.0.1:15600`.
//!
//! It has what the quick start's reader has: a group `acme` with a project `acme/app`, and the group's two access tokens, with the
//! roles and scopes that the page asks for. Each line on standard input pushes a job: its name, and its tags behind it.

use std::io::{BufRead, Write};
use std::sync::{Arc, Mutex, PoisonError};

use fake_gitlab::{Access, GitLab, Scope, Server};

/// The token that looks; obviously no secret.
const LOOKS: &str = "glpat-looks-of-nobody";
/// The token that manages runners.
const MANAGES: &str = "glpat-manages-of-nobody";

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:0").parse();
    let address = address.map_err(std::io::Error::other)?;
    let mut gitlab = GitLab::new();
    gitlab.add_group("acme");
    // a token of a group is a member of its own, with the role that it was given
    for (bot, token, role, scopes) in [
        ("looks", LOOKS, Access::Maintainer, &[Scope::ReadApi][..]),
        (
            "manages",
            MANAGES,
            Access::Owner,
            &[Scope::CreateRunner, Scope::ManageRunner],
        ),
    ] {
        let user = gitlab.add_user(&format!("group_9001_bot_{bot}"), false);
        gitlab.grant_group(user, "acme", role);
        gitlab.add_token(user, token, scopes);
    }
    let project = gitlab.add_project("acme/app");
    let gitlab = Arc::new(Mutex::new(gitlab));
    let server = Server::start_on(address, gitlab.clone(), now).await?;
    writeln!(std::io::stdout(), "serving on {}", server.url())?;
    tokio::task::spawn_blocking(move || {
        for line in std::io::stdin().lock().lines() {
            let line = line?;
            let mut words = line.split_whitespace();
            let Some(name) = words.next() else { continue };
            let tags: Vec<&str> = words.collect();
            let mut gitlab = gitlab.lock().unwrap_or_else(PoisonError::into_inner);
            let job = gitlab.push_job(project, name, &tags, "main", now());
            writeln!(std::io::stdout(), "pushed {} as {}", name, job.0)?;
        }
        Ok::<(), std::io::Error>(())
    })
    .await??;
    std::future::pending().await
}

#[expect(clippy::disallowed_methods, reason = "this is a main")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
