use proptest::prelude::*;

use super::*;

fn value(kind: flag_value::Kind) -> Option<pb::FlagValue> {
    Some(pb::FlagValue { kind: Some(kind) })
}

fn variant(name: &str, kind: flag_value::Kind) -> pb::FlagVariant {
    pb::FlagVariant { name: name.to_owned(), value: value(kind) }
}

fn rule(variant: &str) -> pb::FlagRule {
    pb::FlagRule { variant: variant.to_owned(), ..pb::FlagRule::default() }
}

fn right() -> pb::Flag {
    pb::Flag {
        name: "new-checkout".to_owned(),
        variants: vec![
            variant("on", flag_value::Kind::BoolValue(true)),
            variant("off", flag_value::Kind::BoolValue(false)),
        ],
        default_variant: "off".to_owned(),
        rules: vec![pb::FlagRule {
            services: vec!["orders".to_owned()],
            instances: vec!["orders-7".to_owned()],
            percentage: 10.0,
            variant: "on".to_owned(),
        }],
        disabled: true,
        description: "The checkout of 2027.".to_owned(),
        ..pb::Flag::default()
    }
}

#[test]
fn every_field_is_read_and_written() {
    let flag = from_wire("flag", right()).unwrap();
    assert_eq!(flag.name(), "new-checkout");
    assert_eq!(flag.default_variant().value(), &Value::Bool(false));
    let [rule] = flag.rules() else { panic!("{flag:?}") };
    assert_eq!(
        (rule.services(), rule.instances()),
        (&["orders".to_owned()][..], &["orders-7".to_owned()][..])
    );
    assert_eq!((rule.share(), rule.variant().name()), (Share::new(10.0).ok(), "on"));
    assert!(flag.is_disabled());
    assert_eq!(flag.description(), "The checkout of 2027.");
    assert_eq!(to_wire(&flag), right());
}

#[test]
fn values_of_each_kind_are_read_and_written() {
    for (kind, expected) in [
        (flag_value::Kind::BoolValue(true), Value::Bool(true)),
        (flag_value::Kind::StringValue("a\nb".to_owned()), Value::Text("a\nb".to_owned())),
        (flag_value::Kind::IntValue(i64::MIN), Value::Int(i64::MIN)),
        (flag_value::Kind::DoubleValue(0.1), Value::Double(0.1)),
    ] {
        let wire = pb::Flag { variants: vec![variant("off", kind)], rules: Vec::new(), ..right() };
        let flag = from_wire("", wire.clone()).unwrap();
        assert_eq!(flag.default_variant().value(), &expected);
        assert_eq!(to_wire(&flag), wire);
    }
}

#[test]
fn what_the_control_plane_sets_is_ignored_and_left_unset() {
    let update_time = Some(prost_types::Timestamp { seconds: 1, nanos: 2 });
    let wire = pb::Flag { revision: 7, update_time, updater: "alice".to_owned(), ..right() };
    assert_eq!(to_wire(&from_wire("", wire).unwrap()), right());
}

#[test]
fn a_percentage_of_0_is_all() {
    for zero in [0.0, -0.0] {
        let wire = pb::Flag { rules: vec![pb::FlagRule { percentage: zero, ..rule("on") }], ..right() };
        assert_eq!(from_wire("", wire).unwrap().rules().first().and_then(Rule::share), None);
    }
}

#[test]
fn every_wrong_field_is_named_by_its_path() {
    let wire = pb::Flag {
        name: "A".to_owned(),
        variants: vec![
            variant("on", flag_value::Kind::BoolValue(true)),
            pb::FlagVariant { name: "off".to_owned(), value: None },
            pb::FlagVariant { name: "other".to_owned(), value: Some(pb::FlagValue { kind: None }) },
            variant("more", flag_value::Kind::IntValue(1)),
        ],
        default_variant: "none".to_owned(),
        rules: vec![rule("on"), rule("off"), pb::FlagRule { percentage: -0.1, ..rule("gone") }],
        description: "x".repeat(1025),
        ..pb::Flag::default()
    };
    let fields = [
        "name",
        "variants[1].value",
        "variants[2].value",
        "variants[3].value",
        "default_variant",
        "rules[2].percentage",
        "rules[2].variant",
        "description",
    ];
    for (prefix, before) in [("flag", "flag."), ("", ""), ("policies.flags[3]", "policies.flags[3].")] {
        let problems = from_wire(prefix, wire.clone()).unwrap_err();
        let found: Vec<_> = problems.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(found, fields.map(|field| format!("{before}{field}")));
        assert!(problems.iter().all(|(_, problem)| !problem.is_empty()));
    }
}

prop_compose! {
    fn any_rule()(
        services in prop::collection::vec("[a-z][a-z0-9]{0,3}", 0..3),
        instances in prop::collection::vec("[a-zA-Z0-9][a-z._-]{0,3}", 0..3),
        percentage in prop_oneof![Just(0.0), 1e-9..=100.0],
        variant in prop::sample::select(vec!["v0", "v1", "v2"]),
    ) -> pb::FlagRule {
        pb::FlagRule { services, instances, percentage, variant: variant.to_owned() }
    }
}

fn any_value() -> impl Strategy<Value = Option<pb::FlagValue>> {
    let finite = any::<f64>().prop_filter("finite", |number| number.is_finite());
    prop_oneof![
        Just(None),
        any::<bool>().prop_map(|it| value(flag_value::Kind::BoolValue(it))),
        ".{0,9}".prop_map(|it| value(flag_value::Kind::StringValue(it))),
        any::<i64>().prop_map(|it| value(flag_value::Kind::IntValue(it))),
        finite.prop_map(|it| value(flag_value::Kind::DoubleValue(it))),
    ]
}

proptest! {
    #[test]
    fn what_is_right_comes_back_as_it_was(
        values in prop::collection::vec(any::<i64>(), 3..=16),
        rules in prop::collection::vec(any_rule(), 0..=32),
        name in "[a-z0-9._-]{1,128}",
        description in "[^\\p{Cc}]{0,40}",
        disabled: bool,
    ) {
        let variants = values.iter().enumerate();
        let variants = variants.map(|(at, it)| variant(&format!("v{at}"), flag_value::Kind::IntValue(*it))).collect();
        let default_variant = "v2".to_owned();
        let wire = pb::Flag { name, variants, default_variant, rules, disabled, description, ..pb::Flag::default() };
        prop_assert_eq!(to_wire(&from_wire("", wire.clone()).unwrap()), wire);
    }

    #[test]
    fn whatever_comes_is_read_or_named(
        values in prop::collection::vec(any_value(), 0..18),
        rules in prop::collection::vec(any_rule(), 0..35),
        name in ".{0,5}",
        default_variant in "v?[0-9]?",
    ) {
        let variants = values.into_iter().enumerate();
        let variants = variants.map(|(at, value)| pb::FlagVariant { name: format!("v{at}"), value }).collect();
        let wire = pb::Flag { name, variants, default_variant, rules, ..pb::Flag::default() };
        match from_wire("flag", wire.clone()) {
            Ok(flag) => prop_assert_eq!(to_wire(&flag), wire),
            Err(problems) => {
                prop_assert!(!problems.is_empty());
                prop_assert!(problems.iter().all(|(field, _)| field.starts_with("flag.")));
            }
        }
    }
}
