//! A specification from a file: JSON or TOML by its extension, JSON from the standard input.
//!
//! The names are those of the contract (`depends_on`, `min_available`); unknown ones are refused.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use seaworthy_client::proto::seaworthy::v1::ServiceSpec;

use crate::cli::{failure::Failure, render::document::Contract};

/// Reads a specification. `-` is the standard input.
pub(crate) fn read(path: &PathBuf) -> Result<ServiceSpec, Failure> {
    let is_stdin = path == Path::new("-");
    let text = if is_stdin { io::read_to_string(io::stdin()) } else { fs::read_to_string(path) };
    let text = text.map_err(|cause| Failure::Usage(format!("cannot read {}: {cause}", path.display())))?;
    let extension = if is_stdin { Some("json") } else { path.extension().and_then(|name| name.to_str()) };
    parse(&text, extension).map_err(|cause| {
        Failure::Usage(format!("{} is no specification of a service: {}", path.display(), cause.trim_end()))
    })
}

fn parse(text: &str, extension: Option<&str>) -> Result<ServiceSpec, String> {
    let contract = Contract::load().map_err(|failure| failure.to_string())?;
    match extension {
        Some("json") => {
            let mut input = serde_json::Deserializer::from_str(text);
            let spec = contract.parse("ServiceSpec", &mut input)?;
            input.end().map_err(|cause| cause.to_string())?;
            Ok(spec)
        }
        Some("toml") => {
            let input = toml::Deserializer::parse(text).map_err(|cause| cause.to_string())?;
            contract.parse("ServiceSpec", input)
        }
        _ => Err("name it .json or .toml, so that its format is known".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use seaworthy_client::proto::seaworthy::v1::{
        Budget, Dependency, DependencyKind, Objectives, Quantity, budget, quantity,
    };
    use serde_json::{Value, json};

    use super::*;

    const JSON: &str = r#"{
        "depends_on": [{"service": "payments"}, {"service": "cache", "kind": "DEPENDENCY_KIND_SOFT"}],
        "budget": {"min_available": {"percent": 50}},
        "objectives": {"availability_percent": 99.9, "rpo": "300s"},
        "protected": true
    }"#;

    const TOML: &str = r#"
        protected = true
        depends_on = [{ service = "payments" }, { service = "cache", kind = "DEPENDENCY_KIND_SOFT" }]
        [budget]
        min_available = { percent = 50 }
        [objectives]
        availability_percent = 99.9
        rpo = "300s"
    "#;

    #[test]
    fn both_formats_say_the_same() {
        let half = Quantity { value: Some(quantity::Value::Percent(50)) };
        let expected = ServiceSpec {
            depends_on: vec![
                Dependency { service: "payments".into(), ..Dependency::default() },
                Dependency { service: "cache".into(), kind: DependencyKind::Soft.into() },
            ],
            budget: Some(Budget { limit: Some(budget::Limit::MinAvailable(half)), quorum_size: 0 }),
            objectives: Some(Objectives {
                availability_percent: 99.9,
                rpo: Some(prost_types::Duration { seconds: 300, nanos: 0 }),
                rto: None,
            }),
            protected: true,
        };
        assert_eq!(parse(JSON, Some("json")), Ok(expected.clone()));
        assert_eq!(parse(TOML, Some("toml")), Ok(expected));
    }

    #[test]
    fn the_example_of_the_help_says_everything_that_can_be_said() {
        let example = include_str!("../../../deploy/service.example.toml");
        let spec = parse(example, Some("toml")).unwrap();
        let document = Contract::load().unwrap().document("ServiceSpec", &spec).unwrap();
        // JSON has every field that there is, said or not.
        let shown = serde_json::to_value(&document).unwrap();
        assert_eq!(left_unsaid(&shown), Vec::<String>::new());
    }

    fn left_unsaid(value: &Value) -> Vec<String> {
        match value {
            Value::Object(fields) => fields
                .iter()
                .flat_map(|(name, value)| {
                    left_unsaid(value).into_iter().map(move |below| format!("{name}.{below}"))
                })
                .collect(),
            Value::Array(items) if !items.is_empty() => items.iter().flat_map(left_unsaid).collect(),
            said if [json!(null), json!(false), json!(0), json!(0.0), json!(""), json!([])]
                .contains(said) =>
            {
                vec![said.to_string()]
            }
            _ => Vec::new(),
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let table = [
            (r#"{"protectd": true}"#, Some("json"), "protectd"),
            (r#"{"protected": true} x"#, Some("json"), "trailing"),
            ("protectd = true", Some("toml"), "protectd"),
            ("protected = maybe", Some("toml"), "line 1"),
            ("protected: true", Some("yaml"), ".json or .toml"),
            ("", None, ".json or .toml"),
        ];
        for (text, extension, expected) in table {
            let refused = parse(text, extension).unwrap_err();
            assert!(refused.contains(expected), "{text:?}: {refused}");
        }
    }
}
