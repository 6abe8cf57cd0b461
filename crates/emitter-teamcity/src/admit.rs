//! A new agent is let in: authorised, put into its pool, marked.
//!
//! An agent registers by itself under the name it was given. It is let in only if that name is a machine's of a pool of
//! ours *and* it shows the join key of the name. On a server with one-time tokens it comes authorised already and is only
//! marked. Otherwise the order is: disabled, authorised, into its pool, enabled; so that it takes no build of another
//! pool's projects on the way, and so that whoever is interrupted goes on where he was.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::{FleetId, InstanceName, PoolName};
use secrecy::SecretString;
use serde::Deserialize as _;
use serde_json::{Value, json};
use web::{Answer, Method};

use crate::client::{Client, Meter, value};
use crate::config::Serves;
use crate::convert;
use crate::error::{Failure, conflict};
use crate::mark::{self, Shown};
use crate::wire::{AGENT, Agent, Pool};

/// Lets agents of one fleet in.
pub(crate) struct Door<'a> {
    pub(crate) client: &'a Client,
    pub(crate) fleet: &'a FleetId,
    pub(crate) token: &'a SecretString,
    pub(crate) pools: &'a BTreeMap<PoolName, Serves>,
    /// Whether the name alone is enough.
    pub(crate) trusts_names: bool,
    pub(crate) now: Timestamp,
    pub(crate) meter: &'a Meter,
}

/// What became of a newcomer.
#[derive(Debug)]
pub(crate) enum Admitted {
    /// It is in: as it is now.
    Yes(Box<Agent>),
    /// It has the name of a machine of ours and does not prove it; why.
    Stranger(&'static str),
    /// The server does not let it in, in its words.
    Refused(String),
}

impl Door<'_> {
    /// Which of our pools an agent's name belongs to.
    pub(crate) fn home(&self, name: &str) -> Option<&Serves> {
        let name: InstanceName = name.parse().ok()?;
        self.pools.get(name.pool())
    }

    /// Whether there is anything to be done for an agent.
    pub(crate) fn is_waiting(&self, agent: &Agent) -> bool {
        let marked = mark::owner(agent.owner_words()).as_ref() == Some(self.fleet);
        let joins = !marked || is_half_in(agent, self.fleet);
        let told = agent.enabled_info.is_some() && agent.authorized_info.is_some();
        // what a person took away he may have back from a person only
        let left_alone =
            convert::is_withdrawn(agent, self.fleet) || convert::is_of_another(agent, self.fleet);
        // one that a token let in keeps its place and its licence though its machine is gone: unmarked, nobody would remove it
        let there = agent.connected || agent.authorized;
        told && joins && !left_alone && there && self.home(&agent.name).is_some()
    }

    /// Whether an agent has the name of a machine of a pool that is not configured here, and no mark: nobody lets it in, and
    /// whether it is ours only its key tells.
    pub(crate) fn is_unclaimed(&self, agent: &Agent) -> bool {
        let told = agent.enabled_info.is_some() && agent.authorized_info.is_some();
        let marked =
            convert::is_marked(agent, self.fleet) || convert::is_of_another(agent, self.fleet);
        told && !marked
            && self.home(&agent.name).is_none()
            && agent.name.parse::<InstanceName>().is_ok()
    }

    /// Whether it was given the key of its name, however long ago: it is given nothing for it. A name alone proves nothing where
    /// its pool is not ours to trust.
    pub(crate) async fn has_key(&self, agent: &Agent) -> Result<bool, Failure> {
        Ok(self.key_of(agent).await? != Shown::NoKey)
    }

