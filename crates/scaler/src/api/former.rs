//! What is left of earlier configurations, in the words of the API.

use super::shapes;
use crate::former::{FormerPool, FormerProvider, Stands};
use crate::looked::Looked;
use model::{PoolName, ProviderName};

/// Pools shown at most: what is found in tags bounds nothing.
const MOST: usize = 200;

/// Pools that are not configured and of which something is left.
pub(super) fn pools(looked: &Looked) -> Vec<shapes::FormerPool> {
    let pools = looked.former.pools.iter().take(MOST);
    pools
        .map(|(name, pool)| one_pool(looked, name, pool))
        .collect()
}

fn one_pool(looked: &Looked, name: &PoolName, pool: &FormerPool) -> shapes::FormerPool {
    let seen = looked.pools.get(name);
    let workload = seen.and_then(|seen| seen.seen.seen.workload.any());
    let plan = seen.and_then(|seen| seen.plan.as_ref());
    let (stays, what) = match &pool.stands {
        Stands::Watched => (
            false,
            "it is watched for ten minutes: a configuration that knows it may be on its way"
                .to_owned(),
        ),
        Stands::Leaves => (
            false,
            "its machines leave as they become idle, and their executors with them".to_owned(),
        ),
        Stands::ExecutorsOnly => (
            false,
            "no machine of it is listed: its executors are removed when they are offline"
                .to_owned(),
        ),
        Stands::LeftAlone { why } => (
            true,
            format!(
                "it stays, since nobody can tell what its machines do or make them leave ({why}): delete them by hand, or configure the pool again with `max: 0`"
            ),
        ),
    };
    shapes::FormerPool {
        name: name.to_string(),
        emitter: workload.map(|workload| workload.emitter.to_string()),
        machines: number(pool.machines),
        executors: workload.map(|workload| number(workload.executors.len())),
        stays,
        what,
        reasons: plan.map_or_else(Vec::new, |plan| {
            plan.reasons.iter().map(super::show::reason).collect()
        }),
    }
}

/// Providers that are not configured, or stand somewhere else now.
pub(super) fn providers(looked: &Looked) -> Vec<shapes::FormerProvider> {
    let providers = looked.former.providers.iter();
    providers.map(|(name, it)| one_provider(name, it)).collect()
}

fn one_provider(name: &ProviderName, provider: &FormerProvider) -> shapes::FormerProvider {
    let what = match provider.is_listed {
        true => {
            "it is not in the configuration any more, and is listed with its old keys until nothing of the fleet is left there"
        }
        false => {
            "it is not in the configuration any more and nobody lists it: its machines count against `max` until it is put back, or `parmanu confirm` says that they are gone"
        }
    };
    shapes::FormerProvider {
        name: name.to_string(),
        was: provider.was.to_string(),
        place: Some(provider.place.clone()).filter(|place| !place.is_empty()),
        machines: number(provider.machines),
        listed: provider.is_listed,
        what: what.to_owned(),
    }
}

fn number(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}
