//! Rows of projects.

use serde_json::Value;

use super::{text, time};
use crate::roster::ListedProject;

/// The rows of a list of projects; `None` when it is not one, or one row has no path: a project that
/// is left out of the list would be forgotten.
pub(crate) fn project_list(body: &Value) -> Option<Vec<ListedProject>> {
    let row = |row: &Value| {
        Some(ListedProject {
            path: text(row, "path_with_namespace")?.to_owned(),
            active_at: time(row, "last_activity_at"),
        })
    };
    body.as_array()?.iter().map(row).collect()
}

/// Whether a project or group lies below a group, at any depth.
pub(crate) fn is_below(path: &str, group: &str) -> bool {
    let rest = path.strip_prefix(group);
    rest.is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::convert::tests::any_json;

    #[test]
    fn a_row_without_a_path_spoils_the_list_and_one_without_activity_does_not() {
        let rows = json!([
            { "id": 1, "path_with_namespace": "acme/app", "last_activity_at": "2026-09-01T10:00:00.000Z" },
            { "id": 2, "path_with_namespace": "acme/lib", "last_activity_at": null },
        ]);
        let list = project_list(&rows).unwrap();
        assert_eq!(
            (list[0].path.as_str(), list[1].active_at),
            ("acme/app", None)
        );
        assert_eq!(
            list[0].active_at,
            Some("2026-09-01T10:00:00Z".parse().unwrap())
        );
        assert_eq!(project_list(&json!([{ "id": 1 }])), None);
        assert_eq!(project_list(&json!({ "message": "no" })), None);
    }

    #[test]
    fn a_name_that_begins_alike_is_not_below() {
        assert!(is_below("acme/mobile/app", "acme"));
        assert!(!is_below("acme-labs/app", "acme"));
        assert!(!is_below("acme", "acme"));
    }

    proptest! {
        #[test]
        fn any_value_is_read_without_a_panic(value in any_json()) {
            let _ = project_list(&value);
            let _ = project_list(&json!([value]));
        }
    }
}
