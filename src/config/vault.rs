//! Readers of what is said of the vault: its place, options of its object store, its key.

use super::{settings::Secretive, value::Read};

/// Options of an object store at the most.
const MAX_OPTIONS: usize = 64;

/// A text without spaces at its ends.
pub(super) fn word(text: &str) -> Read<String> {
    if text.trim() == text { Ok(text.to_owned()) } else { Err("has spaces at an end".to_owned()) }
}

/// A text that is not shown.
pub(super) fn secretive(text: &str) -> Read<Secretive> {
    word(text).map(Secretive)
}

/// Names with values, with commas between them. A value has no comma.
pub(super) fn options(text: &str) -> Read<Vec<Secretive>> {
    let mut found = Vec::new();
    for (at, option) in (1..).zip(text.split(',').map(str::trim).filter(|option| !option.is_empty())) {
        // What stands there may be a secret: it is counted, not said.
        let named =
            option.split_once('=').is_some_and(|(name, value)| !name.trim().is_empty() && !value.is_empty());
        if !named {
            return Err(format!("has no name=value as its entry {at}"));
        }
        found.push(Secretive(option.to_owned()));
    }
    if found.len() > MAX_OPTIONS {
        return Err(format!("has {} options; {MAX_OPTIONS} are the most", found.len()));
    }
    Ok(found)
}

pub(super) fn show_options(options: &[Secretive]) -> String {
    options.iter().map(|option| option.0.as_str()).collect::<Vec<_>>().join(", ")
}
