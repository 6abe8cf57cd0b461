//! Jenkins: each machine is a node, and the controller gives it what fits its labels.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fake_jenkins::{Jenkins, Rights, Server, Task};
use jiff::Timestamp;
use model::InstanceName;
use ports::Clock;

use super::{Ci, Kind, Played};

/// The user's API token; obviously no secret.
const TOKEN: &str = "demo-token-of-nobody";

/// A controller with one user and no executors of its own.
pub(super) async fn start(clock: &Arc<dyn Clock>) -> std::io::Result<Played> {
    let mut jenkins = Jenkins::new();
    jenkins.grant("parmanu", TOKEN, Rights::ALL);
    // Jenkins shows no job to a user without rights, so one must be there to be seen
    jenkins.jobs.insert("unit-tests".to_owned());
    let jenkins = Arc::new(Mutex::new(jenkins));
    let now = clock.clone();
    let server = Server::start(jenkins.clone(), move || now.now()).await?;
    let url = server.url();
    Ok(Played {
        ci: Box::new(Demo { jenkins }),
        emitter: format!(
            "kind: jenkins, url: \"{url}\", user: parmanu, token: {TOKEN}, manage: {{}}, settle: 60s"
        ),
        serves: [
            "{ labels: [linux] }",
            "{ labels: [linux, docker] }",
            "{ labels: [gpu] }",
        ],
        script: "#!/bin/sh\nrun-an-agent {{ executor.name }} {{ executor.secret }}\n",
        server,
    })
}

struct Demo {
    jenkins: Arc<Mutex<Jenkins>>,
}

impl Demo {
    fn lock(&self) -> MutexGuard<'_, Jenkins> {
        self.jenkins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ci for Demo {
    fn push(&mut self, kind: Kind, now: Timestamp) -> u64 {
        let task = match kind {
            Kind::UnitTests => job("unit-tests", "linux"),
            Kind::Lint => job("lint", "linux"),
            Kind::Image => Task::Step {
                name: "image".to_owned(),
                run: 1,
                label: Some("linux && docker".to_owned()),
            },
            Kind::Train => job("train", "gpu"),
        };
        self.lock().push(task, now)
    }

    fn join(&mut self, _: &InstanceName, arguments: &[&str], _: Timestamp) {
        if let [name, secret] = arguments {
            self.lock().connect(name, secret);
        }
    }

    fn hand_out(&mut self, now: Timestamp) {
        self.lock().dispatch(now);
    }

    fn holds(&self, machine: &InstanceName) -> Option<u64> {
        let jenkins = self.lock();
        let node = jenkins.nodes.get(machine.to_string().as_str())?;
        let mut held = node.executors.iter().flatten();
        held.next().map(|work| work.item)
    }

    fn finish(&mut self, job: u64, _: Timestamp) {
        self.lock().finish(job);
    }

    fn lose(&mut self, machine: &InstanceName, now: Timestamp) {
        self.lock().kill(machine.to_string().as_str(), now);
    }

    fn killed(&self) -> usize {
        let jenkins = self.lock();
        jenkins.ended.iter().filter(|ended| !ended.whole).count()
    }
}

fn job(name: &str, label: &str) -> Task {
    Task::Freestyle {
        name: name.to_owned(),
        label: Some(label.to_owned()),
    }
}
