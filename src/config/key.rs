//! What is known of one key: its names, its sentence, its reader and its writer.

use std::fmt;

use super::{MASKED, keys::KEYS, settings::Config, value::Read};

/// One key of the configuration.
#[derive(Clone)]
pub struct Key {
    /// As the file has it, with its section: `fleet.lease_ttl`.
    pub name: &'static str,
    /// The flag that sets it, without its dashes, where there is one.
    pub flag: Option<&'static str>,
    /// Whether a reload changes it while the server runs.
    pub live: bool,
    /// Whether its value is masked wherever it is shown.
    pub secret: bool,
    /// What it means, in a sentence.
    pub doc: &'static str,
    /// Reads a value into the configuration; an error says what would be right.
    pub(super) set: fn(&mut Config, &str) -> Read<()>,
    /// Writes the value as `set` reads it.
    pub(super) show: fn(&Config) -> String,
}

impl Key {
    /// The key of this name.
    pub fn find(name: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// The environment variable that sets it: `SEAWORTHY_FLEET_LEASE_TTL`.
    pub fn variable(&self) -> String {
        format!("SEAWORTHY_{}", self.name.replace('.', "_").to_uppercase())
    }

    /// Its default as the file would have it; empty for none.
    pub fn default_value(&self) -> String {
        (self.show)(&Config::default())
    }

    /// A line of the file that sets it to its default.
    pub fn example(&self) -> String {
        let (value, name) = (self.default_value(), self.name.rsplit('.').next().unwrap_or(self.name));
        let bare = value.parse::<bool>().is_ok() || value.parse::<u64>().is_ok();
        if bare { format!("{name} = {value}") } else { format!("{name} = {value:?}") }
    }

    /// Its value as it may be shown to anybody.
    pub(super) fn masked(&self, config: &Config) -> String {
        let value = (self.show)(config);
        if self.secret && !value.is_empty() { MASKED.to_owned() } else { value }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.name).finish()
    }
}

/// What most keys are: without a flag, not live, no secret.
pub(super) const PLAIN: Key = Key {
    name: "",
    flag: None,
    live: false,
    secret: false,
    doc: "",
    set: |_, _| Ok(()),
    show: |_| String::new(),
};
