//! Names, checked once: a value of these types is well formed.

use std::{borrow::Borrow, fmt, sync::Arc};

/// Longest DNS label.
const LABEL_LENGTH: usize = 63;
/// Longest instance id.
const INSTANCE_ID_LENGTH: usize = 128;
/// What an entry of a map of texts takes besides its text, roughly.
pub(super) const ENTRY: usize = 2 * size_of::<String>();

/// What is wrong with a value, to be completed with the field's name by whoever knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Invalid(pub String);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of a service: a DNS label.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServiceName(Arc<str>);

/// Id of an instance, unique in its service.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct InstanceId(Arc<str>);

/// Name of a component, unique in its instance: a DNS label.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ComponentName(Arc<str>);

/// Names one instance in the fleet.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct InstanceKey {
    /// Its service.
    pub service: ServiceName,
    /// Its id there.
    pub id: InstanceId,
}

impl ServiceName {
    /// Checks a name.
    ///
    /// # Errors
    /// It is not a DNS label.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        label(text).map(Self)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ComponentName {
    /// Checks a name.
    ///
    /// # Errors
    /// It is not a DNS label.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        label(text).map(Self)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl InstanceId {
    /// Checks an id.
    ///
    /// # Errors
    /// It is empty, longer than 128 characters, has other characters than letters, digits, `.`, `_`
    /// and `-`, or begins with another than a letter or digit.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let well_formed = !text.is_empty()
            && text.len() <= INSTANCE_ID_LENGTH
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if well_formed {
            return Ok(Self(text.into()));
        }
        Err(Invalid(format!(
            "{} is not an instance id: use 1 to {INSTANCE_ID_LENGTH} letters, digits, `.`, `_` and `-`, \
             beginning with a letter or digit",
            shown(text)
        )))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn label(text: &str) -> Result<Arc<str>, Invalid> {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let well_formed = !text.is_empty()
        && text.len() <= LABEL_LENGTH
        && text.starts_with(edge)
        && text.ends_with(edge)
        && text.chars().all(|c| edge(c) || c == '-');
    if well_formed {
        return Ok(text.into());
    }
    Err(Invalid(format!(
        "{} is not a DNS label: use 1 to {LABEL_LENGTH} lower-case letters, digits and hyphens, \
         beginning and ending with a letter or digit",
        shown(text)
    )))
}

/// A bad value as it may stand in an error: quoted, without control characters, never long.
fn shown(text: &str) -> String {
    if text.is_empty() {
        return "an empty name".to_owned();
    }
    let start: String = text.chars().take(LABEL_LENGTH + 1).collect();
    let more = if start.len() < text.len() { "…" } else { "" };
    format!("{start:?}{more}")
}

impl Borrow<str> for ServiceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for InstanceId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for ComponentName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ComponentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for InstanceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_a_table() {
        let long = "a".repeat(63);
        let too_long = "a".repeat(64);
        for (text, good) in [
            ("orders", true),
            ("a", true),
            ("0", true),
            ("orders-2", true),
            (long.as_str(), true),
            (too_long.as_str(), false),
            ("", false),
            ("-orders", false),
            ("orders-", false),
            ("Orders", false),
            ("orders.eu", false),
            ("orders/eu", false),
            ("orders:liveness", false),
            ("ördërs", false),
            ("orders\n", false),
        ] {
            assert_eq!(ServiceName::parse(text).is_ok(), good, "{text:?}");
            assert_eq!(ComponentName::parse(text).is_ok(), good, "{text:?}");
        }
        for (text, good) in [
            ("i-1", true),
            ("orders-7d9f.node_3", true),
            ("A", true),
            ("", false),
            (".a", false),
            ("a/b", false),
            ("a:b", false),
            ("a b", false),
        ] {
            assert_eq!(InstanceId::parse(text).is_ok(), good, "{text:?}");
        }
        assert!(InstanceId::parse(&"a".repeat(128)).is_ok());
        assert!(InstanceId::parse(&"a".repeat(129)).is_err());
    }

    #[test]
    fn errors_do_not_echo_what_could_harm_a_terminal() {
        let error = ServiceName::parse("\u{1b}[2J").unwrap_err();
        assert!(!error.0.contains('\u{1b}'));
        assert!(ServiceName::parse(&"A".repeat(10_000)).unwrap_err().0.len() < 300);
    }
}
