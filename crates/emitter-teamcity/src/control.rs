//! The control verbs of an agent: one agent per machine, and its name is the machine's name, which is never used again.
//!
//! Only agents that are ours are touched: by the mark in their authorisation, or by their name with its join key. A cordon is
//! `enabledInfo` with our words and an end, so that nobody's agents stay disabled for ever when Parmanu is gone. Every
//! change is followed by a look.
//!
//! **Certain idle** is: disabled with our mark for some time to come; no build on the agent, which TeamCity shows even when
//! the build itself may not be seen; since when it is idle, which is told only when it is; the details of agents visible at
//! all; and no build in the queue for which a person chose this very agent, since that one starts though the agent is
//! disabled. The queue is read before the agent, so that a build which moves on is seen in one of them. An agent that is not
//! connected may be one that lost its server, or whose server was restarted, in the middle of a build; no source says that
//! its build is shown then. So it is idle only if the list of builds that run names none on it either. The same goes for one
//! that nobody has let in: TeamCity gives it no build, and need not say since when.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use model::{
    Cordon, EmitterName, Epoch, ExecutorId, FleetId, InstanceName, PoolName, Reading, Work,
};
use ports::{
    Clock, Contact, Credential, EmitterError, EmitterErrorKind, ExecutorControl, Found, Register,
    Registration,
};
use serde_json::{Value, json};
use web::Method;

use crate::admit::{Door, agent_of, by_name};
use crate::client::{Client, Meter};
use crate::config::{CORDON_MARGIN, Manage, Serves};
use crate::convert;
use crate::error::{Failure, conflict};
use crate::mark;
use crate::walk::List;
use crate::wire::{self, Agent, AgentId, Pool};

/// How long a one-time token is good. A machine that joins later is authorised by hand of probot, as without tokens. The
/// server makes such tokens and takes none back (REST API 2025.07 has no other verb for them), so that of a machine which
/// goes before it joined is good until then: longer, and it would be so for longer.
const TOKEN_SECONDS: u32 = 900;

/// Controls the agents of one fleet at one server.
pub(crate) struct TeamCityControl {
    pub(crate) name: EmitterName,
    pub(crate) fleet: FleetId,
    pub(crate) client: Client,
    pub(crate) url: String,
    pub(crate) manage: Manage,
    pub(crate) pools: BTreeMap<PoolName, Serves>,
    pub(crate) clock: Arc<dyn Clock>,
}

#[async_trait]
impl ExecutorControl for TeamCityControl {
    async fn register(&self, request: &Register) -> Result<Registration, EmitterError> {
        self.prepare(request)
            .await
            .map_err(|failure| failure.into_error(&self.name, "prepare an agent"))
    }

    async fn cordon(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), EmitterError> {
        self.disable(executor, epoch)
            .await
            .map_err(|failure| failure.into_error(&self.name, "disable an agent"))
    }

    async fn uncordon(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), EmitterError> {
        self.enable(executor, epoch)
            .await
            .map_err(|failure| failure.into_error(&self.name, "enable an agent"))
    }

    async fn read(&self, executor: &ExecutorId) -> Result<Reading, EmitterError> {
        use EmitterErrorKind as Kind;
        match self.certain(executor).await {
            Ok(reading) => Ok(reading),
            // an operator or a pause of ours mends these; the caller has to know which
            Err(failure)
                if matches!(
                    failure.kind,
                    Kind::RateLimited { .. } | Kind::Unauthorized | Kind::Config
                ) =>
            {
                Err(failure.into_error(&self.name, "read an agent"))
            }
            Err(failure) => Ok(Reading {
                cordon: Cordon::None,
                work: Work::Unknown {
                    why: failure.message,
                },
            }),
        }
    }

    async fn find(
        &self,
        instance: &InstanceName,
        known: Option<&ExecutorId>,
    ) -> Result<Found, EmitterError> {
        self.seek(instance, known)
            .await
            .map_err(|failure| failure.into_error(&self.name, "look for an agent"))
    }

    async fn remove(&self, executor: &ExecutorId) -> Result<(), EmitterError> {
        self.delete(executor)
            .await
            .map_err(|failure| failure.into_error(&self.name, "remove an agent"))
    }
}

