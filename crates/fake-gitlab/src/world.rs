//! The state of the server and the methods a test drives it with.
//!
//! No HTTP here, and no clock: every change is given its time. Nothing is ever forgotten, so that a
//! test can look at each job's whole history afterwards.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use crate::auth::{Access, Scope, Token, User};
use crate::fault::{Fault, RateLimit};

macro_rules! id {
    ($name:ident, $what:literal) => {
        #[doc = $what]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(out)
            }
        }
    };
}
id!(ProjectId, "A project's number.");
id!(JobId, "A job's number; newer jobs have higher ones.");
id!(RunnerId, "A runner's number.");

/// A group.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its number.
    pub id: u64,
    /// Its full path; slashes make it a subgroup.
    pub path: String,
}

/// A project.
#[derive(Debug, Clone)]
pub struct Project {
    /// Its number.
    pub id: ProjectId,
    /// `group/name`.
    pub path: String,
    /// Anybody signed in may read its jobs.
    pub public: bool,
    /// Protected branches; `*` stands for anything.
    pub protected_branches: Vec<String>,
    /// Protected git tags; `*` stands for anything.
    pub protected_tags: Vec<String>,
    /// Whether instance runners may take its jobs.
    pub shared_runners: bool,
    /// Whether CI is switched on; where it is not, the list of jobs is refused.
    pub builds: bool,
    /// Whether it is archived.
    pub archived: bool,
    /// When it was last pushed to.
    pub last_activity_at: Option<Timestamp>,
    /// The address before a move: REST answers a redirect there.
    pub old_path: Option<String>,
}

/// The state of a job, in GitLab's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobState {
    /// Waits for earlier stages.
    Created,
    /// Waits for its resource group.
    WaitingForResource,
    /// Its prerequisites are being made.
    Preparing,
    /// Waits for an outside service.
    WaitingForCallback,
    /// Waits for a runner.
    Pending,
    /// Runs.
    Running,
    /// Ended well.
    Success,
    /// Ended badly.
    Failed,
    /// Cancelled, and its runner is still busy with it.
    Canceling,
    /// Cancelled.
    Canceled,
    /// Never ran.
    Skipped,
    /// Waits for a click.
    Manual,
    /// Waits for its time.
    Scheduled,
}

impl JobState {
    const ALL: [(Self, &'static str); 13] = [
        (Self::Created, "created"),
        (Self::WaitingForResource, "waiting_for_resource"),
        (Self::Preparing, "preparing"),
        (Self::WaitingForCallback, "waiting_for_callback"),
        (Self::Pending, "pending"),
        (Self::Running, "running"),
        (Self::Success, "success"),
        (Self::Failed, "failed"),
        (Self::Canceling, "canceling"),
        (Self::Canceled, "canceled"),
        (Self::Skipped, "skipped"),
        (Self::Manual, "manual"),
        (Self::Scheduled, "scheduled"),
    ];

    /// GitLab's word, in lower case as REST has it.
    pub fn word(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(state, _)| *state == self)
            .map_or("", |(_, word)| word)
    }

    /// The state of a word, in either case.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| known.eq_ignore_ascii_case(word))
            .map(|(state, _)| *state)
    }

    /// Whether a runner is busy with the job.
    pub fn holds_runner(self) -> bool {
        matches!(self, Self::Running | Self::Canceling)
    }
}

/// A job that needs a runner, or one that only starts another pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    /// Needs a runner.
    Build,
    /// Needs none, ever.
    Bridge,
}

/// How one run of a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The runner reported success.
    Success,
    /// The runner reported a failed script.
    Failed,
    /// Cancelled by a user.
    Canceled,
    /// The runner went away under it: a build that was killed.
    Killed,
}

/// One run of a job on one runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The runner that took it.
    pub runner: RunnerId,
    /// When it was handed out.
    pub started_at: Timestamp,
    /// When and how it ended; `None` while it runs.
    pub ended: Option<(Timestamp, Ending)>,
}

