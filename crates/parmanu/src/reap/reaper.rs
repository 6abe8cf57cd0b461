//! From the cordon to the deletion, one wave of machines after another.
//!
//! The order of things is the scaler's: cordon, settle, read, settle, and then for each machine list, read and delete. What
//! is certain is asked of the CI server itself, twice and a settle time apart; anything less and the machine stays, and
//! stays cordoned, so that a later run finds it done. Only a machine that is wanted again gets its cordon lifted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use futures::stream;
use model::{
    EmitterName, Epoch, ExecutorRef, Instance, InstanceState, Listing, Policy, PoolName,
    ProviderName,
};
use ports::{Call, Clock, Outcome, Provider, ProviderErrorKind, timeout};
use telemetry::chain;

use super::due::{Mark, Order, is_renewed};
use super::proof::{Looks, Proof, World, find, no_server};
use super::report::{Fate, Report, Row};
use super::server::Server;

/// Longest time one listing may take: nobody waits for it but cron.
const LIST_LIMIT: Duration = Duration::from_secs(60);
/// Longest time one deletion may take, as the scaler has it.
const DELETE_LIMIT: Duration = Duration::from_secs(60);
/// Machines of one provider that are taken from the cordon to the deletion at once. Each wave lists again before it deletes;
/// with larger ones the last machine's mark would be read too long before.
const WAVE: usize = 25;
/// Machines of a wave that are dealt with at once: requests that one CI server has at a time.
const PARALLEL: usize = 8;

/// Everything that one run needs.
pub(super) struct Reaper {
    pub(super) order: Order,
    pub(super) providers: BTreeMap<ProviderName, Arc<dyn Provider>>,
    pub(super) servers: BTreeMap<EmitterName, Server>,
    /// The pools of this fleet that the configuration has.
    pub(super) pools: BTreeMap<PoolName, Policy>,
    /// The mark on our cordons.
    pub(super) epoch: Epoch,
    pub(super) clock: Arc<dyn Clock>,
}

/// A machine on its way, or why it stays.
struct Candidate {
    machine: Instance,
    proof: Result<Proof, String>,
    /// Its executor, if it is known.
    executor: Option<ExecutorRef>,
    /// Whether this run asked to cordon it.
    cordoned: bool,
}

impl Reaper {
    pub(super) async fn run(&self) -> Report {
        let listings = self
            .providers
            .iter()
            .map(|(name, provider)| async move { (name, provider, self.list(provider).await) });
        let listings = join_all(listings).await;
        let now = self.clock.now();
        let mut report = Report::of(&self.order, now);
        let mut all = Vec::new();
        for (name, provider, listing) in listings {
            let machines = report.take(name, listing);
            all.extend(machines.map(|machines| (name, provider, machines)));
        }
        let machines = || all.iter().flat_map(|(.., machines)| machines);
        let mut world = World::of(machines(), now);
        for (.., machines) in &mut all {
            machines.retain(|machine| {
                let mark = self.order.mark(machine, world.alive, now);
                report.count(mark);
                mark == Mark::Due
            });
        }
        let due: Vec<&Instance> = all.iter().flat_map(|(.., due)| due).collect();
        world.looks = self.looks(&due).await;
        let world = &world;
        let rows = all.iter().map(|(name, provider, due)| async move {
            let mut rows = Vec::new();
            for wave in due.chunks(WAVE) {
                rows.extend(self.wave(name, provider, wave, world).await);
            }
            rows
        });
        report.machines = join_all(rows).await.into_iter().flatten().collect();
        report
    }

    async fn list(&self, provider: &Arc<dyn Provider>) -> Result<Listing, String> {
        match timeout(&*self.clock, LIST_LIMIT, provider.list(&self.order.fleet)).await {
            Some(listing) => listing.map_err(|error| chain(&error).to_string()),
            None => Err(format!("no listing within {LIST_LIMIT:?}")),
        }
    }

    async fn wave(
        &self,
        name: &ProviderName,
        provider: &Arc<dyn Provider>,
        machines: &[Instance],
        world: &World,
    ) -> Vec<Row> {
        if self.order.dry_run {
            let looked = machines.iter().map(|machine| async move {
                let fate = self.would_be(machine, world).await;
                Row::of(name, machine, fate)
            });
            return stream::iter(looked).buffered(PARALLEL).collect().await;
        }
        let begun = machines.iter().map(|machine| self.begin(machine, world));
        let mut wave: Vec<Candidate> = stream::iter(begun).buffered(PARALLEL).collect().await;
        if let Some(settle) = self.settle(&wave) {
            self.clock.sleep(settle).await;
            wave = self.prove(wave).await;
            self.clock.sleep(settle).await;
        }
        // right before the deletions: whoever has come back has said so by now
        let listing = &self.list(provider).await;
        let open: Vec<&Instance> = wave.iter().filter_map(Candidate::unregistered).collect();
        let looks = &self.looks(&open).await;
        let ended = wave.iter().map(|candidate| async move {
            let mut row = Row::of(name, &candidate.machine, Fate::Gone);
            row.executor.clone_from(&candidate.executor);
            self.end(&mut row, provider, candidate, listing, looks, world)
                .await;
            row
        });
        let mut rows: Vec<Row> = stream::iter(ended).buffered(PARALLEL).collect().await;
        self.forget_the_gone(&mut rows, provider).await;
        rows
    }

