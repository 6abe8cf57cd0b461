//! The marks Parmanu leaves at GitLab: whose a runner is, and who paused it.
//!
//! Both live at the server itself, so they survive us and our store. The fleet stands in an extra
//! runner *tag*, because a list can be narrowed to it. The tag changes nothing: a job goes to a
//! runner when the job's tags are a subset of the runner's, so one more tag on the runner only
//! matters to a job that asks for that very tag. The cordon stands in the maintenance note, one line
//! of it, beside whatever an operator wrote there.

use model::{Cordon, Epoch, FleetId};

const FLEET: &str = "parmanu-fleet:";
const CORDON: &str = "parmanu-cordon:";

/// The tag that names the fleet.
pub(crate) fn fleet_tag(fleet: &FleetId) -> String {
    format!("{FLEET}{fleet}")
}

/// Takes the fleet's mark out of a runner's tags.
pub(crate) fn split_tags(tags: Vec<String>) -> (Option<FleetId>, Vec<String>) {
    let fleet = |tag: &String| tag.strip_prefix(FLEET)?.parse().ok();
    let found = tags.iter().find_map(fleet);
    let labels = tags
        .into_iter()
        .filter(|tag| fleet(tag).is_none())
        .collect();
    (found, labels)
}

/// The note with our line in it; other lines stay.
pub(crate) fn cordoned(note: &str, fleet: &FleetId, epoch: Epoch) -> String {
    let rest = uncordoned(note);
    let line = format!("{CORDON} fleet={fleet} epoch={epoch}");
    if rest.is_empty() {
        line
    } else {
        format!("{line}\n{rest}")
    }
}

/// The note without our line.
pub(crate) fn uncordoned(note: &str) -> String {
    let kept: Vec<&str> = note
        .lines()
        .filter(|line| !line.starts_with(CORDON))
        .collect();
    kept.join("\n")
}

/// Who keeps a runner from taking jobs. A pause without our mark, or with another fleet's, is
/// foreign; a mark without a pause is no cordon, since the runner takes jobs.
pub(crate) fn cordon(paused: bool, note: &str, fleet: &FleetId) -> Cordon {
    if !paused {
        return Cordon::None;
    }
    let mark = note.lines().find_map(|line| line.strip_prefix(CORDON));
    let mark = mark.and_then(|rest| {
        let (ours, epoch) = rest.trim().strip_prefix("fleet=")?.split_once(" epoch=")?;
        (ours == fleet.as_str()).then_some(())?;
        epoch.parse().ok().map(Epoch)
    });
    mark.map_or(Cordon::Foreign, |epoch| Cordon::Ours { epoch })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> FleetId {
        "acme-ci".parse().unwrap()
    }

    #[test]
    fn the_fleet_is_read_from_its_tag_and_the_tag_is_no_label() {
        let tags = vec!["linux".to_owned(), fleet_tag(&fleet())];
        assert_eq!(split_tags(tags), (Some(fleet()), vec!["linux".to_owned()]));
        let odd = vec!["parmanu-fleet:NOT A NAME".to_owned()];
        assert_eq!(split_tags(odd.clone()), (None, odd));
    }

    #[test]
    fn an_operators_note_survives_a_cordon_and_its_end() {
        let note = cordoned("disk is slow\nask ops", &fleet(), Epoch(7));
        assert_eq!(
            cordon(true, &note, &fleet()),
            Cordon::Ours { epoch: Epoch(7) }
        );
        assert_eq!(uncordoned(&note), "disk is slow\nask ops");
        let again = cordoned(&note, &fleet(), Epoch(8));
        assert_eq!(again.matches(CORDON).count(), 1);
    }

    #[test]
    fn a_pause_without_our_mark_is_foreign() {
        let other: FleetId = "other".parse().unwrap();
        for note in [
            "",
            "broken",
            "parmanu-cordon:",
            "parmanu-cordon: fleet=acme-ci epoch=x",
        ] {
            assert_eq!(cordon(true, note, &fleet()), Cordon::Foreign, "{note}");
        }
        assert_eq!(
            cordon(true, &cordoned("", &other, Epoch(1)), &fleet()),
            Cordon::Foreign
        );
        assert_eq!(
            cordon(false, &cordoned("", &fleet(), Epoch(1)), &fleet()),
            Cordon::None
        );
    }
}
