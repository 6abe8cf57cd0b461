//! The control verbs of a node: one node per machine, and its name is the machine's name, which is never used again.
//!
//! Only nodes that carry this fleet's mark are touched. A cordon is the offline cause, *set* (setting it twice is setting it
//! once); the toggle, which Jenkins offers too, is used only to lift our own cordon and after a look. Every write is
//! followed by a look, because Jenkins answers a form with a redirect, and so does a login page.

use std::collections::BTreeMap;

use async_trait::async_trait;
use model::{
    Cordon, EmitterName, Epoch, ExecutorId, FleetId, InstanceName, PoolName, Reading, Work,
};
use ports::{
    Contact, Credential, EmitterError, EmitterErrorKind, ExecutorControl, Found, Register,
    Registration,
};
use serde::Deserialize as _;

use crate::client::{Client, Meter, session};
use crate::config::{Manage, Serves, labels};
use crate::convert;
use crate::error::Failure;
use crate::mark;
use crate::nodes::{NewNode, secret};
use crate::why::{self, Why};
use crate::wire::{
    self, COMPUTER, Computer, Item, MOST_COMPUTERS, MOST_ITEMS, MOST_NAMES, Named, Task,
};

/// Controls the nodes of one fleet at one controller.
pub(crate) struct JenkinsControl {
    pub(crate) name: EmitterName,
    pub(crate) fleet: FleetId,
    pub(crate) client: Client,
    pub(crate) url: String,
    pub(crate) manage: Manage,
    pub(crate) pools: BTreeMap<PoolName, Vec<Serves>>,
}

#[async_trait]
impl ExecutorControl for JenkinsControl {
    async fn register(&self, request: &Register) -> Result<Registration, EmitterError> {
        self.create(request)
            .await
            .map_err(|failure| failure.into_error(&self.name, "make a node"))
    }

    async fn cordon(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), EmitterError> {
        self.take_offline(executor, epoch)
            .await
            .map_err(|failure| failure.into_error(&self.name, "take a node offline"))
    }

    async fn uncordon(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), EmitterError> {
        self.bring_back(executor, epoch)
            .await
            .map_err(|failure| failure.into_error(&self.name, "bring a node back online"))
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
                Err(failure.into_error(&self.name, "read a node"))
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
        let named = || ExecutorId::new(instance.to_string());
        self.seek(known.cloned().unwrap_or_else(named))
            .await
            .map_err(|failure| failure.into_error(&self.name, "look for a node"))
    }

    async fn remove(&self, executor: &ExecutorId) -> Result<(), EmitterError> {
        self.delete(executor)
            .await
            .map_err(|failure| failure.into_error(&self.name, "remove a node"))
    }
}

impl JenkinsControl {
    async fn create(&self, request: &Register) -> Result<Registration, Failure> {
        let pool = request.instance.pool();
        let entries = self.pools.get(pool).filter(|entries| !entries.is_empty());
        let entries = entries.ok_or_else(|| {
            let words = format!("pool {pool} has no `serves` here");
            Failure::new(EmitterErrorKind::Config, words)
        })?;
        let name = request.instance.to_string();
        let session = self.session().await?;
        let node = NewNode {
            name: &name,
            description: &mark::description(&self.fleet, session.as_deref()),
            labels: &labels(entries).join(" "),
            executors: entries[0].executors,
            work_dir: &self.manage.work_dir,
        };
        let made = self
            .client
            .post(&["computer", "doCreateItem"], &[], &node.form())
            .await?;
        // 400 is what a taken name is answered with: by an earlier try of ours, or by somebody else
        if !matches!(made.status, 200..=400) {
            return Err(made.failure());
        }
        let executor = ExecutorId::new(&*name);
        let there = match self.node(&executor).await {
            Err(failure) if failure.kind == EmitterErrorKind::NotFound => {
                return Err(Failure::bad_answer(format!(
                    "{} answered {} and made no node",
                    made.endpoint, made.status
                )));
            }
            there => there?,
        };
        let owner = mark::owner(there.description.as_deref().unwrap_or(""));
        if !convert::has_never_joined(&there, session.as_deref(), owner.as_ref())
            && session.is_some()
        {
            // the secret is made of the name: whoever had the name could come back under it
            return Err(conflict(&executor, "has been joined by a machine already"));
        }
        let credentials = [
            ("url", Credential::Plain(self.url.clone())),
            ("name", Credential::Plain(name.clone())),
            ("work_dir", Credential::Plain(self.manage.work_dir.clone())),
            (
                "secret",
                Credential::Secret(self.secret(&name).await?.into()),
            ),
        ];
        Ok(Registration {
            executor,
            credentials: credentials
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
        })
    }