/// A job, with all its history.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// Its project.
    pub project: ProjectId,
    /// The number of its pipeline.
    pub pipeline: u64,
    /// Its stage; the stages of a pipeline run in the order of their first jobs.
    pub stage: String,
    /// The jobs it needs, by name, where it does not simply wait for the earlier stages.
    pub needs: Option<Vec<String>>,
    /// Its name in the pipeline.
    pub name: String,
    /// The runner tags it requires.
    pub tags: Vec<String>,
    /// The branch or git tag.
    pub ref_name: String,
    /// Whether `ref_name` is a git tag.
    pub git_tag: bool,
    /// Build or bridge.
    pub kind: JobKind,
    /// What it does now.
    pub state: JobState,
    /// When it came to be.
    pub created_at: Timestamp,
    /// When it became pending.
    pub queued_at: Option<Timestamp>,
    /// When a delayed job starts.
    pub scheduled_at: Option<Timestamp>,
    /// Why it failed, in GitLab's words.
    pub failure_reason: Option<&'static str>,
    /// Every run, oldest first.
    pub runs: Vec<Run>,
    /// The machine of the running manager.
    pub system_id: Option<String>,
    /// The runner that was given the job and has not yet said that it accepts (two-phase commit,
    /// 18.x): the job is still pending, and no other runner is offered it.
    pub promised: Option<RunnerId>,
}

impl Job {
    /// The runner that is busy with it, or that it was promised to.
    pub fn runner(&self) -> Option<RunnerId> {
        match self.state {
            JobState::Pending => self.promised,
            state => self
                .runs
                .last()
                .map(|run| run.runner)
                .filter(|_| state.holds_runner()),
        }
    }

    /// The runner that has it or had it last.
    pub(crate) fn last_runner(&self) -> Option<RunnerId> {
        self.promised.or(self.runs.last().map(|run| run.runner))
    }

    /// Whether a run of it was killed because its runner or machine went away.
    pub fn was_killed(&self) -> bool {
        self.runs
            .iter()
            .any(|run| matches!(run.ended, Some((_, Ending::Killed))))
    }

    /// What the runner of this job shows when it reports back.
    pub fn token(&self) -> String {
        // a promised run is a run already: its token is the one it will be run with
        let run = self.runs.len() + usize::from(self.promised.is_some());
        format!("glcbt-{}-{run}", self.id)
    }
}

/// Who may be served by a runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunnerType {
    /// Every project that allows instance runners.
    Instance,
    /// The projects below a group.
    Group,
    /// The named projects.
    Project,
}

/// One machine that uses a runner's token.
#[derive(Debug, Clone)]
pub struct Manager {
    /// The name the machine chose for itself.
    pub system_id: String,
    /// When it was last heard.
    pub contacted_at: Timestamp,
}

/// A runner.
#[derive(Debug, Clone)]
pub struct Runner {
    /// Its number.
    pub id: RunnerId,
    /// Its secret.
    pub token: String,
    /// Whom it serves.
    pub kind: RunnerType,
    /// The projects of a project runner.
    pub projects: Vec<ProjectId>,
    /// The path of a group runner's group.
    pub group: Option<String>,
    /// Free text.
    pub description: String,
    /// What it offers.
    pub tags: Vec<String>,
    /// Whether it takes jobs without tags.
    pub run_untagged: bool,
    /// Whether it takes only jobs on protected refs.
    pub ref_protected: bool,
    /// Whether it is locked to its projects.
    pub locked: bool,
    /// Whether it is refused jobs.
    pub paused: bool,
    /// Free text of the maintainers.
    pub maintenance_note: Option<String>,
    /// Seconds a job may take.
    pub maximum_timeout: Option<u64>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last heard.
    pub contacted_at: Option<Timestamp>,
    /// The machines that use its token.
    pub managers: Vec<Manager>,
}

/// The whole server.
#[derive(Debug, Clone, Default)]
pub struct GitLab {
    pub(crate) users: BTreeMap<u64, User>,
    pub(crate) tokens: BTreeMap<String, Token>,
    pub(crate) groups: BTreeMap<u64, Group>,
    pub(crate) projects: BTreeMap<ProjectId, Project>,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) runners: BTreeMap<RunnerId, Runner>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) requests: BTreeMap<String, u64>,
    /// Runner ids are never used twice, as in the real server.
    pub(crate) last_runner: u64,
    /// A server from before jobs could be `canceling` refuses that word.
    pub(crate) without_canceling: bool,
    /// The base address written into `Link` headers.
    pub(crate) base: String,
}

