//! Calls that name many machines and fail for all of them because of one.

use std::collections::{BTreeMap, BTreeSet};

use ports::Call;

use crate::client::Client;
use crate::error::{Failure, ids_named};

/// What is done to many machines by one call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Deed<'a> {
    /// They are terminated.
    End,
    /// They get this tag.
    Tag(&'static str, &'a str),
}

/// How it went.
#[derive(Debug, Default)]
pub(crate) struct Went<'a> {
    /// What EC2 says is not there.
    pub(crate) gone: Vec<&'a str>,
    /// What failed, by id.
    pub(crate) failures: BTreeMap<&'a str, Failure>,
}

/// Does it to all of these and, where it fails because of one, again without it: what EC2 names as not there is left out,
/// what it does not name is found by halves.
pub(crate) async fn each<'a>(
    client: &Client,
    deed: Deed<'_>,
    ids: &[&'a str],
    call: &Call,
) -> Went<'a> {
    let mut went = Went::default();
    let mut open: Vec<Vec<&'a str>> = vec![ids.to_vec()];
    while let Some(ids) = open.pop() {
        let done = match deed {
            Deed::End => client.terminate(&ids, call).await,
            Deed::Tag(key, value) => client.tag(&ids, (key, value), call).await,
        };
        match done {
            Ok(()) => {}
            Err(failure) if failure.is("InvalidInstanceID.NotFound") => {
                let named: BTreeSet<&str> = ids_named(&failure.message).into_iter().collect();
                let (missing, rest): (Vec<&str>, Vec<&str>) =
                    ids.iter().partition(|id| named.contains(*id));
                if missing.is_empty() && rest.len() < 2 {
                    went.gone.extend(rest);
                } else if missing.is_empty() {
                    open.extend(halves(&rest));
                } else {
                    went.gone.extend(missing);
                    open.extend((!rest.is_empty()).then_some(rest));
                }
            }
            Err(failure) if failure.blames_one_id() && ids.len() > 1 => {
                open.extend(halves(&ids));
            }
            Err(mut failure) => {
                let fail = |id| (id, failure.repeat());
                went.failures.extend(ids.into_iter().map(fail));
            }
        }
    }
    went
}

fn halves<'a>(ids: &[&'a str]) -> [Vec<&'a str>; 2] {
    let (first, second) = ids.split_at(ids.len() / 2);
    [first.to_vec(), second.to_vec()]
}
