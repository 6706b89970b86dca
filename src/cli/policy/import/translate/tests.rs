//! What descriptors become, and what is told of those that become nothing.

use super::*;
use crate::cli::{
    policy::import::ratelimit,
    render::policy::{about, says},
};

fn vocabulary() -> Vocabulary {
    Vocabulary { service: "orders".into(), operation_key: "operation".into(), caller_key: "caller".into() }
}

fn read(descriptors: &str) -> Result<Translation, Vec<Problem>> {
    let text = format!("domain: edge\ndescriptors:\n{descriptors}");
    translate(ratelimit::parse(&text).unwrap(), &vocabulary())
}

/// Name, what it is about, caller, shadow, and what it says of each policy.
fn policies(descriptors: &str) -> Vec<(String, String, String, bool, String)> {
    let each = read(descriptors).unwrap().policies.into_iter();
    let each = each
        .map(|it| (about(it.target.as_ref()), says(&it), it))
        .map(|(about, says, it)| (it.name, about, it.caller, it.shadow, says));
    each.collect()
}

fn one(descriptors: &str) -> (String, String, String, String) {
    let mut all = policies(descriptors);
    let (name, about, caller, _, says) = all.pop().unwrap();
    assert!(all.is_empty(), "{all:?}");
    (name, about, caller, says)
}

