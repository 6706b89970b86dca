//! How a failed call is tried again, as numbers that were checked.

use std::{fmt, ops::RangeInclusive, time::Duration};

/// Attempts in all.
const ATTEMPTS: RangeInclusive<u32> = 1..=10;
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_secs(300);
const MULTIPLIER: RangeInclusive<f64> = 1.0..=10.0;
const JITTER: RangeInclusive<f64> = 0.0..=0.5;
const TOTAL_MIN: Duration = Duration::from_millis(1);
const TOTAL_MAX: Duration = Duration::from_secs(3600);
const SHARE: RangeInclusive<f64> = 0.0..=1.0;
const PER_SECOND: RangeInclusive<u32> = 0..=1000;
const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_secs(60);

/// What is to be said of retries, unchecked: [`Settings::new`] takes it.
///
/// The pauses are those of [gRFC A6](https://github.com/grpc/proposal/blob/master/A6-client-retries.md), the budget is
/// that of Finagle's `RetryBudget`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Values {
    /// Attempts in all, the first one included: 1 to 10. Default 3.
    pub attempts: u32,
    /// The pause before the second attempt: 1 ms to 5 min. Default 100 ms.
    pub first_pause: Duration,
    /// No pause grows beyond this, before jitter: `first_pause` to 5 min. Default 5 s.
    pub max_pause: Duration,
    /// How many times the pause before it each further pause is: 1 to 10. Default 2.
    pub multiplier: f64,
    /// By which share of itself a pause is changed at random, either way: 0 to 0.5. Default 0.2.
    pub jitter: f64,
    /// How long all attempts and pauses of one call may take together: 1 ms to 1 h. Default 30 s.
    pub total: Duration,
    /// Retries that each call allows, of whichever call: 0 to 1, counted in millionths. Default 0.2.
    pub budget_share: f64,
    /// Retries in each second that need no calls: 0 to 1000. Default 10.
    pub budget_per_second: u32,
    /// For how long calls and retries count in the budget: 1 s to 60 s. Default 10 s.
    pub budget_ttl: Duration,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            attempts: 3,
            first_pause: Duration::from_millis(100),
            max_pause: Duration::from_secs(5),
            multiplier: 2.0,
            jitter: 0.2,
            total: Duration::from_secs(30),
            budget_share: 0.2,
            budget_per_second: 10,
            budget_ttl: Duration::from_secs(10),
        }
    }
}

/// How a failed call is tried again. By default as [`Values`] say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Settings(Values);

impl Settings {
    /// Checks the values.
    ///
    /// # Errors
    /// The first field whose value is out of its range, or contradicts another.
    pub fn new(values: Values) -> Result<Self, Invalid> {
        check(&values)?;
        Ok(Self(values))
    }

    /// What they are.
    pub fn values(&self) -> &Values {
        &self.0
    }
}

/// A value that settings cannot have.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct Invalid {
    /// The field of [`Values`].
    pub field: &'static str,
    /// What is wrong, and what would be right.
    pub problem: String,
}

fn check(values: &Values) -> Result<(), Invalid> {
    within("attempts", values.attempts, ATTEMPTS)?;
    lasts("first_pause", values.first_pause, PAUSE_MIN..=PAUSE_MAX)?;
    lasts("max_pause", values.max_pause, PAUSE_MIN..=PAUSE_MAX)?;
    if values.max_pause < values.first_pause {
        let (longest, first) = (values.max_pause, values.first_pause);
        let problem = format!("is {longest:?}, shorter than the first_pause of {first:?}; raise it to that");
        return Err(Invalid { field: "max_pause", problem });
    }
    within("multiplier", values.multiplier, MULTIPLIER)?;
    within("jitter", values.jitter, JITTER)?;
    lasts("total", values.total, TOTAL_MIN..=TOTAL_MAX)?;
    within("budget_share", values.budget_share, SHARE)?;
    within("budget_per_second", values.budget_per_second, PER_SECOND)?;
    lasts("budget_ttl", values.budget_ttl, TTL_MIN..=TTL_MAX)?;
    if values.budget_per_second == 0 && values.budget_share == 0.0 {
        let problem =
            "is 0, and budget_per_second too, which allows no retry; set attempts to 1 to have none";
        return Err(Invalid { field: "budget_share", problem: problem.to_owned() });
    }
    Ok(())
}

/// Not a number is within no range.
fn within<T: Copy + PartialOrd + fmt::Display>(
    field: &'static str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), Invalid> {
    if range.contains(&value) {
        return Ok(());
    }
    let problem = format!("is {value}; write {} to {}", range.start(), range.end());
    Err(Invalid { field, problem })
}

