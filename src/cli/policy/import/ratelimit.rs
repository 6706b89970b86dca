//! The configuration format of [envoyproxy/ratelimit](https://github.com/envoyproxy/ratelimit#configuration), with one key
//! more: `algorithm`. Keys that it does not have are refused, as they are there.

use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::UserMessageFormatter;

/// A file. Whatever is left empty there is none.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Configuration {
    pub(super) domain: Option<String>,
    pub(super) descriptors: Option<Vec<Descriptor>>,
}

/// What is limited: a key, with or without a value, below those that it stands in.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Descriptor {
    pub(super) key: Option<String>,
    pub(super) value: Option<String>,
    pub(super) rate_limit: Option<RateLimit>,
    pub(super) descriptors: Option<Vec<Descriptor>>,
    pub(super) shadow_mode: bool,
    pub(super) quota_mode: bool,
    pub(super) share_threshold: bool,
    pub(super) detailed_metric: bool,
    pub(super) value_to_metric: bool,
    pub(super) metadata: Option<IgnoredAny>,
}

/// By how much.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RateLimit {
    pub(super) unit: Option<String>,
    pub(super) requests_per_unit: u64,
    pub(super) unlimited: bool,
    pub(super) name: Option<String>,
    pub(super) replaces: Option<Vec<Replaces>>,
    pub(super) algorithm: Option<String>,
}

/// Another limit, which does not hold where this one does.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Replaces {
    #[serde(rename = "name")]
    _name: IgnoredAny,
}

/// Reads a file.
///
/// # Errors
/// What is wrong with it, and where.
pub(super) fn parse(text: &str) -> Result<Configuration, String> {
    // Its own bounds hold: of depth, of aliases, of all that is read.
    serde_saphyr::from_str(text)
        .map_err(|cause| cause.without_snippet().render_with_formatter(&UserMessageFormatter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_of_the_format_is_read() {
        let text = "
---
domain: edge # of one file
descriptors:
  - key: operation
    value: 404
    shadow_mode: true
    quota_mode: true
    share_threshold: true
    detailed_metric: true
    value_to_metric: true
    metadata: {owner: [a, {b: c}]}
    rate_limit:
      name: first
      unit: second
      requests_per_unit: 100
      unlimited: false
      replaces: [{name: second}]
      algorithm: token-bucket
    descriptors:
      - key: caller
      - {key: caller, value: 'yes', descriptors: []}
";
        let read = parse(text).unwrap();
        assert_eq!(read.domain.as_deref(), Some("edge"));
        let descriptors = read.descriptors.unwrap();
        let [first] = descriptors.as_slice() else { panic!("{descriptors:?}") };
        // What looks like a number is text where text is wanted.
        assert_eq!((first.key.as_deref(), first.value.as_deref()), (Some("operation"), Some("404")));
        assert!(first.shadow_mode && first.quota_mode && first.share_threshold);
        assert!(first.detailed_metric && first.value_to_metric && first.metadata.is_some());
        let limit = first.rate_limit.as_ref().unwrap();
        assert_eq!(
            (limit.unit.as_deref(), limit.requests_per_unit, limit.unlimited),
            (Some("second"), 100, false)
        );
        assert_eq!(
            (limit.name.as_deref(), limit.algorithm.as_deref()),
            (Some("first"), Some("token-bucket"))
        );
        assert_eq!(limit.replaces.as_ref().map(Vec::len), Some(1));
        let values = first.descriptors.as_ref().unwrap().iter().map(|below| below.value.as_deref());
        assert!(values.eq([None, Some("yes")]));
    }

    #[test]
    fn what_is_not_of_the_format_is_refused_with_its_line() {
        for (text, expected) in [
            ("domain: edge\ndescriptor: []", "descriptor"),
            ("domain: edge\ndescriptors:\n  - key: a\n    limit: {}", "line 4"),
            ("domain: edge\ndescriptors:\n  - key: a\n    key: b", "line 4"),
            ("domain: edge\ndescriptors:\n  - rate_limit: {requests_per_unit: many}", "line 3"),
            ("domain: edge\ndescriptors:\n  - rate_limit: {requests_per_unit: -1}", "line 3"),
            ("domain: [", "line 1"),
            ("edge", "line 1"),
        ] {
            let refused = parse(text).unwrap_err();
            assert!(refused.contains(expected), "{text:?}: {refused}");
        }
    }

    #[test]
    fn a_file_that_is_too_deep_is_refused() {
        let deep = (0..1000).fold(String::new(), |text, _| format!("{text}{{descriptors: [")) + "]";
        assert!(parse(&deep).is_err());
        let lines = (0..1000).map(|depth| format!("{}- descriptors:\n", "  ".repeat(depth)));
        assert!(parse(&format!("descriptors:\n{}", lines.collect::<String>())).is_err());
    }
}
