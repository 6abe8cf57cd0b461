//! Listings: of one zone, of all zones, of operations; page by page, and honest about zones that do not answer.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::access::{self, Need};
use crate::filter::Filter;
use crate::gce::Gce;
use crate::machine::Machine;
use crate::route::Asked;
use crate::show;
use crate::wire::{Outcome, Refusal};

/// Most and usual entries of a page.
const PAGE: u32 = 500;

/// One page of something sorted.
struct Page<'a> {
    machines: Vec<(&'a Machine, &'static str)>,
    next: Option<String>,
}

/// The parameters that all lists share.
struct Wish {
    filter: Filter,
    size: usize,
    /// Where the page before ended.
    after: Option<(String, String)>,
}

impl Wish {
    fn read(asked: &Asked) -> Outcome<Self> {
        let filter = asked.param("filter").unwrap_or_default();
        let size = asked.number::<u32>("maxResults")?.unwrap_or(PAGE);
        if size > PAGE {
            let why = "Must be less than or equal to 500.";
            return Err(Refusal::field("maxResults", &size.to_string(), why));
        }
        if let Some(order) = asked.param("orderBy") {
            let why = "Only the order by name is modelled.";
            return Err(Refusal::field("orderBy", order, why));
        }
        let after = asked.param("pageToken").map(|token| {
            let bad = || Refusal::field("pageToken", token, "Invalid page token.");
            let text = unhex(token).ok_or_else(bad)?;
            let (filter_then, place) = text.split_once('|').ok_or_else(bad)?;
            let (zone, name) = place.split_once('/').ok_or_else(bad)?;
            // a token belongs to the list that gave it
            (filter_then == filter)
                .then(|| (zone.to_owned(), name.to_owned()))
                .ok_or_else(bad)
        });
        Ok(Self {
            filter: Filter::parse(filter)?,
            size: usize::try_from(size.max(1)).unwrap_or(usize::MAX),
            after: after.transpose()?,
        })
    }

    fn token(asked: &Asked, zone: &str, name: &str) -> String {
        let filter = asked.param("filter").unwrap_or_default();
        hex(&format!("{filter}|{zone}/{name}"))
    }

    /// Those that fit, in the order of their zones and names, from where the last page ended.
    fn page<'a>(&self, gce: &'a Gce, asked: &Asked, zones: &[&str], now: Timestamp) -> Page<'a> {
        let mut fitting: Vec<(&Machine, &'static str)> = gce
            .machines
            .values()
            .filter(|machine| zones.contains(&machine.zone.as_str()))
            .filter_map(|machine| Some((machine, machine.listed(&gce.settings, now)?)))
            .filter(|(machine, status)| self.filter.fits(machine, status))
            .collect();
        fitting.sort_by_key(|(machine, _)| (&machine.zone, &machine.name));
        if let Some((zone, name)) = &self.after {
            fitting.retain(|(machine, _)| (&machine.zone, &machine.name) > (zone, name));
        }
        let more = fitting.len() > self.size;
        fitting.truncate(self.size);
        let last = fitting.last().filter(|_| more);
        let next = last.map(|(machine, _)| Self::token(asked, &machine.zone, &machine.name));
        Page {
            machines: fitting,
            next,
        }
    }
}

pub(crate) fn zonal(gce: &mut Gce, asked: &Asked, zone: &str, now: Timestamp) -> Outcome<Value> {
    let wish = allowed(gce, asked, now)?;
    if gce.unreachable.contains(zone) {
        return Err(Refusal::new(
            503,
            "backendError",
            "The zone does not answer.",
        ));
    }
    let page = wish.page(gce, asked, &[zone], now);
    let base = show::link(&gce.settings, &format!("zones/{zone}/instances"));
    let mut answer = json!({
        "kind": "compute#instanceList",
        "id": format!("projects/{}/zones/{zone}/instances", gce.settings.project),
        "selfLink": base,
    });
    let items: Vec<Value> = page
        .machines
        .iter()
        .map(|(machine, status)| show::machine(machine, status, &gce.settings, now))
        .collect();
    // an empty list is no list at all in the service's JSON
    if !items.is_empty() {
        answer["items"] = json!(items);
    }
    if let Some(next) = page.next {
        answer["nextPageToken"] = json!(next);
    }
    Ok(answer)
}

