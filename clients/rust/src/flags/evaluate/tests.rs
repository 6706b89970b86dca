use proptest::prelude::*;

use super::*;
use crate::flags::{Draft, DraftRule, DraftVariant};

fn flag(rules: Vec<DraftRule>, disabled: bool) -> Flag {
    let variants = ["off", "on", "some"].map(|name| DraftVariant::new(name, name)).to_vec();
    let (name, default_variant) = ("new-checkout".to_owned(), "off".to_owned());
    Flag::new(Draft { name, variants, default_variant, rules, disabled, ..Draft::default() }).unwrap()
}

fn rule(variant: &str, services: &[&str], instances: &[&str], percentage: Option<f64>) -> DraftRule {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    DraftRule {
        services: owned(services),
        instances: owned(instances),
        percentage,
        variant: variant.to_owned(),
    }
}

fn holds(flag: &Flag, service: &str, instance: &str, key: Option<&str>) -> (String, Reason) {
    let found = evaluate(flag, &Context { service, instance, key });
    // Each variant stands for its own name.
    assert_eq!(found.value.as_text(), Some(found.variant));
    (found.variant.to_owned(), found.reason)
}

#[test]
fn the_first_rule_that_matches_counts_as_a_table() {
    let rules = vec![
        rule("on", &["orders", "shop"], &["i-1"], None),
        rule("some", &["orders"], &[], None),
        rule("on", &[], &["i-2", "i-3"], None),
        rule("off", &["bank"], &[], None),
    ];
    let (enabled, disabled) = (flag(rules.clone(), false), flag(rules, true));
    for (service, instance, variant, reason) in [
        ("orders", "i-1", "on", Reason::Rule(0)),
        ("shop", "i-1", "on", Reason::Rule(0)),
        ("shop", "i-9", "off", Reason::Default),
        ("orders", "i-9", "some", Reason::Rule(1)),
        ("orders", "i-2", "some", Reason::Rule(1)),
        ("bank", "i-3", "on", Reason::Rule(2)),
        ("bank", "i-1", "off", Reason::Rule(3)),
        ("Orders", "i-1", "off", Reason::Default),
        ("", "", "off", Reason::Default),
    ] {
        for key in [None, Some(""), Some("user-1")] {
            assert_eq!(
                holds(&enabled, service, instance, key),
                (variant.to_owned(), reason),
                "{service}/{instance}"
            );
            let off = ("off".to_owned(), Reason::Disabled);
            assert_eq!(holds(&disabled, service, instance, key), off, "{service}/{instance}");
        }
    }
}

#[test]
fn without_rules_the_default_holds() {
    assert_eq!(holds(&flag(Vec::new(), false), "orders", "i-1", None), ("off".to_owned(), Reason::Default));
}

#[test]
fn a_percentage_goes_by_the_key_and_else_by_the_instance() {
    // Of `new-checkout` this user stands at 7.1 %, and this instance at 85.4 %.
    let (user, instance) = ("user-1", "orders-7");
    for (percentage, by_key, by_instance) in [
        (7.0, false, false),
        (7.2, true, false),
        (85.0, true, false),
        (86.0, true, true),
        (100.0, true, true),
    ] {
        let flag = flag(vec![rule("on", &["orders"], &[], Some(percentage))], false);
        let variant = |taken: bool| {
            if taken { ("on".to_owned(), Reason::Rule(0)) } else { ("off".to_owned(), Reason::Default) }
        };
        assert_eq!(holds(&flag, "orders", instance, Some(user)), variant(by_key), "{percentage}");
        assert_eq!(holds(&flag, "orders", instance, None), variant(by_instance), "{percentage}");
        assert_eq!(
            holds(&flag, "orders", "i-9", Some("orders/orders-7")),
            variant(by_instance),
            "{percentage}"
        );
        // Whoever is taken must still match the rest of the rule.
        assert_eq!(holds(&flag, "shop", instance, Some(user)), variant(false), "{percentage}");
    }
}

#[test]
fn the_shares_of_one_flag_lie_within_each_other() {
    // The second rule gets what the first one leaves of its share: 10 % and 20 %.
    let flag = flag(vec![rule("on", &[], &[], Some(10.0)), rule("some", &[], &[], Some(30.0))], false);
    let count = |variant: &str| {
        let keys = (0..4000).map(|at| format!("user-{at}"));
        keys.filter(|key| holds(&flag, "orders", "i-1", Some(key)).0 == variant).count()
    };
    for (variant, expected) in [("on", 400_usize), ("some", 800), ("off", 2800)] {
        let found = count(variant);
        assert!(found.abs_diff(expected) < 150, "{variant}: {found} instead of {expected}");
    }
}

fn names() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned), 0..3)
}

prop_compose! {
    fn any_rule()(
        services in names(),
        instances in names(),
        percentage in prop::option::of(1.0..=100.0),
        variant in prop::sample::select(vec!["off", "on", "some"]),
    ) -> DraftRule {
        DraftRule { services, instances, percentage, variant: variant.to_owned() }
    }
}

proptest! {
    #[test]
    fn a_flag_reduced_to_an_instance_answers_it_as_the_whole_one(
        rules in prop::collection::vec(any_rule(), 0..6),
        disabled: bool,
        service in "[abd]",
        instance in "[abd]",
        key in prop::option::of("[a-z]{0,4}"),
    ) {
        let whole = flag(rules, disabled);
        let reduced = whole.clone().reduced_to(&service, &instance);
        prop_assert!(reduced.rules().len() <= whole.rules().len());
        prop_assert!(reduced.rules().iter().all(|rule| rule.services().is_empty() && rule.instances().is_empty()));
        let key = key.as_deref();
        let (expected, _) = holds(&whole, &service, &instance, key);
        let (found, _) = holds(&reduced, &service, &instance, key);
        prop_assert_eq!(found, expected);
    }
}
