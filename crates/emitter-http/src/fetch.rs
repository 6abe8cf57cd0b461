//! Sending what the configuration names: pages to their end, second requests a few at a time.
//!
//! Knows nothing of jobs. A first page that fails is a failure; whatever is missing after it is a doubt.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt as _;
use jmespath::{Rcvar, Variable};
use ports::{Clock, EmitterErrorKind, PluginError};
use secrecy::SecretString;
use url::Url;
use web::{Answer, Failure, Meter};

use crate::client::Client;
use crate::config::{ForEachConfig, HttpConfig, KIND, PagesConfig, RequestConfig};
use crate::doubts::Doubts;
use crate::expression::Expression;
use crate::template::Template;
use crate::value;

/// Second requests at a time. A CI server serves its users first.
const AT_A_TIME: usize = 4;

/// The pages of each request that was sent.
#[derive(Default)]
pub(crate) struct Answers(BTreeMap<String, Vec<Rcvar>>);

impl Answers {
    /// The pages of this request.
    pub(crate) fn of(&self, name: &str) -> &[Rcvar] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// One page.
    #[cfg(test)]
    pub(crate) fn made_of(name: &str, page: Rcvar) -> Self {
        Self([(name.to_owned(), vec![page])].into())
    }
}

/// Sends the requests of one configuration.
pub(crate) struct Fetcher {
    requests: BTreeMap<String, Prepared>,
}

/// A request whose server and places are known.
struct Prepared {
    client: Arc<Client>,
    path: Vec<Template>,
    query: Vec<(String, Template)>,
    config: RequestConfig,
}

/// The pages of one list, and what is missing.
struct Walked {
    pages: Vec<Rcvar>,
    doubts: Vec<String>,
}

type Values = BTreeMap<String, String>;

impl Fetcher {
    /// # Errors
    ///
    /// Fails on what `check` refuses, and on a file of certificates that cannot be used.
    pub(crate) fn new(config: &HttpConfig, clock: &Arc<dyn Clock>) -> Result<Self, PluginError> {
        let common = Arc::new(Client::new(config, None, clock.clone())?);
        let mut requests = BTreeMap::new();
        for (name, request) in &config.requests {
            let client = if request.url.is_some() || request.token.is_some() {
                Arc::new(Client::new(config, Some(request), clock.clone())?)
            } else {
                common.clone()
            };
            let prepared = Prepared::of(request, client).map_err(|message| PluginError {
                kind: KIND,
                message,
                source: None,
            })?;
            requests.insert(name.clone(), prepared);
        }
        Ok(Self { requests })
    }

    /// The secrets as they are now, which nothing may repeat.
    pub(crate) fn secrets(&self) -> Result<Vec<SecretString>, Failure> {
        let secrets = self
            .requests
            .values()
            .map(|request| request.client.secret());
        secrets.filter_map(Result::transpose).collect()
    }

    /// Sends this request, and the ones it follows from, unless that was done already.
    pub(crate) async fn fetch(
        &self,
        name: &str,
        answers: &mut Answers,
        doubts: &mut Doubts,
        meter: &Meter,
    ) -> Result<(), Failure> {
        let request = self.prepared(name)?;
        let Some(each) = &request.config.for_each else {
            return self.first(name, answers, doubts, meter).await;
        };
        if answers.0.contains_key(name) {
            return Ok(());
        }
        for of in &each.of {
            self.first(of, answers, doubts, meter).await?;
        }
        let urls = self.second_urls(name, request, each, answers, doubts);
        let walks: Vec<_> = urls
            .into_iter()
            .map(|url| self.walk(request, url, meter))
            .collect();
        let walks: Vec<_> = futures::stream::iter(walks)
            .buffered(AT_A_TIME)
            .collect()
            .await;
        let mut pages = Vec::new();
        for walked in walks {
            match walked {
                Ok(walked) => {
                    pages.extend(walked.pages);
                    doubts.extend(walked.doubts);
                }
                Err(failure) => doubts.add(failure.message),
            }
        }
        answers.0.insert(name.to_owned(), pages);
        Ok(())
    }

    async fn first(
        &self,
        name: &str,
        answers: &mut Answers,
        doubts: &mut Doubts,
        meter: &Meter,
    ) -> Result<(), Failure> {
        if answers.0.contains_key(name) {
            return Ok(());
        }
        let request = self.prepared(name)?;
        let url = request.url(&Values::new());
        let url = url.map_err(|words| Failure::new(EmitterErrorKind::Config, words))?;
        let walked = self.walk(request, url, meter).await?;
        doubts.extend(walked.doubts);
        answers.0.insert(name.to_owned(), walked.pages);
        Ok(())
    }