impl GitLab {
    /// An empty server.
    pub fn new() -> Self {
        Self {
            base: "http://gitlab.test".to_owned(),
            ..Self::default()
        }
    }

    /// Adds an account.
    pub fn add_user(&mut self, username: &str, admin: bool) -> u64 {
        let id = self.users.len() as u64 + 1;
        let user = User {
            id,
            username: username.to_owned(),
            admin,
            access: BTreeMap::new(),
            groups: BTreeMap::new(),
        };
        self.users.insert(id, user);
        id
    }

    /// Gives a user a role in a project.
    pub fn grant(&mut self, user: u64, project: ProjectId, access: Access) {
        if let Some(user) = self.users.get_mut(&user) {
            user.access.insert(project, access);
        }
    }

    /// Takes every role and the administrator's right from a user.
    pub fn revoke(&mut self, user: u64) {
        if let Some(user) = self.users.get_mut(&user) {
            user.admin = false;
            user.access.clear();
            user.groups.clear();
        }
    }

    /// Adds a token of a user.
    pub fn add_token(&mut self, user: u64, value: &str, scopes: &[Scope]) {
        self.tokens.insert(
            value.to_owned(),
            Token {
                user,
                scopes: scopes.to_vec(),
            },
        );
    }

    /// Takes a token away.
    pub fn revoke_token(&mut self, value: &str) {
        self.tokens.remove(value);
    }

    /// Adds a private project.
    pub fn add_project(&mut self, path: &str) -> ProjectId {
        let id = ProjectId(self.projects.len() as u64 + 1);
        let project = Project {
            id,
            path: path.to_owned(),
            public: false,
            protected_branches: vec!["main".to_owned()],
            protected_tags: Vec::new(),
            shared_runners: true,
            builds: true,
            archived: false,
            last_activity_at: None,
            old_path: None,
        };
        self.projects.insert(id, project);
        self.inherit();
        id
    }

    /// A project, to change it.
    pub fn project_mut(&mut self, id: ProjectId) -> Option<&mut Project> {
        self.projects.get_mut(&id)
    }

    /// All jobs ever, oldest first.
    pub fn jobs(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.jobs.values()
    }

    /// One job.
    pub fn job(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(&id)
    }

    /// One job, to change what no method changes.
    pub fn job_mut(&mut self, id: JobId) -> Option<&mut Job> {
        self.jobs.get_mut(&id)
    }

    /// All runners that exist, oldest first.
    pub fn runners(&self) -> impl DoubleEndedIterator<Item = &Runner> {
        self.runners.values()
    }

    /// One runner.
    pub fn runner(&self, id: RunnerId) -> Option<&Runner> {
        self.runners.get(&id)
    }

    /// One runner, to change what no method changes.
    pub fn runner_mut(&mut self, id: RunnerId) -> Option<&mut Runner> {
        self.runners.get_mut(&id)
    }

    /// Orders a fault; faults are tried in the order given.
    pub fn inject(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Whether every ordered fault was used up.
    pub fn faults_spent(&self) -> bool {
        self.faults.is_empty()
    }

    /// Forgets all ordered faults.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// Limits all requests together.
    pub fn set_rate_limit(&mut self, limit: Option<RateLimit>) {
        self.rate_limit = limit;
    }

    /// Makes the server one from before jobs could be `canceling`.
    pub fn set_without_canceling(&mut self, old: bool) {
        self.without_canceling = old;
    }

    /// Requests answered, by route, such as `GET /api/v4/runners/:id`.
    pub fn requests(&self) -> &BTreeMap<String, u64> {
        &self.requests
    }

    /// All requests answered.
    pub fn total_requests(&self) -> u64 {
        self.requests.values().sum()
    }

    /// Jobs of which a run was killed. The number a scaler must keep at zero.
    pub fn killed(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values().filter(|job| job.was_killed())
    }

    pub(crate) fn project_by_path(&self, path: &str) -> Option<&Project> {
        self.projects
            .values()
            .find(|project| project.path.eq_ignore_ascii_case(path))
    }

    /// The jobs that keep a runner busy.
    pub fn busy_with(&self, runner: RunnerId) -> impl Iterator<Item = &Job> {
        self.jobs
            .values()
            .filter(move |job| job.runner() == Some(runner))
    }
}
