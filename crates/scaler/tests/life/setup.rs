//! What one life is about: whose CI server, which clouds, which configuration.

use std::path::Path;
use std::time::Duration;

use config::{Registries, Settings};
use jiff::Timestamp;

use crate::ci::{Ci, GitLab, Jenkins, TOKEN, TeamCity};
use crate::joining::Join;
use crate::liar::Lies;
use crate::sim::{SECOND, URL};
use crate::world::{BEDS, FLEET};

/// Whose CI server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    GitLab,
    Jenkins,
    TeamCity,
}

impl Kind {
    pub(crate) fn server(self, join: Join, now: Timestamp) -> Box<dyn Ci> {
        match self {
            Kind::GitLab => Box::new(GitLab::new()),
            // without a placeholder of ours somebody must show the controller what a pool's nodes are like
            Kind::Jenkins if !join.is_controlled() => Box::new(Jenkins::with_a_prototype()),
            Kind::Jenkins => Box::new(Jenkins::new()),
            Kind::TeamCity => Box::new(TeamCity::new(now)),
        }
    }
}

/// Where everything is, as the configuration says it.
pub(crate) struct Places<'a> {
    pub(crate) store: &'a str,
    pub(crate) ci: &'a str,
    /// More keys of each provider.
    pub(crate) aws: &'a str,
    pub(crate) gcp: &'a str,
}

/// What offers of EC2 name, as the fake of EC2 knows it.
const AMIS: [&str; 2] = ["ami-00000000000000001", "ami-00000000000000002"];

/// What offers of GCE name.
pub(crate) const IMAGES: [&str; 2] = [
    "projects/acme-ci/global/images/ci-linux-v12",
    "projects/acme-ci/global/images/ci-linux-v13",
];

pub(crate) const AWS_ZONE: &str = "eu-central-1a";
pub(crate) const GCP_ZONE: &str = "europe-west3-a";

#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) kind: Kind,
    pub(crate) min: u32,
    pub(crate) max: u32,
    /// The pool whose machines join the CI server, if it is configured.
    pub(crate) pool: Option<&'static str>,
    /// Machines of a pool that joins no CI server, if it is configured; it may have one more, to stand in for one that is
    /// replaced.
    pub(crate) beds: Option<u32>,
    /// Which image the offers name: the first or the second.
    pub(crate) image: usize,
    /// In the order of the pool's offers.
    pub(crate) clouds: Vec<&'static str>,
    pub(crate) boot: Duration,
    pub(crate) lag: Duration,
    /// Longest time the configuration lets the CI server take to hand out what it promised.
    pub(crate) settle: Duration,
    /// Jobs that a machine may run, if they are counted.
    pub(crate) max_jobs: Option<u32>,
    /// How old a machine may grow before another takes its place.
    pub(crate) max_age: Option<Duration>,
    /// How machines join, and how they leave for it.
    pub(crate) join: Join,
    /// Strong reads that tell of an idle and cordoned executor, whatever is true.
    pub(crate) lies: Lies,
}

impl Setup {
    pub(crate) fn of(kind: Kind) -> Self {
        Setup {
            seed: 1,
            kind,
            min: 0,
            max: 6,
            pool: Some("linux"),
            beds: None,
            image: 0,
            clouds: vec!["aws"],
            boot: SECOND * 3,
            lag: Duration::ZERO,
            settle: SECOND * 3,
            max_jobs: None,
            max_age: None,
            join: Join::Registered,
            lies: Lies::None,
        }
    }

