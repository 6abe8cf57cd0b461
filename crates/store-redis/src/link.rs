//! The connection, and what it is made with as that is now.
//!
//! A password, a certificate or the user in an address may be rotated while we are connected. Redis lets a connection that has
//! authenticated go on, so it is left alone. What was read is read again when the connection breaks or Redis refuses us, and if it
//! is another one, the next call has a new line made with it. A line whose credentials were refused is replaced in any case: the
//! client keeps the refusal for ever, also after the user was mended at the server.
//!
//! What cannot be read, or names another Redis than at the start (leases and machines' marks belong to that one), changes nothing
//! and is said in the log until it is mended. Nothing here retries a call: the next turn of the loop that made it does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ports::{SecretRef, StoreError, StoreErrorKind};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{Client, IntoConnectionInfo, RedisError, RedisResult};
use secrecy::{ExposeSecret, SecretString};
use tracing::{error, info};

use crate::error::Trouble;
use crate::tls::{Certificates, Tls};

/// How long one attempt to connect may take. In one data centre it takes 1 ms.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// How long Redis may take to answer one command. A read for a thousand pools takes tens of ms.
const RESPONSE_LIMIT: Duration = Duration::from_secs(2);

/// The way to one Redis. Clones share it.
#[derive(Clone)]
pub(crate) struct Link(Arc<Shared>);

struct Shared {
    url: SecretRef,
    tls: Tls,
    current: Mutex<Current>,
}

struct Current {
    made_with: Material,
    client: Client,
    line: Line,
    /// Why what was read last is not in use, as it was said.
    doubt: Option<String>,
}

/// One connection; it mends itself while Redis takes its credentials.
#[derive(Clone)]
pub(crate) struct Line {
    /// Counts the lines of a link, so that a failure of an earlier one does not end the newest.
    pub(crate) number: u64,
    pub(crate) connection: ConnectionManager,
}

/// All that a line is made with.
struct Material {
    url: SecretString,
    certificates: Certificates,
}

impl Material {
    fn is(&self, other: &Material) -> bool {
        self.url.expose_secret() == other.url.expose_secret()
            && self.certificates == other.certificates
    }
}

impl Link {
    /// Reads what is needed; connects at the first call.
    pub(crate) fn new(url: &SecretRef, tls: &Tls) -> Result<Self, StoreError> {
        let made_with = read(url, tls)?;
        let (client, connection) = connect(&made_with, tls)?;
        let current = Current {
            made_with,
            client,
            line: Line {
                number: 0,
                connection,
            },
            doubt: None,
        };
        Ok(Link(Arc::new(Shared {
            url: url.clone(),
            tls: tls.clone(),
            current: Mutex::new(current),
        })))
    }

    /// The newest line.
    pub(crate) fn line(&self) -> Line {
        self.current().line.clone()
    }

    /// What other connections are made with.
    pub(crate) fn client(&self) -> Client {
        self.current().client.clone()
    }

    /// Is told how a call on line `number` failed, and reads again what the line was made with. Answers what keeps it from
    /// using what stands there now, for the error of the call.
    pub(crate) fn is_in_trouble(&self, number: u64, trouble: Trouble) -> Option<String> {
        let mut current = self.current();
        if number == current.line.number {
            self.renew(&mut current, trouble);
        }
        current.doubt.clone()
    }

    /// The same for a connection that belongs to no line.
    pub(crate) fn look_again(&self) {
        self.renew(&mut self.current(), Trouble::Broken);
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        let current = self.0.current.lock();
        // nothing that is done under the lock panics half way
        current.unwrap_or_else(PoisonError::into_inner)
    }

