//! Policies of the configuration file: tables by the names of the contract, read as a message that is put would be.

use std::collections::BTreeMap;

use prost::Message as _;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage};
use seaworthy_client::protect::policy::Policy;

use super::{
    parse,
    proto::{DESCRIPTORS, v1 as pb},
};
use crate::{
    config::{Declared, Origin},
    error::{Error, Kind, Reason, Result},
    policy::MOST_BYTES,
};

/// Most policies that a file may declare.
const MOST: usize = 1000;

/// Reads what is declared.
///
/// # Errors
/// `ConfigInvalid`, naming every mistake with its place.
pub fn policies(declared: &[Declared]) -> Result<Vec<Policy>> {
    if declared.is_empty() {
        return Ok(Vec::new());
    }
    let pool = DescriptorPool::decode(DESCRIPTORS).map_err(Error::internal)?;
    let (mut problems, mut found) = (Vec::new(), Vec::new());
    let mut seen: BTreeMap<String, &Origin> = BTreeMap::new();
    if declared.len() > MOST {
        problems.push(format!("policies: {} are declared, and {MOST} are the most", declared.len()));
    }
    let mut bytes = 0;
    for Declared { table, origin } in declared.iter().take(MOST) {
        let wrong = match message(&pool, table.clone()).inspect(|wire| bytes += wire.encoded_len()) {
            Ok(wire) => match parse::policy::read_policy("policies", wire) {
                Ok(policy) => {
                    if let Some(first) = seen.insert(policy.name.clone(), origin) {
                        problems
                            .push(format!("policies.name ({origin}): {} is at {first} already", policy.name));
                    }
                    found.push(policy);
                    continue;
                }
                Err(wrong) => wrong,
            },
            Err(wrong) => vec![("policies".to_owned(), wrong)],
        };
        problems.extend(wrong.into_iter().map(|(field, what)| format!("{field} ({origin}): {what}")));
    }
    if bytes > MOST_BYTES {
        problems.push(format!("policies: take {bytes} bytes together, and {MOST_BYTES} are the most"));
    }
    match problems.as_slice() {
        [] => Ok(found),
        [only] => Err(invalid(format!("invalid configuration: {only}"))),
        all => {
            Err(invalid(format!("invalid configuration, {} mistakes:\n  {}", all.len(), all.join("\n  "))))
        }
    }
}

fn message(pool: &DescriptorPool, table: toml::Table) -> Result<pb::Policy, String> {
    let descriptor = pool.get_message_by_name("seaworthy.v1.Policy").ok_or("the contract has no policies")?;
    DynamicMessage::deserialize_with_options(descriptor, table, &DeserializeOptions::new())
        .map_err(|cause| cause.to_string().trim_end().to_owned())?
        .transcode_to()
        .map_err(|cause| cause.to_string())
}

fn invalid(message: String) -> Error {
    Error::new(Kind::InvalidArgument, Reason::ConfigInvalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(text: &str) -> Vec<Declared> {
        let whole: toml::Table = toml::from_str(text).unwrap();
        let tables = whole["policies"].as_array().unwrap().clone();
        let at = |(n, table): (usize, toml::Value)| Declared {
            table: table.as_table().unwrap().clone(),
            origin: Origin::File { path: "s.toml".into(), line: n + 1 },
        };
        tables.into_iter().enumerate().map(at).collect()
    }

    #[test]
    fn a_table_is_a_policy() {
        let found = policies(&declared(
            r#"
            [[policies]]
            name = "charges"
            target = { operations = { service = "orders", operation = "charge-card" } }
            limits = [{ scope = "POLICY_SCOPE_OPERATION", amount = 100, period = "60s" }]
            [policies.breaker]
            consecutive_failures = 3

            [[policies]]
            name = "rpcs"
            target = { rpcs = {} }
            permits = [{ scope = "POLICY_SCOPE_GLOBAL", max_in_flight = 64, wait = "0.1s" }]
            "#,
        ))
        .unwrap();
        assert_eq!(found.iter().map(|policy| policy.name.as_str()).collect::<Vec<_>>(), ["charges", "rpcs"]);
        assert_eq!(found[0].limits[0].settings.rate().period().as_secs(), 60);
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let wrong = policies(&declared(
            r#"
            [[policies]]
            name = "A"
            limits = [{ amount = 0 }]
            [[policies]]
            name = "b"
            limts = []
            [[policies]]
            name = "c"
            [[policies]]
            name = "c"
            "#,
        ))
        .unwrap_err();
        let told = wrong.message();
        for expected in [
            "policies.name (file s.toml:1)",
            "policies.limits[0].scope (file s.toml:1)",
            "(file s.toml:2): ",
            "limts",
            "policies.name (file s.toml:4): c is at file s.toml:3 already",
        ] {
            assert!(told.contains(expected), "{expected}: {told}");
        }
        assert_eq!(wrong.reason(), Reason::ConfigInvalid);
    }
}
