//! The words of a creation, as the JSON that Google's documents describe.
//!
//! Everything a machine of ours always is, wherever it runs, is said here: marked in the call that makes it, nobody at
//! Google unless an operator says so, without disks that outlive it. Written as JSON rather than by the SDK's setters,
//! because one machine and many are described by two schemas that differ in little more than how they spell a type, and
//! because that needs no SDK to be tested. The fake refuses a field that it does not know.
#![cfg_attr(
    not(feature = "sdk"),
    allow(dead_code, reason = "called by the client only")
)]

use std::collections::BTreeMap;

use model::{CreateBatch, MarketKind};
use serde_json::{Map, Value, json};

use crate::config::Offer;
use crate::convert::{self, Placement};

/// Everything that the roles of a service account allow. Google advises this one scope and to say in roles what an account
/// may do.
const ALL_SCOPES: &str = "https://www.googleapis.com/auth/cloud-platform";

/// One creation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Launch<'a> {
    pub(crate) project: &'a str,
    pub(crate) batch: &'a CreateBatch,
    pub(crate) offer: &'a Offer,
    pub(crate) placement: Placement<'a>,
    /// The metadata items of the offer's template: a request's items replace a template's, as all lists do.
    pub(crate) inherited: &'a BTreeMap<String, String>,
}