fn lasts(field: &'static str, value: Duration, range: RangeInclusive<Duration>) -> Result<(), Invalid> {
    if range.contains(&value) {
        return Ok(());
    }
    let problem = format!("is {value:?}; write {:?} to {:?}", range.start(), range.end());
    Err(Invalid { field, problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(change: impl FnOnce(&mut Values)) -> Result<Settings, Invalid> {
        let mut values = Values::default();
        change(&mut values);
        Settings::new(values)
    }

    #[test]
    fn what_is_default_is_valid() {
        assert_eq!(Settings::new(Values::default()), Ok(Settings::default()));
    }

    #[test]
    fn the_ends_of_every_range_are_in_it_and_what_is_beyond_names_the_field() {
        let secs = Duration::from_secs;
        let nanos = Duration::from_nanos;
        type Change = Box<dyn FnOnce(&mut Values)>;
        let good: [Change; 16] = [
            Box::new(|it| it.attempts = 1),
            Box::new(|it| it.attempts = 10),
            Box::new(|it| it.first_pause = Duration::from_millis(1)),
            Box::new(move |it| (it.first_pause, it.max_pause) = (secs(300), secs(300))),
            Box::new(|it| it.max_pause = it.first_pause),
            Box::new(|it| it.multiplier = 1.0),
            Box::new(|it| it.multiplier = 10.0),
            Box::new(|it| it.jitter = 0.0),
            Box::new(|it| it.jitter = 0.5),
            Box::new(|it| it.total = Duration::from_millis(1)),
            Box::new(move |it| it.total = secs(3600)),
            Box::new(|it| it.budget_share = 0.0),
            Box::new(|it| it.budget_share = 1.0),
            Box::new(|it| it.budget_per_second = 0),
            Box::new(|it| it.budget_per_second = 1000),
            Box::new(move |it| it.budget_ttl = secs(60)),
        ];
        for (at, change) in good.into_iter().enumerate() {
            assert!(changed(change).is_ok(), "{at}");
        }
        let bad: [(&str, Change); 22] = [
            ("attempts", Box::new(|it| it.attempts = 0)),
            ("attempts", Box::new(|it| it.attempts = 11)),
            ("first_pause", Box::new(|it| it.first_pause = Duration::ZERO)),
            ("first_pause", Box::new(move |it| it.first_pause = secs(301))),
            ("max_pause", Box::new(move |it| it.max_pause = secs(301))),
            ("max_pause", Box::new(move |it| it.max_pause = it.first_pause - nanos(1))),
            ("multiplier", Box::new(|it| it.multiplier = 0.99)),
            ("multiplier", Box::new(|it| it.multiplier = 10.01)),
            ("multiplier", Box::new(|it| it.multiplier = f64::NAN)),
            ("jitter", Box::new(|it| it.jitter = -0.01)),
            ("jitter", Box::new(|it| it.jitter = 0.51)),
            ("jitter", Box::new(|it| it.jitter = f64::NAN)),
            ("total", Box::new(|it| it.total = Duration::ZERO)),
            ("total", Box::new(move |it| it.total = secs(3601))),
            ("budget_share", Box::new(|it| it.budget_share = -0.01)),
            ("budget_share", Box::new(|it| it.budget_share = 1.01)),
            ("budget_share", Box::new(|it| it.budget_share = f64::INFINITY)),
            ("budget_share", Box::new(|it| it.budget_share = f64::NAN)),
            ("budget_share", Box::new(|it| (it.budget_share, it.budget_per_second) = (0.0, 0))),
            ("budget_per_second", Box::new(|it| it.budget_per_second = 1001)),
            ("budget_ttl", Box::new(move |it| it.budget_ttl = secs(1) - nanos(1))),
            ("budget_ttl", Box::new(move |it| it.budget_ttl = secs(61))),
        ];
        for (at, (field, change)) in bad.into_iter().enumerate() {
            assert_eq!(changed(change).map_err(|invalid| invalid.field), Err(field), "{at}");
        }
    }

    #[test]
    fn an_error_says_what_would_be_right() {
        let said = |change: fn(&mut Values)| changed(change).map_err(|invalid| invalid.to_string());
        assert_eq!(said(|it| it.attempts = 11), Err("attempts is 11; write 1 to 10".to_owned()));
        assert_eq!(said(|it| it.total = Duration::ZERO), Err("total is 0ns; write 1ms to 3600s".to_owned()));
    }
}
