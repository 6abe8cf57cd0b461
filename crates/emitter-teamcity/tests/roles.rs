//! The roles that are shipped are what the pages say: one looks, the other adds what managing needs, and no more.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::collections::BTreeSet;

use serde_json::Value;

fn permissions(role: &str) -> BTreeSet<String> {
    let role: Value = serde_json::from_str(role).unwrap();
    assert!(role["name"].as_str().unwrap().starts_with("Parmanu "));
    let rows = role["permissions"]["permission"].as_array().unwrap();
    rows.iter()
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_managing_role_adds_agents_and_pools_and_nothing_else() {
    let look = permissions(include_str!("../../../deploy/teamcity/parmanu-look.json"));
    let manage = permissions(include_str!("../../../deploy/teamcity/parmanu-manage.json"));
    let only_views = look.iter().all(|id| id.starts_with("view_"));
    assert!(only_views && look.contains("view_project") && look.contains("view_agent_details"));
    assert!(manage.is_superset(&look));
    let added: Vec<&str> = manage.difference(&look).map(String::as_str).collect();
    assert_eq!(
        added,
        [
            "authorize_agent",
            "enable_disable_agent",
            "manage_agent_pools",
            "remove_agent"
        ]
    );
}
