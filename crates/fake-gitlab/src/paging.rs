//! Pages, by offset and by keyset, with the `Link` header clients must follow.
//!
//! Never an `x-total`: the endpoints here do not count, as the real ones do not.

use fake_server::{Request, Response};
use serde_json::{Value, json};

use crate::answer;
use crate::params::Params;
use crate::world::{GitLab, Job, JobId};

const DEFAULT_PAGE: usize = 20;
const LARGEST_PAGE: usize = 100;

fn page_size(request: &Request) -> Result<usize, Response> {
    match Params::of(request).get("per_page").map(str::parse::<usize>) {
        None => Ok(DEFAULT_PAGE),
        Some(Ok(size)) if size > 0 => Ok(size.min(LARGEST_PAGE)),
        Some(_) => Err(answer::error(400, "per_page does not have a valid value")),
    }
}

impl GitLab {
    fn link(&self, request: &Request, name: &str, value: &str) -> String {
        let query = Params::of(request).with(name, value);
        format!("<{}{}?{query}>; rel=\"next\"", self.base, request.path)
    }

    /// One page of rows by number.
    pub(crate) fn offset_page(
        &self,
        request: &Request,
        rows: Vec<Value>,
    ) -> Result<Response, Response> {
        let size = page_size(request)?;
        let page = match Params::of(request).get("page").map(str::parse::<usize>) {
            None => 1,
            Some(Ok(page)) if page > 0 => page,
            Some(_) => return Err(answer::error(400, "page does not have a valid value")),
        };
        let first = (page - 1).saturating_mul(size);
        let more = rows.len() > first.saturating_add(size);
        let shown: Vec<Value> = rows.into_iter().skip(first).take(size).collect();
        let mut response = answer::json(200, &json!(shown))
            .with_header("x-page", page.to_string())
            .with_header("x-per-page", size.to_string());
        if more {
            let next = (page + 1).to_string();
            response = response
                .with_header("x-next-page", next.as_str())
                .with_header("link", self.link(request, "page", &next));
        }
        Ok(response)
    }

    /// One page of jobs, newest first: by keyset when asked for, else by offset.
    pub(crate) fn job_page(
        &self,
        request: &Request,
        jobs: &[&Job],
        row: impl Fn(&Job) -> Value,
    ) -> Result<Response, Response> {
        let params = Params::of(request);
        let newest_first = match params.get("sort") {
            None | Some("desc") => true,
            Some("asc") => false,
            Some(_) => return Err(answer::error(400, "sort does not have a valid value")),
        };
        if params.get("pagination") != Some("keyset") {
            let mut rows: Vec<Value> = jobs.iter().map(|job| row(job)).collect();
            if !newest_first {
                rows.reverse();
            }
            return self.offset_page(request, rows);
        }
        if !newest_first || params.get("order_by").is_some_and(|key| key != "id") {
            let words = "Keyset pagination is not yet available for this type of request";
            return Err(answer::error(405, words));
        }
        let size = page_size(request)?;
        let before = match params.get("cursor") {
            None => None,
            Some(cursor) => Some(
                uncursor(cursor)
                    .ok_or_else(|| answer::error(400, "cursor does not have a valid value"))?,
            ),
        };
        let (shown, more) = page_before(jobs, before, size);
        let rows: Vec<Value> = shown.iter().map(|job| row(job)).collect();
        let response = answer::json(200, &json!(rows));
        Ok(match shown.last() {
            Some(last) if more => {
                response.with_header("link", self.link(request, "cursor", &cursor(last.id)))
            }
            _ => response,
        })
    }
}

/// The next `size` jobs below an id, of jobs ordered newest first, and whether more follow.
pub(crate) fn page_before<'a>(
    jobs: &[&'a Job],
    before: Option<JobId>,
    size: usize,
) -> (Vec<&'a Job>, bool) {
    let rest = jobs
        .iter()
        .filter(|job| before.is_none_or(|before| job.id < before));
    let mut shown: Vec<&Job> = rest.take(size + 1).copied().collect();
    let more = shown.len() > size;
    shown.truncate(size);
    (shown, more)
}

/// An opaque place behind a job: clients must hand it back as it is.
pub(crate) fn cursor(id: JobId) -> String {
    json!({ "id": id.0.to_string() })
        .to_string()
        .bytes()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The job behind a cursor made by [`cursor`].
pub(crate) fn uncursor(text: &str) -> Option<JobId> {
    let pairs = text.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let bytes: Vec<u8> = bytes.collect::<Option<_>>()?;
    let value: Value = serde_json::from_slice(&bytes).ok()?;
    value.get("id")?.as_str()?.parse().ok().map(JobId)
}