    /// The controller's session, which goes into the mark of a node.
    async fn session(&self) -> Result<Option<String>, Failure> {
        let answer = self
            .client
            .get(&["api", "json"], "quietingDown", &Meter::default())
            .await?;
        answer.json()?;
        Ok(session(&answer))
    }

    async fn secret(&self, name: &str) -> Result<String, Failure> {
        let meter = Meter::default();
        let path = ["computer", name, "jenkins-agent.jnlp"];
        let mut answer = self.client.get(&path, "", &meter).await?;
        if answer.status == 404 {
            // its name before 2.289
            let path = ["computer", name, "slave-agent.jnlp"];
            answer = self.client.get(&path, "", &meter).await?;
        }
        secret(answer.text()?, name)
    }

    async fn take_offline(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), Failure> {
        let seen = self.node(executor).await?;
        match convert::cordon(&seen, &self.fleet) {
            // an older epoch's mark stays: with ours on it we could lift what is one-way
            Cordon::Ours { .. } => return Ok(()),
            Cordon::Foreign => {
                return Err(conflict(
                    executor,
                    "was taken offline by somebody else: that is left alone",
                ));
            }
            Cordon::None => {}
        }
        let message = mark::cordon_message(&self.fleet, epoch);
        let path = ["computer", executor.as_str(), "changeOfflineCause"];
        let query = [("offlineMessage", message.as_str())];
        let answer = self.client.post(&path, &query, &[]).await?;
        if !matches!(answer.status, 200..=399) {
            return Err(answer.failure());
        }
        self.expect(executor, Cordon::Ours { epoch }).await
    }

    async fn bring_back(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), Failure> {
        let seen = self.node(executor).await?;
        match convert::cordon(&seen, &self.fleet) {
            Cordon::None => return Ok(()),
            Cordon::Ours { epoch: marked } if marked == epoch => {}
            Cordon::Ours { .. } => {
                return Err(conflict(
                    executor,
                    "was cordoned in another epoch, and that is one-way",
                ));
            }
            Cordon::Foreign => {
                return Err(conflict(executor, "was taken offline by somebody else"));
            }
        }
        let path = ["computer", executor.as_str(), "toggleOffline"];
        let answer = self.client.post(&path, &[], &[]).await?;
        if !matches!(answer.status, 200..=399) {
            return Err(answer.failure());
        }
        self.expect(executor, Cordon::None).await
    }

    /// A write has been carried out only if a look shows it.
    async fn expect(&self, executor: &ExecutorId, cordon: Cordon) -> Result<(), Failure> {
        let found = convert::cordon(&self.node(executor).await?, &self.fleet);
        if found == cordon {
            return Ok(());
        }
        Err(Failure::bad_answer(format!(
            "node {executor} is not changed by what Jenkins said it had done"
        )))
    }

    /// The strong read. The queue first: a pipeline that lost its node in a restart of the controller waits there for this
    /// very node by name, with its shell command still running on the machine, while the node reads idle.
    async fn certain(&self, executor: &ExecutorId) -> Result<Reading, Failure> {
        let awaited = self.is_awaited(executor).await?;
        let seen = self.node(executor).await?;
        let cordon = convert::cordon(&seen, &self.fleet);
        let count = u32::try_from(seen.held()).unwrap_or(u32::MAX);
        let unknown = |why: &str| Work::Unknown {
            why: format!("node {executor} {why}"),
        };
        let work = match count {
            0 if seen.num_executors == 0 => unknown("has no executors: it is being removed"),
            0 if !seen.idle => unknown("is not idle, and shows no build"),
            0 if awaited => unknown(
                "is what a pipeline waits for by name: it may be the one that ran there before Jenkins was restarted",
            ),
            0 => Work::None,
            count => Work::Jobs { count },
        };
        Ok(Reading { cordon, work })
    }

    async fn is_awaited(&self, executor: &ExecutorId) -> Result<bool, Failure> {
        let tree = wire::queue_tree();
        let path = ["queue", "api", "json"];
        let answer = self.client.get(&path, &tree, &Meter::default()).await?;
        let rows = wire::rows::<Item>(&mut answer.json()?, "items");
        let Some((items, 0)) = rows else {
            let words = format!("{} answered no whole list of items", answer.endpoint);
            return Err(Failure::bad_answer(words));
        };
        if items.len() >= MOST_ITEMS {
            // the one that waits for this node may be among those that were not asked for
            let words = format!("the queue has more than {MOST_ITEMS} items");
            return Err(Failure::new(EmitterErrorKind::TooLarge, words));
        }
        let names_it = |item: &Item| {
            let words = item.why.as_deref().unwrap_or("");
            item.task.as_ref().is_some_and(Task::is_step)
                && match why::read(words) {
                    Why::Nodes(names) => names.iter().any(|name| name == executor.as_str()),
                    Why::NodeOrLabel(name) => name == executor.as_str(),
                    _ => false,
                }
        };
        Ok(items.iter().any(names_it))
    }

