//! Where the store is, and what an encrypted connection to it is made with.

use std::path::PathBuf;

use crate::SecretRef;

/// The address of a store that several services share. Files are in PEM form.
#[derive(Debug, Clone)]
pub struct StoreAddress {
    /// The address; may carry a password.
    pub url: SecretRef,
    /// The authority that signed the store's certificate, instead of those of the system.
    pub ca_file: Option<PathBuf>,
    /// What this side shows of itself: its certificate, and the key of it.
    pub identity: Option<(PathBuf, PathBuf)>,
}
