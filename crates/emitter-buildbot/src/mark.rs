//! The mark Parmanu leaves at Buildbot: who paused a worker.
//!
//! It stands in the reason of the pause, which the master keeps over its own restart and shows to people.

use model::{Cordon, Epoch, FleetId};

const CORDON: &str = "parmanu-cordon:";

/// The reason of a pause of ours.
pub(crate) fn reason(fleet: &FleetId, epoch: Epoch) -> String {
    format!("{CORDON} fleet={fleet} epoch={epoch}")
}

/// Who keeps a worker from taking builds. A pause without our mark, or with another fleet's, is foreign.
pub(crate) fn cordon(paused: bool, reason: Option<&str>, fleet: &FleetId) -> Cordon {
    if !paused {
        return Cordon::None;
    }
    let mark = reason.and_then(|text| {
        let rest = text.strip_prefix(CORDON)?.trim();
        let (ours, epoch) = rest.strip_prefix("fleet=")?.split_once(" epoch=")?;
        (ours == fleet.as_str()).then_some(())?;
        epoch.parse().ok().map(Epoch)
    });
    mark.map_or(Cordon::Foreign, |epoch| Cordon::Ours { epoch })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_ours_only_with_our_mark() {
        let ours: FleetId = "acme".parse().unwrap();
        let other: FleetId = "other".parse().unwrap();
        let mark = reason(&ours, Epoch(7));
        assert_eq!(
            cordon(true, Some(&mark), &ours),
            Cordon::Ours { epoch: Epoch(7) }
        );
        assert_eq!(cordon(true, Some(&mark), &other), Cordon::Foreign);
        assert_eq!(cordon(false, Some(&mark), &ours), Cordon::None);
        for text in [
            None,
            Some(""),
            Some("disk broken"),
            Some("parmanu-cordon: fleet=acme epoch=x"),
        ] {
            assert_eq!(cordon(true, text, &ours), Cordon::Foreign, "{text:?}");
        }
    }
}