    async fn delete(&self, executor: &ExecutorId) -> Result<(), Failure> {
        let seen = match self.node(executor).await {
            Ok(seen) => seen,
            Err(failure) => return self.gone(executor, failure).await,
        };
        if seen.is_connected() && (!seen.idle || seen.held() > 0) {
            // deleting it would end its builds at once; a machine that is gone loses its connection by itself
            return Err(conflict(executor, "is connected and not idle"));
        }
        let path = ["computer", executor.as_str(), "doDelete"];
        let answer = self.client.post(&path, &[], &[]).await?;
        if !matches!(answer.status, 200..=399 | 404 | 500) {
            return Err(answer.failure());
        }
        match self.node(executor).await {
            Ok(_) => Err(Failure::bad_answer(format!(
                "{} answered {}, and the node is still there",
                answer.endpoint, answer.status
            ))),
            Err(failure) => self.gone(executor, failure).await,
        }
    }

    /// "Gone" is not only 404: what is left of a busy node answers 500 for a while. The list decides, in which it is a
    /// ghost or missing.
    async fn gone(&self, executor: &ExecutorId, failure: Failure) -> Result<(), Failure> {
        match failure.kind {
            EmitterErrorKind::NotFound => return Ok(()),
            EmitterErrorKind::Unavailable => {}
            _ => return Err(failure),
        }
        let tree = wire::computers_tree();
        let path = ["computer", "api", "json"];
        let answer = self.client.get(&path, &tree, &Meter::default()).await?;
        let rows = wire::rows::<Computer>(&mut answer.json()?, "computer");
        let still = |node: &Computer| node.display_name == executor.as_str() && !node.is_ghost();
        match rows {
            Some((nodes, 0)) if nodes.len() < MOST_COMPUTERS && !nodes.iter().any(still) => Ok(()),
            _ => Err(failure),
        }
    }

    /// Whether there is a node of this name, whoever made it. A 404 alone may be a proxy's: the list decides, in which the
    /// controller itself always stands.
    async fn seek(&self, executor: ExecutorId) -> Result<Found, Failure> {
        let asked = self.any_node(&executor).await;
        let contact = match asked {
            Ok(node) if node.is_connected() => Contact::Live,
            Ok(_) => Contact::Away,
            Err(failure) if failure.kind == EmitterErrorKind::NotFound => {
                return self.is_nowhere(&executor).await;
            }
            Err(failure) => return Err(failure),
        };
        Ok(Found::There { executor, contact })
    }

    async fn is_nowhere(&self, executor: &ExecutorId) -> Result<Found, Failure> {
        let path = ["computer", "api", "json"];
        let tree = wire::names_tree();
        let answer = self.client.get(&path, &tree, &Meter::default()).await?;
        let rows = wire::rows::<Named>(&mut answer.json()?, "computer");
        match rows {
            Some((names, 0)) if (1..MOST_NAMES).contains(&names.len()) => {
                let listed = names.iter().any(|name| name.is(executor.as_str()));
                // it came up between the two
                Ok(match listed {
                    true => Found::There {
                        executor: executor.clone(),
                        contact: Contact::Untold,
                    },
                    false => Found::Absent,
                })
            }
            _ => Err(Failure::bad_answer(format!(
                "{} answered no whole list of nodes",
                answer.endpoint
            ))),
        }
    }

    /// The node, if it carries our fleet's mark.
    async fn node(&self, executor: &ExecutorId) -> Result<Computer, Failure> {
        let node = self.any_node(executor).await?;
        if !convert::is_ours(&node, &self.fleet) {
            return Err(conflict(
                executor,
                "does not carry this fleet's mark: it is not ours",
            ));
        }
        Ok(node)
    }

    async fn any_node(&self, executor: &ExecutorId) -> Result<Computer, Failure> {
        let path = ["computer", executor.as_str(), "api", "json"];
        let answer = self.client.get(&path, COMPUTER, &Meter::default()).await?;
        let node = Computer::deserialize(answer.json()?).map_err(|_| {
            Failure::bad_answer(format!("{} answered no whole computer", answer.endpoint))
        })?;
        if node.display_name != executor.as_str() {
            let words = format!("{} answered another node", answer.endpoint);
            return Err(Failure::bad_answer(words));
        }
        Ok(node)
    }
}

fn conflict(executor: &ExecutorId, words: &str) -> Failure {
    Failure::new(
        EmitterErrorKind::Conflict,
        format!("node {executor} {words}"),
    )
}