impl Launch<'_> {
    /// The body of `instances.insert`.
    pub(crate) fn one(&self) -> Value {
        let zone = self.placement.zone;
        let mut body = self.machine(|kind, name| format!("zones/{zone}/{kind}/{name}"));
        let name = self.batch.batch.instance(0).to_string();
        body.insert("name".to_owned(), json!(name));
        Value::Object(body)
    }

    /// The body of `instances.bulkInsert`. As many as there is room for, at least one: what is missing is told, and is the
    /// caller's to place elsewhere.
    pub(crate) fn many(&self) -> Value {
        let names = (0..self.batch.count).map(|index| self.batch.batch.instance(index).to_string());
        let named: Map<String, Value> = names.map(|name| (name, json!({}))).collect();
        let mut body = json!({
            "count": self.batch.count.to_string(),
            "minCount": "1",
            "perInstanceProperties": named,
            "instanceProperties": self.machine(|_, name| name.to_owned()),
        });
        if let Some(template) = self.template() {
            body["sourceInstanceTemplate"] = json!(template);
        }
        body
    }

    /// The offer's template as a path.
    pub(crate) fn template(&self) -> Option<String> {
        let name = self.offer.template.as_ref()?;
        Some(format!(
            "projects/{}/global/instanceTemplates/{name}",
            self.project
        ))
    }

    /// What both bodies say of a machine. `spell` writes a type.
    fn machine(&self, spell: impl Fn(&str, &str) -> String) -> Map<String, Value> {
        let offer = self.offer;
        let labels = convert::labels(self.batch, offer);
        let items = convert::metadata(self.batch, offer, self.inherited);
        let items: Vec<Value> = items
            .iter()
            .map(|(key, value)| json!({"key": key, "value": value}))
            .collect();
        let mut body = Map::new();
        let mut set = |key: &str, value: Value| drop(body.insert(key.to_owned(), value));
        if let Some(name) = self.placement.machine_type {
            set("machineType", json!(spell("machineTypes", name)));
        }
        if let Some(image) = &offer.image {
            let mut parameters = json!({"sourceImage": self.image(image), "labels": labels});
            if let Some(disk) = &offer.disk {
                parameters["diskSizeGb"] = json!(disk.size_gib.to_string());
                parameters["diskType"] = json!(spell("diskTypes", &disk.kind));
            }
            set(
                "disks",
                json!([{"boot": true, "autoDelete": true, "initializeParams": parameters}]),
            );
        }
        set("labels", json!(labels));
        set("metadata", json!({ "items": items }));
        set("scheduling", self.scheduling());
        if let Some(interface) = self.interface() {
            set("networkInterfaces", json!([interface]));
        }
        if !offer.tags.is_empty() {
            set("tags", json!({"items": offer.tags}));
        }
        if let Some(account) = &offer.service_account {
            let scopes = if account.scopes.is_empty() {
                json!([ALL_SCOPES])
            } else {
                json!(account.scopes)
            };
            set(
                "serviceAccounts",
                json!([{"email": account.email, "scopes": scopes}]),
            );
        }
        body
    }

    /// A machine that crashed is not started again by Google: its build is lost, and it would register a second time. A spot
    /// machine and one whose time is over are deleted and not merely stopped, where their disks would go on costing.
    fn scheduling(&self) -> Value {
        let mut scheduling = json!({"automaticRestart": false});
        let spot = self.offer.market == MarketKind::Spot;
        if spot {
            scheduling["provisioningModel"] = json!("SPOT");
            scheduling["onHostMaintenance"] = json!("TERMINATE");
        }
        if let Some(span) = self.offer.max_run_duration {
            scheduling["maxRunDuration"] = json!({"seconds": span.0.as_secs().to_string()});
        }
        if spot || self.offer.max_run_duration.is_some() {
            scheduling["instanceTerminationAction"] = json!("DELETE");
        }
        scheduling
    }

    /// The one network interface, unless a template has it.
    fn interface(&self) -> Option<Value> {
        let offer = self.offer;
        let said = offer.network.is_some() || offer.subnet.is_some() || offer.external_ip.is_some();
        if offer.template.is_some() && !said {
            return None;
        }
        let mut interface = json!({});
        match (&offer.network, &offer.subnet) {
            (network, Some(subnet)) => {
                let region = self
                    .placement
                    .zone
                    .rsplit_once('-')
                    .map_or("", |(region, _)| region);
                let below = format!("regions/{region}/subnetworks/{subnet}");
                interface["subnetwork"] = json!(self.path(subnet, &below));
                if let Some(network) = network {
                    interface["network"] =
                        json!(self.path(network, &format!("global/networks/{network}")));
                }
            }
            (network, None) => {
                let network = network.as_deref().unwrap_or("default");
                interface["network"] =
                    json!(self.path(network, &format!("global/networks/{network}")));
            }
        }
        if offer.external_ip == Some(true) {
            interface["accessConfigs"] =
                json!([{"type": "ONE_TO_ONE_NAT", "name": "External NAT"}]);
        }
        Some(interface)
    }

    fn image(&self, image: &str) -> String {
        self.path(image, &format!("global/images/{image}"))
    }

    /// What is a path already, or else `below` in the project.
    fn path(&self, given: &str, below: &str) -> String {
        if given.starts_with("projects/") {
            given.to_owned()
        } else {
            format!("projects/{}/{below}", self.project)
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{InstallationId, UserData};

    use super::*;

    fn batch(count: u32) -> CreateBatch {
        CreateBatch {
            fleet: "acme".parse().unwrap(),
            installation: InstallationId::new("here"),
            batch: "linux-7-1".parse().unwrap(),
            count,
            offer: "large/0".parse().unwrap(),
            spec: Value::Null,
            generation: model::Generation::new("0f3c5a"),
            attempt: 0,
            executor: None,
            user_data: UserData("#!/bin/sh\n".to_owned()),
        }
    }

    fn launch(spec: Value, count: u32, read: impl Fn(&Launch<'_>) -> Value) -> Value {
        let offer: Offer = serde_json::from_value(spec).unwrap();
        let machine_type = offer.types.first().map(String::as_str);
        read(&Launch {
            project: "acme-ci",
            batch: &batch(count),
            offer: &offer,
            placement: Placement {
                machine_type,
                zone: "europe-west3-a",
            },
            inherited: &BTreeMap::new(),
        })
    }

    #[test]
    fn one_machine_says_all_of_its_offer() {
        let spec = json!({
            "image": "family/ci-linux", "types": ["e2-standard-4"], "market": "spot", "subnet": "builders",
            "disk": {"size_gib": 100, "type": "pd-ssd"}, "external_ip": true, "tags": ["ci"],
            "service_account": {"email": "builder@acme-ci.iam.gserviceaccount.com"},
            "boot_key": "user-data", "max_run_duration": "24h",
        });
        let labels =
            json!({"parmanu-fleet": "acme", "parmanu-batch": "linux-7-1", "parmanu-pool": "linux"});
        assert_eq!(
            launch(spec, 1, |launch| launch.one()),
            json!({
                "name": "linux-7-1-0",
                "machineType": "zones/europe-west3-a/machineTypes/e2-standard-4",
                "disks": [{"boot": true, "autoDelete": true, "initializeParams": {
                    "sourceImage": "projects/acme-ci/global/images/family/ci-linux",
                    "diskSizeGb": "100",
                    "diskType": "zones/europe-west3-a/diskTypes/pd-ssd",
                    "labels": labels,
                }}],
                "labels": labels,
                "metadata": {"items": [
                    {"key": "parmanu-generation", "value": "0f3c5a"},
                    {"key": "parmanu-installation", "value": "here"},
                    {"key": "parmanu-offer", "value": "large/0"},
                    {"key": "user-data", "value": "#!/bin/sh\n"},
                ]},
                "scheduling": {
                    "automaticRestart": false,
                    "provisioningModel": "SPOT",
                    "onHostMaintenance": "TERMINATE",
                    "maxRunDuration": {"seconds": "86400"},
                    "instanceTerminationAction": "DELETE",
                },
                "networkInterfaces": [{
                    "subnetwork": "projects/acme-ci/regions/europe-west3/subnetworks/builders",
                    "accessConfigs": [{"type": "ONE_TO_ONE_NAT", "name": "External NAT"}],
                }],
                "tags": {"items": ["ci"]},
                "serviceAccounts": [{
                    "email": "builder@acme-ci.iam.gserviceaccount.com",
                    "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
                }],
            })
        );
    }

    #[test]
    fn a_plain_machine_has_no_account_no_address_and_no_deadline() {
        let spec = json!({"image": "projects/debian-cloud/global/images/family/debian-12", "types": ["e2-small"]});
        let body = launch(spec, 1, |launch| launch.one());
        assert_eq!(body.get("serviceAccounts"), None);
        assert_eq!(body["scheduling"], json!({"automaticRestart": false}));
        let default = "projects/acme-ci/global/networks/default";
        assert_eq!(body["networkInterfaces"], json!([{"network": default}]));
        let image = &body["disks"][0]["initializeParams"]["sourceImage"];
        assert_eq!(
            image,
            "projects/debian-cloud/global/images/family/debian-12"
        );
    }

    #[test]
    fn many_machines_are_named_one_by_one_and_types_are_plain() {
        let spec = json!({"image": "ci", "types": ["e2-small"], "disk": {"size_gib": 50}});
        let body = launch(spec, 3, |launch| launch.many());
        assert_eq!(
            (&body["count"], &body["minCount"]),
            (&json!("3"), &json!("1"))
        );
        let names = json!({"linux-7-1-0": {}, "linux-7-1-1": {}, "linux-7-1-2": {}});
        assert_eq!(body["perInstanceProperties"], names);
        assert_eq!(body["instanceProperties"]["machineType"], "e2-small");
        let disk = &body["instanceProperties"]["disks"][0]["initializeParams"];
        assert_eq!(disk["diskType"], "pd-balanced");
        assert_eq!(body.get("sourceInstanceTemplate"), None);
    }

    #[test]
    fn a_template_is_overridden_only_where_the_offer_says_so() {
        let body = launch(json!({"template": "ci-linux-v12"}), 2, |launch| {
            launch.many()
        });
        let template = "projects/acme-ci/global/instanceTemplates/ci-linux-v12";
        assert_eq!(body["sourceInstanceTemplate"], template);
        let said = body["instanceProperties"].as_object().unwrap();
        let said: Vec<&String> = said.keys().collect();
        assert_eq!(said, ["labels", "metadata", "scheduling"]);
    }
}
