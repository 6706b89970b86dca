//! Which of two versions is newer. Services name their versions as they like: nothing is refused here.

use std::cmp::Ordering;

/// Orders versions by the precedence of Semantic Versioning 2.0: numbers by value, a pre-release before
/// its release, build metadata not at all.
///
/// Versions of other shapes have an order too: a leading `v` is ignored, parts that are left out are
/// zero, and a part of the release that is no number comes before every number.
pub(super) fn compare(left: &str, right: &str) -> Ordering {
    let ((left, left_pre), (right, right_pre)) = (parts(left), parts(right));
    release(left, right).then_with(|| match (left_pre, right_pre) {
        (None, None) => Ordering::Equal,
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (Some(left), Some(right)) => pre_release(left, right),
    })
}

/// The release and the pre-release of a version.
fn parts(version: &str) -> (&str, Option<&str>) {
    let version = match version.strip_prefix(['v', 'V']) {
        Some(rest) if rest.starts_with(|first: char| first.is_ascii_digit()) => rest,
        _ => version,
    };
    let version = version.split('+').next().unwrap_or_default();
    match version.split_once('-') {
        Some((release, pre)) => (release, Some(pre)),
        None => (version, None),
    }
}

fn release(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.split(['.', '_']), right.split(['.', '_']));
    loop {
        let pair = (left.next(), right.next());
        if pair == (None, None) {
            return Ordering::Equal;
        }
        let (left, right) = (pair.0.unwrap_or("0"), pair.1.unwrap_or("0"));
        let order = match (number(left), number(right)) {
            (Some(left), Some(right)) => by_value(left, right),
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (None, None) => left.cmp(right),
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Here numbers come before everything else, and the longer one wins where one begins with the other.
fn pre_release(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.split('.'), right.split('.'));
    loop {
        let (left, right) = match (left.next(), right.next()) {
            (Some(left), Some(right)) => (left, right),
            (left, right) => return left.is_some().cmp(&right.is_some()),
        };
        let order = match (number(left), number(right)) {
            (Some(left), Some(right)) => by_value(left, right),
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (None, None) => left.cmp(right),
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// A number as its digits, however many, without leading zeros.
fn number(text: &str) -> Option<&str> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.trim_start_matches('0'))
}

fn by_value(left: &str, right: &str) -> Ordering {
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

#[cfg(test)]
mod tests {
    use super::compare;

    #[test]
    fn versions_are_ordered_as_a_table() {
        for (older, newer) in [
            ("1.9.3", "1.10.0"),
            ("v1.2", "v1.3"),
            ("v1.2", "1.3"),
            ("1.2", "1.2.1"),
            ("", "0.1"),
            ("9", "2026.01.02"),
            ("2026-01-02", "2026-01-03"),
            ("build-9", "build-10"),
            ("1.0.0", "99999999999999999999999.0.0"),
            // Semantic Versioning 2.0, section 11: as written there.
            ("1.0.0", "2.0.0"),
            ("2.0.0", "2.1.0"),
            ("2.1.0", "2.1.1"),
            ("1.0.0-alpha", "1.0.0"),
            ("1.0.0-alpha", "1.0.0-alpha.1"),
            ("1.0.0-alpha.1", "1.0.0-alpha.beta"),
            ("1.0.0-alpha.beta", "1.0.0-beta"),
            ("1.0.0-beta", "1.0.0-beta.2"),
            ("1.0.0-beta.2", "1.0.0-beta.11"),
            ("1.0.0-beta.11", "1.0.0-rc.1"),
            ("1.0.0-rc.1", "1.0.0"),
            ("1.0.0-rc.1+build.7", "1.0.0+build.1"),
            // What is left out is zero, so that a short release is newer than its pre-release too.
            ("1.2.0-rc.1", "1.2"),
        ] {
            assert!(compare(older, newer).is_lt(), "{older} {newer}");
            assert!(compare(newer, older).is_gt(), "{newer} {older}");
        }
        for (one, other) in
            [("1.0.0", "1.0.0"), ("1.0.0+a", "1.0.0+b"), ("1.0", "1.0.0"), ("v1", "1"), ("01.2", "1.2")]
        {
            assert!(compare(one, other).is_eq(), "{one} {other}");
        }
    }
}
