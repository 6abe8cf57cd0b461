//! The control verbs of a runner: one runner per machine, so that a pause drains exactly one.
//!
//! Only runners that carry this fleet's mark are touched. Nothing here decides that a machine may go:
//! [`read`](ExecutorControl::read) says what is certain, and everything else is unknown, which counts
//! as busy.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use model::{
    Cordon, EmitterName, Epoch, ExecutorId, FleetId, InstanceName, PoolName, Reading, Work,
};
use ports::{
    Credential, EmitterError, EmitterErrorKind, ExecutorControl, Found, Register, Registration,
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use web::Method;

use crate::client::{Client, Meter, next_query, refuses};
use crate::config::{Reach, Serves};
use crate::error::Failure;
use crate::mark;
use crate::rights::{Wanted, explained};
use crate::scan::encoded;

/// Pages of one runner's jobs that are read. The first with a row decides, so this many empty pages
/// with another one behind them are a server that cannot be believed.
const MOST_PAGES: usize = 10;

/// Controls the runners of one fleet at one GitLab.
pub(crate) struct GitLabControl {
    pub(crate) name: EmitterName,
    pub(crate) fleet: FleetId,
    /// With the token that may manage.
    pub(crate) client: Client,
    /// With the token that may read, for the number of the project.
    pub(crate) reader: Client,
    pub(crate) url: String,
    pub(crate) reach: Reach,
    pub(crate) pools: BTreeMap<PoolName, Vec<Serves>>,
    /// A project keeps its number for life, through every move.
    pub(crate) owner_id: OnceCell<u64>,
    /// False once the server has refused the word, which came in 17.0.
    pub(crate) knows_canceling: AtomicBool,
}

/// What `GET /runners/:id` says of a runner of ours.
struct Details {
    paused: bool,
    note: String,
    /// `active` or `idle`, from servers that say so.
    execution: Option<String>,
}

#[async_trait]
impl ExecutorControl for GitLabControl {
    async fn register(&self, request: &Register) -> Result<Registration, EmitterError> {
        let done = self.create(request).await;
        self.told(done, "register a runner").await
    }

    async fn cordon(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), EmitterError> {
        let done = self.pause(executor, epoch).await;
        self.told(done, "pause a runner").await
    }

    async fn uncordon(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), EmitterError> {
        let done = self.resume(executor, epoch).await;
        self.told(done, "let a runner take jobs again").await
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
                Err(failure.into_error(&self.name, "read a runner"))
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
            .map_err(|failure| failure.into_error(&self.name, "look for a runner"))
    }

    async fn remove(&self, executor: &ExecutorId) -> Result<(), EmitterError> {
        let done = self.delete(executor).await;
        self.told(done, "remove a runner").await
    }
}

impl GitLabControl {
    /// A refusal says what the token lacks.
    async fn told<T>(
        &self,
        done: Result<T, Failure>,
        operation: &'static str,
    ) -> Result<T, EmitterError> {
        match done {
            Ok(done) => Ok(done),
            Err(failure) => {
                let wanted = Wanted::to_manage(&self.reach);
                let failure = explained(&self.client, wanted, failure).await;
                Err(failure.into_error(&self.name, operation))
            }
        }
    }

    async fn create(&self, request: &Register) -> Result<Registration, Failure> {
        let pool = request.instance.pool();
        let entries = self.pools.get(pool).filter(|entries| !entries.is_empty());
        let entries = entries.ok_or_else(|| {
            Failure::new(
                EmitterErrorKind::Config,
                format!("pool {pool} has no `serves` here"),
            )
        })?;
        let mut body = runner_of(entries, &self.fleet);
        body["description"] = json!(request.instance.to_string());
        match &self.reach {
            Reach::Instance => body["runner_type"] = json!("instance_type"),
            Reach::Groups(paths) => {
                body["runner_type"] = json!("group_type");
                body["group_id"] = json!(self.owner_id("groups", paths).await?);
            }
            Reach::Projects(paths) => {
                body["runner_type"] = json!("project_type");
                body["project_id"] = json!(self.owner_id("projects", paths).await?);
                // no other project may be given this machine behind our back
                body["locked"] = json!(true);
            }
        }
        let answer = self
            .client
            .write(Method::POST, "/user/runners", Some(&body))
            .await?;
        let made = answer.json()?;
        let (Some(id), Some(token)) = (made["id"].as_u64(), made["token"].as_str()) else {
            return Err(Failure::bad_answer(format!(
                "{} gave no id and token",
                answer.endpoint
            )));
        };
        let credentials = [
            ("url", Credential::Plain(self.url.clone())),
            ("name", Credential::Plain(request.instance.to_string())),
            ("token", Credential::Secret(token.into())),
        ];
        Ok(Registration {
            executor: ExecutorId::new(id.to_string()),
            credentials: credentials
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
        })
    }

    /// The number of the one project or group that owns the runners.
    async fn owner_id(&self, kind: &str, paths: &[String]) -> Result<u64, Failure> {
        let [path] = paths else {
            let words = format!(
                "a runner can be made for one of `{kind}` or for the instance, not for several {kind}"
            );
            return Err(Failure::new(EmitterErrorKind::Config, words));
        };
        let asked = || async {
            let place = format!("/{kind}/{}", encoded(path));
            let owner = self
                .reader
                .get(&place, "", &Meter::default())
                .await?
                .json()?;
            let id = owner["id"].as_u64();
            id.ok_or_else(|| Failure::bad_answer(format!("GET {place} gave no id")))
        };
        self.owner_id.get_or_try_init(asked).await.copied()
    }

    async fn pause(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), Failure> {
        let seen = self.details(executor).await?;
        match mark::cordon(seen.paused, &seen.note, &self.fleet) {
            // an older epoch's mark stays: with ours on it we could lift what is one-way
            Cordon::Ours { .. } => return Ok(()),
            Cordon::Foreign => {
                return Err(conflict(
                    executor,
                    "was paused by somebody else: his pause is left alone",
                ));
            }
            Cordon::None => {}
        }
        let note = mark::cordoned(&seen.note, &self.fleet, epoch);
        self.update(
            executor,
            &json!({ "paused": true, "maintenance_note": note }),
        )
        .await
    }

    async fn resume(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), Failure> {
        let seen = self.details(executor).await?;
        match mark::cordon(seen.paused, &seen.note, &self.fleet) {
            Cordon::None => Ok(()),
            Cordon::Ours { epoch: marked } if marked == epoch => {
                let note = mark::uncordoned(&seen.note);
                self.update(
                    executor,
                    &json!({ "paused": false, "maintenance_note": note }),
                )
                .await
            }
            Cordon::Ours { .. } => Err(conflict(
                executor,
                "was paused in another epoch, and that is one-way",
            )),
            Cordon::Foreign => Err(conflict(executor, "was paused by somebody else")),
        }
    }

    async fn update(&self, executor: &ExecutorId, body: &Value) -> Result<(), Failure> {
        let place = format!("/runners/{}", number(executor)?);
        let answer = self.client.write(Method::PUT, &place, Some(body)).await?;
        let after = answer.json()?;
        // 200 is not enough: the answer shows the runner as it is now
        if after["paused"] == body["paused"] {
            return Ok(());
        }
        Err(Failure::bad_answer(format!(
            "{} answered a runner that is not changed",
            answer.endpoint
        )))
    }

    /// The strong read. The order is part of it: the pause first, so that a job handed out before it
    /// is in the lists that follow; then the states in the order a job passes them, so that one which
    /// moves on between two lists is seen in the first or in the second, never in neither.
    ///
    /// A job is *pending on a runner* while it waits for the runner to accept it (two-phase commit,
    /// 18.x); such a promise is renewed for as long as the runner prepares, and is in no other list.
    async fn certain(&self, executor: &ExecutorId) -> Result<Reading, Failure> {
        // in the order in which a job goes, so that one which moves meanwhile is seen
        let promised = self.held(executor, "pending").await?;
        let running = self.held(executor, "running").await?;
        let canceling = self.held(executor, "canceling").await?;
        // and the pause last: a runner that somebody let free while its jobs were asked for may have got one since
        let seen = self.details(executor).await?;
        let cordon = mark::cordon(seen.paused, &seen.note, &self.fleet);
        let count = promised.saturating_add(running).saturating_add(canceling);
        let work = match (count, seen.execution.as_deref()) {
            (0, Some("idle") | None) => Work::None,
            (0, Some(word)) => Work::Unknown {
                why: format!(
                    "GitLab calls runner {executor} {} and shows none of its jobs: the job has just \
                     ended, or the token may not see it",
                    if word == "active" {
                        "active"
                    } else {
                        "neither idle nor active"
                    }
                ),
            },
            (count, _) => Work::Jobs { count },
        };
        Ok(Reading { cordon, work })
    }

    /// At least how many jobs in this state a runner holds: the first page that has any decides.
    async fn held(&self, executor: &ExecutorId, status: &str) -> Result<u32, Failure> {
        let canceling = status == "canceling";
        if canceling && !self.knows_canceling.load(Ordering::Relaxed) {
            return Ok(0);
        }
        let place = format!("/runners/{}/jobs", number(executor)?);
        let mut query = format!("status={status}&per_page=100&order_by=id&sort=desc");
        for _ in 0..MOST_PAGES {
            let answer = self.client.get(&place, &query, &Meter::default()).await?;
            if canceling && refuses(&answer, "status") {
                // a server from before 17.0: a cancelled job leaves its runner at once
                self.knows_canceling.store(false, Ordering::Relaxed);
                return Ok(0);
            }
            let body = answer.json()?;
            let rows = body.as_array().ok_or_else(|| {
                Failure::bad_answer(format!("{} answered no list of jobs", answer.endpoint))
            })?;
            match (rows.len(), next_query(&answer)) {
                (0, None) => return Ok(0),
                (0, Some(next)) => query = next,
                (count, _) => return Ok(u32::try_from(count).unwrap_or(u32::MAX)),
            }
        }
        Err(Failure::bad_answer(format!(
            "GET {place} gave page after page without a row"
        )))
    }

    async fn delete(&self, executor: &ExecutorId) -> Result<(), Failure> {
        match self.details(executor).await {
            Ok(_) => {}
            Err(failure) if failure.kind == EmitterErrorKind::NotFound => return Ok(()),
            Err(failure) => return Err(failure),
        }
        // GitLab itself removes a runner in the middle of its job, which is then failed
        match self.certain(executor).await?.work {
            Work::None => {}
            Work::Jobs { .. } => {
                return Err(conflict(executor, "holds a job, which is left to finish"));
            }
            Work::Unknown { why } => {
                return Err(conflict(executor, &format!("may hold a job: {why}")));
            }
        }
        let place = format!("/runners/{}", number(executor)?);
        let answer = self.client.write(Method::DELETE, &place, None).await?;
        match answer.status {
            204 | 404 => Ok(()),
            _ => Err(answer.failure()),
        }
    }

    /// The runner, if it carries our fleet's mark.
    async fn details(&self, executor: &ExecutorId) -> Result<Details, Failure> {
        let place = format!("/runners/{}", number(executor)?);
        let answer = self.client.get(&place, "", &Meter::default()).await?;
        let row = answer.json()?;
        let tags = row["tag_list"].as_array();
        let paused = row["paused"].as_bool();
        let (Some(tags), Some(paused)) = (tags, paused) else {
            return Err(Failure::bad_answer(format!(
                "{} answered no whole runner",
                answer.endpoint
            )));
        };
        let tag = mark::fleet_tag(&self.fleet);
        if !tags.iter().any(|found| found.as_str() == Some(&tag)) {
            return Err(conflict(
                executor,
                &format!("does not carry the tag `{tag}`: it is not ours"),
            ));
        }
        Ok(Details {
            paused,
            note: row["maintenance_note"].as_str().unwrap_or("").to_owned(),
            execution: row["job_execution_status"].as_str().map(str::to_owned),
        })
    }
}

fn conflict(executor: &ExecutorId, words: &str) -> Failure {
    Failure::new(
        EmitterErrorKind::Conflict,
        format!("runner {executor} {words}"),
    )
}

/// The id as a number, so that nothing else ever becomes part of a path.
pub(crate) fn number(executor: &ExecutorId) -> Result<u64, Failure> {
    executor.as_str().parse().map_err(|_| {
        let words = format!("`{executor}` is not the id of a runner");
        Failure::new(EmitterErrorKind::NotFound, words)
    })
}

/// The runner of a pool's machine: one runner has one set of tags, so all entries are joined.
fn runner_of(entries: &[Serves], fleet: &FleetId) -> Value {
    let mut tags: Vec<String> = entries
        .iter()
        .flat_map(|entry| entry.tags.clone())
        .collect();
    tags.push(mark::fleet_tag(fleet));
    tags.sort();
    tags.dedup();
    let protected = entries.iter().all(|entry| entry.protected);
    json!({
        "tag_list": tags,
        "run_untagged": entries.iter().any(|entry| entry.run_untagged),
        "access_level": if protected { "ref_protected" } else { "not_protected" },
        "paused": false,
    })
}