    pub(crate) fn text(&self, at: &Places<'_>) -> String {
        let Places {
            store,
            ci: url,
            aws,
            gcp,
        } = at;
        let (min, max, lag) = (self.min, self.max, self.lag.as_secs());
        let settle = self.settle.as_secs();
        let emitter = match self.kind {
            Kind::GitLab => {
                format!("kind: gitlab, url: \"{url}\", token: {TOKEN}, scope: {{ instance: true }}")
            }
            Kind::Jenkins => {
                format!("kind: jenkins, url: \"{url}\", user: parmanu, token: {TOKEN}")
            }
            Kind::TeamCity => format!("kind: teamcity, url: \"{url}\", token: {TOKEN}"),
        };
        let manage = match self.kind {
            _ if !self.join.is_controlled() => String::new(),
            Kind::GitLab => format!(", manage_token: {TOKEN}"),
            Kind::Jenkins | Kind::TeamCity => ", manage: {}".to_owned(),
        };
        let (boot, scale_in) = (self.join.machine(), self.join.scale_in());
        let serves = match self.kind {
            Kind::GitLab => "tags: [linux]",
            Kind::Jenkins => "labels: [linux]",
            Kind::TeamCity => "agent_pool: Linux, prototype: prototype",
        };
        let (ami, image) = (AMIS[self.image], IMAGES[self.image]);
        let offers = self.clouds.iter().map(|cloud| match *cloud {
            "aws" => format!(
                "{{ provider: aws, image: {ami}, types: [m7i.large], zones: [{AWS_ZONE}] }}"
            ),
            _ => format!(
                "{{ provider: gcp, image: {image}, types: [e2-small], zones: [{GCP_ZONE}] }}"
            ),
        });
        let offers = offers.collect::<Vec<_>>().join(", ");
        let jobs = self.max_jobs.map(|jobs| format!("max_jobs: {jobs}"));
        let age = self
            .max_age
            .map(|age| format!("max_age: {}s", age.as_secs()));
        let reuse = jobs.into_iter().chain(age).collect::<Vec<_>>().join(", ");
        let linux = self.pool.map(|pool| {
            format!(
                "  {pool}: {{ emitter: ci, serves: [{{ {serves} }}], machine: small, min: {min}, max: {max}, rules: [soon], fresh_for: 30s{scale_in} }}\n"
            )
        });
        let beds = self.beds.map(|beds| {
            let most = beds + 1;
            format!("  {BEDS}: {{ machine: bed, min: {beds}, max: {most} }}\n")
        });
        let pools: String = linux.into_iter().chain(beds).collect();
        format!(
            r#"
version: 1
fleet: {FLEET}
store: {{ {store} }}
emitters:
  ci: {{ {emitter}{manage}, settle: {settle}s, probe: {{ every: 2s, timeout: 5s }} }}
providers:
  aws: {{ kind: ec2, region: eu-central-1, listing_lag: {lag}s{aws} }}
  gcp: {{ kind: gce, project: acme-ci, zones: [europe-west3-a], listing_lag: {lag}s{gcp} }}
machines:
  small: {{ {boot}, boot: {{ expect: 5s, timeout: 60s }}, reuse: {{ {reuse} }}, offers: [{offers}] }}
  bed: {{ executor: none, boot: {{ expect: 5s, timeout: 60s }}, reuse: {{ when_changed: replace }}, offers: [{offers}] }}
pools:
{pools}rules:
  soon: {{ kind: scale-in, idle_for: 10s }}
"#
        )
    }

    /// The pools with the machines that each may have.
    pub(crate) fn pools(&self) -> Vec<(&'static str, u32)> {
        let linux = self.pool.map(|pool| (pool, self.max));
        let beds = self.beds.map(|beds| (BEDS, beds + 1));
        linux.into_iter().chain(beds).collect()
    }

    /// Machines that stay when nothing is to do: of those that join the CI server, and of the others.
    pub(crate) fn at_rest(&self) -> (usize, usize) {
        let min = self.pool.map_or(0, |_| self.min);
        (min as usize, self.beds.unwrap_or(0) as usize)
    }

    /// What machines are made from.
    pub(crate) fn images(&self) -> [&'static str; 2] {
        [AMIS[self.image], IMAGES[self.image]]
    }

    pub(crate) fn settings(&self, registries: &Registries) -> Settings {
        let here = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/life"));
        let places = Places {
            store: "kind: memory",
            ci: URL,
            aws: "",
            gcp: "",
        };
        match config::check_text(&self.text(&places), "life.yaml", here, registries) {
            Ok((settings, _)) => settings,
            Err(error) => panic!("{error:?}"),
        }
    }
}
