use proptest::prelude::*;

use super::*;

fn point(flag: &str, key: &[&str]) -> u64 {
    Spread::of_flag(flag).point(key)
}

/// The rows of a table that other languages check themselves by.
fn rows(table: &'static str, head: &str) -> Vec<Vec<&'static str>> {
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some(head));
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    assert!(rows.len() > 20, "the table is cut");
    rows
}

#[test]
fn points_are_those_of_every_language() {
    for row in rows(include_str!("points.csv"), "flag,key,point") {
        let [flag, key, expected] = row[..] else { panic!("{row:?}") };
        assert_eq!(point(flag, &[key]).to_string(), expected, "{flag}/{key}");
    }
}

#[test]
fn edges_of_shares_are_those_of_every_language() {
    for row in rows(include_str!("edges.csv"), "percentage,last_point") {
        let [percentage, last] = row[..] else { panic!("{row:?}") };
        let share = Share::new(percentage.parse().unwrap()).unwrap();
        let last: u64 = last.parse().unwrap();
        assert!(share.takes(0) && share.takes(last), "{percentage}");
        if let Some(next) = last.checked_add(1) {
            assert!(!share.takes(next) && !share.takes(u64::MAX), "{percentage}");
        }
    }
}

#[test]
fn the_parts_are_the_published_ones() {
    for (text, hash) in
        [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
    {
        assert_eq!(fnv1a64(FNV_OFFSET_BASIS, text), hash, "{text:?}");
    }
    // The first number of splitmix64 with the seed 1234567: it adds this before it mixes.
    assert_eq!(mix(1_234_567_u64.wrapping_add(0x9e37_79b9_7f4a_7c15)), 6_457_827_717_110_365_317);
}

#[test]
fn a_share_is_above_none_and_up_to_all() {
    for right in [5e-324, 0.1, 99.9, 100.0] {
        assert_eq!(Share::new(right).unwrap().percentage(), right);
    }
    for wrong in [0.0, -0.0, -1.0, 100.000_000_000_000_02, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        let error = Share::new(wrong).unwrap_err();
        assert_eq!(error, format!("is {wrong}; use more than 0, and up to 100"));
    }
}

#[test]
fn two_flags_take_different_keys() {
    let half = Share::new(50.0).unwrap();
    let keys: Vec<String> = (0..4000).map(|at| format!("user-{at}")).collect();
    let both = keys.iter().filter(|key| half.takes(point("a", &[key])) && half.takes(point("b", &[key])));
    let both = both.count();
    assert!((800..1200).contains(&both), "{both} of 4000 are in both halves");
}

proptest! {
    #[test]
    fn a_percentage_takes_as_many_keys(flag in "[a-z0-9._-]{1,40}", prefix in ".{0,10}", percentage in 0.1..=100.0) {
        const KEYS: u32 = 4000;
        let share = Share::new(percentage).unwrap();
        let taken = (0..KEYS).filter(|at| share.takes(point(&flag, &[&format!("{prefix}{at}")])));
        let taken = f64::from(u32::try_from(taken.count()).unwrap());
        let expected = f64::from(KEYS) * percentage / 100.0;
        // Six standard deviations of drawing lots, and a few for the smallest shares.
        let off = 6.0 * (expected * (1.0 - percentage / 100.0)).sqrt() + 6.0;
        prop_assert!((taken - expected).abs() <= off, "{taken} instead of {expected}");
    }

    #[test]
    fn who_is_taken_stays_taken(key in ".{0,40}", one in 1e-9..=100.0, other in 1e-9..=100.0, any: u64) {
        let lower = Share::new(f64::min(one, other)).unwrap();
        let higher = Share::new(f64::max(one, other)).unwrap();
        for point in [point("a", &[&key]), any, lower.last, lower.last.saturating_add(1)] {
            prop_assert!(!lower.takes(point) || higher.takes(point));
        }
    }

    #[test]
    fn a_key_may_come_in_parts(flag in "[a-z.]{1,10}", parts in prop::collection::vec(".{0,10}", 0..5)) {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        prop_assert_eq!(point(&flag, &parts), point(&flag, &[&parts.concat()]));
    }

    #[test]
    fn all_are_taken_at_a_hundred(any: u64) {
        prop_assert!(Share::new(100.0).unwrap().takes(any) && Share::new(100.0).unwrap().takes(u64::MAX));
    }
}