fn problems(descriptors: &str) -> Vec<String> {
    read(descriptors).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn each_path_is_about_whom_it_names() {
    const LIMIT: &str = "rate_limit: {unit: second, requests_per_unit: 5}";
    let nested = |above: &str, below: &str| format!("  - {{{above}, descriptors: [{{{below}, {LIMIT}}}]}}");
    let flat = |own: &str| format!("  - {{{own}, {LIMIT}}}");
    for (descriptors, name, about, caller, scope) in [
        (flat("key: operation, value: pay"), "edge-operation-pay", "pay of orders", "", "OPERATION"),
        (flat("key: operation"), "edge-operation", "all operations of orders", "", "OPERATION"),
        (flat("key: operation, value: ''"), "edge-operation", "all operations of orders", "", "OPERATION"),
        (flat("key: caller"), "edge-caller", "all operations of orders", "", "CALLER"),
        (flat("key: caller, value: shop"), "edge-caller-shop", "all operations of orders", "shop", "CALLER"),
        (
            nested("key: operation, value: pay", "key: caller"),
            "edge-operation-pay-caller",
            "pay of orders",
            "",
            "CALLER",
        ),
        (
            nested("key: operation, value: pay", "key: caller, value: shop"),
            "edge-operation-pay-caller-shop",
            "pay of orders",
            "shop",
            "CALLER",
        ),
        (
            nested("key: caller, value: shop", "key: operation, value: pay"),
            "edge-caller-shop-operation-pay",
            "pay of orders",
            "shop",
            "CALLER",
        ),
        (
            nested("key: operation", "key: caller, value: shop"),
            "edge-operation-caller-shop",
            "all operations of orders",
            "shop",
            "OPERATION",
        ),
    ] {
        let expected =
            [name, about, caller, &format!("limits {scope}: 5 in 1s, fixed window")].map(str::to_owned);
        assert_eq!(<[String; 4]>::from(one(&descriptors)), expected, "{descriptors}");
    }
}

#[test]
fn units_and_algorithms_are_read() {
    for (limit, expected) in [
        ("unit: second, requests_per_unit: 1", "1 in 1s, fixed window"),
        ("unit: MINUTE, requests_per_unit: 2", "2 in 60s, fixed window"),
        ("unit: hour, requests_per_unit: 3", "3 in 3600s, fixed window"),
        ("unit: day, requests_per_unit: 1000000000", "1000000000 in 86400s, fixed window"),
        ("unit: second, requests_per_unit: 1, algorithm: token-bucket", "1 in 1s, token bucket, burst 1"),
        ("unit: second, requests_per_unit: 1, algorithm: SLIDING_WINDOW", "1 in 1s, sliding window"),
        ("unit: second, requests_per_unit: 1, algorithm: leaky-bucket", "1 in 1s, leaky bucket, queue 0"),
        ("unlimited: true", "1000000000 in 1s, fixed window"),
    ] {
        let (.., says) = one(&format!("  - {{key: operation, rate_limit: {{{limit}}}}}"));
        assert_eq!(says, format!("limits OPERATION: {expected}"), "{limit}");
    }
}

#[test]
fn descriptions_say_where_a_policy_comes_from() {
    let limit = "{unit: second, requests_per_unit: 1, name: first}";
    let read = read(&format!("  - {{key: operation, value: pay, rate_limit: {limit}}}")).unwrap();
    assert_eq!(read.policies[0].description, "from envoyproxy/ratelimit: edge.operation_pay (first)");
}

#[test]
fn shadow_is_of_the_descriptor_alone() {
    let shadows: Vec<_> = policies(
        "
  - key: operation
    value: pay
    shadow_mode: true
    rate_limit: {unit: second, requests_per_unit: 1}
    descriptors:
      - {key: caller, rate_limit: {unit: second, requests_per_unit: 1}}
  - {key: operation, value: list, shadow_mode: true}",
    )
    .into_iter()
    .map(|(name, _, _, shadow, _)| (name, shadow))
    .collect();
    let expected = [("edge-operation-pay", true), ("edge-operation-pay-caller", false)];
    assert_eq!(shadows, expected.map(|(name, shadow)| (name.to_owned(), shadow)));
}

/// There it is not limited, for it is found before the one for all values.
#[test]
fn a_value_without_a_limit_is_not_limited_by_that_for_all_values() {
    let limit = "rate_limit: {unit: second, requests_per_unit: 5}";
    let all = policies(&format!(
        "
  - {{key: operation, shadow_mode: true, {limit}}}
  - {{key: operation, value: health}}
  - {{key: caller, value: shop}}
  - key: operation
    value: pay
    {limit}
    descriptors:
      - {{key: caller, value: shop}}
      - {{key: caller, {limit}}}"
    ));
    let all: Vec<_> =
        all.iter().map(|(name, .., shadow, says)| (name.as_str(), *shadow, says.as_str())).collect();
    assert_eq!(
        all,
        [
            ("edge-operation", true, "limits OPERATION: 5 in 1s, fixed window"),
            ("edge-operation-health", true, "limits OPERATION: 1000000000 in 1s, fixed window"),
            ("edge-operation-pay", false, "limits OPERATION: 5 in 1s, fixed window"),
            ("edge-operation-pay-caller-shop", false, "limits CALLER: 1000000000 in 1s, fixed window"),
            ("edge-operation-pay-caller", false, "limits CALLER: 5 in 1s, fixed window"),
        ]
    );
    // Where there is no limit for all values there is nothing to hide.
    assert!(
        policies("  - {key: operation, value: health}\n  - {key: operation, rate_limit: {unlimited: true}}")
            .len()
            == 1
    );
}

#[test]
fn what_cannot_be_said_is_told_with_its_place() {
    const LIMIT: &str = "rate_limit: {unit: second, requests_per_unit: 5}";
    for (descriptor, expected) in [
        (
            format!("{{key: path, {LIMIT}}}"),
            "descriptors[0] (path): path is neither the operation (operation",
        ),
        (format!("{{{LIMIT}}}"), "descriptors[0]: has no key"),
        (
            format!("{{key: operation, value: pay*, {LIMIT}}}"),
            "descriptors[0] (operation_pay*): pay* is a wildcard",
        ),
        (format!("{{key: operation, value: 'a b', {LIMIT}}}"), "(operation_a b): a b is no operation"),
        (format!("{{key: caller, value: {}, {LIMIT}}}", "x".repeat(257)), "is no caller"),
        (format!("{{key: operation, quota_mode: true, {LIMIT}}}"), "(operation): quota_mode"),
        (format!("{{key: operation, share_threshold: true, {LIMIT}}}"), "(operation): share_threshold"),
        (
            format!("{{key: operation, descriptors: [{{key: caller, {LIMIT}}}]}}"),
            "descriptors[0].descriptors[0] (operation.caller): counts each pair",
        ),
        (
            format!("{{key: operation, descriptors: [{{key: operation, value: pay, {LIMIT}}}]}}"),
            "descriptors[0].descriptors[0] (operation.operation_pay): operation is a key of this path already",
        ),
        (
            "{key: operation, rate_limit: {unit: month, requests_per_unit: 5}}".to_owned(),
            "descriptors[0].rate_limit.unit (operation): is month; periods are",
        ),
        (
            "{key: operation, rate_limit: {unit: fortnight, requests_per_unit: 5}}".to_owned(),
            "is \"fortnight\"",
        ),
        ("{key: operation, rate_limit: {requests_per_unit: 5}}".to_owned(), "unit (operation): is \"\""),
        ("{key: operation, rate_limit: {unit: second}}".to_owned(), "requests_per_unit (operation): is 0"),
        (
            "{key: operation, rate_limit: {unit: second, requests_per_unit: 1000000001}}".to_owned(),
            "requests_per_unit (operation): is 1000000001",
        ),
        ("{key: operation, rate_limit: {unlimited: true, unit: day}}".to_owned(), "unit (operation): is day"),
        (
            "{key: operation, rate_limit: {unlimited: true, replaces: [{name: a}]}}".to_owned(),
            "rate_limit.replaces (operation)",
        ),
        (
            "{key: operation, rate_limit: {unlimited: true, algorithm: guess}}".to_owned(),
            "algorithm (operation): is \"guess\"",
        ),
    ] {
        let told = problems(&format!("  - {descriptor}"));
        let [told] = told.as_slice() else { panic!("{descriptor}: {told:?}") };
        assert!(told.contains(expected), "{descriptor}: {told}");
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let told = problems(
        "
  - key: path
    rate_limit: {unit: year, requests_per_unit: 0}
    descriptors:
      - {key: caller, value: 'a*', rate_limit: {unit: second, requests_per_unit: 1}}
  - {key: operation, rate_limit: {unit: second, requests_per_unit: 1}}
  - {key: operation, rate_limit: {unit: day, requests_per_unit: 1}}
  - {key: operation, value: pay, descriptors: [{key: caller, value: shop, rate_limit: {unlimited: true}}]}
  - {key: caller, value: shop, descriptors: [{key: operation, value: pay, rate_limit: {unlimited: true}}]}",
    );
    let places: Vec<_> = told.iter().map(|told| told.split(": ").next().unwrap()).collect();
    assert_eq!(
        places,
        [
            "descriptors[0] (path)",
            "descriptors[0].rate_limit.unit (path)",
            "descriptors[0].rate_limit.requests_per_unit (path)",
            "descriptors[0].descriptors[0] (path.caller_a*)",
            "descriptors[2] (operation)",
            "descriptors[4].descriptors[0] (caller_shop.operation_pay)",
        ]
    );
    assert!(told[4].ends_with("is about the same requests as descriptors[1]"), "{told:?}");
    // One of them has no limit, and both are for all values.
    let twice =
        problems("  - {key: operation, rate_limit: {unit: day, requests_per_unit: 1}}\n  - {key: operation}");
    assert_eq!(twice, ["descriptors[1] (operation): is about the same requests as descriptors[0]"]);
    let nameless = translate(ratelimit::parse("descriptors: []").unwrap(), &vocabulary()).unwrap_err();
    assert_eq!(nameless[0].to_string(), "domain: is empty; policies are named after it");
}

#[test]
fn more_policies_than_there_can_be_are_refused() {
    let many = |count| {
        (0..count)
            .map(|n| format!("  - {{key: caller, value: c-{n}, rate_limit: {{unlimited: true}}}}\n"))
            .collect::<String>()
    };
    assert_eq!(read(&many(1_000)).unwrap().policies.len(), 1_000);
    assert_eq!(problems(&many(1_001)), ["descriptors: make 1001 policies, and there can be 1000"]);
}

#[test]
fn what_changes_nothing_of_what_is_refused_is_left_out_and_told() {
    let read = read(
        "  - {key: operation, detailed_metric: true, value_to_metric: true, metadata: {a: b}, rate_limit: {unlimited: true}}",
    )
    .unwrap();
    assert_eq!(
        read.left_out,
        ["detailed_metric", "value_to_metric", "metadata"]
            .map(|what| format!("{what} of descriptors[0] (operation)"))
    );
    assert_eq!(read.policies.len(), 1);
}

#[test]
fn the_keys_are_those_of_the_vocabulary() {
    let text = "{domain: edge, descriptors: [{key: path, value: /pay, rate_limit: {unlimited: true}}]}";
    let vocabulary = Vocabulary { operation_key: "path".into(), ..vocabulary() };
    let read = translate(ratelimit::parse(text).unwrap(), &vocabulary).unwrap();
    assert_eq!(read.policies[0].name, "edge-path-pay");
    assert_eq!(about(read.policies[0].target.as_ref()), "/pay of orders");
}
