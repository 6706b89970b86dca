//! Names of policies from words that are none: DNS labels, no two the same.

use std::collections::HashSet;

/// Most characters of a DNS label.
const LONGEST: usize = 63;
/// Characters of a digest: enough to tell words apart that make the same label.
const DIGEST: usize = 8;

/// Names that were given.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    /// A name that is made of the words, and was not given before.
    pub(super) fn give(&mut self, words: &[&str]) -> String {
        let label = label(words);
        let name =
            if label.len() > LONGEST || self.0.contains(&label) { marked(&label, words) } else { label };
        self.0.insert(name.clone());
        name
    }
}

/// Lower-case letters and digits as they are, a hyphen for whatever is between them.
fn label(words: &[&str]) -> String {
    let joined = words.join("-").to_ascii_lowercase();
    let parts = joined.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    match parts.collect::<Vec<_>>().join("-") {
        label if label.is_empty() => "imported".to_owned(),
        label => label,
    }
}

/// As much of the label as there is room for, and a digest of the words.
fn marked(label: &str, words: &[&str]) -> String {
    let digest = blake3::hash(words.join("\n").as_bytes()).to_hex();
    let kept: String = label.chars().take(LONGEST - DIGEST - 1).collect();
    let digest: String = digest.chars().take(DIGEST).collect();
    format!("{}-{digest}", kept.trim_end_matches('-'))
}

#[cfg(test)]
mod tests;
