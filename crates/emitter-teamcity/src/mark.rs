//! The marks Parmanu leaves at TeamCity: whose an agent is, and who keeps it from taking builds.
//!
//! Both are comments that the server keeps and shows to people: of the authorisation, and of the enabled state. They
//! survive us and our store. An agent comes up by itself, before anybody marked it; that it is one of ours is proven by a
//! *join key*, which only the machine was given that has the name: a keyed hash of the name. It authorises nothing but this
//! one name, which is never used again, and it ends soon: builds can read the parameters of their agent, and must not be
//! able to bring up an agent of their own under the name of a machine that has left.

use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use model::{Cordon, Epoch, FleetId};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

const FLEET: &str = "parmanu-fleet=";
const REMOVED: &str = "parmanu-removed fleet=";
const JOINING: &str = "parmanu-joining fleet=";
const CORDON: &str = "parmanu-cordon fleet=";

/// The agent's parameter that carries the join key.
pub(crate) const JOIN_PARAMETER: &str = "system.parmanu.join";

/// Seconds a join key is good for. Longer than a slow machine boots; what joins later is not let in, and replaced. Longer
/// still would only help a build that wants to keep the name of its machine.
const KEY_LASTS: i64 = 30 * 60;

/// Seconds by which the clocks of scaler and probot may differ.
const CLOCKS_DIFFER: i64 = 5 * 60;

/// Comment of an authorisation of ours.
pub(crate) fn owned(fleet: &FleetId) -> String {
    format!("{FLEET}{fleet}")
}

/// Comment of a withdrawn authorisation: the machine is leaving.
pub(crate) fn removed(fleet: &FleetId) -> String {
    format!("{REMOVED}{fleet}")
}

/// Comment of an agent that is kept disabled until it is in its pool.
pub(crate) fn joining(fleet: &FleetId) -> String {
    format!("{JOINING}{fleet}")
}

/// Comment of a cordon of ours.
pub(crate) fn cordoned(fleet: &FleetId, epoch: Epoch) -> String {
    format!("{CORDON}{fleet} epoch={epoch}")
}

/// Whose an agent is, by the comment of its authorisation.
pub(crate) fn owner(comment: &str) -> Option<FleetId> {
    let rest = [FLEET, REMOVED]
        .iter()
        .find_map(|mark| comment.strip_prefix(mark))?;
    rest.trim().parse().ok()
}

/// Whether a comment is a mark of another fleet.
pub(crate) fn is_of_another(comment: &str, fleet: &FleetId) -> bool {
    let marks = [FLEET, REMOVED, JOINING, CORDON];
    let rest = marks.iter().find_map(|mark| comment.strip_prefix(mark));
    let named = rest.and_then(|rest| rest.split_whitespace().next());
    named.is_some_and(|named| named != fleet.as_str())
}

/// Whether the authorisation was withdrawn because the machine leaves.
pub(crate) fn is_removed(comment: &str, fleet: &FleetId) -> bool {
    comment == removed(fleet)
}

/// Who keeps an agent from taking builds. While it joins nobody does: it is not there yet.
pub(crate) fn cordon(enabled: bool, comment: &str, fleet: &FleetId) -> Cordon {
    if enabled || comment == joining(fleet) {
        return Cordon::None;
    }
    let mark = comment.strip_prefix(CORDON).and_then(|rest| {
        let (ours, epoch) = rest.trim().split_once(" epoch=")?;
        (ours == fleet.as_str()).then_some(())?;
        epoch.parse().ok().map(Epoch)
    });
    mark.map_or(Cordon::Foreign, |epoch| Cordon::Ours { epoch })
}

/// The join key of one machine: when it was made, and the keyed hash of that and of the name.
pub(crate) fn join_key(
    token: &SecretString,
    fleet: &FleetId,
    name: &str,
    now: Timestamp,
) -> String {
    let made = now.as_second();
    let code = keyed(token, fleet, name, made).finalize().into_bytes();
    let digits: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{made}.{digits}")
}

/// What a machine showed to prove its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// The key of its name: it may be let in.
    Key,
    /// The key, too late to be let in. That the name was given to its machine is still true.
    OldKey,
    /// Something else, or nothing.
    NoKey,
}

