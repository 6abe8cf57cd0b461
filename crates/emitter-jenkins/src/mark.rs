//! The marks Parmanu leaves at Jenkins: whose a node is, and who keeps it from taking work.
//!
//! Both live at the controller, so they survive us and our store. The fleet stands in the node's *description*, which no
//! label expression can see. Beside it stands the controller's session at the time the node was made: a node that is not
//! connected and says no reason has never joined only if the controller was not restarted since.

use model::{Cordon, Epoch, FleetId, PoolName};

const FLEET: &str = "parmanu-fleet=";
const CORDON: &str = "parmanu-cordon fleet=";

/// Whose a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) fleet: FleetId,
    /// The controller's session when the node was made.
    pub(crate) session: Option<String>,
}

/// The description of a node of ours.
pub(crate) fn description(fleet: &FleetId, session: Option<&str>) -> String {
    match session {
        Some(session) => format!("{FLEET}{fleet} session={session}"),
        None => format!("{FLEET}{fleet}"),
    }
}

/// Reads it.
pub(crate) fn owner(description: &str) -> Option<Owner> {
    let mut words = description.strip_prefix(FLEET)?.split(' ');
    let fleet = words.next()?.parse().ok()?;
    let session = words.find_map(|word| word.strip_prefix("session="));
    Some(Owner {
        fleet,
        session: session.map(str::to_owned),
    })
}

/// The words of our cordon.
pub(crate) fn cordon_message(fleet: &FleetId, epoch: Epoch) -> String {
    format!("{CORDON}{fleet} epoch={epoch}")
}

/// Who keeps a node from taking work. Jenkins may put words before ours ("Disconnected by bot : …").
pub(crate) fn cordon(temporarily_offline: bool, reason: &str, fleet: &FleetId) -> Cordon {
    if !temporarily_offline {
        return Cordon::None;
    }
    let mark = reason.split_once(CORDON).and_then(|(_, rest)| {
        let (ours, epoch) = rest.trim().split_once(" epoch=")?;
        (ours == fleet.as_str()).then_some(())?;
        epoch.parse().ok().map(Epoch)
    });
    mark.map_or(Cordon::Foreign, |epoch| Cordon::Ours { epoch })
}

/// What a node's description says that only keeps a place.
pub(crate) const PLACEHOLDER: &str =
    "keeps Jenkins telling the labels of waiting jobs; never connected (parmanu)";

/// The name of the node that is kept for a pool, so that Jenkins tells labels.
pub(crate) fn placeholder(fleet: &FleetId, pool: &PoolName) -> String {
    format!("parmanu-placeholder-{fleet}-{pool}")
}

/// Whether a node is kept for a pool of this fleet.
pub(crate) fn is_placeholder(fleet: &FleetId, node: &str) -> bool {
    let rest = node
        .strip_prefix("parmanu-placeholder-")
        .and_then(|rest| rest.strip_prefix(fleet.as_str()));
    rest.is_some_and(|rest| rest.starts_with('-') && rest.len() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_is_known_by_its_name() {
        let fleet: FleetId = "acme-ci".parse().unwrap();
        let name = placeholder(&fleet, &"linux".parse().unwrap());
        assert!(is_placeholder(&fleet, &name), "{name}");
        for other in [
            "parmanu-placeholder-acme-ci",
            "parmanu-placeholder-acme-cix-linux",
            "linux",
            "",
        ] {
            assert!(!is_placeholder(&fleet, other), "{other}");
        }
    }

    #[test]
    fn marks_are_read_as_they_were_written() {
        let fleet: FleetId = "acme-ci".parse().unwrap();
        let other: FleetId = "other".parse().unwrap();
        let words = cordon_message(&fleet, Epoch(7));
        let ours = Cordon::Ours { epoch: Epoch(7) };
        assert_eq!(cordon(true, &words, &fleet), ours);
        assert_eq!(
            cordon(true, &format!("Disconnected by bot : {words}"), &fleet),
            ours
        );
        assert_eq!(cordon(false, &words, &fleet), Cordon::None);
        for foreign in [
            "",
            "lunch",
            &cordon_message(&other, Epoch(7)),
            &format!("{words}x"),
        ] {
            assert_eq!(cordon(true, foreign, &fleet), Cordon::Foreign);
        }
        let owner = owner(&description(&fleet, Some("0325f6fa"))).unwrap();
        assert_eq!(
            (owner.fleet, owner.session.as_deref()),
            (fleet, Some("0325f6fa"))
        );
        assert_eq!(super::owner("a Mac"), None);
    }
}