    /// Cordons the machine's executor, if it has one.
    async fn begin(&self, machine: &Instance, world: &World) -> Candidate {
        let proof = self.proof(machine, world);
        let named = || find(machine, &self.homes(machine), &world.looks);
        let mut candidate = Candidate {
            machine: machine.clone(),
            executor: match (&proof, &machine.executor) {
                (Ok(Proof::Idle(executor)), _) | (_, Some(executor)) => Some(executor.clone()),
                // nothing rests on it, so that a look that failed changes nothing
                _ => named().ok().flatten(),
            },
            cordoned: matches!(proof, Ok(Proof::Idle(_))),
            proof,
        };
        if let Ok(Proof::Idle(executor)) = &candidate.proof
            && let Err(why) = self.cordon(executor).await
        {
            candidate.proof = Err(format!("it could not be cordoned: {why}"));
        }
        candidate
    }

    async fn cordon(&self, executor: &ExecutorRef) -> Result<(), String> {
        let server = self.server(executor)?;
        let cordon = server.control()?.cordon(&executor.id, self.epoch);
        server.bounded(cordon).await
    }

    pub(super) fn server(&self, executor: &ExecutorRef) -> Result<&Server, String> {
        let server = self.servers.get(&executor.emitter);
        server.ok_or_else(|| no_server(executor))
    }

    /// How long the slowest CI server of a wave may take to hand out what it promised; `None` when none has to be asked.
    fn settle(&self, wave: &[Candidate]) -> Option<Duration> {
        let servers = wave
            .iter()
            .filter_map(|candidate| candidate.proof.as_ref().ok());
        let servers = servers.flat_map(|proof| match proof {
            Proof::Idle(executor) => vec![&executor.emitter],
            Proof::Unregistered(homes) => homes.iter().collect(),
            Proof::PoweredOff | Proof::NoExecutor | Proof::NotAsked => Vec::new(),
        });
        let settles = servers.filter_map(|name| self.servers.get(name));
        settles.map(|server| server.settle).max()
    }

    /// The first of the two readings.
    async fn prove(&self, wave: Vec<Candidate>) -> Vec<Candidate> {
        let read = wave.into_iter().map(|mut candidate| async move {
            if let Ok(Proof::Idle(executor)) = &candidate.proof
                && let Err(why) = self.idle_for_good(executor).await
            {
                candidate.proof = Err(why);
            }
            candidate
        });
        stream::iter(read).buffered(PARALLEL).collect().await
    }

    async fn idle_for_good(&self, executor: &ExecutorRef) -> Result<(), String> {
        self.server(executor)?.idle_for_good(&executor.id).await
    }

    /// The last look at one machine, and its deletion if nothing speaks against it.
    async fn end(
        &self,
        row: &mut Row,
        provider: &Arc<dyn Provider>,
        candidate: &Candidate,
        listing: &Result<Listing, String>,
        looks: &Looks,
        world: &World,
    ) {
        let machine = match self.again(candidate, listing, world) {
            Ok(machine) => machine,
            Err(fate) => {
                if fate == Fate::Wanted {
                    row.left_behind = self.let_go(candidate).await.err();
                }
                row.fate = fate;
                return;
            }
        };
        let proven = match &candidate.proof {
            Ok(proof) => self.still(machine, proof, looks).await.map(|()| proof),
            Err(why) => Err(why.clone()),
        };
        let done = match proven {
            Ok(proof) => self.delete(provider, machine).await.map(|()| proof),
            Err(why) => Err(why),
        };
        row.fate = match done {
            Ok(proof) => {
                row.left_behind = self.remove(row.executor.as_ref(), world).await.err();
                Fate::Deleted(proof.words())
            }
            Err(why) => Fate::Stayed(why),
        };
    }

