//! Another installation of Parmanu that acts for the same fleet: two compose files copied from one, a test system with the
//! production's fleet id. Each would let go what the other needs.
//!
//! The term of the scaler that made a machine is in its name, and of one store there is one holder at a time. So a machine
//! of another term that was made while ours lasts was made by somebody with another store. What an earlier holder began is
//! told apart by time.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use model::{Epoch, Instance, ProviderName, Seen, age};

/// A call of the holder before us may arrive for so long after our term began, by a cloud's clock that is not ours.
const ON_THE_WAY: Duration = Duration::from_secs(180);

/// How long a machine of somebody else is taken for a sign that he is at work. Without an end, what he left behind when he
/// was switched off would keep every machine for ever.
const SIGN_FOR: Duration = Duration::from_secs(3600);

/// Who else acts for this fleet, in words; `None` if there is no sign of it. `since` is when our term began.
pub fn rival(
    listings: &BTreeMap<ProviderName, Seen<Vec<Instance>>>,
    ours: Epoch,
    since: Timestamp,
    now: Timestamp,
) -> Option<String> {
    let all = listings.iter().flat_map(|(provider, listing)| {
        let machines = listing.any().into_iter().flatten();
        machines.map(move |machine| (provider, machine))
    });
    let mut signs = all.filter(|(_, machine)| is_sign(machine, ours, since, now));
    let (provider, machine) = signs.next()?;
    let others = signs.count();
    let installation = machine.owner.installation.as_ref();
    let of = installation.map_or(String::new(), |id| format!(" by installation {id}"));
    let more = match others {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Some(format!("{} at {provider} was made{of}{more}", machine.name))
}

fn is_sign(machine: &Instance, ours: Epoch, since: Timestamp, now: Timestamp) -> bool {
    let theirs = machine.name.batch.epoch;
    let Some(created) = machine.created_at else {
        return theirs > ours;
    };
    let in_our_term = created > since && age(since, created) >= ON_THE_WAY;
    theirs != ours && (theirs > ours || in_our_term) && age(created, now) < SIGN_FOR
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use model::{InstanceState, Owner, ProviderRef};

    use super::*;

    /// Whether a machine of this term, made so many seconds after ours began, is a sign two hours later or at `now`.
    fn is_rival(theirs: u64, made_after: i64, now_after: i64) -> bool {
        let since: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let at = |seconds| since + SignedDuration::from_secs(seconds);
        let machine = Instance {
            name: format!("linux-{theirs}-1-0").parse().unwrap(),
            id: ProviderRef::new("i-1"),
            scope: "zone-a".to_owned(),
            state: InstanceState::Running,
            created_at: Some(at(made_after)),
            owner: Owner {
                fleet: "acme".parse().unwrap(),
                installation: None,
            },
            executor: None,
            offer: None,
            generation: None,
            notice: None,
            expires: None,
        };
        let value = vec![machine];
        let at_now = at(now_after);
        let listing = Seen::Complete { value, at: at_now };
        let listings = [("aws".parse().unwrap(), listing)].into();
        rival(&listings, Epoch(9), since, at_now).is_some()
    }

    #[test]
    fn only_what_is_made_in_our_term_by_another_one_is_a_sign() {
        assert!(!is_rival(9, 600, 700), "our own");
        assert!(!is_rival(7, -600, 700), "of the holder before us");
        assert!(!is_rival(7, 179, 700), "begun by the holder before us");
        assert!(is_rival(7, 180, 700));
        assert!(
            is_rival(11, -600, 700),
            "a later term than ours, of another store"
        );
        assert!(is_rival(7, 600, 600 + 3599));
        assert!(!is_rival(7, 600, 600 + 3600), "he was switched off");
    }
}
