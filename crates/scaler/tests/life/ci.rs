//! The CI servers, as their machines and the people around them see them. Each is the whole fake of that product; here
//! stands what happens to it without Parmanu: machines join and ask for jobs, jobs end, somebody lifts all cordons.
//!
//! Asking for a job has two halves, as in the real ones: what forbids a machine to take jobs is looked at in the first, and
//! the job is handed out in the second, a moment later.

use std::collections::{BTreeMap, BTreeSet};

use fake_gitlab::{JobId, JobRequest, RunnerId};
use fake_server::{Fake as _, Request, Response};
use jiff::Timestamp;

use crate::joining::{gitlab_runner, mark};

pub(crate) const TOKEN: &str = "simulated-token-of-nobody";

/// What a machine was told when it was made.
pub(crate) type Credentials = BTreeMap<String, String>;

/// A job, by its number.
pub(crate) type Job = u64;

/// The first half of a hand-out.
pub(crate) enum Ticket {
    GitLab(JobRequest),
    Chosen,
}

/// One CI server.
pub(crate) trait Ci: Send {
    /// Told where it is reached, if it is on a socket.
    fn listens_at(&mut self, base: String);
    fn answer(&mut self, request: &Request, now: Timestamp) -> Response;
    /// Queues a job.
    fn push(&mut self, now: Timestamp) -> Job;
    /// A machine came up and connects. False when it is not let in.
    fn join(&mut self, name: &str, told: &Credentials, now: Timestamp) -> bool;
    /// The same of a machine that was told nothing: it makes its own executor, with the fleet's mark, if it has none yet.
    fn join_by_itself(&mut self, name: &str, now: Timestamp) -> bool;
    /// A machine is gone; gives the jobs that died with it.
    fn gone(&mut self, name: &str, now: Timestamp) -> Vec<Job>;
    /// A machine asks for a job: the first half.
    fn ask(&mut self, name: &str, now: Timestamp) -> Option<Ticket>;
    /// The second half. A machine whose first half this was is still there.
    fn hand_out(&mut self, name: &str, ticket: Ticket, now: Timestamp);
    /// Whether a machine has a job, or has been promised one.
    fn has_a_job(&mut self, name: &str, now: Timestamp) -> bool;
    /// Whether a machine is kept from new jobs now.
    fn is_cordoned(&self, name: &str) -> bool;
    /// What runs, and since when.
    fn running(&self) -> Vec<(Job, Timestamp)>;
    fn finish(&mut self, job: Job, now: Timestamp);
    /// Jobs that have not ended.
    fn open(&self) -> usize;
    /// Jobs that did not end by themselves.
    fn killed(&self) -> BTreeSet<Job>;
    /// Jobs that ran more than once.
    fn repeated(&self) -> BTreeSet<Job>;
    /// Executors of ours, by the names of their machines.
    fn executors(&self) -> BTreeSet<String>;
    /// Somebody lets this machine take jobs again.
    fn free(&mut self, name: &str);
    /// Somebody, or a restart, lifts every cordon there is. Machines that lost their connection by it are given back.
    fn lift_cordons(&mut self, now: Timestamp) -> Vec<String>;
}

fn told<'a>(credentials: &'a Credentials, key: &str) -> &'a str {
    credentials.get(key).map_or("", String::as_str)
}

pub(crate) struct GitLab {
    server: fake_gitlab::GitLab,
    project: fake_gitlab::ProjectId,
    runners: BTreeMap<String, (RunnerId, String)>,
    /// Every other request is of a runner that accepts its job before it runs it.
    asked: u64,
}

impl GitLab {
    pub(crate) fn new() -> Self {
        let mut server = fake_gitlab::GitLab::new();
        let user = server.add_user("parmanu", true);
        server.add_token(user, TOKEN, &[fake_gitlab::Scope::Api]);
        let project = server.add_project("acme/app");
        GitLab {
            server,
            project,
            runners: BTreeMap::new(),
            asked: 0,
        }
    }

    /// What was promised is accepted.
    fn accept(&mut self, now: Timestamp) {
        let jobs = self.server.jobs();
        let promised = jobs.filter_map(|job| Some((job.promised?, job.id)));
        for (runner, job) in promised.collect::<Vec<_>>() {
            self.server.start_job(runner, job, now);
        }
    }
}

impl Ci for GitLab {
    fn listens_at(&mut self, base: String) {
        self.server.listens_at(base);
    }

    fn answer(&mut self, request: &Request, now: Timestamp) -> Response {
        self.server.handle(request, now)
    }

    fn push(&mut self, now: Timestamp) -> Job {
        let job = self
            .server
            .push_job(self.project, "build", &["linux"], "main", now);
        job.0
    }

