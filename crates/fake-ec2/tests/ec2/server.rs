//! The server carries answers as their delivery says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_ec2::{Ec2, Fault, Server};

use crate::client::{request, run};

async fn post(url: &str, action: &str, parameters: &[(&str, &str)]) -> reqwest::Result<String> {
    let request = request(action, parameters);
    let mut post = reqwest::Client::new().post(url).body(request.body);
    for (name, value) in request.headers {
        post = post.header(name, value);
    }
    post.send().await?.text().await
}

#[tokio::test]
async fn a_dropped_answer_is_no_answer_and_the_machine_exists() {
    let ec2 = Arc::new(Mutex::new(Ec2::default()));
    let server = Server::start(Arc::clone(&ec2), || jiff::Timestamp::UNIX_EPOCH).unwrap();
    ec2.lock()
        .unwrap()
        .fault("RunInstances", 1, Fault::DropAfter);
    let run = run(1, &[]);
    assert!(
        post(&server.url(), "RunInstances", &run.borrow())
            .await
            .is_err()
    );
    assert_eq!(ec2.lock().unwrap().instances().count(), 1);
    let list = post(&server.url(), "DescribeInstances", &[]).await.unwrap();
    assert!(list.contains("<name>running</name>"), "{list}");
}

#[tokio::test]
async fn late_and_truncated_answers_travel_as_ordered() {
    let ec2 = Arc::new(Mutex::new(Ec2::default()));
    let server = Server::start(Arc::clone(&ec2), || jiff::Timestamp::UNIX_EPOCH).unwrap();
    ec2.lock()
        .unwrap()
        .fault("DescribeInstances", 1, Fault::Truncate);
    let list = post(&server.url(), "DescribeInstances", &[]).await.unwrap();
    assert!(
        list.starts_with("<?xml") && !list.contains("</DescribeInstancesResponse>"),
        "{list}"
    );
    ec2.lock().unwrap().fault(
        "DescribeInstances",
        1,
        Fault::Delay(Duration::from_secs(30)),
    );
    let url = server.url();
    let late = post(&url, "DescribeInstances", &[]);
    assert!(
        tokio::time::timeout(Duration::from_millis(200), late)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_server_can_stop_and_come_back_on_its_port_with_its_machines() {
    let ec2 = Arc::new(Mutex::new(Ec2::default()));
    let server = Server::start(Arc::clone(&ec2), || jiff::Timestamp::UNIX_EPOCH).unwrap();
    let (url, address) = (server.url(), server.address());
    let run = run(1, &[]);
    post(&url, "RunInstances", &run.borrow()).await.unwrap();
    server.stop().await;
    assert!(post(&url, "DescribeInstances", &[]).await.is_err());
    let _server = Server::start_on(address, ec2, || jiff::Timestamp::UNIX_EPOCH).unwrap();
    let list = post(&url, "DescribeInstances", &[]).await.unwrap();
    assert!(list.contains("<instanceId>"), "{list}");
}