impl TeamCityControl {
    /// Nothing is made at the server: an agent registers by itself. What the machine needs is its name, the key of that
    /// name, and a one-time token where the server makes them.
    async fn prepare(&self, request: &Register) -> Result<Registration, Failure> {
        let pool = request.instance.pool();
        let serves = self.pools.get(pool).ok_or_else(|| {
            let words = format!("pool {pool} has no `serves` here");
            Failure::new(EmitterErrorKind::Config, words)
        })?;
        let name = request.instance.to_string();
        match agent_of(&self.client, &by_name(&name), &Meter::default()).await {
            Err(failure) if failure.kind == EmitterErrorKind::NotFound => {}
            Err(failure) => return Err(failure),
            Ok(_) => {
                let words =
                    format!("agent {name} is known already: a machine has joined under this name");
                return Err(conflict(words));
            }
        }
        let token = self.one_time_token(serves).await?.unwrap_or_default();
        let key = mark::join_key(&self.client.token()?, &self.fleet, &name, self.clock.now());
        let credentials = [
            ("url", Credential::Plain(self.url.clone())),
            ("name", Credential::Plain(name.clone())),
            ("join", Credential::Secret(key.into())),
            ("token", Credential::Secret(token.into())),
        ];
        Ok(Registration {
            executor: ExecutorId::new(name),
            credentials: credentials
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
        })
    }

    /// A token with which the agent is authorised as it registers; `None` from a server that makes none, or not for us.
    async fn one_time_token(&self, serves: &Serves) -> Result<Option<String>, Failure> {
        let pool = self.agent_pool(serves).await?;
        let place = format!("id:{}", pool.id);
        let path = ["agentPools", place.as_str(), "authorizationTokens"];
        let body = json!({ "count": 1, "timeToLiveSeconds": TOKEN_SECONDS });
        let meter = Meter::default();
        let answer = self
            .client
            .write(Method::POST, &path, Some(&body), &meter)
            .await?;
        if matches!(answer.status, 400 | 403 | 404 | 405 | 406) {
            return Ok(None);
        }
        let body = answer.json()?;
        let token = body["item"][0].as_str().filter(|token| is_word(token));
        token
            .map(|token| Some(token.to_owned()))
            .ok_or_else(|| Failure::bad_answer(format!("{} answered no token", answer.endpoint)))
    }

    async fn agent_pool(&self, serves: &Serves) -> Result<Pool, Failure> {
        let mut seen = model::Completeness::Complete;
        let pools = List {
            path: &["agentPools"],
            locator: "",
            fields: wire::POOLS,
            key: "agentPool",
            what: "agent pools",
        };
        let meter = Meter::default();
        let found: Vec<Pool> = pools.walk(&self.client, &mut seen, &meter).await?;
        let mut found = found.into_iter();
        found
            .find(|pool| pool.name == serves.agent_pool)
            .ok_or_else(|| {
                Failure::new(
                    EmitterErrorKind::NotFound,
                    format!(
                        "agent pool `{}` is not there, or hidden from this token",
                        serves.agent_pool
                    ),
                )
            })
    }

    async fn disable(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), Failure> {
        let seen = self.our_agent(executor).await?;
        let mark = match convert::cordon(&seen, &self.fleet) {
            Cordon::Foreign => {
                return Err(conflict(format!(
                    "agent {executor} was disabled by somebody else: that is left alone"
                )));
            }
            // an older epoch's mark stays, and so does one that lasts; what ends soon is renewed with the first mark
            Cordon::Ours { .. } if self.lasts(&seen, self.manage.cordon_for() / 2) => return Ok(()),
            Cordon::Ours { epoch } => epoch,
            Cordon::None => epoch,
        };
        let lasting =
            SignedDuration::try_from(self.manage.cordon_for()).unwrap_or(SignedDuration::MAX);
        let until = self
            .clock
            .now()
            .checked_add(lasting)
            .unwrap_or(Timestamp::MAX);
        let body = json!({
            "status": false,
            "comment": { "text": mark::cordoned(&self.fleet, mark) },
            "statusSwitchTime": wire::time_text(until),
        });
        self.put(&seen, "enabledInfo", &body).await?;
        self.expect(&seen, Cordon::Ours { epoch: mark }).await
    }

    /// Whether a cordon goes on for at least this long. One without an end does.
    fn lasts(&self, agent: &Agent, least: std::time::Duration) -> bool {
        let info = agent.enabled_info.as_ref();
        let Some(text) = info.and_then(|info| info.status_switch_time.as_ref()) else {
            return true;
        };
        let now = self.clock.now();
        wire::time(Some(text)).is_some_and(|end| end > now && model::age(now, end) >= least)
    }

