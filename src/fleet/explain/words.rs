//! How an explanation speaks: times as they stand on a clock, texts of a bounded length.

use std::time::{Duration, SystemTime};

/// Longest text of somebody else's that is taken into an explanation, in bytes.
const LONGEST: usize = 300;
/// What is older is told with its day.
const A_DAY: Duration = Duration::from_secs(86_400);

/// A point in time: `12:03:07Z`, with its day where that is not within the last 24 hours.
pub(super) fn at(time: SystemTime, now: SystemTime) -> String {
    let format = match now.duration_since(time) {
        Ok(age) if age >= A_DAY => "%Y-%m-%d %H:%M:%SZ",
        _ => "%H:%M:%SZ",
    };
    match jiff::Timestamp::try_from(time) {
        Ok(time) => time.strftime(format).to_string(),
        Err(_) => "long ago".to_owned(),
    }
}

/// Somebody else's text, cut where it is long.
pub(super) fn cut(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    format!("{}...", &text[..text.floor_char_boundary(LONGEST)])
}

/// How long ago, in whole seconds; what lies in the future is now.
pub(super) fn age(time: SystemTime, now: SystemTime) -> Duration {
    Duration::from_secs(now.duration_since(time).unwrap_or_default().as_secs())
}

/// Names as a sentence has them: `i-1`, `i-1 and i-2`, `i-1, i-2 and 9 more`.
pub(super) fn names<'a>(shown: impl IntoIterator<Item = &'a str>, more: usize) -> String {
    let mut names: Vec<String> = shown.into_iter().map(str::to_owned).collect();
    if more > 0 {
        names.push(format!("{more} more"));
    }
    match names.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_day_once_it_is_needed() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for (later, text) in [(0, "22:13:20Z"), (86_399, "22:13:20Z"), (86_400, "2023-11-14 22:13:20Z")] {
            assert_eq!(at(time, time + Duration::from_secs(later)), text);
        }
        assert_eq!(at(time + Duration::from_secs(5), time), "22:13:25Z");
    }

    #[test]
    fn names_as_a_table() {
        for (shown, more, text) in [
            (vec!["i-1"], 0, "i-1"),
            (vec!["i-1", "i-2"], 0, "i-1 and i-2"),
            (vec!["i-1", "i-2", "i-3"], 9, "i-1, i-2, i-3 and 9 more"),
            (vec![], 2, "2 more"),
            (vec![], 0, ""),
        ] {
            assert_eq!(names(shown, more), text);
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("gone"), "gone");
        let text = cut(&format!("x{}", "ä".repeat(400)));
        assert_eq!((text.len(), text.ends_with("ä...")), (302, true));
    }
}
