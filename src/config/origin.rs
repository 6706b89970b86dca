//! Where a value of the configuration came from.

use std::{fmt, path::PathBuf};

/// Where a value came from. Shown as `default`, `file F`, `environment N` or `flag --x`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Origin {
    /// Nobody wrote it.
    #[default]
    Default,
    /// The configuration file.
    File(PathBuf),
    /// The environment variable of this name.
    Environment(String),
    /// The flag of this name, without its dashes.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "file {}", path.display()),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}
