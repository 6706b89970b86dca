//! What a component says of itself: a state, a message for people, and figures. A report always fits
//! the limits of the wire contract: what is too long is cut here, so that a long error text is never
//! the reason why the control plane does not learn of the error.

use std::{collections::BTreeMap, error::Error, fmt, time::Duration};

use crate::{HealthState, proto::seaworthy::v1 as wire, rt, rules::Reported};

const MAX_MESSAGE_BYTES: usize = 4096;
const MAX_DETAILS: usize = 16;
const MAX_KEY_BYTES: usize = 63;
const MAX_VALUE_BYTES: usize = 256;

/// One statement of a component about itself: healthy, degraded or unhealthy, with a message and
/// figures.
///
/// ```
/// use seaworthy_client::Report;
///
/// let report = Report::degraded("replica lags").detail("lag_seconds", 12);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use = "a report counts when a check answers it or it is pushed"]
pub struct Report {
    state: Reported,
    message: String,
    details: BTreeMap<String, String>,
    response_time: Option<Duration>,
}

impl Report {
    /// It works.
    pub fn healthy() -> Self {
        Self::new(Reported::Healthy, String::new())
    }

    /// It works less well than it should; the message says why, and is cut at 4096 bytes.
    pub fn degraded(message: impl Into<String>) -> Self {
        Self::new(Reported::Degraded, message.into())
    }

    /// It does not work; the message says why, and is cut at 4096 bytes.
    pub fn unhealthy(message: impl Into<String>) -> Self {
        Self::new(Reported::Unhealthy, message.into())
    }

    /// Adds a figure or fact: `detail("free_bytes", 12345)`. At most 16 are kept, the first ones; keys
    /// are cut at 63 and values at 256 bytes.
    pub fn detail(mut self, key: impl Into<String>, value: impl fmt::Display) -> Self {
        let key = cut(key.into(), MAX_KEY_BYTES);
        let fits = self.details.len() < MAX_DETAILS || self.details.contains_key(&key);
        if fits && !key.is_empty() {
            self.details.insert(key, cut(value.to_string(), MAX_VALUE_BYTES));
        }
        self
    }

    /// Says how long the check took. A check that is run by the library is measured anyway; its own
    /// word wins.
    pub fn response_time(mut self, taken: Duration) -> Self {
        self.response_time = Some(taken);
        self
    }

    /// How it is: healthy, degraded or unhealthy, never unknown.
    pub fn state(&self) -> HealthState {
        self.state.into()
    }

    pub(crate) fn reported(&self) -> Reported {
        self.state
    }

    /// Why, for people. Empty where nothing is to be said.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Figures and facts, by key.
    pub fn details(&self) -> &BTreeMap<String, String> {
        &self.details
    }

    /// How long the check took. `None`: not measured.
    pub fn measured(&self) -> Option<Duration> {
        self.response_time
    }

    pub(crate) fn or_response_time(mut self, taken: Duration) -> Self {
        self.response_time.get_or_insert(taken);
        self
    }

    pub(crate) fn to_wire(&self, component: &str) -> wire::ComponentReport {
        wire::ComponentReport {
            component: component.to_owned(),
            state: to_wire(self.state).into(),
            message: self.message.clone(),
            response_time: self.response_time.and_then(|taken| taken.try_into().ok()),
            details: self.details.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        }
    }

    fn new(state: Reported, message: String) -> Self {
        let message = cut(message, MAX_MESSAGE_BYTES);
        Self { state, message, details: BTreeMap::new(), response_time: None }
    }
}

/// What a check may answer: a [`Report`]; `()`, which is healthy; or a `Result` of these, whose error
/// is unhealthy with the error's text and causes as the message.
pub trait IntoReport {
    /// The report it stands for.
    fn into_report(self) -> Report;
}

impl IntoReport for Report {
    fn into_report(self) -> Report {
        self
    }
}

impl IntoReport for () {
    fn into_report(self) -> Report {
        Report::healthy()
    }
}

impl<T, E> IntoReport for Result<T, E>
where
    T: IntoReport,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    fn into_report(self) -> Report {
        match self {
            Ok(answer) => answer.into_report(),
            Err(error) => Report::unhealthy(rt::chain(&*error.into())),
        }
    }
}

fn to_wire(reported: Reported) -> wire::HealthState {
    match reported {
        Reported::Healthy => wire::HealthState::Healthy,
        Reported::Degraded => wire::HealthState::Degraded,
        Reported::Unhealthy => wire::HealthState::Unhealthy,
    }
}

/// Cuts between characters, at `most` bytes.
fn cut(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_checks_answer_becomes_a_report() {
        assert_eq!(().into_report(), Report::healthy());
        assert_eq!(Ok::<_, String>(()).into_report(), Report::healthy());
        assert_eq!(Err::<(), _>("gone").into_report(), Report::unhealthy("gone"));
        let refused = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused");
        assert_eq!(Err::<Report, _>(refused).into_report(), Report::unhealthy("connection refused"));
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        let report = Report::unhealthy("ä".repeat(3000)).detail("k".repeat(100), "ö".repeat(300));
        assert_eq!(report.message().len(), 4096);
        let (key, value) = report.details().first_key_value().expect("one detail");
        assert_eq!((key.len(), value.len()), (63, 256));
        let odd = Report::unhealthy(format!("x{}", "ä".repeat(3000)));
        assert_eq!(odd.message().len(), 4095);
    }

    #[test]
    fn only_sixteen_details_are_kept_and_known_keys_can_change() {
        let report = (0..40).fold(Report::healthy(), |report, n| report.detail(format!("k{n:02}"), n));
        assert_eq!(report.details().len(), 16);
        let report = report.detail("k00", "again");
        assert_eq!(report.details()["k00"], "again");
    }
}
