//! Text for people: how numbers stand in sentences (`1 instance`, `2 instances`), and how words of strangers
//! are shown so that they do nothing to a terminal.
//!
//! English alone, and nouns that only take an `s`: whoever needs more writes another sentence.

use std::fmt;

/// A number with its noun, in the plural unless it is one.
pub fn counted(number: u64, noun: &str) -> impl fmt::Display {
    fmt::from_fn(move |f| write!(f, "{number} {noun}{}", if number == 1 { "" } else { "s" }))
}

/// Replaces control characters: line ends by a space, others by a mark.
pub fn clean(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(shown).collect()
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

    #[test]
    fn words_of_strangers_cannot_move_the_cursor() {
        assert_eq!(clean("a\x1b[2Jb\nc\u{9b}d"), "a�[2Jb c�d");
    }
}
