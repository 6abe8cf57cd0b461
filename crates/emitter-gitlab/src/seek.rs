//! Whether a machine has a runner *now*: asked right before the deletion of one that no look showed a runner of.
//!
//! First by the fleet's mark, to see whether a runner carries it that is no single machine's (an authentication token that
//! several machines share makes one runner of them all; GitLab knows the machines behind it by an id of their own disk and
//! not by a name, so none of them can be told apart). Then by the machine's name, whatever the tags: that is the last request,
//! so that it is as new as can be. A GitLab that reads from replicas may be late by their lag, mostly well below a second.

use model::{ExecutorId, InstanceName};
use ports::{Contact, EmitterErrorKind, Found};
use serde_json::{Value, json};

use crate::client::Meter;
use crate::config::Reach;
use crate::control::{GitLabControl, number};
use crate::convert::{next_cursor, number_of, text};
use crate::emitter::{MOST_PAGES, refused};
use crate::error::Failure;
use crate::supply::Owner;
use crate::{mark, queries};

/// A runner as far as it is looked for.
struct Row {
    id: ExecutorId,
    description: String,
    contact: Contact,
}

impl GitLabControl {
    pub(crate) async fn seek(
        &self,
        instance: &InstanceName,
        known: Option<&ExecutorId>,
    ) -> Result<Found, Failure> {
        if let Some(executor) = known
            && let Some(contact) = self.contact(executor).await?
        {
            let executor = executor.clone();
            return Ok(Found::There { executor, contact });
        }
        let mark = mark::fleet_tag(&self.fleet);
        for owner in self.owners() {
            let marked = self.sought(owner, json!({ "tags": [mark] })).await?;
            let shared = |row: &&Row| row.description.parse::<InstanceName>().is_err();
            if let Some(row) = marked.iter().find(shared) {
                let why = format!(
                    "runner {} carries the fleet's mark and no machine's name: whether this machine works as it cannot be told",
                    row.id
                );
                return Ok(Found::Unknown { why });
            }
        }
        let name = instance.to_string();
        for owner in self.owners() {
            let rows = self.sought(owner, json!({ "search": name })).await?;
            // of several the one that may work
            let named = rows.into_iter().filter(|row| row.description == name);
            let found = named.min_by_key(|row| row.contact == Contact::Away);
            if let Some(Row { id, contact, .. }) = found {
                return Ok(Found::There {
                    executor: id,
                    contact,
                });
            }
        }
        Ok(Found::Absent)
    }

    /// Whether a known runner is in contact; `None` when it is not there, or hidden.
    async fn contact(&self, executor: &ExecutorId) -> Result<Option<Contact>, Failure> {
        let place = format!("/runners/{}", number(executor)?);
        let asked = self.client.get(&place, "", &Meter::default()).await;
        match asked.and_then(|answer| answer.json()) {
            Ok(row) => {
                let status = text(&row, "status").and_then(contact_of);
                let words = || Failure::bad_answer(format!("GET {place} tells no contact"));
                status.map(Some).ok_or_else(words)
            }
            Err(failure) if failure.kind == EmitterErrorKind::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    fn owners(&self) -> Vec<Owner<'_>> {
        match &self.reach {
            Reach::Instance => vec![Owner::Instance],
            Reach::Groups(paths) => paths.iter().map(|path| Owner::Group(path)).collect(),
            Reach::Projects(paths) => paths.iter().map(|path| Owner::Project(path)).collect(),
        }
    }

    /// All runners of an owner that match; a list that is not whole is a failure, since absence is to rest on it.
    async fn sought(&self, owner: Owner<'_>, mut variables: Value) -> Result<Vec<Row>, Failure> {
        let (query, kind, path) = match owner {
            Owner::Instance => (queries::sought(), None, None),
            Owner::Group(path) => (queries::sought_of("group"), Some("group"), Some(path)),
            Owner::Project(path) => (queries::sought_of("project"), Some("project"), Some(path)),
        };
        if let Some(path) = path {
            variables["path"] = json!(path);
        }
        let mut found = Vec::new();
        for _ in 0..MOST_PAGES {
            let meter = Meter::default();
            let (data, errors) = self.reader.graphql(&query, &variables, &meter).await?;
            let connection = kind.map_or(&data["runners"], |kind| &data[kind]["runners"]);
            let rows = connection["nodes"].as_array();
            let rows = rows.filter(|_| errors.is_empty());
            let rows = rows.ok_or_else(|| refused("the runners", &errors))?;
            for row in rows {
                let words = || Failure::bad_answer("a runner has another shape");
                found.push(read(row).ok_or_else(words)?);
            }
            match next_cursor(connection).map_err(Failure::bad_answer)? {
                None => return Ok(found),
                Some(next) => variables["after"] = json!(next),
            }
        }
        Err(Failure::bad_answer("the list of runners does not end"))
    }
}

fn read(row: &Value) -> Option<Row> {
    Some(Row {
        id: ExecutorId::new(number_of(row.get("id")?)?),
        description: text(row, "description")?.to_owned(),
        contact: contact_of(text(row, "status")?)?,
    })
}

/// GitLab calls a runner online until it has been silent for two hours.
fn contact_of(status: &str) -> Option<Contact> {
    match status.to_ascii_lowercase().as_str() {
        "online" => Some(Contact::Untold),
        "offline" | "stale" | "never_contacted" => Some(Contact::Away),
        _ => None,
    }
}
