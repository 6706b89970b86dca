//! Lines cut to the width of a terminal. Colours take no room; every character is taken to be as wide as one.

/// The line, or as much of it as there is room for, with `more` at its end. `more` is one character.
pub(crate) fn cut(line: &str, width: usize, more: char) -> String {
    if visible(line) <= width {
        return line.to_owned();
    }
    let Some(room) = width.checked_sub(1) else { return String::new() };
    let (mut kept, mut shown, mut coloured) = (String::new(), 0, false);
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        if c == '\x1b' {
            coloured = true;
            kept.push(c);
            kept.extend(take_code(&mut rest));
            continue;
        }
        if shown == room {
            break;
        }
        shown += 1;
        kept.push(c);
    }
    if coloured {
        kept.push_str("\x1b[0m");
    }
    kept.push(more);
    kept
}

/// Characters that take room.
fn visible(line: &str) -> usize {
    let (mut count, mut rest) = (0, line.chars());
    while let Some(c) = rest.next() {
        if c == '\x1b' {
            take_code(&mut rest).for_each(drop);
        } else {
            count += 1;
        }
    }
    count
}

/// The rest of a colour code, up to its `m`.
fn take_code<'a>(rest: &'a mut std::str::Chars<'_>) -> impl Iterator<Item = char> + 'a {
    let mut over = false;
    std::iter::from_fn(move || {
        if over {
            return None;
        }
        let c = rest.next()?;
        over = c == 'm';
        Some(c)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_stays_and_what_does_not_ends_with_a_mark() {
        for (line, width, expected) in [
            ("orders", 6, "orders"),
            ("orders", 5, "orde…"),
            ("größe", 4, "grö…"),
            ("orders", 1, "…"),
            ("orders", 0, ""),
            ("", 0, ""),
        ] {
            assert_eq!(cut(line, width, '…'), expected, "{line} in {width}");
        }
    }

    #[test]
    fn colours_take_no_room_and_end_with_what_is_cut() {
        let line = "a \x1b[1;31munhealthy\x1b[0m b";
        assert_eq!(cut(line, 13, '…'), line);
        assert_eq!(cut(line, 6, '…'), "a \x1b[1;31munh\x1b[0m…");
        assert_eq!(visible(line), 13);
    }
}