    async fn enable(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), Failure> {
        let seen = self.our_agent(executor).await?;
        match convert::cordon(&seen, &self.fleet) {
            Cordon::None => return Ok(()),
            Cordon::Ours { epoch: marked } if marked == epoch => {}
            Cordon::Ours { .. } => {
                return Err(conflict(format!(
                    "agent {executor} was cordoned in another epoch, and that is one-way"
                )));
            }
            Cordon::Foreign => {
                return Err(conflict(format!(
                    "agent {executor} was disabled by somebody else"
                )));
            }
        }
        let body = json!({ "status": true, "comment": { "text": mark::owned(&self.fleet) } });
        self.put(&seen, "enabledInfo", &body).await?;
        self.expect(&seen, Cordon::None).await
    }

    /// A change was made only if a look shows it.
    async fn expect(&self, agent: &Agent, cordon: Cordon) -> Result<(), Failure> {
        let id = format!("id:{}", agent.id);
        let now = agent_of(&self.client, &id, &Meter::default()).await?;
        if convert::cordon(&now, &self.fleet) == cordon {
            return Ok(());
        }
        Err(Failure::bad_answer(format!(
            "agent {} is not changed by what TeamCity said it had done",
            agent.name
        )))
    }

    async fn certain(&self, executor: &ExecutorId) -> Result<Reading, Failure> {
        let chosen = self.is_chosen(executor).await?;
        let seen = self.agent(executor).await?;
        // one that is away, or was never let in, is asked about from the other side: its build may go on without it being shown
        let there = seen.connected && seen.authorized;
        let runs = !there && self.is_running(executor).await?;
        let cordon = convert::cordon(&seen, &self.fleet);
        let unknown = |why: &str| Work::Unknown {
            why: format!("agent {executor} {why}"),
        };
        let work = if seen.build.is_some() || chosen || runs {
            Work::Jobs { count: 1 }
        } else if seen.enabled_info.is_none() {
            unknown("shows no details to this token, and what is hidden may be a build")
        } else if there && seen.idle_since_time.is_none() {
            unknown("does not say since when it is idle")
        } else if matches!(cordon, Cordon::Ours { .. }) && !self.lasts(&seen, CORDON_MARGIN) {
            unknown("is disabled for some minutes only: it has to be cordoned anew first")
        } else {
            Work::None
        };
        Ok(Reading { cordon, work })
    }

    /// Whether a build waits for this very agent. It would start though the agent is disabled.
    async fn is_chosen(&self, executor: &ExecutorId) -> Result<bool, Failure> {
        self.any_build("buildQueue", "", executor).await
    }

    /// Whether a build runs on this agent by the list of builds.
    async fn is_running(&self, executor: &ExecutorId) -> Result<bool, Failure> {
        let running = "running:true,defaultFilter:false,";
        self.any_build("builds", running, executor).await
    }

    async fn any_build(
        &self,
        list: &str,
        which: &str,
        executor: &ExecutorId,
    ) -> Result<bool, Failure> {
        let agent = by_name(executor.as_str());
        let locator = format!("{which}agent:({agent}),count:1");
        let query = [("locator", locator.as_str()), ("fields", "count,build(id)")];
        let meter = Meter::default();
        let answer = self.client.get(&[list], &query, &meter).await?;
        let body = answer.json()?;
        let none = body["count"] == 0;
        let rows: Option<Vec<AgentId>> = match &body["build"] {
            Value::Null if none => Some(Vec::new()),
            rows => serde_json::from_value(rows.clone()).ok(),
        };
        let rows = rows.filter(|rows| !rows.is_empty() || none);
        rows.map(|rows| !rows.is_empty()).ok_or_else(|| {
            Failure::bad_answer(format!("{} answered no list of builds", answer.endpoint))
        })
    }

