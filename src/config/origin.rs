//! Where a value of the configuration came from.

use std::{fmt, path::PathBuf};

/// Where a value came from. Shown as `default`, `file F:LINE`, `environment N` or `flag --x`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Origin {
    /// Nobody wrote it.
    #[default]
    Default,
    /// The configuration file.
    File {
        /// As it was named.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The environment variable of this name.
    Environment(String),
    /// The flag of this name, without its dashes.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            // Terminals and editors make a link of it.
            Origin::File { path, line } => write!(f, "file {}:{line}", path.display()),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}