    /// Lets one in, or says why not.
    pub(crate) async fn admit(&self, agent: &Agent, pool: &Pool) -> Result<Admitted, Failure> {
        match self.shown(agent).await? {
            Shown::Key => {}
            // somebody let it in already, so that a mark gives it nothing
            Shown::OldKey if agent.authorized => {}
            Shown::OldKey => return Ok(Admitted::Stranger("its key is too old")),
            Shown::NoKey => return Ok(Admitted::Stranger("it does not have the key of its name")),
        }
        let id = format!("id:{}", agent.id);
        // it was listed some time ago, and nobody may lift a cordon that came since
        let agent = &agent_of(self.client, &id, self.meter).await?;
        if !self.is_waiting(agent) {
            return Err(conflict(
                "it changed meanwhile: the next look sees what is to be done",
            ));
        }
        let in_place = agent.authorized && agent.pool_id() == Some(pool.id);
        let joining = json!({ "status": false, "comment": { "text": mark::joining(self.fleet) } });
        let half = is_half_in(agent, self.fleet);
        if !in_place && !half && agent.is_enabled() {
            self.put_whole(&id, "enabledInfo", &joining).await?;
        }
        let mark = json!({ "status": true, "comment": { "text": mark::owned(self.fleet) } });
        let answer = self.put(&id, "authorizedInfo", &mark).await?;
        if !answer.is_good() {
            let words = self.words(&answer);
            return Ok(Admitted::Refused(words));
        }
        if !in_place {
            let answer = self.put(&id, "pool", &json!({ "id": pool.id })).await?;
            if !answer.is_good() {
                let words = self.words(&answer);
                return Ok(Admitted::Refused(words));
            }
        }
        let now = agent_of(self.client, &id, self.meter).await?;
        if now.pool_id() != Some(pool.id) || !now.authorized {
            return Ok(Admitted::Refused(
                "it did as asked, and the agent is elsewhere".to_owned(),
            ));
        }
        if now.is_enabled() || now.enabled_words() != mark::joining(self.fleet) {
            // a cordon, ours or a person's, stays
            return Ok(Admitted::Yes(Box::new(now)));
        }
        let welcome = json!({ "status": true, "comment": { "text": mark::owned(self.fleet) } });
        self.put_whole(&id, "enabledInfo", &welcome).await?;
        let now = agent_of(self.client, &id, self.meter).await?;
        Ok(Admitted::Yes(Box::new(now)))
    }

    /// Whether the agent was given the key of its name, and not only the name.
    async fn shown(&self, agent: &Agent) -> Result<Shown, Failure> {
        if self.trusts_names {
            return Ok(Shown::Key);
        }
        self.key_of(agent).await
    }

    /// What the agent says of the key of its name.
    async fn key_of(&self, agent: &Agent) -> Result<Shown, Failure> {
        let id = format!("id:{}", agent.id);
        let fields = [("fields", "id,properties(property(name,value))")];
        let answer = self
            .client
            .get(&["agents", &id], &fields, self.meter)
            .await?;
        let body = answer.json()?;
        // an agent always says something of itself; hidden or cut short is no proof of having no key
        let said = body["properties"]["property"].as_array().ok_or_else(|| {
            Failure::bad_answer(format!("{} answered no parameters", answer.endpoint))
        })?;
        let mut said = said.iter();
        let key = said.find(|property| property["name"] == mark::JOIN_PARAMETER);
        let key = key.and_then(|property| property["value"].as_str());
        Ok(key.map_or(Shown::NoKey, |key| {
            mark::shown_key(key, self.token, self.fleet, &agent.name, self.now)
        }))
    }

    async fn put(&self, id: &str, field: &str, body: &Value) -> Result<Answer, Failure> {
        let path = ["agents", id, field];
        self.client
            .write(Method::PUT, &path, Some(body), self.meter)
            .await
    }

    async fn put_whole(&self, id: &str, field: &str, body: &Value) -> Result<(), Failure> {
        let answer = self.put(id, field, body).await?;
        if answer.is_good() {
            return Ok(());
        }
        Err(self.client.refusal(&answer))
    }

    /// Why the server refuses: its own sentence, or what the status means.
    fn words(&self, answer: &Answer) -> String {
        let said = self.client.said(answer);
        said.unwrap_or_else(|| answer.failure().message)
    }

    /// Whether an agent is ours by its marks, or by its name and key.
    pub(crate) async fn is_ours(&self, agent: &Agent) -> Result<bool, Failure> {
        if convert::is_marked(agent, self.fleet) {
            return Ok(true);
        }
        if self.is_unclaimed(agent) {
            return self.has_key(agent).await;
        }
        // where names are trusted both fleets could take it for theirs
        if self.home(&agent.name).is_none() || convert::is_of_another(agent, self.fleet) {
            return Ok(false);
        }
        // to touch what came up under a name of ours asks for no fresh key: it is given nothing
        Ok(self.shown(agent).await? != Shown::NoKey)
    }
}

/// Whether an agent was disabled so that it can be let in, and is not in yet.
fn is_half_in(agent: &Agent, fleet: &FleetId) -> bool {
    !agent.is_enabled() && agent.enabled_words() == mark::joining(fleet)
}

/// One agent, by a locator that names one.
pub(crate) async fn agent_of(
    client: &Client,
    locator: &str,
    meter: &Meter,
) -> Result<Agent, Failure> {
    let fields = [("fields", AGENT)];
    let answer = client.get(&["agents", locator], &fields, meter).await?;
    let row = answer.json()?;
    Agent::deserialize(row)
        .map_err(|_| Failure::bad_answer(format!("{} answered no whole agent", answer.endpoint)))
}

/// The locator of an agent by its name.
pub(crate) fn by_name(name: &str) -> String {
    format!("name:{}", value(name))
}
