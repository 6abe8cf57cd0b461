//! A machine reaches its age while it builds.
//!
//! The configuration gives machines an age that the one there is has in some seconds, and a build begins on it that lasts longer.
//! Another machine must join while that build runs, the old one takes no further build, ends this one, and leaves.

use std::time::Instant;

use super::look::{self, Look};
use super::operator::WHO;
use super::orders::{POOL, is_cordoned, joined, reuse, running};
use super::stage::Stage;
use super::story::Teller;
use crate::image::Image;

/// Builds that are begun for this.
pub(crate) const BUILDS: usize = 1;

/// So long the machine has at least until it is of age: a changed file is read and the build begins within it.
const AHEAD: u64 = 5;

/// Seconds of an image's machines: `boot.timeout`, of which no age may be shorter, and what another machine's way to its CI server
/// and the cordon of the next look at that take at most.
fn boot(image: Image) -> (u64, u64) {
    match image {
        Image::Small => (25, 10),
        Image::CloudInit => (60, 40),
    }
}

/// Plays it with a pool of one machine that was made after `since`; what was not as promised.
pub(crate) fn play(
    stage: &mut Stage,
    teller: &mut Teller,
    since: Instant,
    image: Image,
) -> anyhow::Result<Vec<String>> {
    let (timeout, joins) = boot(image);
    // not older than this, so it comes of age later and not before
    let is = since.elapsed().as_secs() + 1;
    let age = (timeout + 1).max(is + AHEAD);
    look::force(POOL, u32::try_from(age - is + joins)?)?;
    let Some(look) = teller.until(stage, |look| running(look).is_some())? else {
        return Ok(vec!["no build began".to_owned()]);
    };
    let Some((old, worker)) = running(&look) else {
        return Ok(vec!["no build began".to_owned()]);
    };
    reuse(&format!("max_age: {age}s"))?;
    teller.say(
        WHO,
        &format!("gives machines an age of {age} s, which {old} reaches while it builds"),
    );
    let mut facts = Vec::new();
    let builds = |look: &Look| running(look).is_some_and(|(machine, _)| machine == old);
    let another = |look: &Look| joined(look).iter().any(|name| *name != old);
    let replaced = |look: &Look| another(look) && is_cordoned(look, worker);
    let seen = teller.until(stage, |look| replaced(look) || !builds(look))?;
    if !seen.as_ref().is_some_and(replaced) {
        facts.push(format!(
            "no other machine had joined and {old} was not cordoned before its build was over"
        ));
    }
    let is_there = |look: &Look| {
        let machines = look.machines.as_ref();
        machines.is_some_and(|machines| machines.contains_key(&old))
    };
    match teller.until(stage, |look| !is_there(look))? {
        None => facts.push(format!("{old} stayed beside the one that took its place")),
        Some(look) if builds(&look) => facts.push(format!("{old} left with its build on it")),
        Some(_) => {}
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_machines_have_these_times() {
        let small = include_str!("../../chain/machines-small.yaml");
        let cloud_init = include_str!("../../chain/machines-cloud-init.yaml");
        for (image, yaml) in [(Image::Small, small), (Image::CloudInit, cloud_init)] {
            let timeout = format!("timeout: {}s }}", boot(image).0);
            assert!(yaml.contains(&timeout), "{timeout}");
        }
    }
}