    fn renew(&self, current: &mut Current, trouble: Trouble) {
        let Shared { url, tls, .. } = &*self.0;
        let found = read(url, tls).and_then(|found| {
            let is_new = !found.is(&current.made_with);
            if !is_new && trouble != Trouble::Unauthenticated {
                return Ok(None);
            }
            let (client, connection) = connect(&found, tls)?;
            if !is_same_server(&client, &current.client) {
                return Err(config_error(
                    "use its new address",
                    "it names another Redis, database or kind of connection: restart probot and scaler to meet there".into(),
                ));
            }
            Ok(Some((found, is_new, client, connection)))
        });
        match found {
            Ok(found) => {
                if current.doubt.take().is_some() {
                    info!("what Redis is reached with can be used again");
                }
                if let Some((made_with, is_new, client, connection)) = found {
                    if is_new {
                        info!("the credentials of Redis changed: connecting with the new ones");
                    }
                    let number = current.line.number + 1;
                    current.line = Line { number, connection };
                    (current.made_with, current.client) = (made_with, client);
                }
            }
            Err(why) => self.keep(current, trouble, &why),
        }
    }

    /// Goes on with what was good before, and says so once.
    fn keep(&self, current: &mut Current, trouble: Trouble, why: &StoreError) {
        let why = in_words(why);
        if current.doubt.as_ref() != Some(&why) {
            error!(
                error = why,
                "THE CREDENTIALS OF REDIS CANNOT BE READ ANEW: the last good ones stay in use"
            );
        }
        current.doubt = Some(why);
        if trouble == Trouble::Unauthenticated
            && let Ok((client, connection)) = connect(&current.made_with, &self.0.tls)
        {
            let number = current.line.number + 1;
            current.line = Line { number, connection };
            current.client = client;
        }
    }
}

/// An error and its causes in one line. None of them has a secret in it.
fn in_words(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .fold(error.to_string(), |words, cause| {
            format!("{words}: {cause}")
        })
}

fn config_error(operation: &'static str, message: String) -> StoreError {
    StoreError {
        kind: StoreErrorKind::Config,
        operation,
        message,
        source: None,
    }
}

fn read(url: &SecretRef, tls: &Tls) -> Result<Material, StoreError> {
    let url = url.read().map_err(|error| StoreError {
        source: Some(Box::new(error)),
        ..config_error("find its address", "check `store: { url: … }`".into())
    })?;
    if !tls.is_empty() && !url.expose_secret().starts_with("rediss://") {
        return Err(config_error(
            "use its address",
            "certificates are configured, and the address does not begin with rediss://: nothing would be encrypted".into(),
        ));
    }
    let certificates = tls.read()?;
    Ok(Material { url, certificates })
}

/// A client and a connection that is made at its first use.
fn connect(material: &Material, tls: &Tls) -> Result<(Client, ConnectionManager), StoreError> {
    let make = || -> RedisResult<(Client, ConnectionManager)> {
        let tcp = TcpSettings::default().set_nodelay(true);
        let url = material.url.expose_secret();
        let address = url.into_connection_info()?.set_tcp_settings(tcp);
        let client = match tls.is_empty() {
            true => Client::open(address)?,
            false => Client::build_with_tls(address, material.certificates.clone().into())?,
        };
        // With the defaults one call hangs for up to 9 s while Redis is away and finds it again only after 1.4 s;
        // with these it fails within 60 ms and finds it at once (measured, Redis killed for 15 s).
        let config = ConnectionManagerConfig::new()
            .set_min_delay(Duration::from_millis(50))
            .set_max_delay(Duration::from_secs(1))
            .set_number_of_retries(1)
            .set_connection_timeout(Some(CONNECT_LIMIT))
            .set_response_timeout(Some(RESPONSE_LIMIT));
        let connection = ConnectionManager::new_lazy_with_config(client.clone(), config)?;
        Ok((client, connection))
    };
    make().map_err(|_: RedisError| {
        let message = match tls.is_empty() {
            true => {
                "it is not a URL of the form redis://[user:password@]host[:port][/database] \
                 or rediss://..."
            }
            false => {
                "it is not a URL of the form rediss://[user:password@]host[:port][/database], \
                 or the certificates are none in PEM form"
            }
        };
        config_error("use its address", message.into())
    })
}

/// Whether both lead to the same keys.
fn is_same_server(one: &Client, other: &Client) -> bool {
    let place = |client: &Client| {
        let info = client.get_connection_info();
        let kind = std::mem::discriminant(info.addr());
        (kind, info.addr().to_string(), info.redis_settings().db())
    };
    place(one) == place(other)
}
