//! The wire: Jenkins' manners (paths, login, forms) on the exchange that all emitters share.
//!
//! Knows nothing of items or nodes. It follows no redirect: where JSON was asked for, one is a login page.

use std::path::PathBuf;
use std::sync::Arc;

use ports::secret::SecretRef;
use ports::{Clock, EmitterErrorKind, PluginError};
use url::Url;
pub(crate) use web::Meter;
use web::{Answer, Request, Settings};

use crate::config::KIND;
use crate::error::{Failure, advice};

/// Speaks to one controller as one user.
pub(crate) struct Client {
    web: web::Client,
    user: String,
    token: SecretRef,
}

impl Client {
    pub(crate) fn new(
        base: Url,
        user: String,
        token: SecretRef,
        ca_file: Option<PathBuf>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PluginError> {
        let settings = Settings {
            advice,
            ca_file,
            // Jenkins has no limits of its own, and its 503 is a start that is soon over
            keeps_waits: false,
            ..Settings::of(KIND)
        };
        Ok(Self {
            web: web::Client::new(base, clock, settings)?,
            user,
            token,
        })
    }

    /// A GET of this path, each segment of which is encoded.
    pub(crate) async fn get(
        &self,
        path: &[&str],
        tree: &str,
        meter: &Meter,
    ) -> Result<Answer, Failure> {
        let query: &[(&str, &str)] = if tree.is_empty() {
            &[]
        } else {
            &[("tree", tree)]
        };
        let url = self.address(path, query)?;
        self.send(Request::get(url), meter).await
    }

    /// A POST. Jenkins answers what it has carried out with a redirect to a page.
    pub(crate) async fn post(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        form: &[(&str, String)],
    ) -> Result<Answer, Failure> {
        let url = self.address(path, query)?;
        let request = Request::post(url).form(form);
        self.send(request, &Meter::default()).await
    }

    fn address(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Url, Failure> {
        let mut url = self.web.base().clone();
        // a segment of dots would be another path
        if path.iter().any(|part| matches!(*part, "" | "." | "..")) {
            let words = "that is not the name of a node";
            return Err(Failure::new(EmitterErrorKind::NotFound, words));
        }
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn send(&self, request: Request, meter: &Meter) -> Result<Answer, Failure> {
        let token = self.token.read().map_err(|error| {
            Failure::new(EmitterErrorKind::Config, "the token cannot be read").because(error)
        })?;
        self.web
            .send(&request.login(&self.user, token), meter)
            .await
    }
}

/// Changes with each start of the controller.
pub(crate) fn session(answer: &Answer) -> Option<String> {
    let session = answer.header("x-jenkins-session");
    session.filter(|text| is_word(text)).map(str::to_owned)
}

/// It is written into a description, so nothing but a word may come through.
fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
