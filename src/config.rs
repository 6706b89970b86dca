//! The configuration: defaults, then a TOML file, then the environment, then flags; each later one
//! wins. What comes out is a [`Config`] whose values are all within their bounds.
//!
//! One table, [`KEYS`], lists every key with its sentence, its reader and its writer; the file, the
//! environment, the reference in the README and `config show` all come from it. Every mistake is
//! reported at once, with the place where it was written and what would be right, before anything is
//! opened or bound. Nothing here watches files or signals: whoever wants a reload calls [`reload`].

mod access;
mod check;
mod draft;
mod file;
mod key;
mod keys;
mod listener;
mod log;
mod nearest;
mod origin;
mod reference;
mod reload;
mod settings;
mod sources;
mod value;
mod vault;

#[cfg(test)]
mod tests;

pub use self::{
    key::Key,
    keys::KEYS,
    log::{LogFormat, parse_filter},
    nearest::suggestion,
    origin::Origin,
    reference::reference,
    reload::{Reloaded, reload},
    settings::{
        AccessLog, Audit, Auth, Checks, ClientAuth, Config, Declared, Fleet, Grpc, Http, LARGEST_MESSAGE,
        OpenPages, Secretive, Shutdown, Tls,
    },
    sources::{CONFIG_VARIABLE, Environment, Flags},
};

pub use seaworthy_client::rules::quantity::{parse_duration, parse_size, show_duration, show_size};

use self::draft::Draft;
use crate::error::Result;

/// One value of the configuration, as it is shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Its key: `fleet.lease_ttl`.
    pub key: &'static str,
    /// Its value as it would be written; empty for none, [`MASKED`] for a secret.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// What is shown in place of a secret.
pub const MASKED: &str = "(masked)";

/// Reads the configuration from all its sources.
///
/// Without `--config` and without `SEAWORTHY_CONFIG` no file is read.
///
/// # Errors
/// [`Reason::ConfigInvalid`](crate::error::Reason::ConfigInvalid), naming every mistake, one per line.
pub fn load(flags: &Flags, environment: &Environment) -> Result<Config> {
    draft(flags, environment).finish()
}

/// The format of the log, whatever else is wrong: in which form to tell that something is.
pub fn log_format(flags: &Flags, environment: &Environment) -> LogFormat {
    draft(flags, environment).log_format()
}

/// What all sources say, right and wrong.
fn draft(flags: &Flags, environment: &Environment) -> Draft {
    let mut draft = Draft::default();
    if let Some(named) = sources::config_file(flags, environment) {
        file::read(&named, &mut draft);
    }
    environment.write(&mut draft);
    flags.write(&mut draft);
    draft
}

impl Config {
    /// Every value in the order of [`KEYS`], with where it came from; secrets are masked.
    pub fn entries(&self) -> Vec<Entry> {
        let entry =
            |key: &Key| Entry { key: key.name, value: key.masked(self), origin: self.origin(key.name) };
        KEYS.iter().map(entry).collect()
    }

    /// Where the value of a key came from.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }
}
