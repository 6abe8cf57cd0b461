//! A Redis that a test may kill.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

/// A server of one test; it goes with the test.
pub(crate) struct OwnServer {
    program: PathBuf,
    options: Vec<&'static str>,
    pub(crate) address: SocketAddr,
    child: Option<Child>,
    folder: tempfile::TempDir,
}

impl OwnServer {
    /// A server that is not started yet, on a port that was free a moment ago.
    pub(crate) fn new(options: &[&'static str]) -> Result<Self, String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = std::env::split_paths(&path)
            .map(|folder| folder.join("redis-server"))
            .find(|file| file.is_file())
            .ok_or("redis-server is not in the PATH")?;
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Ok(OwnServer {
            program,
            options: options.to_vec(),
            address: free.local_addr().expect("its address"),
            child: None,
            folder: tempfile::tempdir().expect("a folder"),
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}/", self.address)
    }

    /// Starts it and waits until it accepts connections.
    pub(crate) async fn start(&mut self) {
        let port = self.address.port().to_string();
        self.start_with(&["--port", &port].map(str::to_owned)).await;
    }

    /// Starts it with encrypted connections only.
    pub(crate) async fn start_encrypted(&mut self, options: &[String]) {
        let port = self.address.port().to_string();
        let mut all = ["--port", "0", "--tls-port", &port]
            .map(str::to_owned)
            .to_vec();
        all.extend_from_slice(options);
        self.start_with(&all).await;
    }

    async fn start_with(&mut self, options: &[String]) {
        let child = Command::new(&self.program)
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(options)
            .args(&self.options)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        self.child = Some(child.expect("redis-server starts"));
        let up = async {
            while tokio::net::TcpStream::connect(self.address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), up).await;
        waited.expect("redis-server listens");
    }

    /// Ends it without a word, as a machine that loses power does.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.expect("it can be killed");
        }
    }
}

/// A server of this test, or the test is skipped by name.
#[macro_export]
macro_rules! own_server_or_skip {
    ($name:literal, $options:expr) => {
        match $crate::own_server::OwnServer::new($options) {
            Ok(server) => server,
            Err(why) => return conformance::store::skip(concat!("store-redis::", $name), &why),
        }
    };
}