    fn join(&mut self, name: &str, credentials: &Credentials, now: Timestamp) -> bool {
        let token = told(credentials, "token");
        if self.server.begin_job_request(token, name, now).is_err() {
            return false;
        }
        let mut runners = self.server.runners();
        let Some(runner) = runners.find(|runner| runner.token == token) else {
            return false;
        };
        let known = (runner.id, token.to_owned());
        self.runners.insert(name.to_owned(), known);
        true
    }

    fn join_by_itself(&mut self, name: &str, now: Timestamp) -> bool {
        let token = match self.runners.get(name) {
            Some((_, token)) => token.clone(),
            None => {
                let made = self.server.handle(&gitlab_runner(name), now);
                let made: serde_json::Value = serde_json::from_slice(&made.body).expect("JSON");
                made["token"].as_str().unwrap_or_default().to_owned()
            }
        };
        self.join(name, &[("token".to_owned(), token)].into(), now)
    }

    fn gone(&mut self, name: &str, now: Timestamp) -> Vec<Job> {
        let Some((runner, _)) = self.runners.remove(name) else {
            return Vec::new();
        };
        let killed = self.server.lose_machine(runner, now);
        killed.into_iter().map(|job| job.0).collect()
    }

    fn ask(&mut self, name: &str, now: Timestamp) -> Option<Ticket> {
        self.accept(now);
        let (runner, token) = self.runners.get(name)?;
        if self.server.busy_with(*runner).next().is_some() {
            return None;
        }
        let begun = self.server.begin_job_request(token, name, now).ok()?;
        self.asked += 1;
        Some(Ticket::GitLab(if self.asked.is_multiple_of(2) {
            begun.in_two_phases()
        } else {
            begun
        }))
    }

    fn hand_out(&mut self, _: &str, ticket: Ticket, now: Timestamp) {
        if let Ticket::GitLab(begun) = ticket {
            self.server.finish_job_request(&begun, now);
        }
    }

    fn has_a_job(&mut self, name: &str, now: Timestamp) -> bool {
        self.accept(now);
        let known = self.runners.get(name);
        known.is_some_and(|(runner, _)| self.server.busy_with(*runner).next().is_some())
    }

    fn is_cordoned(&self, name: &str) -> bool {
        let known = self.runners.get(name);
        let runner = known.and_then(|(id, _)| self.server.runner(*id));
        runner.is_some_and(|runner| runner.paused)
    }

    fn running(&self) -> Vec<(Job, Timestamp)> {
        let jobs = self.server.jobs().filter(|job| job.state.holds_runner());
        jobs.filter_map(|job| Some((job.id.0, job.runs.last()?.started_at)))
            .collect()
    }

    fn finish(&mut self, job: Job, now: Timestamp) {
        self.server.finish_job(JobId(job), true, now);
    }

    fn open(&self) -> usize {
        use fake_gitlab::JobState::{Pending, Running};
        let open = self.server.jobs();
        open.filter(|job| matches!(job.state, Pending | Running))
            .count()
    }

    fn killed(&self) -> BTreeSet<Job> {
        self.server.killed().map(|job| job.id.0).collect()
    }

    fn repeated(&self) -> BTreeSet<Job> {
        let jobs = self.server.jobs().filter(|job| job.runs.len() > 1);
        jobs.map(|job| job.id.0).collect()
    }

    fn executors(&self) -> BTreeSet<String> {
        let name = |runner: &fake_gitlab::Runner| {
            let known = self.runners.iter().find(|(_, (id, _))| *id == runner.id);
            known.map_or_else(|| runner.description.clone(), |(name, _)| name.clone())
        };
        self.server.runners().map(name).collect()
    }

    fn free(&mut self, name: &str) {
        let known = self.runners.get(name).map(|(id, _)| *id);
        if let Some(runner) = known.and_then(|id| self.server.runner_mut(id)) {
            runner.paused = false;
        }
    }

    fn lift_cordons(&mut self, _: Timestamp) -> Vec<String> {
        let paused = self.server.runners().filter(|runner| runner.paused);
        for id in paused.map(|runner| runner.id).collect::<Vec<_>>() {
            if let Some(runner) = self.server.runner_mut(id) {
                runner.paused = false;
            }
        }
        Vec::new()
    }
}

pub(crate) struct Jenkins {
    server: fake_jenkins::Jenkins,
    since: BTreeMap<Job, Timestamp>,
}

impl Jenkins {
    pub(crate) fn new() -> Self {
        let mut server = fake_jenkins::Jenkins::new();
        server.grant("parmanu", TOKEN, fake_jenkins::Rights::ALL);
        server.jobs.insert("team/app".to_owned());
        Jenkins {
            server,
            since: BTreeMap::new(),
        }
    }

