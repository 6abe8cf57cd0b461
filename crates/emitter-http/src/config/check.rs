//! What is wrong beyond the types. Expressions are read with the types, so each bad one is found where it stands.

use std::time::Duration;

use ports::strict::{Problems, Step, nearest};
use web::header::{HeaderName, HeaderValue};

use super::{HttpConfig, JobsConfig, PagesConfig, RequestConfig, TokenConfig, base};
use crate::template::Template;

const IN_THE_FILE: &str = "a secret stands in the file; write ${env:NAME} or ${file:/path} instead";

impl TokenConfig {
    fn check(&self, problems: &mut Problems) {
        if self.secret.is_literal() {
            problems.warning(["token".into(), "secret".into()], IN_THE_FILE);
        }
        let header = self.header.as_ref();
        if header.is_some_and(|header| HeaderName::try_from(header).is_err()) {
            problems.error(
                ["token".into(), "header".into()],
                "that is no name of a header",
            );
        }
    }
}

impl HttpConfig {
    /// Finds what is wrong beyond the types.
    pub(crate) fn check(&self, problems: &mut Problems) {
        if let Err(message) = base(&self.url) {
            problems.error(["url".into()], message);
        }
        self.check_secrets(problems);
        self.check_headers(problems);
        if self.request_timeout() < Duration::from_secs(1) {
            problems.error(["request_timeout".into()], "shorter than 1s");
        }
        for (name, request) in &self.requests {
            let at = ["requests".into(), Step::Key(name.clone())];
            let mut inner = Problems::default();
            request.check(self, &mut inner);
            if !self.is_used(name) {
                inner.warning([], "nothing takes its answer, so it is never sent");
            }
            problems.append(&at, inner);
        }
        if self.jobs.is_empty() {
            problems.error(["jobs".into()], "without jobs there is nothing to serve");
        }
        for (index, jobs) in self.jobs.iter().enumerate() {
            let mut inner = Problems::default();
            self.check_name(&jobs.from, ["from".into()], &mut inner);
            jobs.check(&mut inner);
            problems.append(&["jobs".into(), index.into()], inner);
        }
        if self.executors.is_empty() {
            let words = "without executors no machine is ever seen to join: after some of them only one at a time is started";
            problems.warning([], words);
        }
        for (index, executors) in self.executors.iter().enumerate() {
            let mut inner = Problems::default();
            self.check_name(&executors.from, ["from".into()], &mut inner);
            let told = executors.state.is_some();
            if told == executors.busy_from_jobs {
                let words =
                    "say what they do: by `state` with `states`, or by `busy_from_jobs: true`";
                inner.error([], words);
            }
            check_states(told, executors.states.is_empty(), &mut inner);
            if executors.busy_from_jobs && !self.jobs.iter().any(|jobs| jobs.executor.is_some()) {
                let words = "no entry of `jobs` says by `executor` where a job runs, so nothing would ever be busy";
                inner.error(["busy_from_jobs".into()], words);
            }
            if executors.offline_after.is_some() && executors.last_contact.is_none() {
                let words = "has no effect without `last_contact`";
                inner.error(["offline_after".into()], words);
            }
            problems.append(&["executors".into(), index.into()], inner);
        }
    }

    fn check_secrets(&self, problems: &mut Problems) {
        if self.token.is_some() && self.login.is_some() {
            problems.error(["login".into()], "give `token` or `login`, not both");
        }
        if let Some(token) = &self.token {
            token.check(problems);
        }
        let password = self.login.as_ref().map(|login| &login.password);
        if password.is_some_and(|password| password.is_literal()) {
            problems.warning(["login".into(), "password".into()], IN_THE_FILE);
        }
    }

    fn check_headers(&self, problems: &mut Problems) {
        for (name, value) in &self.headers {
            let at = ["headers".into(), Step::Key(name.clone())];
            if HeaderName::try_from(name).is_err() || HeaderValue::try_from(value).is_err() {
                problems.error(at, "that is no name and value of a header");
            } else if value.contains("${") || name.eq_ignore_ascii_case("authorization") {
                problems.error(at, "secrets do not belong here: use `token` or `login`");
            }
        }
    }

