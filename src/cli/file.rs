//! A message of the contract from a file: JSON or TOML by its extension, JSON from the standard input.
//!
//! The names are those of the contract (`depends_on`, `min_available`); unknown ones are refused.

use std::{fs, io, path::Path};

use prost::Message;

use super::{failure::Failure, render::document::Contract};

/// What a file is to hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// The message's name in `seaworthy.v1`.
    pub(crate) message: &'static str,
    /// What it is, for people: `specification of a service`.
    pub(crate) noun: &'static str,
}

/// Reads a message. `-` is the standard input.
///
/// # Errors
/// It cannot be read, or is no such message.
pub(crate) fn read<M: Message + Default>(path: &Path, wanted: Wanted) -> Result<M, Failure> {
    let text = text(path)?;
    let extension =
        if is_stdin(path) { Some("json") } else { path.extension().and_then(|name| name.to_str()) };
    parse(&text, extension, wanted.message).map_err(|cause| {
        Failure::Usage(format!("{} is no {}: {}", path.display(), wanted.noun, cause.trim_end()))
    })
}

/// What is in a file. `-` is the standard input.
///
/// # Errors
/// It cannot be read.
pub(crate) fn text(path: &Path) -> Result<String, Failure> {
    let text = if is_stdin(path) { io::read_to_string(io::stdin()) } else { fs::read_to_string(path) };
    text.map_err(|cause| Failure::Usage(format!("cannot read {}: {cause}", path.display())))
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// Reads a message that is written in the format of this extension. `message` is its name in `seaworthy.v1`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse<M: Message + Default>(
    text: &str,
    extension: Option<&str>,
    message: &str,
) -> Result<M, String> {
    let contract = Contract::load().map_err(|failure| failure.to_string())?;
    match extension {
        Some("json") => {
            let mut input = serde_json::Deserializer::from_str(text);
            let parsed = contract.parse(message, &mut input)?;
            input.end().map_err(|cause| cause.to_string())?;
            Ok(parsed)
        }
        Some("toml") => {
            let input = toml::Deserializer::parse(text).map_err(|cause| cause.to_string())?;
            contract.parse(message, input)
        }
        _ => Err("name it .json or .toml, so that its format is known".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use seaworthy_client::proto::seaworthy::v1::{
        Budget, Dependency, DependencyKind, Objectives, Quantity, ServiceSpec, budget, quantity,
    };

    use super::*;

    fn spec(text: &str, extension: Option<&str>) -> Result<ServiceSpec, String> {
        parse(text, extension, "ServiceSpec")
    }

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
        assert_eq!(spec(JSON, Some("json")), Ok(expected.clone()));
        assert_eq!(spec(TOML, Some("toml")), Ok(expected));
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
            let refused = spec(text, extension).unwrap_err();
            assert!(refused.contains(expected), "{text:?}: {refused}");
        }
    }
}
