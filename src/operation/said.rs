//! Words of whoever carries an operation out: bounded, on one line.

use crate::text::{cut, printable};

/// Longest message, cause, or line of a report, in characters.
pub(super) const MOST_CHARS: usize = 1024;
/// Longest name of a step, in characters.
pub(super) const MOST_NAME: usize = 256;

/// Words as they are kept.
pub(super) fn words(text: &str) -> String {
    cut(&printable(text), MOST_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_of_one_line_and_bounded() {
        assert_eq!(words("a\nb"), "a b");
        assert_eq!(words(&"x".repeat(2000)).chars().count(), MOST_CHARS);
    }
}
