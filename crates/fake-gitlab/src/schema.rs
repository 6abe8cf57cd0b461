//! What may be asked over GraphQL, and how much of it in one query.
//!
//! A query is checked here before anything is answered, so a field or argument that GitLab does not
//! have is an error even over an empty list.

use crate::query::Field;
use crate::world::JobState;

/// Type, field, arguments divided by blanks, type of the field's value ("" for a leaf).
#[rustfmt::skip]
const SCHEMA: &[(&str, &str, &str, &str)] = &[
    ("Query", "currentUser", "", "CurrentUser"),
    ("Query", "jobs", "statuses runnerTypes compatibleRunnerId after before first last", "CiJobConnection"),
    ("Query", "runners", "paused status type tagList search after before first last", "CiRunnerConnection"),
    ("Query", "runner", "id", "CiRunner"),
    ("Query", "project", "fullPath", "Project"),
    ("Query", "group", "fullPath", "Group"),
    ("Query", "queryComplexity", "", "QueryComplexity"),
    ("CurrentUser", "id", "", ""), ("CurrentUser", "username", "", ""),
    ("QueryComplexity", "score", "", ""), ("QueryComplexity", "limit", "", ""),
    ("Project", "id", "", ""), ("Project", "fullPath", "", ""),
    ("Project", "jobs", "statuses name after before first last", "CiJobConnection"),
    ("Project", "pipelines", "status scope ref updatedAfter first after", "PipelineConnection"),
    ("Project", "runners", "type status tagList search first after", "CiRunnerConnection"),
    ("Group", "id", "", ""), ("Group", "fullPath", "", ""),
    ("Group", "runners", "membership type status tagList search first after", "CiRunnerConnection"),
    // no `count`: the real server times out on it, so nothing here may come to depend on it
    ("CiJobConnection", "nodes", "", "CiJob"), ("CiJobConnection", "pageInfo", "", "PageInfo"),
    ("CiRunnerConnection", "nodes", "", "CiRunner"), ("CiRunnerConnection", "pageInfo", "", "PageInfo"),
    ("CiRunnerManagerConnection", "nodes", "", "CiRunnerManager"), ("CiRunnerManagerConnection", "pageInfo", "", "PageInfo"),
    ("PageInfo", "hasNextPage", "", ""), ("PageInfo", "endCursor", "", ""),
    ("CiJob", "id", "", ""), ("CiJob", "name", "", ""), ("CiJob", "status", "", ""), ("CiJob", "stuck", "", ""),
    ("CiJob", "tags", "", ""), ("CiJob", "kind", "", ""), ("CiJob", "createdAt", "", ""), ("CiJob", "queuedAt", "", ""),
    ("CiJob", "startedAt", "", ""), ("CiJob", "finishedAt", "", ""), ("CiJob", "scheduledAt", "", ""),
    ("CiJob", "refName", "", ""), ("CiJob", "runner", "", "CiRunner"), ("CiJob", "runnerManager", "", "CiRunnerManager"),
    ("CiJob", "pipeline", "", "Pipeline"), ("CiJob", "project", "", "Project"), ("CiJob", "stage", "", "CiStage"),
    ("CiJob", "schedulingType", "", ""), ("CiJob", "needs", "first after", "CiBuildNeedConnection"),
    ("CiBuildNeedConnection", "nodes", "", "CiBuildNeed"), ("CiBuildNeedConnection", "pageInfo", "", "PageInfo"),
    ("CiBuildNeed", "name", "", ""),
    ("PipelineConnection", "nodes", "", "Pipeline"), ("PipelineConnection", "pageInfo", "", "PageInfo"),
    ("Pipeline", "id", "", ""), ("Pipeline", "ref", "", ""), ("Pipeline", "stages", "first after", "CiStageConnection"),
    ("Pipeline", "jobs", "statuses retried first after", "CiJobConnection"),
    ("CiStageConnection", "nodes", "", "CiStage"), ("CiStageConnection", "pageInfo", "", "PageInfo"),
    ("CiStage", "name", "", ""),
    ("CiRunner", "id", "", ""), ("CiRunner", "description", "", ""), ("CiRunner", "runnerType", "", ""),
    ("CiRunner", "status", "", ""), ("CiRunner", "paused", "", ""), ("CiRunner", "locked", "", ""),
    ("CiRunner", "runUntagged", "", ""), ("CiRunner", "accessLevel", "", ""), ("CiRunner", "tagList", "", ""),
    ("CiRunner", "contactedAt", "", ""), ("CiRunner", "createdAt", "", ""), ("CiRunner", "jobExecutionStatus", "", ""),
    ("CiRunner", "maintenanceNote", "", ""), ("CiRunner", "jobCount", "statuses", ""),
    ("CiRunner", "jobs", "statuses first after", "CiJobConnection"),
    ("CiRunner", "managers", "first after systemId status", "CiRunnerManagerConnection"),
    ("CiRunnerManager", "id", "", ""), ("CiRunnerManager", "systemId", "", ""), ("CiRunnerManager", "status", "", ""),
    ("CiRunnerManager", "contactedAt", "", ""), ("CiRunnerManager", "jobExecutionStatus", "", ""),
];

