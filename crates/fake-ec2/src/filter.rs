//! Filters of describe calls: names, values and the wildcards `*` and `?`.

use crate::form::Form;
use crate::machine::{Machine, Market, State};
use crate::wire::{Outcome, Refusal};

/// Filter values per call (DescribeInstances reference: 200).
const VALUES_MAX: usize = 200;

/// One filter: any of the values must match.
#[derive(Debug)]
pub(crate) struct Filter {
    field: Field,
    values: Vec<String>,
}

#[derive(Debug)]
enum Field {
    State,
    Token,
    Id,
    TagKey,
    Tag(String),
    Zone,
    Type,
    Image,
    Lifecycle,
    Subnet,
    Reservation,
}

/// Reads `Filter.N`; an unknown name is refused, never ignored.
pub(crate) fn read(form: &Form) -> Outcome<Vec<Filter>> {
    let mut filters = Vec::new();
    for group in form.groups("Filter") {
        let name = group.need("Name")?;
        let values = group.list("Value");
        if values.is_empty() {
            let message = format!("The filter '{name}' has no values");
            return Err(Refusal::bad("InvalidParameterValue", message));
        }
        filters.push(Filter {
            field: field(name)?,
            values,
        });
    }
    if filters
        .iter()
        .map(|filter| filter.values.len())
        .sum::<usize>()
        > VALUES_MAX
    {
        let message = "The maximum number of filter values specified on a single call is 200";
        return Err(Refusal::bad("FilterLimitExceeded", message));
    }
    Ok(filters)
}

fn field(name: &str) -> Outcome<Field> {
    if let Some(key) = name.strip_prefix("tag:") {
        return Ok(Field::Tag(key.to_owned()));
    }
    Ok(match name {
        "instance-state-name" => Field::State,
        "client-token" => Field::Token,
        "instance-id" => Field::Id,
        "tag-key" => Field::TagKey,
        "availability-zone" => Field::Zone,
        "instance-type" => Field::Type,
        "image-id" => Field::Image,
        "instance-lifecycle" => Field::Lifecycle,
        "subnet-id" => Field::Subnet,
        "reservation-id" => Field::Reservation,
        other => {
            let message = format!("The filter '{other}' is invalid");
            return Err(Refusal::bad("InvalidParameterValue", message));
        }
    })
}

impl Filter {
    /// Whether a machine shown in this state passes.
    pub(crate) fn passes(&self, machine: &Machine, shown: State) -> bool {
        let any = |value: &str| self.values.iter().any(|pattern| matches(pattern, value));
        match &self.field {
            Field::State => any(shown.name()),
            Field::Token => machine.client_token.as_deref().is_some_and(any),
            Field::Id => any(&machine.id),
            Field::TagKey => machine.tags.keys().any(|key| any(key)),
            Field::Tag(key) => machine.tags.get(key).is_some_and(|value| any(value)),
            Field::Zone => any(&machine.zone),
            Field::Type => any(&machine.instance_type),
            Field::Image => any(&machine.image),
            Field::Lifecycle => machine.market == Market::Spot && any("spot"),
            Field::Subnet => machine.subnet.as_deref().is_some_and(any),
            Field::Reservation => any(&machine.reservation),
        }
    }
}

/// `*` stands for any text, `?` for one character, a backslash takes their meaning away.
fn matches(pattern: &str, value: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let value: Vec<char> = value.chars().collect();
    matches_from(&pattern, &value)
}

fn matches_from(pattern: &[char], value: &[char]) -> bool {
    match (pattern, value) {
        ([], []) => true,
        (['*', rest @ ..], _) => {
            (0..=value.len()).any(|skipped| matches_from(rest, &value[skipped..]))
        }
        (['?', rest @ ..], [_, tail @ ..]) => matches_from(rest, tail),
        (['\\', literal, rest @ ..], [c, tail @ ..]) => literal == c && matches_from(rest, tail),
        ([literal, rest @ ..], [c, tail @ ..]) => literal == c && matches_from(rest, tail),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_and_escapes_do_not() {
        for (pattern, value, wanted) in [
            ("linux-*", "linux-7-1", true),
            ("linux-?", "linux-71", false),
            ("*", "", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("linux", "Linux", false),
        ] {
            assert_eq!(matches(pattern, value), wanted, "{pattern} on {value}");
        }
    }
}