/// Reads what a machine showed; compared in constant time.
pub(crate) fn shown_key(
    shown: &str,
    token: &SecretString,
    fleet: &FleetId,
    name: &str,
    now: Timestamp,
) -> Shown {
    let key = shown.split_once('.');
    let Some((made, digits)) =
        key.and_then(|(made, digits)| Some((made.parse::<i64>().ok()?, digits)))
    else {
        return Shown::NoKey;
    };
    if digits.len() != 64 || !digits.is_ascii() {
        return Shown::NoKey;
    }
    let bytes: Option<Vec<u8>> = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let mac = keyed(token, fleet, name, made);
    let age = now.as_second().saturating_sub(made);
    match bytes.map(|bytes| mac.verify_slice(&bytes)) {
        Some(Ok(())) if (-CLOCKS_DIFFER..=KEY_LASTS).contains(&age) => Shown::Key,
        Some(Ok(())) => Shown::OldKey,
        Some(Err(_)) | None => Shown::NoKey,
    }
}

fn keyed(token: &SecretString, fleet: &FleetId, name: &str, made: i64) -> Hmac<Sha256> {
    let key = Hmac::<Sha256>::new_from_slice(token.expose_secret().as_bytes());
    let mut mac = key.unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(format!("parmanu-join\n{fleet}\n{name}\n{made}").as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_as_they_were_written() {
        let fleet: FleetId = "acme-ci".parse().unwrap();
        let other: FleetId = "other".parse().unwrap();
        let ours = Cordon::Ours { epoch: Epoch(7) };
        let words = cordoned(&fleet, Epoch(7));
        assert_eq!(cordon(false, &words, &fleet), ours);
        assert_eq!(cordon(true, &words, &fleet), Cordon::None);
        assert_eq!(cordon(false, &joining(&fleet), &fleet), Cordon::None);
        for foreign in [
            "",
            "lunch",
            &cordoned(&other, Epoch(7)),
            &joining(&other),
            &format!("{words}x"),
        ] {
            assert_eq!(cordon(false, foreign, &fleet), Cordon::Foreign);
        }
        assert_eq!(owner(&owned(&fleet)), Some(fleet.clone()));
        assert_eq!(owner(&removed(&fleet)), Some(fleet.clone()));
        assert!(is_removed(&removed(&fleet), &fleet) && !is_removed(&owned(&fleet), &fleet));
        assert_eq!(owner("Authorized with a token"), None);
    }

    #[test]
    fn a_join_key_is_good_for_one_name_of_one_fleet_and_not_for_long() {
        let token = SecretString::from("a-token");
        let fleet: FleetId = "acme-ci".parse().unwrap();
        let at = |second: i64| Timestamp::from_second(1_795_000_000 + second).unwrap();
        let key = join_key(&token, &fleet, "linux-1-1-0", at(0));
        let shows = |shown: &str, token: &str, fleet: &str, name: &str, second: i64| {
            let (token, fleet) = (SecretString::from(token), fleet.parse().unwrap());
            shown_key(shown, &token, &fleet, name, at(second))
        };
        let ours =
            |shown: &str, second: i64| shows(shown, "a-token", "acme-ci", "linux-1-1-0", second);
        assert_eq!(
            [0, 1800, -300].map(|second| ours(&key, second)),
            [Shown::Key; 3]
        );
        assert_eq!(
            [1801, -301].map(|second| ours(&key, second)),
            [Shown::OldKey; 2]
        );
        let others = [
            shows(&key, "a-token", "acme-ci", "linux-1-1-1", 0),
            shows(&key, "a-token", "other", "linux-1-1-0", 0),
            shows(&key, "b", "acme-ci", "linux-1-1-0", 0),
        ];
        assert_eq!(others, [Shown::NoKey; 3]);
        // a later time under the same hash, and what is no key
        let (_, hash) = key.split_once('.').unwrap();
        let later = format!("{}.{hash}", 1_795_001_000);
        let odd = [
            format!("1795000000.{}", "é".repeat(32)),
            format!("1795000000.{}", "+1".repeat(32)),
        ];
        for bad in [
            later.as_str(),
            "",
            ".",
            "zz",
            hash,
            &key[1..],
            &odd[0],
            &odd[1],
        ] {
            assert_eq!(ours(bad, 0), Shown::NoKey, "{bad}");
        }
    }
}