    fn prepared(&self, name: &str) -> Result<&Prepared, Failure> {
        let found = self.requests.get(name);
        found.ok_or_else(|| {
            let words = format!("there is no request `{name}`");
            Failure::new(EmitterErrorKind::Config, words)
        })
    }

    /// The addresses of the second requests, each once: an item may have moved from one list to another meanwhile.
    fn second_urls(
        &self,
        name: &str,
        request: &Prepared,
        each: &ForEachConfig,
        answers: &Answers,
        doubts: &mut Doubts,
    ) -> Vec<Url> {
        let mut urls = Vec::new();
        let mut seen = BTreeSet::new();
        let mut beyond = 0;
        for page in each.of.iter().flat_map(|of| answers.of(of)) {
            let items = each.items.of(page).and_then(|list| value::items(&list));
            let items = items.unwrap_or_else(|odd| {
                doubts.add(format!("requests.{name}.for_each.items: {odd}"));
                Vec::new()
            });
            for item in &items {
                let url = values_of(each, item).and_then(|values| request.url(&values));
                match url {
                    Err(odd) => doubts.add(format!("requests.{name}.for_each.with: {odd}")),
                    Ok(url) if !seen.insert(url.clone()) => {}
                    Ok(_) if urls.len() >= each.most() => beyond += 1,
                    Ok(url) => urls.push(url),
                }
            }
        }
        if beyond > 0 {
            doubts.add(format!(
                "requests.{name}: {beyond} items were not asked for, since `most` is {}",
                each.most()
            ));
        }
        urls
    }

    /// The pages of one list from its first on.
    async fn walk(&self, request: &Prepared, first: Url, meter: &Meter) -> Result<Walked, Failure> {
        let mut walked = Walked {
            pages: Vec::new(),
            doubts: Vec::new(),
        };
        let mut url = first.clone();
        loop {
            let asked = request.page(url.clone(), meter).await;
            let (answer, page) = match asked {
                Ok(got) => got,
                Err(failure) if walked.pages.is_empty() => return Err(failure),
                Err(failure) => {
                    walked.doubts.push(failure.message);
                    break;
                }
            };
            if walked.pages.is_empty() {
                proven(&request.config, &answer, &page)?;
            } else if walked.pages.last() == Some(&page) {
                walked
                    .doubts
                    .push(format!("{} gave the same page again", answer.endpoint));
                break;
            }
            walked.pages.push(page);
            match request.next(&first, &answer, &walked.pages) {
                Ok(Some(next)) => url = next,
                Ok(None) => break,
                Err(words) => {
                    walked.doubts.push(format!("{} {words}", answer.endpoint));
                    break;
                }
            }
        }
        if walked.doubts.is_empty() {
            let odd = request.config.complete.iter().filter_map(|complete| {
                let held = is_whole(&complete.items, &complete.total, &walked.pages);
                held.err().map(|words| format!("{}: {words}", first.path()))
            });
            walked.doubts = odd.collect();
        }
        Ok(walked)
    }
}

impl Prepared {
    fn of(config: &RequestConfig, client: Arc<Client>) -> Result<Self, String> {
        let path = config.path.trim_start_matches('/').split('/');
        let query = config.query.iter();
        Ok(Self {
            client,
            path: path.map(Template::parse).collect::<Result<_, _>>()?,
            query: query
                .map(|(name, text)| Ok((name.clone(), Template::parse(text)?)))
                .collect::<Result<_, String>>()?,
            config: config.clone(),
        })
    }

    async fn page(&self, url: Url, meter: &Meter) -> Result<(Answer, Rcvar), Failure> {
        let answer = self.client.get(url, meter).await?;
        let page = Variable::from_serializable(answer.json()?).map_err(|_| {
            Failure::bad_answer(format!("{} answered no usable JSON", answer.endpoint))
        })?;
        Ok((answer, Rcvar::new(page)))
    }

    /// Where the next page is, if there is one; else what is wrong about it.
    fn next(&self, first: &Url, answer: &Answer, pages: &[Rcvar]) -> Result<Option<Url>, String> {
        let (Some(config), Some(page)) = (&self.config.pages, pages.last()) else {
            return Ok(None);
        };
        let more = match &config.more {
            None => None,
            Some(more) => {
                let said = more.of(page).and_then(|found| value::truth(&found));
                let said =
                    said.map_err(|odd| format!("does not tell whether there is more: {odd}"))?;
                Some(said.ok_or("does not tell whether there is more: `more` gives null")?)
            }
        };
        if more == Some(false) {
            return Ok(None);
        }
        let next = self.next_by(config, first, answer, pages)?;
        if next.is_none() && more == Some(true) {
            return Err("says that there is more, and not where".to_owned());
        }
        if next.is_some() && pages.len() >= config.most() as usize {
            return Err(format!("has more than {} pages, the `most`", config.most()));
        }
        Ok(next)
    }

