//! TeamCity: each machine is an agent in an agent pool, and runs what the projects of that pool queue.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fake_teamcity::{Rights, Server, TeamCity};
use jiff::Timestamp;
use model::InstanceName;
use ports::Clock;

use super::{Ci, Kind, Played};

/// The access token; obviously no secret.
const TOKEN: &str = "demo-token-of-nobody";

/// A server with a project for each agent pool.
pub(super) async fn start(clock: &Arc<dyn Clock>) -> std::io::Result<Played> {
    let mut teamcity = TeamCity::new();
    teamcity.grant(TOKEN, Rights::manager());
    for (pool, project, types) in [
        ("Linux", "App", &["UnitTests", "Lint"][..]),
        ("Docker", "Images", &["Image"]),
        ("GPU", "Models", &["Train"]),
    ] {
        teamcity.add_pool(pool, &[project]);
        for name in types {
            teamcity.add_type(&format!("{project}_{name}"), project, &[]);
        }
    }
    let teamcity = Arc::new(Mutex::new(teamcity));
    let now = clock.clone();
    let server = Server::start(teamcity.clone(), move || now.now()).await?;
    let url = server.url();
    Ok(Played {
        ci: Box::new(Demo { teamcity }),
        emitter: format!(
            "kind: teamcity, url: \"{url}\", token: {TOKEN}, manage: {{}}, settle: 60s"
        ),
        serves: [
            "{ agent_pool: Linux }",
            "{ agent_pool: Docker }",
            "{ agent_pool: GPU }",
        ],
        script: "#!/bin/sh\nrun-an-agent {{ executor.name }} {{ executor.join }} {{ executor.token }}\n",
        server,
    })
}

struct Demo {
    teamcity: Arc<Mutex<TeamCity>>,
}

impl Demo {
    fn lock(&self) -> MutexGuard<'_, TeamCity> {
        self.teamcity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn agent(teamcity: &TeamCity, machine: &InstanceName) -> Option<u64> {
    let name = machine.to_string();
    let mut agents = teamcity.agents.iter();
    agents
        .find(|(_, agent)| agent.name == name)
        .map(|(id, _)| *id)
}

impl Ci for Demo {
    fn push(&mut self, kind: Kind, now: Timestamp) -> u64 {
        let build_type = match kind {
            Kind::UnitTests => "App_UnitTests",
            Kind::Lint => "App_Lint",
            Kind::Image => "Images_Image",
            Kind::Train => "Models_Train",
        };
        self.lock().push(build_type, now)
    }

    fn join(&mut self, _: &InstanceName, arguments: &[&str], now: Timestamp) {
        // a server that makes no tokens leaves the last one away
        let [name, key, rest @ ..] = arguments else {
            return;
        };
        let parameters = [("system.parmanu.join", *key)];
        let token = rest.first().copied();
        self.lock().join(name, &parameters, token, now);
    }

    fn hand_out(&mut self, now: Timestamp) {
        let mut teamcity = self.lock();
        teamcity.pass_time(now);
        teamcity.dispatch(now);
    }

    fn holds(&self, machine: &InstanceName) -> Option<u64> {
        let teamcity = self.lock();
        let agent = agent(&teamcity, machine)?;
        teamcity.running_on(agent).next()
    }

    fn finish(&mut self, job: u64, _: Timestamp) {
        self.lock().finish(job);
    }

    fn lose(&mut self, machine: &InstanceName, _: Timestamp) {
        let mut teamcity = self.lock();
        if let Some(agent) = agent(&teamcity, machine) {
            teamcity.kill(agent);
        }
    }

    fn killed(&self) -> usize {
        let teamcity = self.lock();
        teamcity.ended.iter().filter(|ended| !ended.whole).count()
    }
}
