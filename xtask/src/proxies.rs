//! mitmproxy before moto and before LXD: what loses, cuts, delays and refuses is not ours.

use std::path::Path;

use anyhow::Context;
use tempfile::TempDir;

use crate::parts;
use crate::server::Server;

/// No request is touched until a test writes a plan of its own.
const NOTHING: &str = r#"{"id": "", "rules": []}"#;

/// Two running proxies; dropping them stops both.
pub(crate) struct Proxies {
    moto: Server,
    lxd: Server,
    folder: TempDir,
}

impl Proxies {
    /// Before these two; the folder has what a client of LXD is known by.
    pub(crate) fn start(moto: &str, lxd: &str, client: &Path) -> anyhow::Result<Self> {
        let program = parts::mitmproxy()?;
        let folder = tempfile::Builder::new().prefix("parmanu-").tempdir()?;
        let at = folder.path();
        for plan in ["moto.json", "lxd.json"] {
            std::fs::write(at.join(plan), NOTHING)?;
        }
        // mitmproxy reads a client's certificate and key from one file
        let read = |name: &str| {
            let file = client.join(name);
            std::fs::read_to_string(&file).with_context(|| format!("could not read {file:?}"))
        };
        let identity = at.join("client.pem");
        std::fs::write(&identity, read("client.key")? + &read("client.crt")?)?;
        let own = format!("confdir={}", at.display());
        let set = |option: &str| ["--set".to_owned(), option.to_owned()];
        let to_moto = set(&own);
        let to_lxd = [
            set(&own),
            set(&format!("client_certs={}", identity.display())),
            // the daemon's certificate is its own
            set("ssl_insecure=true"),
        ]
        .concat();
        Ok(Self {
            moto: Server::mitmproxy(&program, moto, &at.join("moto.json"), &to_moto)?,
            lxd: Server::mitmproxy(&program, lxd, &at.join("lxd.json"), &to_lxd)?,
            folder,
        })
    }

    pub(crate) fn moto(&self) -> String {
        format!("http://{}", self.moto.address())
    }

    pub(crate) fn lxd(&self) -> String {
        format!("https://{}", self.lxd.address())
    }

    /// The folder with the plans `moto.json` and `lxd.json`, and with the certificate that the proxy shows,
    /// `mitmproxy-ca-cert.pem`.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}
