//! The form of stored values: a JSON object that a person can read, with the version of its layout.
//!
//! `{"version":1,"name":"orders"}`: the field `version` belongs to the form. A version newer than the
//! program knows is refused and never guessed, so that going back to an older release damages nothing.

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::error::{Error, Kind, Reason, Result};

const VERSION: &str = "version";

/// A record and its version, as one object.
#[derive(Serialize)]
struct Versioned<'a, T> {
    version: u32,
    #[serde(flatten)]
    record: &'a T,
}

/// The version of a record, whatever else is in it.
#[derive(Deserialize)]
struct Layout {
    version: u64,
}

/// Writes a record in layout `version`. Its type must become a JSON object without a field `version`:
/// such a field would be written twice. Debug builds look for one.
///
/// # Errors
/// `Internal`: the type does not become an object, which is a bug of the caller.
pub fn encode<T: Serialize>(version: u32, record: &T) -> Result<Bytes> {
    debug_assert!(
        serde_json::to_value(record).is_ok_and(|value| value.get(VERSION).is_none()),
        "a record must not have a field of its own named version"
    );
    Ok(serde_json::to_vec(&Versioned { version, record }).map_err(Error::internal)?.into())
}

/// Reads a record of layout `newest_known_version` or older.
///
/// Older layouts are read into the same type: its fields say by `#[serde(default)]` what they once lacked.
///
/// # Errors
/// - `RecordTooNew` (`FailedPrecondition`): a newer program wrote it.
/// - `RecordDamaged` (`Internal`): it is no record, or not one of this type.
pub fn decode<T: DeserializeOwned>(key: &str, newest_known_version: u32, bytes: &[u8]) -> Result<T> {
    // A sequence would be taken for a record without the names of its fields.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(damaged(key).because("it is not a JSON object"));
    }
    // First the version alone: a newer layout need not be one of this type.
    let Layout { version } = serde_json::from_slice(bytes).map_err(|cause| damaged(key).because(cause))?;
    if version > u64::from(newest_known_version) {
        return Err(too_new(key, version, newest_known_version));
    }
    serde_json::from_slice(bytes).map_err(|cause| damaged(key).because(cause))
}

fn damaged(key: &str) -> Error {
    Error::new(
        Kind::Internal,
        Reason::RecordDamaged,
        format!("the record at key {key:?} is damaged; restore it from a backup or delete it"),
    )
    .with("key", key)
}

fn too_new(key: &str, found: u64, known: u32) -> Error {
    Error::new(
        Kind::FailedPrecondition,
        Reason::RecordTooNew,
        format!(
            "the record at key {key:?} has version {found}, and this program knows versions up to {known}; \
             run the release that wrote it or a newer one"
        ),
    )
    .with("key", key)
    .with("found", found.to_string())
    .with("known", known.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Sample {
        name: String,
        count: u64,
        #[serde(default)]
        tags: Vec<String>,
    }

    #[test]
    fn a_record_can_be_read_by_people() {
        let sample = Sample { name: "orders".into(), count: u64::MAX, tags: vec![] };
        let bytes = encode(3, &sample).unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        assert_eq!(text, r#"{"version":3,"name":"orders","count":18446744073709551615,"tags":[]}"#);
        assert_eq!(decode::<Sample>("k", 3, &bytes).unwrap(), sample);
    }

    #[test]
    fn an_older_layout_is_read_and_a_newer_one_refused() {
        let older = br#"{"version":1,"name":"a","count":1}"#;
        assert_eq!(decode::<Sample>("k", 2, older).unwrap().tags, Vec::<String>::new());
        let error = decode::<Sample>("k", 2, br#"{"version":3,"else":1}"#).unwrap_err();
        assert_eq!(error.reason(), Reason::RecordTooNew);
        assert_eq!(error.metadata()[1..], [("found", "3".to_owned()), ("known", "2".to_owned())]);
    }

    #[test]
    fn damage_names_the_key() {
        for bytes in [&b""[..], b"[]", b"{}", br#"{"version":"1"}"#, br#"{"version":1}"#, b"\xff"] {
            let error = decode::<Sample>("services/a", 1, bytes).unwrap_err();
            assert_eq!(error.reason(), Reason::RecordDamaged);
            assert_eq!(error.metadata(), [("key", "services/a".to_owned())]);
        }
    }

    #[test]
    fn a_type_that_is_no_object_is_refused_when_written() {
        assert!(encode(1, &"text").is_err());
    }

    #[test]
    #[should_panic(expected = "named version")]
    fn a_version_of_its_own_is_found_by_debug_builds() {
        #[derive(Serialize)]
        struct Clash {
            version: &'static str,
        }
        drop(encode(1, &Clash { version: "1.2.3" }));
    }

    #[test]
    fn a_version_further_inside_is_the_records_own_affair() {
        #[derive(Debug, Deserialize, PartialEq, Serialize)]
        struct Outer {
            labels: std::collections::BTreeMap<String, String>,
        }
        let outer = Outer { labels: [("version".to_owned(), "\"version\":".to_owned())].into() };
        let bytes = encode(1, &outer).unwrap();
        assert_eq!(decode::<Outer>("k", 1, &bytes).unwrap(), outer);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let outcome = decode::<Sample>("k", 1, &bytes);
            prop_assert!(outcome.is_err());
        }

        #[test]
        fn what_was_written_is_read(name in ".{0,20}", count: u64, tags in proptest::collection::vec(".{0,9}", 0..4)) {
            let sample = Sample { name, count, tags };
            prop_assert_eq!(decode::<Sample>("k", 1, &encode(1, &sample).unwrap()).unwrap(), sample);
        }
    }
}
