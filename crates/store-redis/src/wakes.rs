//! Wake-ups over pub/sub, on a connection of their own.
//!
//! A hint may be lost at any time; what must not happen is that a loss goes unnoticed for long. So each new connection
//! begins with "look at everything", and a connection on which nothing came is asked whether it still lives.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use ports::Wake;
use redis::Client;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// A server that takes longer to subscribe or to answer is treated as gone.
const LIMIT: Duration = Duration::from_secs(2);

/// A connection that broke without a word (a firewall that forgot it) is found out after this and [`LIMIT`].
const ASK_AFTER: Duration = Duration::from_secs(15);

/// The first wait after a loss, doubled up to the longest. A server that comes back waits for nobody longer than that,
/// and a thousand replicas ask it at most a thousand times a second.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Hints that a slow listener may lag behind; then reading stops, and Redis in the end drops the connection.
const HINTS: usize = 256;

/// A stream that never ends. It must be called within a tokio runtime; the connection ends with the stream.
pub(crate) fn listen(client: Client, channel: String) -> BoxStream<'static, Wake> {
    let (sender, receiver) = mpsc::channel(HINTS);
    tokio::spawn(async move {
        tokio::select! {
            () = sender.closed() => {}
            () = reconnect_for_ever(&client, &channel, &sender) => {}
        }
    });
    stream::unfold(receiver, |mut receiver| async {
        Some((receiver.recv().await?, receiver))
    })
    .boxed()
}

async fn reconnect_for_ever(client: &Client, channel: &str, sender: &mpsc::Sender<Wake>) {
    let mut wait = FIRST_WAIT;
    loop {
        match one_connection(client, channel, sender).await {
            Ok(()) => wait = FIRST_WAIT,
            Err(why) => tracing::debug!(why, "no wake-ups from the store"),
        }
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Listens until the connection is lost; an error when there was none.
async fn one_connection(
    client: &Client,
    channel: &str,
    sender: &mpsc::Sender<Wake>,
) -> Result<(), &'static str> {
    let connected = timeout(LIMIT, client.get_async_pubsub()).await;
    let pubsub = connected.ok().and_then(Result::ok).ok_or("not connected")?;
    let (mut sink, mut messages) = pubsub.split();
    let subscribed = timeout(LIMIT, sink.subscribe(channel)).await;
    subscribed
        .ok()
        .and_then(Result::ok)
        .ok_or("not subscribed")?;
    let _ = sender.send(Wake::All).await;
    loop {
        match timeout(ASK_AFTER, messages.next()).await {
            Ok(Some(message)) => {
                // A hint that cannot be read is a hint still.
                let pool = message
                    .get_payload::<String>()
                    .ok()
                    .and_then(|name| name.parse().ok());
                let _ = sender.send(pool.map_or(Wake::All, Wake::Pool)).await;
            }
            Ok(None) => return Ok(()),
            Err(_) => match timeout(LIMIT, sink.ping::<redis::Value>()).await {
                Ok(Ok(_)) => {}
                _ => return Ok(()),
            },
        }
    }
}
