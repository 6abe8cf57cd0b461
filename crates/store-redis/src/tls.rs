//! What an encrypted connection is made with. Files are read each time that a connection is made anew, so that a certificate
//! that was renewed is picked up like a password.

use std::path::PathBuf;

use ports::{StoreError, StoreErrorKind};
use redis::{ClientTlsConfig, TlsCertificates};

/// What a file of certificates says of each.
const CERTIFICATE: &str = "CERTIFICATE";

/// Largest file of certificates: the bundle of a whole operating system has 0.3 MiB.
const LARGEST_PEM: usize = 4 << 20;

/// What an encrypted connection is made with; files in PEM form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// The authority that signed the server's certificate, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// What this side shows of itself: its certificate, and the key of it.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// What stands in the files, to be compared: the client's own type cannot be.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Certificates {
    authority: Option<Vec<u8>>,
    /// The certificate, and the key of it.
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl From<Certificates> for TlsCertificates {
    fn from(read: Certificates) -> Self {
        TlsCertificates {
            client_tls: read
                .identity
                .map(|(client_cert, client_key)| ClientTlsConfig {
                    client_cert,
                    client_key,
                }),
            root_cert: read.authority,
        }
    }
}

impl Tls {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Tls::default()
    }

    pub(crate) fn read(&self) -> Result<Certificates, StoreError> {
        let read = |file: &PathBuf, what: &str| {
            let text = std::fs::read(file);
            let text = text.and_then(|text| {
                if text.len() > LARGEST_PEM {
                    return Err(std::io::Error::other("it is too large"));
                }
                // the client takes a file without any for a list of none, and then trusts nobody
                let has = text.windows(what.len()).any(|part| part == what.as_bytes());
                has.then_some(text)
                    .ok_or_else(|| std::io::Error::other(format!("no {what} in PEM form is in it")))
            });
            text.map_err(|error| StoreError {
                kind: StoreErrorKind::Config,
                operation: "read a certificate",
                message: format!("{} cannot be used", file.display()),
                source: Some(Box::new(error)),
            })
        };
        let identity = match &self.identity {
            Some((certificate, key)) => {
                Some((read(certificate, CERTIFICATE)?, read(key, "PRIVATE KEY")?))
            }
            None => None,
        };
        let authority = self.ca_file.as_ref();
        let authority = authority.map(|file| read(file, CERTIFICATE)).transpose()?;
        Ok(Certificates {
            authority,
            identity,
        })
    }
}
