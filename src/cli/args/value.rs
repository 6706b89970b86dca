//! Quantities (`2`, `50%`), labels (`key=value`), durations (`1m30s`), and words for states.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::SignedDuration;
use seaworthy_client::proto::seaworthy::v1::{
    HealthState, Lifecycle, OperationKind, OperationState, PolicyScope, Quantity, RateAlgorithm,
    RestoreGuard, Role, VerifyDepth, quantity,
};

use crate::cli::render::{backup, operation, policy, restore, words};

/// A number of instances, or a share of them.
pub(crate) fn quantity(text: &str) -> Result<Quantity, String> {
    let wrong = || "write a number of instances (2) or a share of them (50%)".to_owned();
    let value = match text.strip_suffix('%') {
        Some(percent) => match percent.parse().map_err(|_| wrong())? {
            percent @ 0..=100 => quantity::Value::Percent(percent),
            _ => return Err("a share is between 0% and 100%".to_owned()),
        },
        None => quantity::Value::Count(text.parse().map_err(|_| wrong())?),
    };
    Ok(Quantity { value: Some(value) })
}

/// A label and its value.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, for example zone=eu-west-1a".to_owned()),
    }
}

/// A span of time above zero, as Go and people write it: `300ms`, `1.5s`, `1m30s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a time above zero with its unit, for example 500ms, 10s or 1m30s".to_owned();
    let span: SignedDuration = text.parse().map_err(|_| wrong())?;
    match Duration::try_from(span) {
        Ok(span) if !span.is_zero() => Ok(span),
        _ => Err(wrong()),
    }
}

/// How long a token or certificate counts: as [`duration`], or whole days, weeks and years (of 365 days): `90d`.
pub(crate) fn lifetime(text: &str) -> Result<Duration, String> {
    const LONGEST: u64 = 100 * 365;
    let days = [("d", 1), ("w", 7), ("y", 365)].into_iter().find_map(|(unit, days)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(days).filter(|days| (1..=LONGEST).contains(days))
    });
    match days {
        Some(days) => Ok(Duration::from_secs(days * 24 * 3600)),
        None => duration(text)
            .map_err(|_| "write a time above zero with its unit, for example 12h, 30d or 1y".to_owned()),
    }
}

/// A share of a hundred, above 0.
pub(crate) fn percentage(text: &str) -> Result<f64, String> {
    match text.strip_suffix('%').unwrap_or(text).parse() {
        Ok(share) if share > 0.0 && share <= 100.0 => Ok(share),
        _ => Err("write a share above 0 and up to 100, for example 10 or 0.5; for nobody: --off".to_owned()),
    }
}

/// Parses a word for what is counted together.
pub(crate) fn scope() -> impl TypedValueParser<Value = PolicyScope> {
    PossibleValuesParser::new(policy::SCOPES.map(|(word, _)| word)).map(|given| {
        let found = policy::SCOPES.iter().find(|(word, _)| *word == given);
        found.map_or(PolicyScope::Unspecified, |(_, value)| *value)
    })
}

/// Parses a word for how a rate is measured.
pub(crate) fn algorithm() -> impl TypedValueParser<Value = RateAlgorithm> {
    PossibleValuesParser::new(policy::ALGORITHMS.map(|(word, _)| word)).map(|given| {
        let found = policy::ALGORITHMS.iter().find(|(word, _)| *word == given);
        found.map_or(RateAlgorithm::Unspecified, |(_, value)| *value)
    })
}

/// Parses a word for a role.
pub(crate) fn role() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(words::ROLES.map(|(word, _)| word)).map(|given| {
        let found = words::ROLES.iter().find(|(word, _)| *word == given);
        found.map_or(Role::Unspecified, |(_, value)| *value)
    })
}

/// Parses a word for what an operation does.
pub(crate) fn operation_kind() -> impl TypedValueParser<Value = OperationKind> {
    PossibleValuesParser::new(operation::KINDS.map(|(word, _)| word)).map(|given| {
        let found = operation::KINDS.iter().find(|(word, _)| *word == given);
        found.map_or(OperationKind::Unspecified, |(_, value)| *value)
    })
}