    /// With a node of somebody else's that has the pool's labels and is never there.
    pub(crate) fn with_a_prototype() -> Self {
        let mut jenkins = Self::new();
        jenkins.server.add_node(PROTOTYPE, &["linux"], 1);
        jenkins
    }

    fn held(&self, name: &str) -> Vec<Job> {
        let node = self.server.nodes.get(name).into_iter();
        let held = node.flat_map(|node| node.executors.iter().flatten());
        held.map(|work| work.item).collect()
    }
}

impl Ci for Jenkins {
    fn listens_at(&mut self, base: String) {
        self.server.listens_at(base);
    }

    fn answer(&mut self, request: &Request, now: Timestamp) -> Response {
        self.server.handle(request, now)
    }

    fn push(&mut self, now: Timestamp) -> Job {
        let task = fake_jenkins::Task::Freestyle {
            name: "team/app".to_owned(),
            label: Some("linux".to_owned()),
        };
        self.server.push(task, now)
    }

    fn join(&mut self, name: &str, credentials: &Credentials, _: Timestamp) -> bool {
        self.server.connect(name, told(credentials, "secret"))
    }

    fn join_by_itself(&mut self, name: &str, _: Timestamp) -> bool {
        if !self.server.nodes.contains_key(name) {
            self.server.add_node(name, &["linux"], 1);
            let node = self.server.nodes.get_mut(name).expect("just added");
            node.description = mark();
        }
        let secret = self.server.secret(name);
        self.server.connect(name, &secret)
    }

    fn gone(&mut self, name: &str, now: Timestamp) -> Vec<Job> {
        let held = self.held(name);
        self.server.kill(name, now);
        held
    }

    fn ask(&mut self, name: &str, _: Timestamp) -> Option<Ticket> {
        let node = self.server.nodes.get(name)?;
        (node.online() && node.idle()).then_some(Ticket::Chosen)
    }

    fn hand_out(&mut self, name: &str, _: Ticket, now: Timestamp) {
        let there = self.server.nodes.get(name);
        if there.is_some_and(|node| node.connected)
            && let Some(job) = self.server.hand_out_late(name, now)
        {
            self.since.insert(job, now);
        }
    }

    fn has_a_job(&mut self, name: &str, _: Timestamp) -> bool {
        !self.held(name).is_empty()
    }

    fn is_cordoned(&self, name: &str) -> bool {
        let node = self.server.nodes.get(name);
        node.is_some_and(|node| node.temporarily_offline)
    }

    fn running(&self) -> Vec<(Job, Timestamp)> {
        let nodes = self.server.nodes.values();
        let held = nodes.flat_map(|node| node.executors.iter().flatten());
        held.map(|work| (work.item, work.since)).collect()
    }

    fn finish(&mut self, job: Job, _: Timestamp) {
        self.server.finish(job);
    }

    fn open(&self) -> usize {
        self.server.items.len() + self.running().len()
    }

    fn killed(&self) -> BTreeSet<Job> {
        let ended = self.server.ended.iter().filter(|ended| !ended.whole);
        ended.map(|ended| ended.item).collect()
    }

    fn repeated(&self) -> BTreeSet<Job> {
        let ended = self.server.ended.iter().map(|ended| ended.item);
        twice(ended)
    }

    fn executors(&self) -> BTreeSet<String> {
        // the one that stands for the empty pool in the controller's queue is no machine
        let names = self.server.nodes.keys();
        names
            .filter(|name| !name.starts_with("parmanu-placeholder-") && *name != PROTOTYPE)
            .cloned()
            .collect()
    }

    fn free(&mut self, name: &str) {
        if let Some(node) = self.server.nodes.get_mut(name) {
            node.temporarily_offline = false;
            node.cause = None;
        }
    }

    fn lift_cordons(&mut self, _: Timestamp) -> Vec<String> {
        let nodes = self.server.nodes.iter();
        let connected = nodes.filter(|(_, node)| node.connected);
        let names = connected.map(|(name, _)| name.clone()).collect();
        self.server.restart();
        names
    }
}

fn twice(ended: impl Iterator<Item = Job>) -> BTreeSet<Job> {
    let mut seen = BTreeSet::new();
    ended.filter(|job| !seen.insert(*job)).collect()
}

pub(crate) struct TeamCity {
    server: fake_teamcity::TeamCity,
}

/// An agent of somebody else's that TeamCity is asked about while the pool is empty, and a node of the same use.
pub(crate) const PROTOTYPE: &str = "prototype";

impl TeamCity {
    pub(crate) fn new(now: Timestamp) -> Self {
        let mut server = fake_teamcity::TeamCity::new();
        server.grant(TOKEN, fake_teamcity::Rights::manager());
        let pool = server.add_pool("Linux", &["App"]);
        server.add_type("App_Build", "App", &[("os", "linux")]);
        let prototype = server.add_agent(PROTOTYPE, pool, &[("os", "linux")], now);
        if let Some(agent) = server.agents.get_mut(&prototype) {
            agent.connected = false;
        }
        TeamCity { server }
    }

