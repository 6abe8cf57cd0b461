//! Wake-ups over pub/sub, on a connection of their own.
//!
//! A hint may be lost at any time; what must not happen is that a loss goes unnoticed for long. So each new connection
//! begins with "look at everything", and a connection on which nothing came is asked whether it still lives.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::link::Link;

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

/// What comes of a subscription.
pub(crate) enum Heard {
    /// It is in force from now on; what was said before is lost.
    Connected,
    /// A message. What is no text is empty.
    Message(String),
}

/// A stream that never ends. It must be called within a tokio runtime; the connection ends with the stream.
pub(crate) fn listen<T: Send + 'static>(
    link: Link,
    channel: String,
    read: impl Fn(Heard) -> Option<T> + Send + Sync + 'static,
) -> BoxStream<'static, T> {
    let (sender, receiver) = mpsc::channel(HINTS);
    tokio::spawn(async move {
        let listener = Listener {
            channel,
            sender: sender.clone(),
            read,
        };
        tokio::select! {
            () = sender.closed() => {}
            () = listener.reconnect_for_ever(&link) => {}
        }
    });
    stream::unfold(receiver, |mut receiver| async {
        Some((receiver.recv().await?, receiver))
    })
    .boxed()
}

struct Listener<T, R> {
    channel: String,
    sender: mpsc::Sender<T>,
    read: R,
}

impl<T, R: Fn(Heard) -> Option<T>> Listener<T, R> {
    async fn reconnect_for_ever(&self, link: &Link) {
        let mut wait = FIRST_WAIT;
        loop {
            match self.one_connection(&link.client()).await {
                Ok(()) => wait = FIRST_WAIT,
                Err(why) => tracing::debug!(why, channel = self.channel, "no hints from the store"),
            }
            sleep(wait).await;
            link.look_again();
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Listens until the connection is lost; an error when there was none.
    async fn one_connection(&self, client: &redis::Client) -> Result<(), &'static str> {
        let connected = timeout(LIMIT, client.get_async_pubsub()).await;
        let pubsub = connected.ok().and_then(Result::ok).ok_or("not connected")?;
        let (mut sink, mut messages) = pubsub.split();
        let subscribed = timeout(LIMIT, sink.subscribe(&self.channel)).await;
        subscribed
            .ok()
            .and_then(Result::ok)
            .ok_or("not subscribed")?;
        self.say(Heard::Connected).await;
        loop {
            match timeout(ASK_AFTER, messages.next()).await {
                Ok(Some(message)) => {
                    let text = message.get_payload().unwrap_or_default();
                    self.say(Heard::Message(text)).await;
                }
                Ok(None) => return Ok(()),
                Err(_) => match timeout(LIMIT, sink.ping::<redis::Value>()).await {
                    Ok(Ok(_)) => {}
                    _ => return Ok(()),
                },
            }
        }
    }

    async fn say(&self, heard: Heard) {
        if let Some(hint) = (self.read)(heard) {
            let _ = self.sender.send(hint).await;
        }
    }
}
