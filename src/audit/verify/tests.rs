//! Whatever is done to a chain between its anchor and its end is found, at the first place where it was done.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::audit::entry::{Call, Draft, Who};

/// A line and its hash.
type Line = (String, String);

fn draft(number: u64) -> Draft {
    let who = Who { principal: "token:alice".into(), peer: "127.0.0.1:1".into() };
    let object = format!("service/orders-{number}");
    Draft::received(Call { who, operation: "/a.B/C".into(), object, request_id: format!("r-{number}") })
}

fn written(previous: &Link, number: u64) -> (Line, Link) {
    let line = draft(number).line(previous, SystemTime::UNIX_EPOCH + Duration::from_secs(number));
    let link = Link { sequence: previous.sequence + 1, hash: hash(&line) };
    ((line, link.hash.to_hex().to_string()), link)
}

/// A chain of so many entries after an anchor, and its end.
fn chain(anchor: Link, count: u64) -> (Vec<Line>, Link) {
    let (mut lines, mut last) = (Vec::new(), anchor);
    for number in 0..count {
        let (line, link) = written(&last, number);
        lines.push(line);
        last = link;
    }
    (lines, last)
}

fn anchor() -> Link {
    Link { sequence: 41, hash: hash("dropped") }
}

fn verify(lines: &[Line], newest: Option<Link>, expected: Option<Link>) -> Result<Verified, Break> {
    let mut verifier = Verifier::new(expected);
    verifier.anchor(anchor());
    lines.iter().try_for_each(|(line, hash)| verifier.take(line, hash))?;
    verifier.finish(newest)
}

#[test]
fn a_chain_without_a_break_is_verified_from_its_anchor_to_its_end() {
    let (lines, last) = chain(anchor(), 5);
    assert_eq!(verify(&lines, Some(last), Some(last)), Ok(Verified { entries: 5, first: 42, last }));
    let none = Verified { entries: 0, first: 0, last: anchor() };
    assert_eq!(verify(&[], Some(anchor()), None), Ok(none));
}

#[test]
fn what_was_expected_is_compared_as_a_table() {
    let (lines, last) = chain(anchor(), 5);
    let other = |sequence| Link { sequence, hash: hash("other") };
    for (expected, found) in [
        (Link { sequence: 44, hash: hash(&lines[2].0) }, Ok(())),
        (last, Ok(())),
        (other(44), Err(Break::Unexpected { sequence: 44 })),
        (other(47), Err(Break::CutOff { expected: 47, last: 46 })),
        (anchor(), Ok(())),
        (other(41), Err(Break::Unexpected { sequence: 41 })),
        (other(3), Err(Break::NotKept { sequence: 3, oldest: 42 })),
    ] {
        assert_eq!(verify(&lines, None, Some(expected)).map(|_| ()), found, "{expected}");
    }
    assert_eq!(verify(&lines[..3], Some(last), None), Err(Break::CutOff { expected: 46, last: 44 }));
    assert_eq!(verify(&lines, Some(other(46)), None), Err(Break::Unexpected { sequence: 46 }));
}

#[test]
fn a_start_that_found_a_break_is_told() {
    let (mut lines, last) = chain(anchor(), 2);
    let mut report = draft(9);
    report.call.operation = BROKEN.to_owned();
    report.detail = "entry 43 is missing".to_owned();
    let line = report.line(&last, SystemTime::UNIX_EPOCH);
    lines.push((line.clone(), hash(&line).to_hex().to_string()));
    let told = Break::Reported { sequence: 44, detail: "entry 43 is missing".to_owned() };
    assert_eq!(verify(&lines, None, None), Err(told));
}

/// All that is found of a chain, also after the first place.
fn all_breaks(lines: &[Line], newest: Option<Link>, expected: Option<Link>) -> Vec<Break> {
    let mut verifier = Verifier::new(expected);
    verifier.anchor(anchor());
    let taken: Vec<_> = lines.iter().filter_map(|(line, hash)| verifier.take(line, hash).err()).collect();
    taken.into_iter().chain(verifier.finish(newest).err()).collect()
}

