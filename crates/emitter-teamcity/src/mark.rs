//! The marks Parmanu leaves at TeamCity: whose an agent is, and who keeps it from taking builds.
//!
//! Both are comments that the server keeps and shows to people: of the authorisation, and of the enabled state. They
//! survive us and our store. An agent comes up by itself, before anybody marked it; that it is one of ours is proven by a
//! *join key*, which only the machine was given that has the name: a keyed hash of the name. It authorises nothing but this
//! one name, which is never used again, so that it may stand among the agent's parameters.

use hmac::{Hmac, Mac as _};
use model::{Cordon, Epoch, FleetId};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

const FLEET: &str = "parmanu-fleet=";
const REMOVED: &str = "parmanu-removed fleet=";
const JOINING: &str = "parmanu-joining fleet=";
const CORDON: &str = "parmanu-cordon fleet=";

/// The agent's parameter that carries the join key.
pub(crate) const JOIN_PARAMETER: &str = "system.parmanu.join";

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

/// The join key of one machine, in hexadecimal digits.
pub(crate) fn join_key(token: &SecretString, fleet: &FleetId, name: &str) -> String {
    let code = keyed(token, fleet, name).finalize().into_bytes();
    code.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a machine showed the join key of its name; compared in constant time.
pub(crate) fn is_join_key(shown: &str, token: &SecretString, fleet: &FleetId, name: &str) -> bool {
    let digits = shown.as_bytes();
    if digits.len() != 64 || !shown.is_ascii() {
        return false;
    }
    let bytes: Option<Vec<u8>> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    bytes.is_some_and(|bytes| keyed(token, fleet, name).verify_slice(&bytes).is_ok())
}

fn keyed(token: &SecretString, fleet: &FleetId, name: &str) -> Hmac<Sha256> {
    // a key of any length is taken: this cannot fail
    let key = Hmac::<Sha256>::new_from_slice(token.expose_secret().as_bytes());
    let mut mac = key.unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(format!("parmanu-join\n{fleet}\n{name}").as_bytes());
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
    fn a_join_key_is_good_for_one_name_of_one_fleet() {
        let token = SecretString::from("a-token");
        let fleet: FleetId = "acme-ci".parse().unwrap();
        let key = join_key(&token, &fleet, "linux-1-1-0");
        assert!(is_join_key(&key, &token, &fleet, "linux-1-1-0"));
        assert!(!is_join_key(&key, &token, &fleet, "linux-1-1-1"));
        assert!(!is_join_key(
            &key,
            &token,
            &"other".parse().unwrap(),
            "linux-1-1-0"
        ));
        assert!(!is_join_key(
            &key,
            &SecretString::from("b"),
            &fleet,
            "linux-1-1-0"
        ));
        for bad in ["", "zz", &key[1..], &"é".repeat(32), &"+1".repeat(32)] {
            assert!(!is_join_key(bad, &token, &fleet, "linux-1-1-0"));
        }
    }
}
