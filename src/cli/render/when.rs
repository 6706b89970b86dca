//! Times as people read them: ages in tables, short spans, the time of day in watches.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;

/// How long ago: `12s ago`; a dash where it never happened. What lies in the future (clocks differ)
/// is `0s ago`.
pub(crate) fn ago(time: Option<&Timestamp>, now: SystemTime) -> String {
    age(time, now).map_or_else(|| "-".to_owned(), |age| format!("{age} ago"))
}

/// For how long: `12s`.
pub(crate) fn age(time: Option<&Timestamp>, now: SystemTime) -> Option<String> {
    let time = SystemTime::try_from(*time?).ok()?;
    Some(coarse(now.duration_since(time).unwrap_or_default()))
}

/// A span in the largest unit that leaves at least two of it: `119s`, `2m`, `47h`, `2d`.
pub(crate) fn coarse(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A measured span: `850µs`, `12ms`, `1.5s`.
pub(crate) fn measured(span: Option<&prost_types::Duration>) -> Option<String> {
    let span = length(span)?;
    Some(match span.as_micros() {
        0..1000 => format!("{}µs", span.as_micros()),
        1000..1_000_000 => format!("{}ms", span.as_millis()),
        _ => format!("{:.1}s", span.as_secs_f64()),
    })
}

/// A configured span: `15s`, `1m 30s`.
pub(crate) fn span(span: Option<&prost_types::Duration>) -> String {
    match length(span).map(jiff::SignedDuration::try_from) {
        Some(Ok(span)) => format!("{span:#}"),
        _ => "-".to_owned(),
    }
}

/// A span of a message; none where it is negative, or too long to be one.
pub(crate) fn length(span: Option<&prost_types::Duration>) -> Option<Duration> {
    span.and_then(|span| Duration::try_from(*span).ok())
}

/// A span that goes by, in its largest unit: `119s`; a dash where there is none.
pub(crate) fn left(span: Option<&prost_types::Duration>) -> String {
    length(span).map_or_else(|| "-".to_owned(), coarse)
}

/// The time of day in UTC: `14:03:07Z`.
pub(crate) fn clock(now: SystemTime) -> String {
    match jiff::Timestamp::try_from(now) {
        Ok(now) => now.strftime("%H:%M:%SZ").to_string(),
        Err(_) => "-".to_owned(),
    }
}

/// A point in time as RFC 3339, in seconds.
pub(crate) fn stamp(time: Option<&Timestamp>) -> String {
    match time.and_then(|time| jiff::Timestamp::from_second(time.seconds).ok()) {
        Some(time) => time.to_string(),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_keep_two_digits_of_meaning() {
        let table = [(0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (172_800, "2d")];
        for (seconds, expected) in table {
            assert_eq!(coarse(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn what_never_happened_is_a_dash_and_the_future_is_now() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let at = |seconds| Timestamp { seconds, nanos: 0 };
        assert_eq!(ago(None, now), "-");
        assert_eq!(ago(Some(&at(88)), now), "12s ago");
        assert_eq!(ago(Some(&at(200)), now), "0s ago");
    }

    #[test]
    fn measured_spans_have_the_unit_that_fits() {
        let nanos = |nanos| measured(Some(&prost_types::Duration { seconds: 0, nanos })).unwrap();
        assert_eq!(nanos(850_000), "850µs");
        assert_eq!(nanos(12_300_000), "12ms");
        assert_eq!(
            measured(Some(&prost_types::Duration { seconds: 1, nanos: 500_000_000 })).unwrap(),
            "1.5s"
        );
        assert_eq!(measured(None), None);
    }

    #[test]
    fn points_in_time_are_utc() {
        let time = Timestamp { seconds: 1_700_000_000, nanos: 5 };
        assert_eq!(stamp(Some(&time)), "2023-11-14T22:13:20Z");
        assert_eq!(clock(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)), "22:13:20Z");
    }
}
