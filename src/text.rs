//! How numbers stand in sentences for people: `1 instance`, `2 instances`.
//!
//! English alone, and nouns that only take an `s`: whoever needs more writes another sentence.

use std::fmt;

/// A number with its noun, in the plural unless it is one.
pub fn counted(number: u64, noun: &str) -> impl fmt::Display {
    fmt::from_fn(move |f| write!(f, "{number} {noun}{}", if number == 1 { "" } else { "s" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_alone_is_singular() {
        for (number, text) in [(0, "0 keys"), (1, "1 key"), (2, "2 keys"), (21, "21 keys")] {
            assert_eq!(counted(number, "key").to_string(), text);
        }
    }
}
