//! Words of whoever carries an operation out: bounded, on one line.

use crate::text::printable;

/// Longest message, cause, or line of a report, in characters.
pub(super) const MOST_CHARS: usize = 1024;
/// Longest name of a step, in characters.
pub(super) const MOST_NAME: usize = 256;

/// Words as they are kept.
pub(super) fn words(text: &str) -> String {
    cut(&printable(text), MOST_CHARS)
}

/// The first characters of a text; where some are left out, the last one says so.
pub(super) fn cut(text: &str, most: usize) -> String {
    // Bytes are never fewer than characters.
    if text.len() <= most || text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_ends_with_a_mark() {
        for (text, expected) in [("", ""), ("abc", "abc"), ("äöü", "äöü"), ("abcd", "ab…"), ("äöüß", "äö…")]
        {
            assert_eq!(cut(text, 3), expected);
        }
        assert_eq!(words("a\nb"), "a b");
        assert_eq!(words(&"x".repeat(2000)).chars().count(), MOST_CHARS);
    }
}
