//! Pages of a list that is sorted by id: the token is the last id of the page before.

use std::ops::RangeInclusive;

use crate::form::Form;
use crate::wire::{Outcome, Refusal};
use crate::xml::{Node, text};

/// What one call asks for.
pub(crate) struct Page<'a> {
    /// Ids up to this one were shown before.
    pub(crate) after: &'a str,
    size: Option<u32>,
}

impl<'a> Page<'a> {
    /// Reads page size and token; a size that the service does not take is refused.
    pub(crate) fn of(form: &'a Form, sizes: &RangeInclusive<u32>) -> Outcome<Self> {
        let size = form.number("MaxResults")?;
        if let Some(size) = size.filter(|size| !sizes.contains(size)) {
            return Err(Refusal::value(&size.to_string(), "maxResults"));
        }
        let after = form.get("NextToken").unwrap_or_default();
        Ok(Page { after, size })
    }

    /// Cuts what was found to the page; gives the token for the next one, if there is one.
    pub(crate) fn cut<T>(&self, found: &mut Vec<T>, id: impl Fn(&T) -> &str) -> Option<Node> {
        let size = self.size.map_or(usize::MAX, |size| size as usize);
        let more = found.len() > size;
        found.truncate(size);
        let last = found.last().filter(|_| more);
        last.map(|row| text("nextToken", id(row)))
    }
}
