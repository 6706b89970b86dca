//! Text for people: how numbers stand in sentences (`1 instance`, `2 instances`), and how words of strangers
//! are shown so that they do nothing to a terminal.
//!
//! English alone, and nouns that only take an `s`: whoever needs more writes another sentence.

use std::fmt;

/// A number with its noun, in the plural unless it is one.
pub fn counted(number: u64, noun: &str) -> impl fmt::Display {
    fmt::from_fn(move |f| write!(f, "{number} {noun}{}", if number == 1 { "" } else { "s" }))
}

/// A size in binary units: `1.5 MiB`.
pub fn bytes(size: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| size >= *unit) {
        // A tenth is enough, and whole numbers make it without floating point.
        Some((unit, name)) => format!("{}.{} {name}", size / unit, size % unit * 10 / unit),
        None => counted(size, "byte").to_string(),
    }
}

/// Replaces what moves a cursor or reorders a line: line ends by a space, other control characters and marks that
/// nobody sees by a mark that everybody does.
pub fn clean(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
        c if !shows(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(shown).collect()
}

/// Whether a character may be shown as it is: it moves no cursor, reorders no line, and is seen.
pub fn shows(c: char) -> bool {
    let hidden = match c {
        '\u{2028}' | '\u{2029}' => true,
        // Of no width, or of another direction.
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' => true,
        '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    };
    !hidden && !c.is_control()
}

/// The first characters of a text; where some are left out, the last one says so.
pub fn cut(text: &str, most: usize) -> String {
    // Bytes are never fewer than characters.
    if text.len() <= most || text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// Replaces control characters by spaces. For words that are kept: `clean` is for those that are shown.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_tenth() {
        for (size, expected) in
            [(0, "0 bytes"), (1, "1 byte"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB")]
        {
            assert_eq!(bytes(size), expected);
        }
    }

    #[test]
    fn one_alone_is_singular() {
        for (number, text) in [(0, "0 keys"), (1, "1 key"), (2, "2 keys"), (21, "21 keys")] {
            assert_eq!(counted(number, "key").to_string(), text);
        }
    }

    #[test]
    fn what_is_too_long_ends_with_a_mark() {
        for (text, expected) in [("", ""), ("abc", "abc"), ("äöü", "äöü"), ("abcd", "ab…"), ("äöüß", "äö…")]
        {
            assert_eq!(cut(text, 3), expected);
        }
    }

    #[test]
    fn words_that_are_kept_lose_their_control_characters_alone() {
        assert_eq!(printable("a\x1b[2Jb\r\nc\u{202e}"), "a [2Jb  c\u{202e}");
    }

    #[test]
    fn words_of_strangers_cannot_move_the_cursor() {
        assert_eq!(clean("a\x1b[2Jb\nc\u{9b}d"), "a�[2Jb c�d");
        assert_eq!(clean("x\u{202e}gnp.exe\u{2029}\u{200b}y\u{2066}"), "x�gnp.exe �y�");
        assert_eq!(clean("Grüße, 東京, ‘so’, שלום, e\u{301}"), "Grüße, 東京, ‘so’, שלום, e\u{301}");
    }

    #[test]
    fn what_nobody_sees_is_seen() {
        for (what, marks) in [
            ("a line", vec!['\n', '\r', '\t', '\u{2028}', '\u{2029}']),
            ("of another direction", "\u{61c}\u{200e}\u{200f}".chars().collect()),
            ("the other way on", ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}').collect()),
            (
                "of no width",
                "\u{ad}\u{180e}\u{200b}\u{200c}\u{200d}\u{2060}\u{2064}\u{feff}".chars().collect(),
            ),
            ("annotations", ('\u{fff9}'..='\u{fffb}').collect()),
            ("tags", ('\u{e0000}'..='\u{e007f}').collect()),
            ("controls", ('\0'..='\u{8}').chain('\u{e}'..='\u{1f}').chain('\u{7f}'..='\u{9f}').collect()),
        ] {
            let shown = if what == "a line" { ' ' } else { char::REPLACEMENT_CHARACTER };
            for mark in marks {
                assert_eq!(clean(&format!("a{mark}b")), format!("a{shown}b"), "{what}: {mark:?}");
            }
        }
    }
}
