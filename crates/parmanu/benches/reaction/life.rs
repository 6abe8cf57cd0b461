//! What machines and people do meanwhile: machines that were made join GitLab and take jobs, and jobs come and end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_gitlab::{GitLab, JobId, ProjectId};
use ports::Clock as _;
use telemetry::SystemClock;
use tokio::task::JoinHandle;

use crate::cloud::{Cloud, New, lock};

/// How often machines ask for jobs; real ones ask every few seconds, and here nothing is gained by waiting.
const BEAT: Duration = Duration::from_millis(100);

/// How many jobs run at a time, and how many of them end and begin anew in each beat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) running: usize,
    pub(crate) per_beat: usize,
}

/// Goes on until it is dropped.
pub(crate) struct Life {
    joined: Arc<Mutex<usize>>,
    load: Arc<Mutex<Option<Load>>>,
    task: JoinHandle<()>,
}

impl Life {
    pub(crate) fn begin(gitlab: Arc<Mutex<GitLab>>, cloud: Arc<Mutex<Cloud>>) -> Self {
        let (joined, load) = <(Arc<Mutex<usize>>, Arc<Mutex<Option<Load>>>)>::default();
        let mut fleet = Fleet::default();
        let (told, asked) = (joined.clone(), load.clone());
        let task = tokio::spawn(async move {
            loop {
                SystemClock.sleep(BEAT).await;
                let boots = lock(&cloud).boots();
                fleet.join(&mut lock(&gitlab), boots);
                *lock(&told) = fleet.joined;
                let load = *lock(&asked);
                if let Some(load) = load {
                    fleet.work(&mut lock(&gitlab), load);
                }
            }
        });
        Self { joined, load, task }
    }

    /// Machines that have joined.
    pub(crate) fn joined(&self) -> usize {
        *lock(&self.joined)
    }

    /// From now on there is work.
    pub(crate) fn works(&self, load: Load) {
        *lock(&self.load) = Some(load);
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The machines of the pools that are kept filled.
#[derive(Default)]
struct Fleet {
    joined: usize,
    /// Those without a job, the longest first: the job's tag, and the runner's token.
    idle: VecDeque<(String, String)>,
    /// Jobs that run, the oldest first, and on which machine.
    busy: VecDeque<(JobId, (String, String))>,
}

impl Fleet {
    fn join(&mut self, gitlab: &mut GitLab, boots: Vec<New>) {
        for New { pool, name, script } in boots {
            let token = script.trim().to_owned();
            let asked = gitlab.begin_job_request(&token, &name, SystemClock.now());
            assert!(asked.is_ok(), "{name} is not let in");
            self.joined += 1;
            if let Some(number) = pool.strip_prefix(super::FILLED) {
                self.idle.push_back((format!("f{number}"), token));
            }
        }
    }

    /// Some jobs end, and as many come as are to run. Each has a machine that waits for it, so that no machine is made for it.
    fn work(&mut self, gitlab: &mut GitLab, load: Load) {
        let now = SystemClock.now();
        let ended = load.per_beat.min(self.busy.len());
        for (job, machine) in self.busy.drain(..ended) {
            gitlab.finish_job(job, true, now);
            self.idle.push_back(machine);
        }
        // all at once at first would be a burst of work for the emitter, which is not what is measured
        let come = (load.running - self.busy.len()).min(10 * load.per_beat);
        for machine in self.idle.drain(..come.min(self.idle.len())) {
            let (tag, token) = &machine;
            gitlab.push_job(ProjectId(1), "build", &[tag], "main", now);
            let job = gitlab.request_job(token, now);
            self.busy.push_back((job.unwrap(), machine));
        }
    }
}
