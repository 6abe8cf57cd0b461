//! What the files of a configuration hold at one moment, to be compared with what they hold at the next.
//!
//! By content and not by time or inode: a volume of Kubernetes swaps the folder behind a link, an editor renames a new file over
//! the old one, a container's single mounted file and a network file system send no events at all. What is read again is the
//! same whatever happened, and a file that was touched without a change is none. Nothing here waits or decides anything.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::load::{files, folder};
use crate::settings::Settings;
use crate::yaml;

/// A digest of a configuration's files and of the boot scripts that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace([u8; 32]);

impl Trace {
    /// Reads the files at `path`, and the scripts that `settings` were made with. A file that cannot be read counts by why:
    /// that it is gone is a change.
    #[must_use]
    pub fn of(path: &Path, settings: &Settings) -> Self {
        let base = folder(path);
        let mut all: BTreeSet<PathBuf> = BTreeSet::new();
        let mut digest = Sha256::new();
        match files(path) {
            Ok(found) => all.extend(found),
            Err(error) => digest.update(error.to_string()),
        }
        let scripts = settings
            .pools
            .values()
            .filter_map(|pool| pool.bootstrap.as_ref());
        all.extend(scripts.flat_map(|script| script.files(base)));
        for file in all {
            let name = file.as_os_str().as_encoded_bytes();
            digest.update(name.len().to_le_bytes());
            digest.update(name);
            let text = read(&file);
            digest.update(text.len().to_le_bytes());
            digest.update(text);
        }
        Trace(digest.finalize().into())
    }
}

/// As much as would be read of a configuration, or why nothing can be.
fn read(file: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file);
    let bound = yaml::MAX_BYTES as u64 + 1;
    match opened.and_then(|opened| opened.take(bound).read_to_end(&mut bytes)) {
        Ok(_) => bytes,
        Err(error) => error.to_string().into_bytes(),
    }
}
