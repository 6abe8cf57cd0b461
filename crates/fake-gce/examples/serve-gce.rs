//! The fake on a port, to try a client by hand: `cargo run -p fake-gce --example serve-gce -- 127.0.0.1:15600`.
//!
//! Any client of Google's will do, with that endpoint, the project `acme-ci`, a zone such as `europe-west3-a` and
//! anonymous credentials. `tests/judge/judge.py` is one.

use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_gce::{Gce, Server, Settings, Time};
use jiff::Timestamp;

struct Wall;

impl Time for Wall {
    #[expect(clippy::disallowed_methods, reason = "this is a main")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let left = at.duration_since(self.now());
        Box::pin(tokio::time::sleep(left.try_into().unwrap_or_default()))
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:0").parse();
    let address = address.map_err(std::io::Error::other)?;
    let settings = Settings {
        anonymous: true,
        queue: Duration::from_millis(200),
        creation: Duration::from_secs(1),
        shutdown: Duration::from_millis(500),
        ..Settings::default()
    };
    let mut gce = Gce::new(settings);
    // one zone without machines, for whoever wants to see how that looks
    gce.set_capacity("n2-standard-8", "europe-west3-c", Some(0));
    let server = Server::start_on(address, Arc::new(Mutex::new(gce)), Wall)?;
    writeln!(std::io::stdout(), "serving on {}", server.url())?;
    std::future::pending().await
}