/// Parses a word for where an operation is.
pub(crate) fn operation_state() -> impl TypedValueParser<Value = OperationState> {
    PossibleValuesParser::new(operation::STATES.map(|(word, _)| word)).map(|given| {
        let found = operation::STATES.iter().find(|(word, _)| *word == given);
        found.map_or(OperationState::Unspecified, |(_, value)| *value)
    })
}

/// Parses a word for how deep a verification looks.
pub(crate) fn depth() -> impl TypedValueParser<Value = VerifyDepth> {
    PossibleValuesParser::new(backup::DEPTHS.map(|(word, _)| word)).map(|given| {
        let found = backup::DEPTHS.iter().find(|(word, _)| *word == given);
        found.map_or(VerifyDepth::Unspecified, |(_, value)| *value)
    })
}

/// Parses the name of a guard of restores.
pub(crate) fn guard() -> impl TypedValueParser<Value = RestoreGuard> {
    PossibleValuesParser::new(restore::GUARDS.map(|(word, _)| word)).map(|given| {
        let found = restore::GUARDS.iter().find(|(word, _)| *word == given);
        found.map_or(RestoreGuard::Unspecified, |(_, value)| *value)
    })
}

/// Parses a word for a lifecycle.
pub(crate) fn lifecycle() -> impl TypedValueParser<Value = Lifecycle> {
    PossibleValuesParser::new(words::LIFECYCLES.map(|(word, _)| word)).map(|given| {
        let found = words::LIFECYCLES.iter().find(|(word, _)| *word == given);
        found.map_or(Lifecycle::Unspecified, |(_, value)| *value)
    })
}

/// Parses a word for a state of health.
pub(crate) fn health() -> impl TypedValueParser<Value = HealthState> {
    PossibleValuesParser::new(words::HEALTHS.map(|(word, _)| word)).map(|given| {
        let found = words::HEALTHS.iter().find(|(word, _)| *word == given);
        found.map_or(HealthState::Unspecified, |(_, value)| *value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_counts_or_percentages() {
        let value = |text: &str| quantity(text).map(|quantity| quantity.value);
        assert_eq!(value("2"), Ok(Some(quantity::Value::Count(2))));
        assert_eq!(value("0"), Ok(Some(quantity::Value::Count(0))));
        assert_eq!(value("50%"), Ok(Some(quantity::Value::Percent(50))));
        assert_eq!(value("100%"), Ok(Some(quantity::Value::Percent(100))));
        for bad in ["", "%", "-1", "101%", "2.5", "half", "2 %", "50%%"] {
            assert!(value(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn durations_are_those_of_go() {
        let table = [("1s", 1000), ("300ms", 300), ("1.5s", 1500), ("1m30s", 90_000), ("1h2m", 3_720_000)];
        for (text, millis) in table {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "0", "0s", "-1s", "10", "soon", "1d1", "s"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lifetimes_are_days_too() {
        const DAY: u64 = 24 * 3600;
        for (text, seconds) in
            [("1d", DAY), ("2w", 14 * DAY), ("1y", 365 * DAY), ("12h", DAY / 2), ("90s", 90)]
        {
            assert_eq!(lifetime(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "0d", "d", "-1d", "1.5d", "101y", "90", "99999999999999999999d", "forever"] {
            assert!(lifetime(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn percentages_are_above_zero() {
        for (text, share) in [("10", 10.0), ("0.5", 0.5), ("100%", 100.0), ("1e1", 10.0)] {
            assert_eq!(percentage(text), Ok(share), "{text}");
        }
        for bad in ["", "0", "-1", "100.1", "NaN", "inf", "half", "10%%"] {
            assert!(percentage(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn labels_have_a_key() {
        assert_eq!(label("zone=a=b"), Ok(("zone".to_owned(), "a=b".to_owned())));
        assert_eq!(label("zone="), Ok(("zone".to_owned(), String::new())));
        for bad in ["", "zone", "=a"] {
            assert!(label(bad).is_err(), "{bad:?}");
        }
    }
}
