//! What a drained image or zone means for the offers of this configuration.
//!
//! Only the provider's plugin knows all keys of an offer, and the engine knows none of them. Two are read here, which all
//! providers call the same: `image` or `template` (whatever stands below them) and `zones`. An offer that names no zones may
//! still get a machine in a drained one; that machine is drained in its turn.

use model::{Directive, OfferId, Overrides};
use serde_json::Value;

/// Keys below which the name of an image stands.
const IMAGES: [&str; 3] = ["image", "template", "launch_template"];

/// Notes with each drain which of these offers it takes out.
pub fn resolve<'a>(
    overrides: &mut Overrides,
    offers: impl IntoIterator<Item = (&'a OfferId, &'a Value)> + Clone,
) {
    let zones: Vec<String> = overrides.zones().map(ToOwned::to_owned).collect();
    for it in &mut overrides.in_force {
        let takes_out = |spec: &Value| match &it.order.what {
            Directive::DrainImage { image } => names(spec, false, image),
            Directive::DrainZone { zone } => {
                let own = zones_of(spec);
                own.contains(&zone.as_str())
                    && own.iter().all(|own| zones.iter().any(|zone| zone == own))
            }
            Directive::Pause { .. }
            | Directive::Pin { .. }
            | Directive::DrainMachine { .. }
            | Directive::Confirm { .. } => false,
        };
        let offers = offers.clone().into_iter();
        let taken = offers.filter(|(_, spec)| takes_out(spec));
        it.offers = taken.map(|(id, _)| id.clone()).collect();
    }
}

/// The offer without the drained zones; one that has no other stays as it is, since it is not asked then.
pub(crate) fn outside(spec: &Value, overrides: &Overrides) -> Value {
    let mut spec = spec.clone();
    if let Some(zones) = spec.get_mut("zones").and_then(Value::as_array_mut) {
        let is_open = |zone: &Value| overrides.zones().all(|drained| zone != drained);
        if zones.iter().any(is_open) {
            zones.retain(is_open);
        }
    }
    spec
}

fn zones_of(spec: &Value) -> Vec<&str> {
    let zones = spec.get("zones").and_then(Value::as_array);
    let zones = zones.into_iter().flatten();
    zones.filter_map(Value::as_str).collect()
}

/// Whether this name stands below one of the keys of images.
fn names(value: &Value, below: bool, image: &str) -> bool {
    match value {
        Value::String(text) => below && text == image,
        Value::Array(values) => values.iter().any(|value| names(value, below, image)),
        Value::Object(fields) => fields
            .iter()
            .any(|(key, value)| names(value, below || IMAGES.contains(&key.as_str()), image)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use model::{Order, Override, Timestamp};
    use serde_json::json;

    use super::*;

    fn overrides(orders: &[Directive]) -> Overrides {
        let order = |what: &Directive| Override {
            order: Order {
                what: what.clone(),
                who: "ann".to_owned(),
                why: "b".to_owned(),
            },
            since: Timestamp::UNIX_EPOCH,
            until: Timestamp::UNIX_EPOCH,
            offers: std::collections::BTreeSet::new(),
        };
        Overrides {
            in_force: orders.iter().map(order).collect(),
            unreadable: Vec::new(),
        }
    }

    fn image(image: &str) -> Directive {
        let image = image.to_owned();
        Directive::DrainImage { image }
    }

    fn zone(zone: &str) -> Directive {
        let zone = zone.to_owned();
        Directive::DrainZone { zone }
    }

    fn taken(orders: &[Directive], spec: &Value) -> Vec<bool> {
        let mut overrides = overrides(orders);
        let id: OfferId = "m/0".parse().expect("an offer");
        resolve(&mut overrides, [(&id, spec)]);
        let taken = overrides.in_force.iter().map(|it| it.offers.contains(&id));
        taken.collect()
    }

    #[test]
    fn an_image_is_found_wherever_offers_name_one() {
        for spec in [
            json!({ "image": "ami-1", "types": ["m7i.large"] }),
            json!({ "launch_template": { "template": "ami-1", "version": "7" } }),
            json!({ "template": "ami-1" }),
        ] {
            assert_eq!(
                taken(&[image("ami-1"), image("ami-2")], &spec),
                [true, false]
            );
        }
        // no other text is taken for one
        let other = json!({ "image": "ami-2", "types": ["ami-1"] });
        assert_eq!(taken(&[image("ami-1")], &other), [false]);
    }

    #[test]
    fn an_offer_is_out_when_all_its_zones_are() {
        let spec = json!({ "zones": ["a", "b"] });
        assert_eq!(taken(&[zone("a")], &spec), [false]);
        assert_eq!(
            taken(&[zone("a"), zone("b"), zone("c")], &spec),
            [true, true, false]
        );
        assert_eq!(
            taken(&[zone("a")], &json!({ "image": "a" })),
            [false],
            "it names none"
        );
    }

    #[test]
    fn nothing_is_asked_of_a_drained_zone() {
        let spec = json!({ "image": "ami-1", "zones": ["a", "b"] });
        let left = outside(&spec, &overrides(&[zone("a")]));
        assert_eq!(left, json!({ "image": "ami-1", "zones": ["b"] }));
        assert_eq!(outside(&spec, &overrides(&[])), spec);
    }
}
