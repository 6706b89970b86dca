//! Rates: `100/s`, `5000/min`, `10/30s`.

use std::{str::FromStr, time::Duration};

use super::value;

/// So many in each period.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Rate {
    pub(crate) amount: u32,
    pub(crate) period: Duration,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || "write how many in which time, for example 100/s, 5000/min, 20/500ms or 1000/d".to_owned();
        let (amount, period) = text.split_once('/').ok_or_else(wrong)?;
        let amount = amount.parse().ok().filter(|amount| *amount > 0).ok_or_else(wrong)?;
        // A unit alone is one of it.
        let period = match period.starts_with(|c: char| c.is_ascii_alphabetic()) {
            true => value::lifetime(&format!("1{period}")),
            false => value::lifetime(period),
        };
        Ok(Rate { amount, period: period.map_err(|_| wrong())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_an_amount_and_a_period() {
        let table = [
            ("100/s", 100, 1_000),
            ("1/ms", 1, 1),
            ("5000/m", 5000, 60_000),
            ("5000/min", 5000, 60_000),
            ("7/h", 7, 3_600_000),
            ("1000/d", 1000, 86_400_000),
            ("20/500ms", 20, 500),
            ("10/1m30s", 10, 90_000),
            ("3/7d", 3, 604_800_000),
        ];
        for (text, amount, millis) in table {
            let expected = Rate { amount, period: Duration::from_millis(millis) };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for bad in [
            "",
            "100",
            "/s",
            "100/",
            "0/s",
            "-1/s",
            "1.5/s",
            "100/0s",
            "100/10",
            "100/x",
            "100/s/s",
            "4294967296/s",
        ] {
            assert!(bad.parse::<Rate>().is_err(), "{bad:?}");
        }
    }
}
