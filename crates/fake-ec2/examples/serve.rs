//! The fake on a port, to try a client by hand: `cargo run -p fake-ec2 --example serve -- 127.0.0.1:15500`.
//!
//! Any AWS client will do, with that endpoint, region `eu-central-1`, access key `AKIAFAKEFAKEFAKEFAKE` and any secret.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_ec2::{Ec2, Server, Settings};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:0").parse();
    let address = address.map_err(std::io::Error::other)?;
    let settings = Settings {
        boot: Duration::from_secs(5),
        shutdown: Duration::from_secs(5),
        appears_after: Duration::from_secs(1),
        clock_skew: Some(Duration::from_secs(900)),
        ..Settings::default()
    };
    let ec2 = Arc::new(Mutex::new(Ec2::new(settings)));
    let server = Server::start_on(address, ec2, now)?;
    writeln!(std::io::stdout(), "serving on {}", server.url())?;
    std::future::pending().await
}

#[expect(clippy::disallowed_methods, reason = "this is a main")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
