//! The wire: GitLab's manners (paths, tokens, pages, its budget) on the exchange that all emitters share.
//!
//! Knows nothing of jobs or runners.

use std::path::PathBuf;
use std::sync::Arc;

use ports::secret::SecretRef;
use ports::{Clock, EmitterErrorKind, PluginError};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use url::Url;
pub(crate) use web::Meter;
use web::header::HeaderName;
use web::{Answer, Method, Request, Settings};

use crate::budget::{Budget, Purse, Spent};
use crate::config::KIND;
use crate::error::{Failure, advice, quote};

/// Speaks to one GitLab with one token.
pub(crate) struct Client {
    web: web::Client,
    token: SecretRef,
    clock: Arc<dyn Clock>,
    /// How much may be asked; nobody counts for the control verbs.
    purse: Option<Arc<Purse>>,
}

impl Client {
    /// A client whose requests stay within the budget, if there is one.
    pub(crate) fn new(
        base: Url,
        token: SecretRef,
        ca_file: Option<PathBuf>,
        clock: Arc<dyn Clock>,
        budget: Option<Budget>,
    ) -> Result<Self, PluginError> {
        let purse = budget.map(|budget| Arc::new(Purse::of(budget)));
        let mut settings = Settings::of(KIND);
        settings.advice = advice;
        settings.ca_file = ca_file;
        settings.toll = purse.clone().map(|purse| toll(purse, clock.clone()));
        Ok(Self {
            web: web::Client::new(base, clock.clone(), settings)?,
            token,
            clock,
            purse,
        })
    }

    /// How many projects may be asked in a probe that begins now.
    pub(crate) fn room(&self) -> usize {
        let purse = self.purse.as_ref();
        purse.map_or(usize::MAX, |purse| purse.room(self.clock.boottime()))
    }

    /// A GET below `/api/v4`, with its query already encoded.
    pub(crate) async fn get(
        &self,
        path: &str,
        query: &str,
        meter: &Meter,
    ) -> Result<Answer, Failure> {
        let url = self.address(&format!("/api/v4{path}"), query);
        let request = self.signed(Request::get(url).following(), &self.token()?)?;
        self.web.send(&request, meter).await
    }

    /// A write below `/api/v4`.
    pub(crate) async fn write(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let url = self.address(&format!("/api/v4{path}"), "");
        let mut request = self.signed(Request::new(method, url), &self.token()?)?;
        if let Some(body) = body {
            request = request.json(body);
        }
        self.web.send(&request, &Meter::default()).await
    }

    /// A GraphQL query. Gives `data`, which may be partial, and the words of `errors`.
    pub(crate) async fn graphql(
        &self,
        query: &str,
        variables: &Value,
        meter: &Meter,
    ) -> Result<(Value, Vec<String>), Failure> {
        let token = self.token()?;
        let url = self.address("/api/graphql", "");
        let body = json!({ "query": query, "variables": variables });
        // a query is a POST that changes nothing
        let request = self.signed(Request::post(url).asking().json(&body), &token)?;
        let answer = self.web.send(&request, meter).await?;
        let mut value = answer.json()?;
        let words = |error: &Value| {
            let message = error
                .get("message")
                .and_then(Value::as_str)
                .unwrap_or("no message");
            quote(message, token.expose_secret())
        };
        let errors = value.get("errors").and_then(Value::as_array);
        let errors: Vec<String> = errors.into_iter().flatten().map(words).collect();
        let data = value
            .get_mut("data")
            .map(Value::take)
            .unwrap_or(Value::Null);
        if data.is_null() && errors.is_empty() {
            let message = format!(
                "{} answered without data and without errors",
                answer.endpoint
            );
            return Err(Failure::bad_answer(message));
        }
        Ok((data, errors))
    }

    fn token(&self) -> Result<SecretString, Failure> {
        self.token.read().map_err(|error| {
            Failure::new(EmitterErrorKind::Config, "the token cannot be read").because(error)
        })
    }

    fn address(&self, path: &str, query: &str) -> Url {
        let base = self.web.base();
        let mut url = base.clone();
        url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
        url.set_query((!query.is_empty()).then_some(query));
        url
    }

    fn signed(&self, request: Request, token: &SecretString) -> Result<Request, Failure> {
        request.secret(HeaderName::from_static("private-token"), token)
    }
}

/// Takes each request from the purse.
fn toll(purse: Arc<Purse>, clock: Arc<dyn Clock>) -> web::Toll {
    Box::new(move |endpoint, in_probe| {
        let taken = purse.take(in_probe, clock.boottime());
        taken.map_err(|spent| over_budget(endpoint, &spent))
    })
}

/// The failure of a request that our own budget does not allow.
fn over_budget(endpoint: &str, spent: &Spent) -> Failure {
    let (retry_after, what) = match spent {
        Spent::Probe(most) => (None, format!("{most} requests of one probe")),
        Spent::Minute(most, wait) => (Some(*wait), format!("{most} requests of one minute")),
    };
    let message = format!(
        "{endpoint} is not sent: the budget of {what} is used up; raise `budget`, narrow the scope or \
         probe less often"
    );
    Failure::new(EmitterErrorKind::RateLimited { retry_after }, message)
}

/// Whether the server refuses this parameter, as older versions do.
pub(crate) fn refuses(answer: &Answer, parameter: &str) -> bool {
    answer.status == 400 && answer.mentions(parameter)
}

/// The query of the next page. Only the query: GitLab writes its public address into the link, and we may have come by
/// another one.
pub(crate) fn next_query(answer: &Answer) -> Option<String> {
    query_of(answer.next_link()?)
}

fn query_of(link: &str) -> Option<String> {
    let (_, query) = link.split_once('?')?;
    (!query.is_empty()).then(|| query.to_owned())
}

#[cfg(test)]
mod tests {
    use super::query_of;

    #[test]
    fn the_next_page_is_the_query_of_the_link() {
        let link = "https://g/api/v4/x?cursor=a%3D&per_page=2";
        assert_eq!(query_of(link).as_deref(), Some("cursor=a%3D&per_page=2"));
        assert_eq!(query_of("https://g/x"), None);
        assert_eq!(query_of("https://g/x?"), None);
    }
}