    /// The machine as it is listed now, if it is still past its time.
    fn again<'a>(
        &self,
        candidate: &Candidate,
        listing: &'a Result<Listing, String>,
        world: &World,
    ) -> Result<&'a Instance, Fate> {
        let listing = match listing {
            Ok(listing) => listing,
            Err(why) => return Err(Fate::Stayed(format!("it could not be listed again: {why}"))),
        };
        let now = self.clock.now();
        let known = &candidate.machine;
        let found = listing
            .instances
            .iter()
            .find(|m| m.name == known.name && m.id == known.id);
        let Some(machine) = found else {
            return Err(match &listing.unknown[..] {
                [] => Fate::Gone,
                why => Fate::Stayed(format!("it was not seen again: {}", why.join("; "))),
            });
        };
        let renewed = |machine: &Instance| is_renewed(machine, now);
        let alive = world.alive || listing.instances.iter().any(renewed);
        match self.order.mark(machine, alive, now) {
            Mark::Due => Ok(machine),
            Mark::Leaving => Err(Fate::Gone),
            // one without a mark is left as soon as a scaler shows itself
            Mark::Wanted | Mark::None => Err(Fate::Wanted),
        }
    }

    /// Whether the proof still holds, right before the deletion.
    async fn still(&self, machine: &Instance, proof: &Proof, looks: &Looks) -> Result<(), String> {
        match proof {
            Proof::Idle(executor) => {
                self.idle_for_good(executor).await?;
                let server = self.server(executor)?;
                let dismiss = server.control()?.dismiss(&executor.id);
                // an agent that did not go may have been let free meanwhile: then the reading before proves nothing
                match server.bounded(dismiss).await {
                    Ok(()) => Ok(()),
                    Err(_) => self.idle_for_good(executor).await,
                }
            }
            Proof::Unregistered(homes) => match find(machine, homes, looks)? {
                None => Ok(()),
                Some(executor) => Err(format!("its executor {executor} has registered meanwhile")),
            },
            Proof::PoweredOff if machine.state == InstanceState::Stopped => Ok(()),
            Proof::PoweredOff => Err("it was powered off and is not any more".to_owned()),
            Proof::NoExecutor | Proof::NotAsked => Ok(()),
        }
    }

    async fn delete(&self, provider: &Arc<dyn Provider>, machine: &Instance) -> Result<(), String> {
        let call = Call::within(self.clock.clone(), DELETE_LIMIT);
        let delete = provider.delete(std::slice::from_ref(machine), &call);
        let outcomes = call.run(DELETE_LIMIT, delete).await;
        match outcomes.and_then(|outcomes| outcomes.into_iter().next()) {
            Some(Outcome::Done(_)) => Ok(()),
            Some(Outcome::Failed(error)) if error.kind == ProviderErrorKind::NotFound => Ok(()),
            Some(Outcome::Failed(error)) => Err(chain(&error).to_string()),
            Some(Outcome::Unknown(error)) => Err(format!(
                "nobody knows whether it was deleted: {}",
                chain(&error)
            )),
            None => Err(format!("no answer to its deletion within {DELETE_LIMIT:?}")),
        }
    }

    /// Removes the executor of a machine that is deleted. Fails with what is left.
    async fn remove(&self, executor: Option<&ExecutorRef>, world: &World) -> Result<(), String> {
        let Some(executor) = executor else {
            return Ok(());
        };
        if world.is_shared(executor) {
            return Err(format!("{executor} is another machine's too, and stays"));
        }
        let removed = match self
            .server(executor)
            .and_then(|server| Ok((server, server.control()?)))
        {
            Ok((server, control)) => server.bounded(control.remove(&executor.id)).await,
            Err(why) => Err(why),
        };
        removed.map_err(|why| format!("{executor} could not be removed: {why}"))
    }

    /// Lifts our cordon from a machine that is wanted again.
    async fn let_go(&self, candidate: &Candidate) -> Result<(), String> {
        let Some(executor) = candidate.executor.as_ref().filter(|_| candidate.cordoned) else {
            return Ok(());
        };
        let server = self.server(executor)?;
        let uncordon = server.control()?.uncordon(&executor.id, self.epoch);
        let lifted = server.bounded(uncordon).await;
        lifted.map_err(|why| format!("the cordon of {executor} stays: {why}"))
    }

    /// What went while it was asked about did not stay: another run may have been quicker.
    async fn forget_the_gone(&self, rows: &mut [Row], provider: &Arc<dyn Provider>) {
        if !rows.iter().any(|row| matches!(row.fate, Fate::Stayed(_))) {
            return;
        }
        let Ok(listing) = self.list(provider).await else {
            return;
        };
        if !listing.unknown.is_empty() {
            return;
        }
        let there = |row: &Row| {
            let mut alive = listing.instances.iter().filter(|m| !m.state.is_gone());
            alive.any(|m| m.name == row.machine && m.id == row.id)
        };
        for row in rows {
            if matches!(row.fate, Fate::Stayed(_)) && !there(row) {
                row.fate = Fate::Gone;
            }
        }
    }
}

impl Candidate {
    fn unregistered(&self) -> Option<&Instance> {
        let looked_for = matches!(self.proof, Ok(Proof::Unregistered(_)));
        looked_for.then_some(&self.machine)
    }
}
