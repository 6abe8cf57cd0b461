//! The socket: whole answers, and the faults that only a socket can have.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::sync::{Arc, Mutex};

use fake_gitlab::{Fault, FaultKind, GitLab, Scope, Server};

async fn start() -> (Arc<Mutex<GitLab>>, Server) {
    let mut gitlab = GitLab::new();
    let root = gitlab.add_user("root", true);
    gitlab.add_token(root, "root", &[Scope::Api]);
    let gitlab = Arc::new(Mutex::new(gitlab));
    let server = Server::start(gitlab.clone(), || "2026-09-01T10:00:00Z".parse().unwrap());
    (gitlab, server.await.unwrap())
}

async fn user(server: &Server) -> Result<serde_json::Value, reqwest::Error> {
    let client = reqwest::Client::new();
    let url = format!("{}/api/v4/user", server.url());
    client
        .get(url)
        .header("private-token", "root")
        .send()
        .await?
        .json()
        .await
}

#[tokio::test]
async fn answers_travel_whole() {
    let (_gitlab, server) = start().await;
    assert_eq!(user(&server).await.unwrap()["username"], "root");
}

#[tokio::test]
async fn cut_and_lost_answers_are_errors_at_the_client() {
    let (gitlab, server) = start().await;
    for kind in [FaultKind::CutBody, FaultKind::LostAnswer] {
        gitlab
            .lock()
            .unwrap()
            .inject(Fault::on("/api/v4/user", 1, kind));
        assert!(user(&server).await.is_err());
    }
    assert!(gitlab.lock().unwrap().faults_spent());
    assert!(user(&server).await.is_ok());
    assert_eq!(gitlab.lock().unwrap().total_requests(), 3);
}

#[tokio::test]
async fn a_dropped_server_stops_listening() {
    let (_gitlab, server) = start().await;
    let address = server.address();
    drop(server);
    let gone = async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), gone)
        .await
        .unwrap();
}