#[test]
fn what_comes_after_a_break_is_verified_too() {
    let (mut lines, last) = chain(anchor(), 2);
    let mut report = draft(9);
    report.call.operation = BROKEN.to_owned();
    report.detail = "d".to_owned();
    let line = report.line(&last, SystemTime::UNIX_EPOCH);
    let last = Link { sequence: 44, hash: hash(&line) };
    lines.push((line, last.hash.to_hex().to_string()));
    let (after, last) = chain(last, 5);
    lines.extend(after);
    let told = Break::Reported { sequence: 44, detail: "d".to_owned() };
    assert_eq!(all_breaks(&lines, Some(last), Some(last)), std::slice::from_ref(&told));
    // What was expected is compared.
    let other = |sequence| Link { sequence, hash: hash("other") };
    for (expected, found) in [
        (other(47), Break::Unexpected { sequence: 47 }),
        (other(50), Break::CutOff { expected: 50, last: 49 }),
        (other(3), Break::NotKept { sequence: 3, oldest: 42 }),
    ] {
        assert_eq!(all_breaks(&lines, Some(last), Some(expected)), [told.clone(), found], "{expected}");
    }
    // One place is told once, whatever was done there, and hides no other.
    let mut twice = lines.clone();
    twice[3].0 = twice[3].0.replace("alice", "mallory");
    twice.remove(5);
    let (changed, removed) = (Break::Changed { sequence: 45 }, Break::Misplaced { expected: 47, found: 48 });
    assert_eq!(all_breaks(&twice, Some(last), None), [told, changed, removed]);
    let mut swapped = lines.clone();
    swapped.swap(5, 6);
    let moved = [Break::Misplaced { expected: 47, found: 48 }, Break::Misplaced { expected: 49, found: 47 }];
    assert_eq!(all_breaks(&swapped, Some(last), None)[1..], moved);
}

#[test]
fn a_number_that_was_made_up_does_not_say_where_the_chain_goes_on() {
    for number in [u64::MAX, 46 + REACH] {
        let (mut lines, last) = chain(anchor(), 5);
        let before = Link { sequence: number - 1, hash: hash("made up") };
        lines.insert(2, written(&before, 9).0);
        let found = Break::Misplaced { expected: 44, found: number };
        assert_eq!(all_breaks(&lines, Some(last), None), [found]);
    }
    // There is no number after it.
    let end = Link { sequence: u64::MAX - 1, hash: hash("a") };
    let (line, link) = written(&end, 1);
    let mut verifier = Verifier::new(None);
    verifier.take(&line.0, &line.1).unwrap();
    assert_eq!(verifier.take(&line.0, &line.1), Err(Break::Unlinked { sequence: u64::MAX }));
    assert_eq!(verifier.finish(Some(link)).map(|found| found.first), Ok(u64::MAX));
}

#[test]
fn what_is_dropped_while_it_is_verified_is_no_break() {
    let (lines, last) = chain(anchor(), 6);
    let mut verifier = Verifier::new(None);
    verifier.anchor(anchor());
    verifier.take(&lines[0].0, &lines[0].1).unwrap();
    // Entries 43 and 44 are gone by the next page.
    verifier.anchor(Link { sequence: 44, hash: hash(&lines[2].0) });
    lines[3..].iter().try_for_each(|(line, hash)| verifier.take(line, hash)).unwrap();
    assert_eq!(verifier.finish(Some(last)), Ok(Verified { entries: 3, first: 45, last }));
}

#[test]
fn an_exported_line_reads_back() {
    let (lines, _) = chain(anchor(), 1);
    let (line, hash) = &lines[0];
    let text = exported(line, hash);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["line"]["sequence"], 42);
    assert_eq!(read_exported(text.trim_end()), Some((line.as_str(), hash.as_str())));
    for wrong in ["", "{}", &text[1..], "{\"hash\":\"é\",\"line\":{}}"] {
        assert_eq!(read_exported(wrong), None, "{wrong}");
    }
}