/// Refuses what the table does not have. The error is a message for the answer.
pub(crate) fn check(fields: &[Field], kind: &str, without_canceling: bool) -> Result<(), String> {
    for field in fields {
        let name = &field.name;
        let row = SCHEMA.iter().find(|row| row.0 == kind && row.1 == name);
        let row = row.ok_or_else(|| format!("Field '{name}' doesn't exist on type '{kind}'"))?;
        let known: Vec<&str> = row.2.split_whitespace().collect();
        if let Some(extra) = field
            .arguments
            .keys()
            .find(|key| !known.contains(&key.as_str()))
        {
            return Err(format!("Field '{name}' doesn't accept argument '{extra}'"));
        }
        match (row.3, field.fields.is_empty()) {
            ("", false) => {
                return Err(format!(
                    "Selections can't be made on scalars (field '{name}')"
                ));
            }
            ("", true) => {}
            (kind, true) => {
                return Err(format!(
                    "Field must have selections (field '{name}' returns {kind})"
                ));
            }
            (kind, false) => check(&field.fields, kind, without_canceling)?,
        }
        for word in field.words("statuses").unwrap_or_default() {
            let known = JobState::from_word(&word)
                .filter(|_| word.chars().all(|letter| !letter.is_lowercase()))
                .filter(|state| !(without_canceling && *state == JobState::Canceling));
            if known.is_none() {
                return Err(format!(
                    "Argument 'statuses' on Field '{name}' has an invalid value ([{word}]). Expected type '[CiJobStatus!]'."
                ));
            }
        }
    }
    Ok(())
}

/// Near GitLab's own count: one for each field, and a hundredth more of the inside per asked row.
pub(crate) fn complexity(fields: &[Field]) -> u64 {
    let one = |field: &Field| {
        let inside = complexity(&field.fields);
        1 + inside + inside * field.number("first").unwrap_or(0).min(100) / 100
    };
    fields.iter().map(one).sum()
}

#[cfg(test)]
mod tests {
    use apollo_compiler::Schema;

    use super::SCHEMA;

    /// The table is what the fake answers; `schema.graphql` is what GitLab has. A row of one that the other does not know
    /// would let a query pass here that the real server refuses.
    #[test]
    fn the_table_and_the_schema_know_the_same_fields_and_arguments() {
        let sdl = Schema::parse_and_validate(crate::GRAPHQL_SCHEMA, "schema.graphql").unwrap();
        let sdl = &sdl;
        let mut published: Vec<String> = sdl
            .types
            .iter()
            .filter(|(name, _)| !name.starts_with("__"))
            .filter_map(|(name, kind)| Some((name, kind.as_object()?)))
            .flat_map(|(name, object)| {
                object.fields.iter().map(move |(field, definition)| {
                    let mut arguments: Vec<&str> = definition
                        .arguments
                        .iter()
                        .map(|argument| argument.name.as_str())
                        .collect();
                    arguments.sort_unstable();
                    let inner = definition.ty.inner_named_type();
                    let inside = if sdl.types[inner].is_object() {
                        inner.as_str()
                    } else {
                        ""
                    };
                    format!("{name}.{field}({}) {inside}", arguments.join(" "))
                })
            })
            .collect();
        let mut answered: Vec<String> = SCHEMA
            .iter()
            .map(|(kind, field, arguments, inside)| {
                let mut arguments: Vec<&str> = arguments.split_whitespace().collect();
                arguments.sort_unstable();
                format!("{kind}.{field}({}) {inside}", arguments.join(" "))
            })
            .collect();
        published.sort_unstable();
        answered.sort_unstable();
        assert_eq!(answered, published);
    }
}
