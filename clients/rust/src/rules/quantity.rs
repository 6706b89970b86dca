//! Durations and sizes as people write them: `1m30s`, `64MiB`.

use std::time::Duration;

const DURATION_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads a duration such as `250ms`, `30s`, `1m30s` or `2d`: whole numbers with units from the largest
/// to the smallest, each at most once.
///
/// # Errors
/// What is wrong and how to write it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let millis = duration_millis(text)
        .ok_or_else(|| "is not a duration; write it like 250ms, 30s, 1m30s or 24h".to_owned())?;
    Ok(Duration::from_millis(millis))
}

fn duration_millis(text: &str) -> Option<u64> {
    let (mut rest, mut total, mut units) = (text, 0_u64, DURATION_UNITS.as_slice());
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let amount: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let position = units.iter().position(|(name, _)| *name == &rest[..unit_end])?;
        total = total.checked_add(amount.checked_mul(units[position].1)?)?;
        rest = &rest[unit_end..];
        units = &units[position + 1..];
        if rest.is_empty() {
            return Some(total);
        }
    }
}

/// Writes a duration as [`parse_duration`] reads it, in whole milliseconds and at most hours.
pub fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (name, millis) in &DURATION_UNITS[1..] {
        if rest >= *millis {
            text.push_str(&format!("{}{name}", rest / millis));
            rest %= millis;
        }
    }
    text
}

/// Reads a size such as `64KiB`, `8MiB` or a plain number of bytes.
///
/// # Errors
/// What is wrong and how to write it.
pub fn parse_size(text: &str) -> Result<u64, String> {
    size_bytes(text).ok_or_else(|| {
        "is not a size; write a whole number of bytes with or without KiB, MiB or GiB, like 64MiB".to_owned()
    })
}

fn size_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let amount: u64 = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "" => 1,
        name => SIZE_UNITS.iter().find(|(unit, _)| *unit == name)?.1,
    };
    amount.checked_mul(unit)
}

/// Writes a size as [`parse_size`] reads it, in the largest unit that leaves no rest.
pub fn show_size(bytes: u64) -> String {
    let exact = SIZE_UNITS.iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit));
    let (name, unit) = exact.unwrap_or(&SIZE_UNITS[SIZE_UNITS.len() - 1]);
    format!("{}{name}", bytes / unit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_written() {
        for (text, millis) in [
            ("0s", Some(0)),
            ("250ms", Some(250)),
            ("30s", Some(30_000)),
            ("1m30s", Some(90_000)),
            ("1h1m1s1ms", Some(3_661_001)),
            ("2d", Some(172_800_000)),
            ("90m", Some(5_400_000)),
            ("", None),
            ("30", None),
            ("s", None),
            ("-5s", None),
            ("1.5s", None),
            ("1 s", None),
            ("30s1m", None),
            ("1s1s", None),
            ("1S", None),
            ("1м", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(duration_millis(text), millis, "{text:?}");
        }
    }

    #[test]
    fn sizes_are_read_as_written() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("512", Some(512)),
            ("512B", Some(512)),
            ("64KiB", Some(65_536)),
            ("4MiB", Some(4_194_304)),
            ("1GiB", Some(1_073_741_824)),
            ("", None),
            ("MiB", None),
            ("4MB", None),
            ("4M", None),
            ("-1", None),
            ("4 MiB", None),
            ("18446744073709551615GiB", None),
        ] {
            assert_eq!(size_bytes(text), bytes, "{text:?}");
        }
    }

    #[test]
    fn quantities_are_shown_in_their_natural_units() {
        assert_eq!(show_duration(Duration::from_millis(90_250)), "1m30s250ms");
        assert_eq!(show_duration(Duration::from_secs(86_400)), "24h");
        assert_eq!(show_size(4 << 20), "4MiB");
        assert_eq!(show_size(1025), "1025B");
        assert_eq!(show_size(0), "0B");
    }

    proptest! {
        #[test]
        fn a_shown_duration_reads_back(millis: u64) {
            prop_assert_eq!(duration_millis(&show_duration(Duration::from_millis(millis))), Some(millis));
        }

        #[test]
        fn a_shown_size_reads_back(bytes: u64, shift in 0_u32..40) {
            let bytes = bytes >> shift << shift;
            prop_assert_eq!(size_bytes(&show_size(bytes)), Some(bytes));
        }

        #[test]
        fn what_is_read_is_shown_as_the_same(text in "([0-9]{1,3}(d|h|m|s|ms|KiB|B)?){0,4}|\\PC*") {
            if let Ok(duration) = parse_duration(&text) {
                prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
            }
            if let Ok(bytes) = parse_size(&text) {
                prop_assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
            }
        }
    }
}