proptest! {
    #[test]
    fn a_changed_line_is_found(count in 1_u64..9, at: prop::sample::Index, place: prop::sample::Index, to in "[ -~]") {
        let (mut lines, last) = chain(anchor(), count);
        let at = at.index(lines.len());
        let line = &mut lines[at].0;
        let place = place.index(line.len());
        prop_assume!(line[place..=place] != to);
        line.replace_range(place..=place, &to);
        let sequence = 42 + at as u64;
        prop_assert_eq!(verify(&lines, Some(last), None), Err(Break::Changed { sequence }));
    }

    /// Whoever changes a line and its hash has to change all that follow.
    #[test]
    fn a_line_that_was_changed_with_its_hash_is_found(count in 1_u64..9, at: prop::sample::Index) {
        let (mut lines, last) = chain(anchor(), count);
        let at = at.index(lines.len());
        let line = lines[at].0.replace("token:alice", "token:mallory");
        lines[at] = (line.clone(), hash(&line).to_hex().to_string());
        let sequence = 42 + at as u64;
        let found = if sequence == last.sequence {
            Break::Unexpected { sequence }
        } else {
            Break::Unlinked { sequence: sequence + 1 }
        };
        prop_assert_eq!(verify(&lines, Some(last), None), Err(found));
    }

    #[test]
    fn a_missing_entry_is_found(count in 1_u64..9, at: prop::sample::Index) {
        let (mut lines, last) = chain(anchor(), count);
        let at = at.index(lines.len());
        lines.remove(at);
        let expected = 42 + at as u64;
        let found = if expected == last.sequence {
            Break::CutOff { expected, last: expected - 1 }
        } else {
            Break::Misplaced { expected, found: expected + 1 }
        };
        prop_assert_eq!(verify(&lines, Some(last), None), Err(found));
    }

    #[test]
    fn what_was_cut_at_the_start_is_found(count in 2_u64..9, cut: prop::sample::Index) {
        let (lines, last) = chain(anchor(), count);
        let cut = 1 + cut.index(lines.len() - 1);
        let found = Break::Misplaced { expected: 42, found: 42 + cut as u64 };
        prop_assert_eq!(verify(&lines[cut..], Some(last), None), Err(found));
    }

    #[test]
    fn entries_in_another_order_are_found(count in 2_u64..9, one: prop::sample::Index, other: prop::sample::Index) {
        let (mut lines, last) = chain(anchor(), count);
        let (one, other) = (one.index(lines.len()), other.index(lines.len()));
        prop_assume!(one != other);
        lines.swap(one, other);
        let (first, second) = (one.min(other) as u64, one.max(other) as u64);
        let found = Break::Misplaced { expected: 42 + first, found: 42 + second };
        prop_assert_eq!(verify(&lines, Some(last), None), Err(found));
    }

    #[test]
    fn an_entry_twice_is_found(count in 1_u64..9, at: prop::sample::Index) {
        let (mut lines, last) = chain(anchor(), count);
        let at = at.index(lines.len());
        lines.insert(at, lines[at].clone());
        let found = Break::Misplaced { expected: 43 + at as u64, found: 42 + at as u64 };
        prop_assert_eq!(verify(&lines, Some(last), None), Err(found));
    }

    /// A chain of the same length that somebody else wrote.
    #[test]
    fn a_chain_that_was_written_anew_is_found_by_its_end(count in 1_u64..9) {
        let (_, last) = chain(anchor(), count);
        let (lines, _) = chain(Link { hash: hash("another"), ..anchor() }, count);
        let mut verifier = Verifier::new(Some(last));
        let found = lines.iter().try_for_each(|(line, hash)| verifier.take(line, hash));
        prop_assert_eq!(found, Err(Break::Unexpected { sequence: last.sequence }));
    }
}