    /// Whether there is an agent of this name, let in or not, connected or not. The agent pools first: whoever may not see
    /// that of the machine is answered 404 for an agent in it as well. Where the machine's pool is not configured any more, and
    /// with it the agent pool, such an answer proves nothing.
    async fn seek(
        &self,
        instance: &InstanceName,
        known: Option<&ExecutorId>,
    ) -> Result<Found, Failure> {
        let serves = self.pools.get(instance.pool());
        if let Some(serves) = serves {
            self.agent_pool(serves).await?;
        }
        let named = || ExecutorId::new(instance.to_string());
        let executor = known.cloned().unwrap_or_else(named);
        // without the defaults of the filter, which leave out an agent that nobody has let in
        let locator = format!("{},defaultFilter:false", by_name(executor.as_str()));
        let contact = match agent_of(&self.client, &locator, &Meter::default()).await {
            Ok(agent) if agent.name != executor.as_str() => {
                let words = format!("asked for agent {executor}, TeamCity answered another one");
                return Err(Failure::bad_answer(words));
            }
            Ok(agent) if agent.connected => Contact::Live,
            Ok(_) => Contact::Away,
            Err(failure) if failure.kind == EmitterErrorKind::NotFound => {
                let pool = instance.pool();
                let why = format!(
                    "TeamCity knows no agent {executor}, or it is in an agent pool that this token may not see: pool {pool} is not configured and does not name it"
                );
                return Ok(match serves {
                    Some(_) => Found::Absent,
                    None => Found::Unknown { why },
                });
            }
            Err(failure) => return Err(failure),
        };
        Ok(Found::There { executor, contact })
    }

    async fn delete(&self, executor: &ExecutorId) -> Result<(), Failure> {
        let seen = match self.our_agent(executor).await {
            Err(failure) if failure.kind == EmitterErrorKind::NotFound => return Ok(()),
            seen => seen?,
        };
        if seen.build.is_some() {
            return Err(conflict(format!("agent {executor} has a build")));
        }
        if seen.connected {
            return self.withdraw(&seen).await;
        }
        let id = format!("id:{}", seen.id);
        let path = ["agents", id.as_str()];
        let meter = Meter::default();
        let answer = self
            .client
            .write(Method::DELETE, &path, None, &meter)
            .await?;
        if !answer.is_good() && answer.status != 404 {
            return Err(self.client.refusal(&answer));
        }
        match agent_of(&self.client, &id, &meter).await {
            Err(failure) if failure.kind == EmitterErrorKind::NotFound => Ok(()),
            Err(failure) => Err(failure),
            Ok(_) => Err(Failure::bad_answer(format!(
                "{} answered {}, and the agent is still there",
                answer.endpoint, answer.status
            ))),
        }
    }

    /// TeamCity removes disconnected agents only, and notices some time after a machine is gone. Until then the licence is
    /// given back at once, if the agent is cordoned by us: then nothing can run on it.
    async fn withdraw(&self, seen: &Agent) -> Result<(), Failure> {
        let cordoned = matches!(convert::cordon(seen, &self.fleet), Cordon::Ours { .. });
        if cordoned && seen.authorized {
            let text = mark::removed(&self.fleet);
            let body = json!({ "status": false, "comment": { "text": text } });
            self.put(seen, "authorizedInfo", &body).await?;
        }
        Err(conflict(format!(
            "agent {} is still connected: TeamCity removes it once it has noticed that the machine is gone",
            seen.name
        )))
    }

    async fn put(&self, agent: &Agent, field: &str, body: &Value) -> Result<(), Failure> {
        let id = format!("id:{}", agent.id);
        let path = ["agents", id.as_str(), field];
        let meter = Meter::default();
        let answer = self
            .client
            .write(Method::PUT, &path, Some(body), &meter)
            .await?;
        if answer.is_good() {
            return Ok(());
        }
        Err(self.client.refusal(&answer))
    }

    async fn agent(&self, executor: &ExecutorId) -> Result<Agent, Failure> {
        let meter = Meter::default();
        let agent = agent_of(&self.client, &by_name(executor.as_str()), &meter).await?;
        if agent.name == executor.as_str() {
            return Ok(agent);
        }
        Err(Failure::bad_answer(format!(
            "asked for agent {executor}, TeamCity answered another one"
        )))
    }

    /// The agent, if it is ours.
    async fn our_agent(&self, executor: &ExecutorId) -> Result<Agent, Failure> {
        let agent = self.agent(executor).await?;
        let token = self.client.token()?;
        let meter = Meter::default();
        let door = Door {
            client: &self.client,
            fleet: &self.fleet,
            token: &token,
            pools: &self.pools,
            trusts_names: self.manage.trust_names,
            now: self.clock.now(),
            meter: &meter,
        };
        if door.is_ours(&agent).await? {
            return Ok(agent);
        }
        Err(conflict(format!(
            "agent {executor} does not carry this fleet's mark or key: it is not ours"
        )))
    }
}

/// It is written into a script, so nothing but a word may come through.
fn is_word(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:=+/".contains(&byte);
    (1..=512).contains(&text.len()) && text.bytes().all(plain)
}
