//! The smallest EC2 client: builds signed-looking forms and finds values in XML.

use std::time::Duration;

use fake_ec2::{Ec2, Request, Response, Settings};
use jiff::Timestamp;

pub(crate) const IMAGE: &str = "ami-00000000000000001";
pub(crate) const TYPE: &str = "m7i.large";

/// An account and a clock that stands still until told.
pub(crate) struct World {
    pub(crate) ec2: Ec2,
    pub(crate) now: Timestamp,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings);
        Self {
            ec2: Ec2::new(settings),
            now: "2026-03-01T10:00:00Z".parse().expect("a time"),
        }
    }

    pub(crate) fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    pub(crate) fn send(&mut self, request: &Request) -> Response {
        self.ec2.handle(request, self.now)
    }

    pub(crate) fn call(&mut self, action: &str, parameters: &[(&str, &str)]) -> Response {
        let request = request(action, parameters);
        self.send(&request)
    }

    /// Launches and gives the ids.
    pub(crate) fn launch(&mut self, count: u32, extra: &[(&str, &str)]) -> Vec<String> {
        let response = self.call("RunInstances", &run(count, extra).borrow());
        assert_eq!(response.status, 200, "{}", response.body);
        values(&response, "instanceId")
    }

    /// Ids listed for these parameters.
    pub(crate) fn list(&mut self, parameters: &[(&str, &str)]) -> Vec<String> {
        let response = self.call("DescribeInstances", parameters);
        assert_eq!(response.status, 200, "{}", response.body);
        values(&response, "instanceId")
    }

    pub(crate) fn code(&mut self, action: &str, parameters: &[(&str, &str)]) -> String {
        let response = self.call(action, parameters);
        response.code().unwrap_or("ok").to_owned()
    }
}

/// Owned parameters, lent as the pairs that calls take.
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(crate) fn borrow(&self) -> Vec<(&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect()
    }
}

/// The parameters of a plain launch; an extra of the same name replaces, an empty one removes.
pub(crate) fn run(count: u32, extra: &[(&str, &str)]) -> Parameters {
    let count = count.to_string();
    let base = [
        ("ImageId", IMAGE),
        ("InstanceType", TYPE),
        ("MinCount", "1"),
        ("MaxCount", count.as_str()),
    ];
    let kept = base
        .iter()
        .filter(|(key, _)| !extra.iter().any(|(other, _)| other == key));
    let all = kept.chain(extra).filter(|(_, value)| !value.is_empty());
    Parameters(
        all.map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    )
}

pub(crate) fn request(action: &str, parameters: &[(&str, &str)]) -> Request {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", action)
        .append_pair("Version", "2016-11-15");
    form.extend_pairs(parameters);
    Request {
        method: "POST".to_owned(),
        path: "/".to_owned(),
        headers: headers("AKIAFAKEFAKEFAKEFAKE"),
        body: form.finish().into_bytes(),
    }
}

pub(crate) fn headers(key: &str) -> Vec<(String, String)> {
    let signature = "ab".repeat(32);
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={key}/20260301/eu-central-1/ec2/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date, Signature={signature}"
    );
    [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("X-Amz-Date", "20260301T100000Z"),
        ("Authorization", authorization.as_str()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// The text of every element of this name, in order.
pub(crate) fn values(response: &Response, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let parts = response.body.split(&open).skip(1);
    parts
        .map(|part| part.split(&close).next().unwrap_or_default().to_owned())
        .collect()
}
