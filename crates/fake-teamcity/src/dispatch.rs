//! The queue: who is waiting for what, and who is given what.

use jiff::Timestamp;

use crate::world::{Agent, Build, State, TeamCity};

const NO_AGENT: &str = "There are no compatible agents which can run this build";
const NO_IDLE: &str = "There are no idle compatible agents which can run this build";
const CHAIN: &str = "Build dependencies have not been built yet";
const LIMIT: &str = "The maximum number of running builds for this configuration is reached";
const OUTDATED: &str = "All compatible agents are outdated - waiting for upgrade";

impl TeamCity {
    /// Hands out whatever can be handed out, oldest first, as the server does when an agent is free.
    pub fn dispatch(&mut self, now: Timestamp) {
        self.pass_time(now);
        self.end_composites();
        let queued: Vec<u64> = self.queue().map(|(id, _)| id).collect();
        for id in queued {
            let Some(build) = self.builds.get(&id) else {
                continue;
            };
            if build.wait_reason.is_some() || self.waits_for_chain(build) || self.at_limit(build) {
                continue;
            }
            if self.is_composite(build) {
                self.start_composite(id, now);
                continue;
            }
            let free = self.agents.iter().find(|(agent_id, agent)| {
                self.takes(**agent_id, agent, build) && self.running_on(**agent_id).next().is_none()
            });
            if let Some(agent) = free.map(|(id, _)| *id) {
                self.start(id, agent, now);
            }
        }
    }

    /// The distribution had looked before the agent was disabled, and gives it the oldest build it may run.
    pub fn hand_out_late(&mut self, agent: u64, now: Timestamp) -> Option<u64> {
        let seen = self.agents.get(&agent)?;
        if self.running_on(agent).next().is_some() {
            return None;
        }
        let id = self.queue().find(|(_, build)| {
            !self.waits_for_chain(build) && self.can_run(seen, build) && seen.connected
        })?;
        let id = id.0;
        self.start(id, agent, now).then_some(id)
    }

    /// The build runs on this agent from now on, whatever stands against it.
    pub fn start(&mut self, build: u64, agent: u64, now: Timestamp) -> bool {
        let Some(agent_now) = self.agents.get_mut(&agent) else {
            return false;
        };
        let Some(build) = self.builds.get_mut(&build) else {
            return false;
        };
        if build.state != State::Queued {
            return false;
        }
        agent_now.idle_since = now;
        build.state = State::Running;
        build.agent = Some(agent);
        build.started = Some(now);
        true
    }

    pub(crate) fn queue(&self) -> impl Iterator<Item = (u64, &Build)> {
        let queued = self.builds.iter();
        queued
            .filter(|(_, build)| build.state == State::Queued)
            .map(|(id, build)| (*id, build))
    }

    pub(crate) fn is_composite(&self, build: &Build) -> bool {
        self.types
            .get(&build.build_type)
            .is_some_and(|t| t.composite)
    }

    fn waits_for_chain(&self, build: &Build) -> bool {
        let open = |id: &u64| {
            self.builds
                .get(id)
                .is_some_and(|b| b.state != State::Finished)
        };
        build.needs.iter().any(open)
    }

    fn at_limit(&self, build: &Build) -> bool {
        let running = self
            .builds
            .values()
            .filter(|other| other.build_type == build.build_type && other.state == State::Running);
        let limit = self.types.get(&build.build_type).and_then(|t| t.limit);
        limit.is_some_and(|most| running.count() >= most)
    }

    /// A composite build runs as soon as its chain does, and ends with it; it never holds an agent.
    fn start_composite(&mut self, id: u64, now: Timestamp) {
        if let Some(build) = self.builds.get_mut(&id) {
            build.state = State::Running;
            build.started = Some(now);
        }
    }

    fn end_composites(&mut self) {
        let done: Vec<u64> = self
            .builds
            .iter()
            .filter(|(_, b)| b.state == State::Running && self.is_composite(b))
            .filter(|(_, b)| !self.waits_for_chain(b))
            .map(|(id, _)| *id)
            .collect();
        for id in done {
            self.end(id, true);
        }
    }

    /// The agent that a member of the build's same-agent group already ran on.
    fn bound_to(&self, build: &Build) -> Option<u64> {
        let build_type = self.types.get(&build.build_type)?;
        let same = build_type.needs.iter().filter(|need| need.same_agent);
        let mut ran = same.flat_map(|need| {
            let of_type = move |id: &&u64| {
                self.builds
                    .get(*id)
                    .is_some_and(|b| b.build_type == need.on)
            };
            build.needs.iter().filter(of_type)
        });
        ran.find_map(|id| self.builds.get(id)?.agent)
    }

    fn takes(&self, id: u64, agent: &Agent, build: &Build) -> bool {
        let ready = agent.connected && agent.authorized && !agent.outdated;
        match (build.only_on, self.bound_to(build)) {
            (Some(only), _) => ready && only == id,
            (None, Some(bound)) if bound != id => false,
            _ => ready && agent.enabled && self.can_run(agent, build),
        }
    }

    fn can_run(&self, agent: &Agent, build: &Build) -> bool {
        let build_type = self.types.get(&build.build_type);
        build_type.is_some_and(|build_type| self.is_compatible(agent, build_type))
    }

    /// Why a build waits, in the server's words.
    pub(crate) fn wait_reason(&self, build: &Build) -> Option<String> {
        if let Some(words) = &build.wait_reason {
            return Some(words.clone());
        }
        if self.waits_for_chain(build) {
            return Some(CHAIN.to_owned());
        }
        if self.is_composite(build) {
            return None;
        }
        if self.at_limit(build) {
            return Some(LIMIT.to_owned());
        }
        let there = self.agents.values().filter(|agent| {
            agent.connected && agent.authorized && agent.enabled && self.can_run(agent, build)
        });
        let there: Vec<&Agent> = there.collect();
        let words = match there.as_slice() {
            [] => NO_AGENT,
            some if some.iter().all(|agent| agent.outdated) => OUTDATED,
            _ => NO_IDLE,
        };
        Some(words.to_owned())
    }
}
