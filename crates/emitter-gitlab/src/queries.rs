//! The GraphQL queries, each narrow on purpose.
//!
//! Never `count`: GitLab times out on it. Never `RUNNING` over the whole instance: no index suits it,
//! and a page took two minutes on a large server. Running jobs are learnt from the pool's runners.

/// Fields of a job. `runner` is set on a pending job that a runner was given and has not yet accepted. Not `stuck`, which costs the server a look at every runner per row.
const JOB: &str = "id name status tags kind createdAt queuedAt scheduledAt refName runner { id } project { fullPath }";

const PAGE: &str = "pageInfo { hasNextPage endCursor }";

/// The waiting jobs of the whole instance. `any` is the newest job in any state: it proves that the
/// token sees jobs at all, since one without the right is answered an empty list and no error.
pub(crate) fn pending() -> String {
    format!(
        "query Pending($after: String) {{ currentUser {{ username }} \
         any: jobs(first: 1) {{ nodes {{ id }} }} \
         jobs(statuses: [PENDING], first: 100, after: $after) {{ {PAGE} nodes {{ {JOB} }} }} }}"
    )
}

/// The jobs of one project's running pipelines that have not ended. Not the words of newer servers (`CANCELING`,
/// `WAITING_FOR_CALLBACK`), which older ones refuse; not `previousStageJobsOrNeeds`, which is deprecated and larger than
/// what it is made of.
pub(crate) fn ahead() -> String {
    format!(
        "query Ahead($path: ID!) {{ project(fullPath: $path) {{ pipelines(status: RUNNING, first: 10) {{ nodes {{ \
         stages(first: 50) {{ {PAGE} nodes {{ name }} }} \
         jobs(statuses: [CREATED, WAITING_FOR_RESOURCE, PREPARING, SCHEDULED, PENDING, RUNNING], first: 100) {{ {PAGE} \
         nodes {{ {JOB} schedulingType stage {{ name }} needs(first: 50) {{ {PAGE} nodes {{ name }} }} }} }} }} }} }} }}"
    )
}

/// The jobs that hold one runner.
pub(crate) fn runner_jobs(holding: &str) -> String {
    format!(
        "query RunnerJobs($id: CiRunnerID!, $after: String) {{ runner(id: $id) {{ id \
         jobs(statuses: [{holding}], first: 100, after: $after) {{ {PAGE} nodes {{ {JOB} }} }} }} }}"
    )
}

/// Fields of a runner. `jobCount` is one batched query of the server for the whole page.
fn runner(holding: &str) -> String {
    format!(
        "id description status paused runUntagged accessLevel tagList contactedAt \
         jobExecutionStatus maintenanceNote jobCount(statuses: [{holding}])"
    )
}

/// Runners of the instance that have all of some tags.
pub(crate) fn runners(holding: &str) -> String {
    format!(
        "query Runners($tags: [String!], $type: CiRunnerType, $after: String) {{ \
         runners(tagList: $tags, type: $type, first: 100, after: $after) {{ {PAGE} nodes {{ {} }} }} }}",
        runner(holding)
    )
}

/// Runners of one `project` or `group` that have all of some tags.
pub(crate) fn runners_of(kind: &str, holding: &str) -> String {
    format!(
        "query RunnersOf($path: ID!, $tags: [String!], $after: String) {{ {kind}(fullPath: $path) {{ \
         runners(tagList: $tags, first: 100, after: $after) {{ {PAGE} nodes {{ {} }} }} }} }}",
        runner(holding)
    )
}

/// What tells one runner from another, and whether it is in contact.
const SOUGHT: &str = "id description status";

/// Runners of the instance that have a tag, or whose description holds a text.
pub(crate) fn sought() -> String {
    format!(
        "query Sought($tags: [String!], $search: String, $after: String) {{ \
         runners(tagList: $tags, search: $search, first: 100, after: $after) {{ {PAGE} nodes {{ {SOUGHT} }} }} }}"
    )
}

/// The same of one `project` or `group`.
pub(crate) fn sought_of(kind: &str) -> String {
    format!(
        "query SoughtOf($path: ID!, $tags: [String!], $search: String, $after: String) {{ {kind}(fullPath: $path) {{ \
         runners(tagList: $tags, search: $search, first: 100, after: $after) {{ {PAGE} nodes {{ {SOUGHT} }} }} }} }}"
    )
}

#[cfg(test)]
mod tests {
    use apollo_compiler::{ExecutableDocument, Schema};

    use super::*;

    fn is_valid(query: &str) -> Result<(), String> {
        let schema = Schema::parse_and_validate(fake_gitlab::GRAPHQL_SCHEMA, "schema.graphql");
        ExecutableDocument::parse_and_validate(&schema.unwrap(), query, "query.graphql")
            .map(drop)
            .map_err(|errors| errors.to_string())
    }

    /// Fields, arguments, the types of variables, the words of enums.
    #[test]
    fn every_query_is_valid_in_the_published_schema() {
        let holding = ["RUNNING", "RUNNING, CANCELING"];
        let mut queries = vec![pending(), ahead(), sought()];
        queries.extend(["project", "group"].map(sought_of));
        for holding in holding {
            queries.extend([
                runner_jobs(holding),
                runners(holding),
                runners_of("project", holding),
                runners_of("group", holding),
            ]);
        }
        for query in queries {
            assert_eq!(is_valid(&query), Ok(()), "{query}");
        }
    }

    #[test]
    fn a_query_with_a_slip_in_it_is_not_valid() {
        for (right, wrong) in [
            ("queuedAt", "queued_at"),
            ("[PENDING]", "[WAITING]"),
            ("$after: String", "$after: Int"),
            ("first: 100", "limit: 100"),
            ("runner { id }", "runner"),
        ] {
            let query = pending().replace(right, wrong);
            assert!(is_valid(&query).is_err(), "{query}");
        }
    }
}