    fn agent(&self, name: &str) -> Option<(u64, &fake_teamcity::Agent)> {
        let mut agents = self.server.agents.iter();
        let found = agents.find(|(_, agent)| agent.name == name);
        found.map(|(id, agent)| (*id, agent))
    }
}

impl Ci for TeamCity {
    fn listens_at(&mut self, base: String) {
        self.server.listens_at(base);
    }

    fn answer(&mut self, request: &Request, now: Timestamp) -> Response {
        self.server.pass_time(now);
        self.server.handle(request, now)
    }

    fn push(&mut self, now: Timestamp) -> Job {
        self.server.push("App_Build", now)
    }

    fn join(&mut self, name: &str, credentials: &Credentials, now: Timestamp) -> bool {
        let says = [
            ("system.parmanu.join", told(credentials, "join")),
            ("os", "linux"),
        ];
        let token = Some(told(credentials, "token")).filter(|token| !token.is_empty());
        self.server.join(name, &says, token, now);
        true
    }

    fn join_by_itself(&mut self, name: &str, now: Timestamp) -> bool {
        let id = self.server.join(name, &[("os", "linux")], None, now);
        let pool = self.server.agents.values();
        let pool = pool.filter(|agent| agent.name == PROTOTYPE);
        let pool = pool.map(|agent| agent.pool).next();
        if let Some(agent) = self.server.agents.get_mut(&id)
            && !agent.authorized
        {
            agent.authorized = true;
            agent.authorized_comment = mark();
            agent.pool = pool.expect("the prototype");
        }
        true
    }

    fn gone(&mut self, name: &str, _: Timestamp) -> Vec<Job> {
        let Some((id, _)) = self.agent(name) else {
            return Vec::new();
        };
        let held = self.server.running_on(id).collect();
        self.server.kill(id);
        held
    }

    fn ask(&mut self, name: &str, now: Timestamp) -> Option<Ticket> {
        self.server.pass_time(now);
        let (id, agent) = self.agent(name)?;
        let takes = agent.connected && agent.authorized && agent.enabled;
        let busy = self.server.running_on(id).next().is_some();
        (takes && !busy).then_some(Ticket::Chosen)
    }

    fn hand_out(&mut self, name: &str, _: Ticket, now: Timestamp) {
        if let Some((id, _)) = self.agent(name) {
            self.server.hand_out_late(id, now);
        }
    }

    fn has_a_job(&mut self, name: &str, _: Timestamp) -> bool {
        let id = self.agent(name).map(|(id, _)| id);
        id.is_some_and(|id| self.server.running_on(id).next().is_some())
    }

    fn is_cordoned(&self, name: &str) -> bool {
        self.agent(name).is_some_and(|(_, agent)| !agent.enabled)
    }

    fn running(&self) -> Vec<(Job, Timestamp)> {
        let builds = self.server.builds.iter();
        let running = builds.filter(|(_, b)| b.state == fake_teamcity::State::Running);
        running
            .filter_map(|(id, build)| Some((*id, build.started?)))
            .collect()
    }

    fn finish(&mut self, job: Job, _: Timestamp) {
        self.server.finish(job);
    }

    fn open(&self) -> usize {
        let builds = self.server.builds.values();
        builds
            .filter(|build| build.state != fake_teamcity::State::Finished)
            .count()
    }

    fn killed(&self) -> BTreeSet<Job> {
        let ended = self.server.ended.iter().filter(|ended| !ended.whole);
        ended.map(|ended| ended.build).collect()
    }

    fn repeated(&self) -> BTreeSet<Job> {
        twice(self.server.ended.iter().map(|ended| ended.build))
    }

    fn executors(&self) -> BTreeSet<String> {
        let agents = self.server.agents.values();
        // one that went before anybody let it in is a line in a list, which no look shows
        let known = agents.filter(|agent| agent.authorized || agent.connected);
        let ours = known.filter(|agent| agent.name != PROTOTYPE);
        ours.map(|agent| agent.name.clone()).collect()
    }

    fn free(&mut self, name: &str) {
        let mut agents = self.server.agents.values_mut();
        if let Some(agent) = agents.find(|agent| agent.name == name) {
            free(agent);
        }
    }

    fn lift_cordons(&mut self, _: Timestamp) -> Vec<String> {
        self.server.agents.values_mut().for_each(free);
        Vec::new()
    }
}

fn free(agent: &mut fake_teamcity::Agent) {
    (agent.enabled, agent.switch_at) = (true, None);
    agent.enabled_comment.clear();
}