pub(crate) fn aggregated(gce: &mut Gce, asked: &Asked, now: Timestamp) -> Outcome<Value> {
    let wish = allowed(gce, asked, now)?;
    let zones: Vec<&str> = gce.settings.zones.iter().map(String::as_str).collect();
    let reached: Vec<&str> = zones
        .iter()
        .copied()
        .filter(|zone| !gce.unreachable.contains(*zone))
        .collect();
    let page = wish.page(gce, asked, &reached, now);
    let mut items = Map::new();
    for zone in &zones {
        if gce.hidden.contains(*zone) {
            continue;
        }
        let here: Vec<Value> = page
            .machines
            .iter()
            .filter(|(machine, _)| machine.zone == **zone)
            .map(|(machine, status)| show::machine(machine, status, &gce.settings, now))
            .collect();
        let scope = format!("zones/{zone}");
        let scoped = if gce.unreachable.contains(*zone) {
            warning(
                "UNREACHABLE",
                &scope,
                format!("The scope '{scope}' could not be reached."),
            )
        } else if here.is_empty() {
            let message = format!("There are no results for scope '{scope}' on this page.");
            warning("NO_RESULTS_ON_PAGE", &scope, message)
        } else {
            json!({ "instances": here })
        };
        items.insert(scope, scoped);
    }
    let mut answer = json!({
        "kind": "compute#instanceAggregatedList",
        "id": format!("projects/{}/aggregated/instances", gce.settings.project),
        "selfLink": show::link(&gce.settings, "aggregated/instances"),
        "items": items,
    });
    if !gce.unreachable.is_empty() {
        let scopes: Vec<String> = gce
            .unreachable
            .iter()
            .map(|zone| format!("zones/{zone}"))
            .collect();
        answer["unreachables"] = json!(scopes);
    }
    if let Some(next) = page.next {
        answer["nextPageToken"] = json!(next);
    }
    Ok(answer)
}

fn warning(code: &str, scope: &str, message: String) -> Value {
    json!({"warning": {
        "code": code,
        "message": message,
        "data": [{"key": "scope", "value": scope}],
    }})
}

/// Checks parameters, permission and the quota of resources looked through.
fn allowed(gce: &mut Gce, asked: &Asked, now: Timestamp) -> Outcome<Wish> {
    let wish = Wish::read(asked)?;
    let project = format!("projects/{}", gce.settings.project);
    let needs = [Need::new("compute.instances.list", project)];
    gce.need(needs.to_vec());
    access::check(&needs, &gce.settings)?;
    if let Some(rates) = gce.settings.rates
        && !wish.filter.is_empty()
    {
        let looked_through = u32::try_from(gce.machines.len()).unwrap_or(u32::MAX);
        let metric = "Filtered list cost overhead";
        gce.limits
            .take(metric, "", looked_through, rates.filtered, now)?;
    }
    Ok(wish)
}

/// The operations of a zone, the newest first; filters are not modelled for them.
pub(crate) fn operations(
    gce: &mut Gce,
    asked: &Asked,
    zone: &str,
    now: Timestamp,
) -> Outcome<Value> {
    if let Some(filter) = asked.param("filter") {
        let why = "Filters of operations are not modelled.";
        return Err(Refusal::field("filter", filter, why));
    }
    let project = format!("projects/{}", gce.settings.project);
    let needs = [Need::new("compute.zoneOperations.list", project)];
    gce.need(needs.to_vec());
    access::check(&needs, &gce.settings)?;
    let mut found: Vec<_> = gce
        .operations
        .values()
        .filter(|op| op.zone == zone)
        .collect();
    found.sort_by(|a, b| (b.at, &b.name).cmp(&(a.at, &a.name)));
    found.truncate(usize::try_from(PAGE).unwrap_or(usize::MAX));
    let items: Vec<Value> = found.iter().map(|op| op.show(&gce.settings, now)).collect();
    let mut answer = json!({
        "kind": "compute#operationList",
        "id": format!("projects/{}/zones/{zone}/operations", gce.settings.project),
        "selfLink": show::link(&gce.settings, &format!("zones/{zone}/operations")),
    });
    if !items.is_empty() {
        answer["items"] = json!(items);
    }
    Ok(answer)
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> = (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect();
    String::from_utf8(bytes?).ok()
}
