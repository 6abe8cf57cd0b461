//! A list, page by page.
//!
//! The server says where the next page is (`nextHref`), and nothing of the address is believed but its parameters: they are
//! asked of the same place, so that no answer sends the token elsewhere. Pages are counted from the start of the list each
//! time, so rows that leave while we walk move others out of sight. A walk of several pages is therefore looked at again
//! from its beginning; when a row is gone, the look is partial.

use std::collections::BTreeSet;

use model::Completeness;
use serde::Deserialize;
use serde_json::Value;

use crate::client::{Client, Meter};
use crate::error::Failure;
use crate::wire::Rows;

/// Rows of a page that are asked for. A build of the queue with fifty dependencies takes some 50 KiB once it is parsed, and
/// a page of such builds still fits into what one answer may take.
const PAGE: usize = 500;
/// Pages that are followed; the look is partial beyond. Twenty thousand builds wait then.
const MOST_PAGES: usize = 40;

/// What is walked.
pub(crate) struct List<'a> {
    /// Below `/app/rest`.
    pub(crate) path: &'a [&'a str],
    /// Without paging.
    pub(crate) locator: &'a str,
    pub(crate) fields: &'a str,
    /// Where the rows are.
    pub(crate) key: &'static str,
    /// What an operator calls them.
    pub(crate) what: &'static str,
}

type Query = Vec<(String, String)>;

impl List<'_> {
    fn first(&self) -> Query {
        let mut locator = format!("count:{PAGE}");
        if !self.locator.is_empty() {
            locator = format!("{},{locator}", self.locator);
        }
        vec![
            ("locator".to_owned(), locator),
            ("fields".to_owned(), self.fields.to_owned()),
        ]
    }

    /// All rows. Without the first page there is none; what is missing later makes the look partial.
    pub(crate) async fn walk<T: for<'a> Deserialize<'a>>(
        &self,
        client: &Client,
        seen: &mut Completeness,
        meter: &Meter,
    ) -> Result<Vec<T>, Failure> {
        let mut rows = Rows::default();
        let mut ids = BTreeSet::new();
        let mut walked: Vec<(Query, BTreeSet<u64>)> = Vec::new();
        let mut query = self.first();
        loop {
            let page = match self.page(client, &query, meter).await {
                Ok(page) => page,
                Err(failure) if walked.is_empty() => return Err(failure),
                Err(failure) => {
                    seen.doubt(format!("{}: {}", self.what, failure.message));
                    break;
                }
            };
            let on_page: BTreeSet<u64> = page.rows.iter().filter_map(id_of).collect();
            let empty = page.rows.is_empty();
            for row in page.rows {
                // a row that moved is met twice; one without an id is read, to be found wrong
                if id_of(&row).is_none_or(|id| ids.insert(id)) {
                    rows.add(row);
                }
            }
            walked.push((query, on_page));
            match page.next {
                None => break,
                // a full last page names a next one, and that one names none
                Some(_) if empty => {
                    seen.doubt(format!(
                        "{}: an empty page that names a next one",
                        self.what
                    ));
                    break;
                }
                Some(_) if walked.len() >= MOST_PAGES => {
                    seen.doubt(format!("{} beyond {} pages", self.what, MOST_PAGES));
                    break;
                }
                Some(next) => query = next,
            }
        }
        if rows.bad > 0 {
            seen.doubt(format!(
                "{} rows of {} have another shape, the first at `{}`",
                rows.bad, self.what, rows.at
            ));
        }
        self.look_again(client, &walked, seen, meter).await;
        Ok(rows.good)
    }

    async fn look_again(
        &self,
        client: &Client,
        walked: &[(Query, BTreeSet<u64>)],
        seen: &mut Completeness,
        meter: &Meter,
    ) {
        let Some((_, before)) = walked.split_last() else {
            return;
        };
        let was: BTreeSet<u64> = before.iter().flat_map(|(_, ids)| ids).copied().collect();
        let mut is = BTreeSet::new();
        for (query, _) in before {
            match self.page(client, query, meter).await {
                Ok(page) => is.extend(page.rows.iter().filter_map(id_of)),
                Err(failure) => {
                    seen.doubt(format!("{}: {}", self.what, failure.message));
                    return;
                }
            }
        }
        if was.difference(&is).next().is_some() {
            seen.doubt(format!(
                "{} moved while their pages were read: some may be missing",
                self.what
            ));
        }
    }

    async fn page(&self, client: &Client, query: &Query, meter: &Meter) -> Result<Page, Failure> {
        let pairs: Vec<(&str, &str)> = query
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let answer = client.get(self.path, &pairs, meter).await?;
        let mut body = answer.json()?;
        let next = next_of(&body);
        match body.get_mut(self.key).map(Value::take) {
            Some(Value::Array(rows)) => Ok(Page { rows, next }),
            // an empty list may be left out, as every field that is null
            None | Some(Value::Null) if body["count"] == 0 => Ok(Page {
                rows: Vec::new(),
                next: None,
            }),
            _ => Err(Failure::bad_answer(format!(
                "{} answered no list of {}",
                answer.endpoint, self.what
            ))),
        }
    }
}

struct Page {
    rows: Vec<Value>,
    next: Option<Query>,
}

fn id_of(row: &Value) -> Option<u64> {
    row["id"].as_u64()
}

/// The parameters of the next page.
fn next_of(body: &Value) -> Option<Query> {
    let (_, query) = body["nextHref"].as_str()?.split_once('?')?;
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    Some(pairs.into_owned().collect())
}
