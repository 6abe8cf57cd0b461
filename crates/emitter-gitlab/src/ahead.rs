//! Which jobs will wait for a runner soon: those of pipelines in which something runs now.
//!
//! Read last and worth least: one request for each project with a running job, and only out of what the look has left of
//! its budget. A failure here is no doubt about the look, since these jobs are a forecast and never demand; what is not
//! seen is only not counted ahead.

use futures::FutureExt as _;
use serde_json::json;

use crate::client::Meter;
use crate::convert;
use crate::emitter::{GitLabEmitter, few_at_a_time, refused};
use crate::error::Failure;
use crate::queries;
use crate::sight::Sight;

/// Projects asked in one look, those with the most running jobs first: few pools boot ahead for more, and the requests
/// are better spent on what waits already.
const MOST_PROJECTS: usize = 10;

impl GitLabEmitter {
    /// Adds what waits for jobs that run now.
    pub(crate) async fn ahead(&self, sight: &mut Sight, meter: &Meter) {
        let mut running: Vec<(String, usize)> = sight.running_in().into_iter().collect();
        running.sort_by_key(|(_, jobs)| std::cmp::Reverse(*jobs));
        running.truncate(MOST_PROJECTS.min(self.client.room()));
        let looks = running
            .iter()
            .map(|(path, _)| self.waiting_in(path, meter).boxed());
        let mut jobs = Vec::new();
        for (found, (path, _)) in few_at_a_time(looks.collect())
            .await
            .into_iter()
            .zip(&running)
        {
            match found {
                Ok(found) => jobs.extend(found),
                Err(failure) => {
                    tracing::debug!(emitter = %self.name, project = path, error = failure.message, "what follows is unknown");
                }
            }
        }
        sight.add_ahead(jobs);
    }

    async fn waiting_in(&self, path: &str, meter: &Meter) -> Result<Vec<model::Job>, Failure> {
        let variables = json!({ "path": path });
        let query = queries::ahead();
        let (data, errors) = self.client.graphql(&query, &variables, meter).await?;
        let project = &data["project"];
        if project.is_null() {
            return Err(refused("the pipelines of a project", &errors));
        }
        let mut jobs = convert::waiting(project);
        jobs.iter_mut()
            .for_each(|job| path.clone_into(&mut job.project));
        Ok(jobs)
    }
}