    fn check_name(&self, name: &str, at: impl IntoIterator<Item = Step>, problems: &mut Problems) {
        if self.requests.contains_key(name) {
            return;
        }
        problems.error(at, format!("there is no request `{name}`"));
        let known = self.requests.keys().map(String::as_str);
        if let Some(problem) = problems.0.last_mut() {
            problem.suggestion = nearest(name, known);
        }
    }

    /// Whether some entry takes what this request brings, itself or through a second request.
    fn is_used(&self, name: &str) -> bool {
        let jobs = self.jobs.iter().map(|jobs| &jobs.from);
        let mut taken = jobs.chain(self.executors.iter().map(|executors| &executors.from));
        let mut second = self
            .requests
            .values()
            .filter_map(|request| request.for_each.as_ref());
        taken.any(|from| from == name) || second.any(|each| each.of.iter().any(|of| of == name))
    }
}

impl RequestConfig {
    fn check(&self, config: &HttpConfig, problems: &mut Problems) {
        let each = self.for_each.as_ref();
        let known = |name: &str| each.is_some_and(|each| each.with.contains_key(name));
        let texts = self.query.iter().map(|(name, text)| {
            let at = vec!["query".into(), Step::Key(name.clone())];
            (at, text)
        });
        for (at, text) in std::iter::once((vec!["path".into()], &self.path)).chain(texts) {
            match Template::parse(text) {
                Err(message) => problems.error(at, message),
                Ok(template) => {
                    for name in template.names().filter(|name| !known(name)) {
                        let words = format!("`{{{name}}}` is not among `for_each.with`");
                        problems.error(at.clone(), words);
                    }
                }
            }
        }
        if let Some(Err(message)) = self.url.as_deref().map(base) {
            problems.error(["url".into()], message);
        }
        if let Some(token) = &self.token {
            token.check(problems);
        }
        if self.path.contains(['?', '#']) {
            problems.error(["path".into()], "a query goes into `query`");
        }
        if let Some(each) = each {
            for (index, of) in each.of.iter().enumerate() {
                let at = ["for_each".into(), "of".into(), index.into()];
                match config.requests.get(of) {
                    Some(first) if first.for_each.is_some() => {
                        let words = format!(
                            "`{of}` is sent for each item of another request itself; two steps are the most"
                        );
                        problems.error(at, words);
                    }
                    _ => config.check_name(of, at, problems),
                }
            }
            if each.of.is_empty() {
                problems.error(["for_each".into(), "of".into()], "names no request");
            }
        }
        if let Some(pages) = &self.pages {
            pages.check(self.complete.is_empty(), problems);
        }
    }
}

impl PagesConfig {
    fn check(&self, unproven: bool, problems: &mut Problems) {
        let ways = [
            self.link,
            self.next.is_some(),
            self.cursor.is_some(),
            self.number.is_some(),
        ];
        if ways.into_iter().filter(|way| *way).count() != 1 {
            let words = "give exactly one of `link: true`, `next`, `cursor` and `number`";
            problems.error(["pages".into()], words);
        }
        let trusts_size = self
            .number
            .as_ref()
            .is_some_and(|number| number.size.is_some());
        if trusts_size && self.more.is_none() && unproven {
            let words = "a server that gives fewer items than `size` would end the list unseen: leave `size` out, or add `complete` to the request";
            problems.warning(["pages".into(), "number".into()], words);
        }
        let by_answer = self.next.is_some() || self.cursor.is_some();
        if by_answer && self.more.is_none() && unproven {
            let words = "when the server renames the field, the list would end after its first page unseen: add `more` to it, or `complete` to the request";
            problems.warning(["pages".into()], words);
        }
    }
}

impl JobsConfig {
    fn check(&self, problems: &mut Problems) {
        if self.is.is_some() == self.state.is_some() {
            let words = "say where the jobs stand: by `is`, or by `state` with `states`";
            problems.error([], words);
        }
        check_states(self.state.is_some(), self.states.is_empty(), problems);
        let classes = || self.states.values().copied().chain(self.is);
        if classes().any(|class| class == super::Class::Scheduled) && self.starts_at.is_none() {
            problems.error([], "scheduled jobs need `starts_at`");
        }
    }
}

fn check_states(told: bool, empty: bool, problems: &mut Problems) {
    match (told, empty) {
        (true, true) => {
            problems.error([], "`state` needs `states`, which says what the words mean");
        }
        (false, false) => problems.error(["states".into()], "has no effect without `state`"),
        _ => {}
    }
}
