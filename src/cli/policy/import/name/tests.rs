//! Names of policies: always DNS labels, never twice the same.

use proptest::prelude::*;

use super::*;

fn is_label(name: &str) -> bool {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=LONGEST).contains(&name.len())
        && name.chars().all(inside)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[test]
fn names_are_read_from_the_words() {
    for (words, expected) in [
        (&["edge", "operation", "charge-card"][..], "edge-operation-charge-card"),
        (&["Edge", "operation", "/orders.v1/ChargeCard"], "edge-operation-orders-v1-chargecard"),
        (&["edge", "caller"], "edge-caller"),
        (&["größe", "caller"], "gr-e-caller"),
        (&["***"], "imported"),
    ] {
        assert_eq!(Names::default().give(words), expected);
    }
}

#[test]
fn words_that_make_the_same_label_have_names_of_their_own() {
    let mut names = Names::default();
    let given = ["charge-card", "charge_card", "Charge/Card"].map(|word| names.give(&["edge", word]));
    assert_eq!(given[0], "edge-charge-card");
    assert!(given[1..].iter().all(|name| name.starts_with("edge-charge-card-")), "{given:?}");
    assert_ne!(given[1], given[2]);
    // The same words in the same order are named the same.
    let mut again = Names::default();
    assert_eq!(["charge-card", "charge_card", "Charge/Card"].map(|word| again.give(&["edge", word])), given);
}

#[test]
fn a_long_name_is_cut_and_still_tells_its_words_apart() {
    let long = "x".repeat(LONGEST);
    let mut names = Names::default();
    assert_eq!(names.give(&[&long]), long);
    let [a, b] = ["a", "b"].map(|end| names.give(&[&long, end]));
    assert!(is_label(&a) && is_label(&b) && a != b, "{a} {b}");
    // A cut at a hyphen leaves none before the digest.
    let name = Names::default().give(&[&"y".repeat(LONGEST - DIGEST - 2), &long]);
    assert!(!name.contains("--") && is_label(&name), "{name}");
}

proptest! {
    #[test]
    fn whatever_the_words_the_names_are_labels_and_differ(words in prop::collection::hash_set("\\PC{0,80}", 1..20)) {
        let mut names = Names::default();
        let given: Vec<_> = words.iter().map(|word| names.give(&["edge", word])).collect();
        prop_assert!(given.iter().all(|name| is_label(name)), "{given:?}");
        prop_assert_eq!(given.iter().collect::<HashSet<_>>().len(), words.len());
    }
}
