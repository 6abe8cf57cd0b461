//! Money in exact integers: a sum of many small amounts must not depend on their order.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Share;

/// Millionths of one unit of a currency. Six decimals hold every price that a cloud states per machine-hour, and a
/// 64-bit number of them holds eighteen trillion.
const UNIT: u64 = 1_000_000;

/// An amount, or a price per machine-hour, in millionths of the configuration's currency.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Money(u64);

impl Money {
    /// Nothing.
    pub const ZERO: Money = Money(0);

    /// So many millionths.
    pub const fn from_micros(micros: u64) -> Self {
        Money(micros)
    }

    /// The millionths.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// What an operator wrote, to the nearest millionth; `None` for what is negative, endless or beyond the range.
    pub fn from_decimal(amount: f64) -> Option<Self> {
        let micros = (amount * 1e6).round();
        // 2^53: up to here a double holds every whole number
        (0.0..9.0e15)
            .contains(&micros)
            .then_some(Money(micros as u64))
    }

    /// What a machine of this price per hour costs in this time, rounded up: an estimate leans to the dear side.
    pub fn for_time(self, time: Duration) -> Money {
        let micros = u128::from(self.0).saturating_mul(time.as_millis());
        Money(u64::try_from(micros.div_ceil(3_600_000)).unwrap_or(u64::MAX))
    }

    /// The sum; one beyond the range stays at its end.
    pub const fn plus(self, other: Money) -> Money {
        Money(self.0.saturating_add(other.0))
    }

    /// The difference, or nothing.
    pub const fn minus(self, other: Money) -> Money {
        Money(self.0.saturating_sub(other.0))
    }

    /// This amount so many times.
    pub const fn times(self, n: u32) -> Money {
        Money(self.0.saturating_mul(n as u64))
    }

    /// This share of it, rounded down.
    pub fn share(self, share: Share) -> Money {
        let part = u128::from(self.0) * u128::from(share.permille) / 1000;
        Money(u64::try_from(part).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Money {
    /// With two decimals, or as many as it has: `4000.00`, `0.062`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = format!("{:06}", self.0 % UNIT);
        let short = decimals.trim_end_matches('0');
        write!(f, "{}.{short:0<2}", self.0 / UNIT)
    }
}

/// A currency by its three letters, such as USD.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency(String);

impl std::str::FromStr for Currency {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let ok = text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase());
        ok.then(|| Currency(text.to_owned()))
            .ok_or_else(|| format!("`{text}` is no currency: write its three letters, such as USD"))
    }
}

impl TryFrom<String> for Currency {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> String {
        currency.0
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_counted() {
        for (written, micros, shown) in [
            (0.062, 62_000, "0.062"),
            (0.1 + 0.2, 300_000, "0.30"),
            (4000.0, 4_000_000_000, "4000.00"),
            (0.000_001, 1, "0.000001"),
            (0.0, 0, "0.00"),
        ] {
            let money = Money::from_decimal(written).unwrap();
            assert_eq!(money.micros(), micros);
            assert_eq!(money.to_string(), shown);
        }
        for bad in [-0.01, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(Money::from_decimal(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_part_of_an_hour_is_rounded_up() {
        let price = Money::from_micros(62_000);
        assert_eq!(price.for_time(Duration::from_secs(3600)).micros(), 62_000);
        assert_eq!(price.for_time(Duration::from_secs(60)).micros(), 1034);
        assert_eq!(price.for_time(Duration::ZERO), Money::ZERO);
        assert_eq!(
            Money::from_micros(u64::MAX)
                .for_time(Duration::MAX)
                .micros(),
            u64::MAX
        );
    }

    #[test]
    fn a_currency_has_three_capital_letters() {
        assert!("USD".parse::<Currency>().is_ok());
        for bad in ["usd", "US", "DOLLAR", "€", ""] {
            assert!(bad.parse::<Currency>().is_err(), "{bad}");
        }
    }
}
