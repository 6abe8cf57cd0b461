//! Filters of describe calls: names, values and the wildcards `*` and `?`.

use crate::form::Form;
use crate::machine::{Machine, Market, State};
use crate::wire::{Outcome, Refusal};

/// Filter values per call (DescribeInstances reference: 200).
const VALUES_MAX: usize = 200;

/// A filter as it stands in the request: any of the values must match.
#[derive(Debug)]
pub(crate) struct Plain {
    pub(crate) name: String,
    pub(crate) values: Vec<String>,
}

impl Plain {
    /// Whether this text is one of the values.
    pub(crate) fn passes(&self, value: &str) -> bool {
        self.values.iter().any(|pattern| matches(pattern, value))
    }

    /// The key, if it is about a tag.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.name.strip_prefix("tag:")
    }

    pub(crate) fn invalid(&self) -> Refusal {
        let message = format!("The filter '{}' is invalid", self.name);
        Refusal::bad("InvalidParameterValue", message)
    }
}

/// One filter of machines: any of the values must match.
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

/// Reads `Filter.N` of machines; an unknown name is refused, never ignored.
pub(crate) fn read(form: &Form) -> Outcome<Vec<Filter>> {
    let read = |plain: Plain| {
        let field = field(&plain)?;
        let values = plain.values;
        Ok(Filter { field, values })
    };
    plain(form)?.into_iter().map(read).collect()
}

/// Reads `Filter.N` as it stands; what the names mean is the caller's to say.
pub(crate) fn plain(form: &Form) -> Outcome<Vec<Plain>> {
    let mut filters = Vec::new();
    for group in form.groups("Filter") {
        let name = group.need("Name")?;
        let values = group.list("Value");
        if values.is_empty() {
            let message = format!("The filter '{name}' has no values");
            return Err(Refusal::bad("InvalidParameterValue", message));
        }
        let name = name.to_owned();
        filters.push(Plain { name, values });
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

fn field(plain: &Plain) -> Outcome<Field> {
    if let Some(key) = plain.tag() {
        return Ok(Field::Tag(key.to_owned()));
    }
    Ok(match plain.name.as_str() {
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
        _ => return Err(plain.invalid()),
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
