//! The keys of `requests:`.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use super::TokenConfig;
use crate::expression::Expression;

/// Pages of one list, if the configuration does not say: with 100 items each that is 10,000.
const MOST_PAGES: NonZeroU32 = NonZeroU32::new(100).expect("not zero");
/// Second requests, if the configuration does not say. They are what a probe costs, so they are few unless asked for.
const MOST_SECOND: NonZeroU32 = NonZeroU32::new(50).expect("not zero");

/// One GET, or one for each item of another.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestConfig {
    /// Path below `url`. `{name}` stands for a value of `for_each.with`.
    pub path: String,
    /// Another server than the emitter's, with a `token` of its own: the emitter's secret is not sent there.
    #[serde(default)]
    pub url: Option<String>,
    /// Another secret than the emitter's.
    #[serde(default)]
    pub token: Option<TokenConfig>,
    /// Query parameters. `{name}` stands for a value of `for_each.with`.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// Sent once for each item of another request's answer.
    #[serde(default)]
    pub for_each: Option<ForEachConfig>,
    /// How further pages are found; without it the answer is whole.
    #[serde(default)]
    pub pages: Option<PagesConfig>,
    /// Must be true of the first page, else the look fails: by it an answer shows that the token may see everything.
    #[serde(default)]
    pub expect: Option<Expression>,
    /// Lists that must be as long as the answer says, over all pages; else the look is partial.
    #[serde(default)]
    pub complete: Vec<CompleteConfig>,
}

/// A request per item.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForEachConfig {
    /// The requests whose items are taken. They are no second requests themselves.
    pub of: Vec<String>,
    /// The list in each of their pages.
    pub items: Expression,
    /// Values for `{name}` in path and query, from each item.
    pub with: BTreeMap<String, Expression>,
    /// At most so many; 50. What is beyond them makes the look partial.
    #[serde(default)]
    pub most: Option<NonZeroU32>,
}

/// How the next page is found: by exactly one of `link`, `next`, `cursor` and `number`. Never at another server.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PagesConfig {
    /// By `rel="next"` in the `Link` header.
    #[serde(default)]
    pub link: bool,
    /// By an address in the answer; null ends the list.
    #[serde(default)]
    pub next: Option<Expression>,
    /// By a cursor in the answer.
    #[serde(default)]
    pub cursor: Option<CursorPages>,
    /// By counting.
    #[serde(default)]
    pub number: Option<NumberPages>,
    /// Whether there is another page (true or false), where the answer says so.
    #[serde(default)]
    pub more: Option<Expression>,
    /// At most so many; 100. What is beyond them makes the look partial.
    #[serde(default)]
    pub most: Option<NonZeroU32>,
}

/// Pages by a cursor.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CursorPages {
    /// The query parameter that takes it.
    pub parameter: String,
    /// Where the answer has it; null ends the list.
    pub value: Expression,
}

/// Pages by number, up to one that is empty.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NumberPages {
    /// The query parameter that takes it.
    pub parameter: String,
    /// Number of the first page; 1.
    #[serde(default)]
    pub first: Option<u32>,
    /// Items of a full page: then a shorter one is the last, which saves a request. A server that gives fewer than asked
    /// for would end the list too early, so give it with `complete` only.
    #[serde(default)]
    pub size: Option<NonZeroU32>,
    /// The list whose items are counted; the answer itself if absent.
    #[serde(default)]
    pub items: Option<Expression>,
}

/// A list and its length.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteConfig {
    /// The list, in each page.
    pub items: Expression,
    /// What the answer says is its length, in the last page.
    pub total: Expression,
}

impl NumberPages {
    pub(crate) fn first(&self) -> u32 {
        self.first.unwrap_or(1)
    }
}

impl ForEachConfig {
    pub(crate) fn most(&self) -> usize {
        self.most.unwrap_or(MOST_SECOND).get() as usize
    }
}

impl PagesConfig {
    pub(crate) fn most(&self) -> u32 {
        self.most.unwrap_or(MOST_PAGES).get()
    }
}