    fn next_by(
        &self,
        config: &PagesConfig,
        first: &Url,
        answer: &Answer,
        pages: &[Rcvar],
    ) -> Result<Option<Url>, String> {
        let text = |expression: &Expression, page| {
            let found = expression.of(page).and_then(|found| value::text(&found));
            found.map_err(|odd| format!("does not tell its next page: {odd}"))
        };
        let Some(page) = pages.last() else {
            return Ok(None);
        };
        if let Some(cursor) = &config.cursor {
            let next = text(&cursor.value, page)?;
            return Ok(next.map(|next| with_parameter(first, &cursor.parameter, &next)));
        }
        if let Some(number) = &config.number {
            let list = number
                .items
                .as_ref()
                .map_or_else(|| Ok(page.clone()), |items| items.of(page));
            let items = list.and_then(|list| value::items(&list));
            let found = items
                .map_err(|odd| format!("has no list to count: {odd}"))?
                .len();
            let full = number.size.map_or(1, |size| size.get() as usize);
            let index = number.first() as usize + pages.len();
            let next = || with_parameter(first, &number.parameter, &index.to_string());
            return Ok((found >= full).then(next));
        }
        let reference = match &config.next {
            Some(next) => text(next, page)?,
            None => answer.next_link().map(str::to_owned),
        };
        let Some(reference) = reference else {
            return Ok(None);
        };
        // the token goes where the next page is
        let url = self.client.here(&answer.url, &reference);
        let url =
            url.ok_or("points to another server for its next page, where the token must not go")?;
        Ok(Some(url))
    }

    /// The address with these values; each of them stays within its part of the path.
    fn url(&self, values: &Values) -> Result<Url, String> {
        let missing = || "a value is missing".to_owned();
        let mut url = self.client.base().clone();
        let mut segments = Vec::new();
        for template in &self.path {
            let segment = template.fill(values).ok_or_else(missing)?;
            if matches!(segment.as_str(), "." | "..") {
                return Err("gives a path that leads elsewhere".to_owned());
            }
            segments.push(segment);
        }
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(&segments);
        }
        for (name, template) in &self.query {
            let value = template.fill(values).ok_or_else(missing)?;
            url.query_pairs_mut().append_pair(name, &value);
        }
        let pages = self.config.pages.as_ref();
        if let Some(number) = pages.and_then(|pages| pages.number.as_ref()) {
            url = with_parameter(&url, &number.parameter, &number.first().to_string());
        }
        Ok(url)
    }
}

/// The values of one item.
fn values_of(each: &ForEachConfig, item: &Rcvar) -> Result<Values, String> {
    let one = |(name, expression): (&String, &Expression)| {
        let text = value::text(&*expression.of(item)?)?;
        let text = text.ok_or_else(|| format!("`{}` gives nothing", expression.text()))?;
        Ok((name.clone(), text))
    };
    each.with.iter().map(one).collect()
}

/// Whether the first page shows what `expect` asks for.
fn proven(request: &RequestConfig, answer: &Answer, page: &Rcvar) -> Result<(), Failure> {
    let Some(expect) = &request.expect else {
        return Ok(());
    };
    let held = expect.of(page).map_err(Failure::bad_answer)?;
    if held.is_truthy() {
        return Ok(());
    }
    let words = format!(
        "{}: `{}` does not hold, so the token may not see everything",
        answer.endpoint,
        expect.text()
    );
    Err(Failure::new(EmitterErrorKind::Forbidden, words))
}

/// Whether a list is as long as its last page says.
fn is_whole(items: &Expression, total: &Expression, pages: &[Rcvar]) -> Result<(), String> {
    let mut seen = 0;
    for page in pages {
        let list = items.of(page).and_then(|list| value::items(&list));
        seen += list.map_err(|odd| format!("`complete.items` {odd}"))?.len() as u64;
    }
    let Some(last) = pages.last() else {
        return Ok(());
    };
    let said = total.of(last).and_then(|total| value::whole(&total));
    match said.map_err(|odd| format!("`complete.total` {odd}"))? {
        Some(said) if said == seen => Ok(()),
        Some(said) => Err(format!(
            "`{}` has {seen} items and `{}` says {said}",
            items.text(),
            total.text()
        )),
        None => Err(format!(
            "`complete.total` gives nothing (`{}`)",
            total.text()
        )),
    }
}

/// The address with one query parameter set anew.
fn with_parameter(url: &Url, name: &str, value: &str) -> Url {
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(key, _)| key != name)
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect();
    let mut url = url.clone();
    url.query_pairs_mut()
        .clear()
        .extend_pairs(kept)
        .append_pair(name, value);
    url
}
