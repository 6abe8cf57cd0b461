//! `parmanu world`: a GitLab and an EC2 that stand by themselves, for a probot and a scaler that run elsewhere.
//!
//! What `demo` plays in one process, faster than real time, is here on two ports and in real time, so that services can be
//! killed, cut off and started again while it goes on: `docker-compose.demo.yml`. It says every few seconds how its jobs fare.
//! Neither API checks who asks beyond what the fakes do, and it keeps nothing: it is no place for anything real.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use fake_ec2::{Ec2, Settings};
use ports::Clock;
use telemetry::{SystemClock, process};
use tokio_util::sync::CancellationToken;

use super::ci::gitlab;
use super::cloud::Region;
use super::summary::Summary;
use super::world::World;

/// Long enough to see machines pending, short enough to watch.
const BOOT: Duration = Duration::from_secs(8);
const SHUTDOWN: Duration = Duration::from_secs(3);
/// New machines are missing from listings for a moment, as in the real service.
const APPEARS_AFTER: Duration = Duration::from_secs(1);
/// Time between two lines about the jobs.
const LINE: Duration = Duration::from_secs(5);

/// Where it listens, and what it plays.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the GitLab listens.
    #[arg(long, default_value = "127.0.0.1:8080")]
    gitlab: SocketAddr,
    /// Where the EC2 of region eu-central-1 listens.
    #[arg(long, default_value = "127.0.0.1:8081")]
    ec2: SocketAddr,
    /// What the GitLab calls itself in its answers, such as http://gitlab:8080, where it listens on all addresses.
    #[arg(long)]
    gitlab_url: Option<String>,
    /// Jobs, and pauses between two pushes, are so many times shorter than in life.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    pace: u32,
    /// Same seed, same jobs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Asks the one that runs with these addresses whether it answers, and ends with 0 or 1.
    #[arg(long)]
    health: bool,
}

/// Plays until SIGTERM or Ctrl-C. Ends with 1 when a job was killed.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.health {
        for (name, address) in [("the GitLab", arguments.gitlab), ("the EC2", arguments.ec2)] {
            service::answers(name, address).await?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let signal = process::stop_signal()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let settings = Settings {
        boot: BOOT,
        shutdown: SHUTDOWN,
        appears_after: APPEARS_AFTER,
        clock_skew: Some(Duration::from_secs(300)),
        ..Settings::default()
    };
    let ec2 = Arc::new(Mutex::new(Ec2::new(settings.clone())));
    let now = clock.clone();
    let cloud = fake_ec2::Server::start_on(arguments.ec2, ec2.clone(), move || now.now())
        .with_context(|| format!("no EC2 at {}", arguments.ec2))?;
    let base = arguments.gitlab_url.clone();
    let played = gitlab::start_on(arguments.gitlab, base, gitlab::server(), &clock)
        .await
        .with_context(|| format!("no GitLab at {}", arguments.gitlab))?;
    say(&format!(
        "GitLab at {}, EC2 at {}",
        played.server.url(),
        cloud.url()
    ));
    let world = World::new(
        played.ci,
        Arc::new(Region { ec2, settings }),
        clock.clone(),
        arguments.seed,
    )
    .at_pace(arguments.pace);
    let stop = CancellationToken::new();
    let playing = tokio::spawn(world.clone().play(stop.clone()));
    tokio::select! {
        () = signal => {}
        () = report(&world, &clock) => {}
    }
    world.freeze();
    stop.cancel();
    playing.await?;
    let summary = Summary::of(&world, clock.now());
    say(&summary.to_string());
    Ok(ExitCode::from(u8::from(summary.killed > 0)))
}

/// Says for ever how the jobs fare.
async fn report(world: &World, clock: &Arc<dyn Clock>) {
    loop {
        clock.sleep(LINE).await;
        say(&Summary::of(world, clock.now()).line());
    }
}

#[expect(clippy::print_stdout, reason = "it talks to whoever reads its output")]
fn say(words: &str) {
    println!("{words}");
}
