//! What may be said about the log: its format, and levels and filters that mean what they say.

use std::{fmt, str::FromStr};

use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum LogFormat {
    /// For people on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object per line.
    Json,
    /// For people.
    Human,
}

impl LogFormat {
    /// The name as it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            LogFormat::Auto => "auto",
            LogFormat::Json => "json",
            LogFormat::Human => "human",
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let formats = [LogFormat::Auto, LogFormat::Json, LogFormat::Human];
        let found = formats.into_iter().find(|format| format.as_str() == text);
        found.ok_or_else(|| "must be auto, json or human".to_owned())
    }
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Reads a level (`info`) or a filter (`info,seaworthy::fleet=debug`).
///
/// Stricter than [`EnvFilter`], which takes a misspelt level for the name of a module and then logs
/// nothing else.
///
/// # Errors
/// Which part is wrong and what would be right.
pub fn parse_filter(text: &str) -> Result<EnvFilter, String> {
    for part in text.split(',') {
        let (target, level) =
            part.split_once('=').map_or((None, part), |(target, level)| (Some(target), level));
        if !LEVELS.contains(&level) {
            return Err(format!(
                "{level:?} is not a level; write off, error, warn, info, debug or trace, or \
                                a filter like info,seaworthy::fleet=debug"
            ));
        }
        if target.is_some_and(|name| !is_module(name)) {
            return Err(format!(
                "{part:?} does not begin with the path of a module; write a filter like \
                                info,seaworthy::fleet=debug"
            ));
        }
    }
    EnvFilter::builder().parse(text).map_err(|cause| format!("is not a filter: {cause}"))
}

fn is_module(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_:.-".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_filters_are_read_strictly() {
        for right in ["info", "off", "info,seaworthy::fleet=debug", "warn,h2=off,seaworthy=trace"] {
            assert!(parse_filter(right).is_ok(), "{right}");
        }
        for wrong in [
            "",
            "inf",
            "INFO",
            "info,",
            "info, debug",
            "seaworthy",
            "seaworthy=loud",
            "=info",
            "a[b]=info",
            "info=debug=trace",
        ] {
            assert!(parse_filter(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_format_reads_back() {
        for format in [LogFormat::Auto, LogFormat::Json, LogFormat::Human] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert!("JSON".parse::<LogFormat>().is_err());
    }
}
