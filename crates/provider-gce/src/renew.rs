//! Which machines say until when they are wanted.
//!
//! Google labels one machine per call, and a guest does not see its labels; what ends a forgotten machine here is
//! `max_run_duration`. So a few machines of the project carry the mark, and that is enough for what is left to tell: that a
//! scaler lives, to `parmanu reap`, and which one, to another installation with the same fleet id. The few stay the same
//! for as long as they stand, since a mark that was once written and lapses would say that nobody wants its machine.

use futures::StreamExt as _;
use jiff::Timestamp;
use model::{Instance, InstanceName};
use ports::{Call, Outcome, ProviderErrorKind};

use crate::convert::{Seen, label};
use crate::error::{Failure, Fate};
use crate::pace::Turn;
use crate::provider::{PARALLEL, Project, place};

/// Machines that carry the mark. One would do, but it may be deleted at that moment, and its zone may not answer; each costs
/// two calls every quarter of an hour.
const MARKED: usize = 10;

/// Most machines that are told at once, should more than [`MARKED`] carry the mark: two installations may have chosen
/// others. It is a bound for the calls.
const MOST: usize = 10 * MARKED;

const RENEW: &str = "say until when machines are wanted";

impl Project {
    /// Tells the few. Of the others nothing is asked.
    pub(crate) async fn renew_few(
        &self,
        instances: &[Instance],
        until: Timestamp,
        call: &Call,
    ) -> Vec<Outcome<InstanceName>> {
        let few = few(instances);
        let tell = |(index, instance): (usize, &'_ Instance)| {
            let (is_one, name) = (few.contains(&index), instance.name.clone());
            let told = is_one.then(|| self.tell(instance.clone(), until, call));
            async move {
                match told {
                    None => Outcome::Done(name),
                    Some(told) => match told.await {
                        Ok(()) => Outcome::Done(name),
                        Err(failure) => self.outcome(RENEW, failure),
                    },
                }
            }
        };
        let told: Vec<_> = instances.iter().enumerate().map(tell).collect();
        futures::stream::iter(told)
            .buffered(PARALLEL)
            .collect()
            .await
    }

    async fn tell(&self, instance: Instance, until: Timestamp, call: &Call) -> Result<(), Failure> {
        let seen = self.ours(&instance, Turn::Look, call).await?;
        let seen = seen.ok_or_else(gone)?;
        let before = seen.labels.get(label::EXPIRES).cloned();
        let told = self
            .client
            .set_labels(place(&instance), marked(seen, until), call);
        let Err(failure) = told.await else {
            return Ok(());
        };
        if failure.kind != ProviderErrorKind::InvalidRequest {
            return Err(failure);
        }
        // its labels changed between the two calls: by another replica, nearly always, which said the same
        let now = self.ours(&instance, Turn::Look, call).await?;
        let now = now.ok_or_else(gone)?;
        match now.labels.get(label::EXPIRES) {
            Some(said) if Some(said) != before.as_ref() => Ok(()),
            _ => Err(failure),
        }
    }
}

/// Which of these machines carry the mark from now on, by their place in the list: those that do, and as many of the others
/// as are missing, by name.
fn few(instances: &[Instance]) -> Vec<usize> {
    let mut few: Vec<usize> = (0..instances.len()).collect();
    few.sort_by_key(|index| {
        let instance = &instances[*index];
        (instance.expires.is_none(), &instance.name)
    });
    let have = instances.iter().filter(|it| it.expires.is_some()).count();
    few.truncate(have.clamp(MARKED, MOST));
    few
}

/// What the machine's labels are to be.
fn marked(mut seen: Seen, until: Timestamp) -> Seen {
    let text = label::of_time(until);
    seen.labels.insert(label::EXPIRES.to_owned(), text);
    seen
}

fn gone() -> Failure {
    let message = "the machine is not there any more";
    Failure::new(ProviderErrorKind::NotFound, Fate::NotDone, message)
}

#[cfg(test)]
mod tests {
    use model::{InstanceState, Owner, ProviderRef};

    use super::*;

    fn machine(index: u32, is_marked: bool) -> Instance {
        let name = format!("linux-7-1-{index}");
        Instance {
            name: name.parse().expect("a name"),
            id: ProviderRef::new(name),
            scope: "r1-a".to_owned(),
            state: InstanceState::Running,
            created_at: None,
            owner: Owner {
                fleet: "acme".parse().expect("a name"),
                installation: None,
            },
            executor: None,
            offer: None,
            generation: None,
            notice: None,
            expires: is_marked.then_some(Timestamp::UNIX_EPOCH),
        }
    }

    fn chosen(marked: impl Fn(u32) -> bool) -> Vec<usize> {
        let machines: Vec<_> = (0..200).map(|at| machine(at, marked(at))).collect();
        few(&machines)
    }

    #[test]
    fn who_carries_the_mark_keeps_it_and_others_fill_up() {
        assert_eq!(chosen(|_| false).len(), MARKED);
        let one = chosen(|at| at == 150);
        assert!(one.len() == MARKED && one[0] == 150, "{one:?}");
        let odd = chosen(|at| at % 10 == 3);
        assert!(
            odd.len() == 20 && odd.iter().all(|at| at % 10 == 3),
            "{odd:?}"
        );
        assert_eq!(chosen(|_| true).len(), MOST, "bounded");
        assert_eq!(few(&[machine(1, false)]), [0]);
    }
}
