//! Another installation of Parmanu that acts for the same fleet: two compose files copied from one, a test system with the
//! production's fleet id. Each would let go what the other needs.
//!
//! The term of the scaler that made a machine is in its name, and of one store there is one holder at a time. So a machine
//! of another term that was made while ours lasts was made by somebody with another store. What an earlier holder began is
//! told apart by time.
//!
//! Who makes nothing is known by what he renews. Every machine is told from time to time until when it is wanted, and the
//! fraction of that second is the signature of the installation which said so ([`Signature`]). So two of them, each with a
//! fleet that is as large as it wishes, know of each other when each has renewed once. It is a fraction of a mark that is
//! there anyway, since the rights to write it, and what a guest or a program reads of it, are what they were. On GCE a few
//! machines carry it, which is enough. Where nothing is renewed (a program without `renew`) the terms have to do.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use model::{Epoch, Instance, ProviderName, Seen, age};

/// What tells the marks of one installation from those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// Since when the installation has it: marks from before may be its own, from before its store was wiped.
    pub since: Timestamp,
    /// The fraction of a second in its marks, in microseconds; its last three digits are not all zero.
    pub micros: i32,
}

impl Signature {
    /// The moment, signed.
    #[must_use]
    pub fn sign(self, until: Timestamp) -> Timestamp {
        let second = until.as_second();
        Timestamp::new(second, self.micros.saturating_mul(1000)).unwrap_or(until)
    }

    /// Whether another installation signed this moment. One without a whole signature, such as a program that keeps whole
    /// seconds gives it back, tells nothing.
    fn is_anothers(self, until: Timestamp) -> bool {
        let nanos = until.subsec_nanosecond();
        let micros = nanos / 1000;
        nanos % 1000 == 0 && micros % 1000 != 0 && micros != self.micros
    }
}

/// A sign of another installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// When it was given.
    pub at: Timestamp,
    /// What it is, in words.
    pub what: String,
}

impl Sign {
    /// Whether it is so young that the other one is taken to be at work.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        age(self.at, now) < SIGN_FOR
    }
}

/// The newest machine that somebody with another store renewed, if there is one. A renewal says that a machine is wanted for
/// `wanted_for`.
pub fn renewed_by_another(
    listings: &BTreeMap<ProviderName, Seen<Vec<Instance>>>,
    ours: Signature,
    wanted_for: Duration,
    now: Timestamp,
) -> Option<Sign> {
    let all = listings.iter().flat_map(|(provider, listing)| {
        let machines = listing.any().into_iter().flatten();
        machines.map(move |machine| (provider, machine))
    });
    let renewed = all.filter_map(|(provider, machine)| {
        let until = machine.expires.filter(|until| ours.is_anothers(*until))?;
        let at = until.checked_sub(jiff::SignedDuration::try_from(wanted_for).ok()?);
        let at = at.ok()?;
        // what a creation says of its machine has no signature
        let created = machine.created_at;
        let is_renewal = created.is_none_or(|made| at > made && age(made, at) >= AFTER_CREATION);
        let is_new = at > ours.since && age(ours.since, at) >= ON_THE_WAY;
        (is_renewal && is_new).then_some((at, provider, machine))
    });
    let (at, provider, machine) = renewed.max_by_key(|(at, _, machine)| (*at, &machine.name))?;
    let what = format!("{} at {provider} was renewed at {at:.0}", machine.name);
    Some(Sign { at, what }).filter(|sign| sign.holds(now))
}

/// A mark from so soon after a creation may have been written by it, by a cloud's clock that is not ours.
const AFTER_CREATION: Duration = Duration::from_secs(30);

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

    const HOUR: Duration = Duration::from_secs(3600);

    fn since() -> Timestamp {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    fn ours() -> Signature {
        Signature {
            since: since(),
            micros: 123_456,
        }
    }

    /// Whether a machine made so many seconds after we began, and renewed so much later with this fraction of a second in
    /// its mark, is a sign so long after that.
    fn is_renewed_by_another(made: i64, renewed: i64, nanos: i32, later: i64) -> bool {
        let at = since() + SignedDuration::from_secs(made + renewed);
        let until = Timestamp::new(at.as_second() + 3600, nanos).unwrap();
        let mut machine = machine("linux-9-1-0", since() + SignedDuration::from_secs(made));
        machine.expires = Some(until);
        let now = at + SignedDuration::from_secs(later);
        let value = vec![machine];
        let listings = [("aws".parse().unwrap(), Seen::Complete { value, at: now })].into();
        renewed_by_another(&listings, ours(), HOUR, now).is_some()
    }

    #[test]
    fn a_mark_with_another_signature_from_our_time_is_a_sign_for_an_hour() {
        const THEIRS: i32 = 654_321_000;
        assert!(is_renewed_by_another(-600, 900, THEIRS, 10));
        assert!(
            !is_renewed_by_another(-600, 900, 123_456_000, 10),
            "our own"
        );
        assert!(is_renewed_by_another(-600, 900, THEIRS, 3598));
        assert!(!is_renewed_by_another(-600, 900, THEIRS, 3601), "long ago");
        assert!(
            !is_renewed_by_another(-600, 779, THEIRS, 10),
            "from before the store was wiped"
        );
        assert!(is_renewed_by_another(-600, 781, THEIRS, 10));
    }

    #[test]
    fn what_was_cut_off_or_written_by_a_creation_tells_nothing() {
        assert!(!is_renewed_by_another(-600, 900, 0, 10), "whole seconds");
        assert!(
            !is_renewed_by_another(-600, 900, 654_000_000, 10),
            "milliseconds"
        );
        assert!(
            !is_renewed_by_another(-600, 900, 654_321_987, 10),
            "a clock's"
        );
        assert!(
            !is_renewed_by_another(900, 5, 654_321_000, 10),
            "a creation's"
        );
        let signed = ours().sign("2026-01-01T13:00:00.999Z".parse().unwrap());
        assert_eq!(signed.to_string(), "2026-01-01T13:00:00.123456Z");
    }

    fn machine(name: &str, created: Timestamp) -> Instance {
        Instance {
            name: name.parse().unwrap(),
            id: ProviderRef::new("i-1"),
            scope: "zone-a".to_owned(),
            state: InstanceState::Running,
            created_at: Some(created),
            owner: Owner {
                fleet: "acme".parse().unwrap(),
                installation: None,
            },
            executor: None,
            offer: None,
            generation: None,
            notice: None,
            expires: None,
        }
    }

    /// Whether a machine of this term, made so many seconds after ours began, is a sign two hours later or at `now`.
    fn is_rival(theirs: u64, made_after: i64, now_after: i64) -> bool {
        let since = since();
        let at = |seconds| since + SignedDuration::from_secs(seconds);
        let machine = machine(&format!("linux-{theirs}-1-0"), at(made_after));
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
