//! Which jobs wait and, at project scope, which run.
//!
//! Instance scope asks GraphQL, project scope asks REST; why is said at each. Knows nothing of
//! runners.

use std::sync::atomic::Ordering;

use model::Timestamp;
use ports::EmitterErrorKind;
use serde_json::{Value, json};

use crate::client::{Meter, next_query, refuses};
use crate::convert::{self, Page};
use crate::emitter::{GitLabEmitter, MOST_PAGES, refused};
use crate::error::Failure;
use crate::queries;
use crate::scan::encoded;
use crate::sight::Sight;

impl GitLabEmitter {
    /// The waiting jobs of the instance.
    pub(crate) async fn pending(&self, sight: &mut Sight, meter: &Meter) -> Result<(), Failure> {
        let mut after = Value::Null;
        for number in 1..=MOST_PAGES {
            let page = match self.pending_page(&after, meter).await {
                Ok(page) => page,
                Err(failure) if number == 1 => return Err(failure),
                Err(failure) => {
                    sight.doubt(format!(
                        "page {number} of the pending jobs: {}",
                        failure.message
                    ));
                    return Ok(());
                }
            };
            let next = page.next.clone();
            sight.add_page(page);
            match next {
                None => return Ok(()),
                Some(next) if after == json!(next) => {
                    sight.doubt("GitLab gave the same page of pending jobs again");
                    return Ok(());
                }
                Some(next) => after = json!(next),
            }
        }
        sight.doubt(format!(
            "more than {MOST_PAGES} pages of pending jobs; the rest was not read"
        ));
        Ok(())
    }

    async fn pending_page(&self, after: &Value, meter: &Meter) -> Result<Page, Failure> {
        let variables = json!({ "after": after });
        let (data, errors) = self
            .client
            .graphql(&queries::pending(), &variables, meter)
            .await?;
        let Some(mut page) = convert::pending_page(&data["jobs"]) else {
            return Err(refused("the pending jobs", &errors));
        };
        page.doubts
            .extend(errors.iter().map(|words| format!("pending jobs: {words}")));
        let sees_any = data["any"]["nodes"]
            .as_array()
            .is_some_and(|rows| !rows.is_empty());
        if page.jobs.is_empty() && !sees_any {
            self.prove_rights(&data["currentUser"], meter).await?;
        }
        Ok(page)
    }

    /// GitLab answers an empty list to a token that may not see jobs. An instance without any job is
    /// told from that by the one key that only administrators are shown.
    async fn prove_rights(&self, current_user: &Value, meter: &Meter) -> Result<(), Failure> {
        if current_user.is_null() {
            let words = "GitLab does not know the user of the token: make a new one";
            return Err(Failure::new(EmitterErrorKind::Unauthorized, words));
        }
        let user = self.client.get("/user", "", meter).await?.json()?;
        if user["is_admin"].as_bool() == Some(true) {
            return Ok(());
        }
        let words = "the token sees no job at all and is not an administrator's, and GitLab answers \
                     such tokens an empty list: use an administrator's token of scope read_api (and \
                     admin_mode where it is enforced), or `scope: { projects: [...] }`";
        Err(Failure::new(EmitterErrorKind::Forbidden, words))
    }

    /// The pages of one project, waiting and running jobs in one list.
    ///
    /// REST and not GraphQL, although its rows are ten times as large: a missing right is a 403 here
    /// and an empty list there; the rows say whether the ref is a branch or a tag, and name the
    /// runner even to a Reporter, who may not read it; and a moved project is a redirect.
    pub(crate) async fn project(
        &self,
        path: &str,
        now: Timestamp,
        meter: &Meter,
        pages: &mut Vec<Page>,
    ) -> Result<(), Failure> {
        let place = format!("/projects/{}/jobs", encoded(path));
        let first = |canceling| {
            let more = if canceling { "&scope[]=canceling" } else { "" };
            format!(
                "scope[]=pending&scope[]=running{more}&per_page=100&pagination=keyset&order_by=id"
            )
        };
        let mut query = first(self.knows_canceling.load(Ordering::Relaxed));
        for _ in 0..MOST_PAGES {
            let mut answer = self.client.get(&place, &query, meter).await?;
            if refuses(&answer, "scope") && query.contains("canceling") {
                self.knows_canceling.store(false, Ordering::Relaxed);
                query = first(false);
                answer = self.client.get(&place, &query, meter).await?;
            }
            let body = answer.json()?;
            let page = convert::project_page(&body, path, now).ok_or_else(|| {
                Failure::bad_answer(format!("{} answered no list of jobs", answer.endpoint))
            })?;
            pages.push(page);
            match next_query(&answer) {
                None => return Ok(()),
                Some(next) if next == query => {
                    return Err(Failure::bad_answer("GitLab gave the same page again"));
                }
                Some(next) => query = next,
            }
        }
        Err(Failure::new(
            EmitterErrorKind::TooLarge,
            format!("more than {MOST_PAGES} pages; the rest was not read"),
        ))
    }
}
