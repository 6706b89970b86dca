//! The reference of all keys, for the README.

use super::{keys::KEYS, settings::Config};

/// Every key as a Markdown table: key, default, flag, variable, whether it reloads, and its sentence.
pub fn reference() -> String {
    let mut table =
        "| Key | Default | Variable | Flag | Reloads | Meaning |\n|---|---|---|---|---|---|\n".to_owned();
    for key in KEYS {
        let default = (key.show)(&Config::default());
        let default = if default.is_empty() { "none".to_owned() } else { format!("`{default}`") };
        let flag = key.flag.map_or_else(String::new, |flag| format!("`--{flag}`"));
        let live = if key.live { "yes" } else { "" };
        table.push_str(&format!(
            "| `{}` | {default} | `{}` | {flag} | {live} | {} |\n",
            key.name,
            key.variable(),
            key.doc
        ));
    }
    table
}
