//! What a changed configuration means for a running server: some values count at once, the others wait
//! for a restart and are named.

use super::{Environment, Flags, keys::KEYS, load, settings::Config};
use crate::error::Result;

/// The outcome of reading the configuration again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reloaded {
    /// The configuration that counts from now on: the current one with the live changes.
    pub config: Config,
    /// The keys that count already.
    pub changed_keys: Vec<&'static str>,
    /// The keys that were changed and count only after a restart.
    pub needs_restart: Vec<&'static str>,
}

/// Reads all sources again and takes over what may change while running ([`Key::live`](super::Key)).
///
/// # Errors
/// As [`load`]; the current configuration then stays in force.
pub fn reload(current: &Config, flags: &Flags, environment: &Environment) -> Result<Reloaded> {
    let wanted = load(flags, environment)?;
    let mut reloaded =
        Reloaded { config: current.clone(), changed_keys: Vec::new(), needs_restart: Vec::new() };
    for key in KEYS {
        let value = (key.show)(&wanted);
        if value == (key.show)(current) {
            continue;
        }
        if key.live && (key.set)(&mut reloaded.config, &value).is_ok() {
            reloaded.changed_keys.push(key.name);
            reloaded.config.origins.insert(key.name, wanted.origin(key.name));
        } else {
            reloaded.needs_restart.push(key.name);
        }
    }
    if wanted.policies != current.policies {
        reloaded.config.policies = wanted.policies;
        reloaded.changed_keys.push("policies");
    }
    Ok(reloaded)
}
