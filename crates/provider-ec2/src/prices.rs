//! What some common types cost: a hint for whoever has to write a `price`, and nothing that is ever reckoned with.
//!
//! List prices per hour, Linux, on demand, in us-east-1, as published by AWS in January 2025. Prices differ by region and
//! change; that is why no decision is made by this table, and why nobody is asked over a network either.

/// Where and when these prices held.
const OF: &str = "on demand in us-east-1, January 2025";

/// Price of the size `large` of some families, in US dollars; other sizes are multiples of it.
const LARGE: &[(&str, f64)] = &[
    ("c5", 0.085),
    ("c6a", 0.0765),
    ("c6g", 0.068),
    ("c6i", 0.085),
    ("c7g", 0.0725),
    ("c7i", 0.08925),
    ("m5", 0.096),
    ("m6a", 0.0864),
    ("m6g", 0.077),
    ("m6i", 0.096),
    ("m7a", 0.11592),
    ("m7g", 0.0816),
    ("m7i", 0.1008),
    ("r5", 0.126),
    ("r6i", 0.126),
    ("t3", 0.0832),
];

/// Sizes, in `large`s.
const SIZES: &[(&str, f64)] = &[
    ("large", 1.0),
    ("xlarge", 2.0),
    ("2xlarge", 4.0),
    ("4xlarge", 8.0),
    ("8xlarge", 16.0),
];

/// A hint for an offer of this type, if the table has it.
pub(crate) fn hint(instance_type: &str) -> Option<String> {
    let (family, size) = instance_type.split_once('.')?;
    let find = |table: &[(&str, f64)], key: &str| {
        table
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| *value)
    };
    let price = find(LARGE, family)? * find(SIZES, size)?;
    // to a hundredth of a cent: a product of fractions has digits that mean nothing
    let price = (price * 10_000.0).round() / 10_000.0;
    Some(format!("{instance_type} cost {price} USD {OF}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_says_what_of_and_when() {
        let words = "m7i.xlarge cost 0.2016 USD on demand in us-east-1, January 2025";
        assert_eq!(hint("m7i.xlarge").as_deref(), Some(words));
    }

    #[test]
    fn what_the_table_does_not_have_has_no_hint() {
        for unknown in ["m7i.metal", "p5.48xlarge", "m7i", "large"] {
            assert_eq!(hint(unknown), None, "{unknown}");
        }
    }
}
