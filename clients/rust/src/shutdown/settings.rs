//! How long a shutdown and its parts may take: defaults, and what the environment says.

use std::{fmt, time::Duration};

use crate::rules::quantity::{parse_duration, show_duration};

/// Comes first where both names of a variable are set.
const PREFIX: &str = "SEAWORTHY_";
/// What is left to the platform's clock: it may have begun before this process heard of it.
const PLATFORM_MARGIN: Duration = Duration::from_secs(5);
/// The least share of the platform's time that is left to it, where that is less than the margin.
const PLATFORM_SHARE: u32 = 5;
/// The longest that anything may take.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How long a shutdown and its parts may take. Whatever they are, all of it fits under `total`, and that under what the
/// platform gives: a part whose time is not left gets less.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// All of it. Default 40 s.
    pub total: Duration,
    /// How long new work is still taken after health says NOT_SERVING, at the most. Default 5 s; 0: none is.
    pub lame_duck: Duration,
    /// How long no new work must have come, and nothing be under way, for the lame-duck time to end before. Default 1 s.
    pub quiet: Duration,
    /// To stop taking requests, and to finish those that are there. Default 30 s.
    pub finish_requests: Duration,
    /// For background tasks to finish, each. Default 10 s.
    pub background_tasks: Duration,
    /// For WebSockets and other long-lived streams to hear that it ends, and to close. Default 5 s.
    pub long_lived: Duration,
    /// Between the last message of a long-lived stream and its close. Default 500 ms.
    pub last_word: Duration,
    /// To save state, each component. Default 5 s.
    pub save: Duration,
    /// To flush and close a cache, each. Default 5 s.
    pub cache: Duration,
    /// To close a database, each. Default 5 s.
    pub database: Duration,
    /// For a hook of the service's own, each. Default 5 s.
    pub hook: Duration,
    /// After how long the platform kills the process (`terminationGracePeriodSeconds`, `stopTimeout`, `TimeoutStopSec`).
    /// Default: nobody said.
    pub platform: Option<Duration>,
    /// How much more may be asked for, in all. Default 2 min.
    pub most_extension: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            total: Duration::from_secs(40),
            lame_duck: Duration::from_secs(5),
            quiet: Duration::from_secs(1),
            finish_requests: Duration::from_secs(30),
            background_tasks: Duration::from_secs(10),
            long_lived: Duration::from_secs(5),
            last_word: Duration::from_millis(500),
            save: Duration::from_secs(5),
            cache: Duration::from_secs(5),
            database: Duration::from_secs(5),
            hook: Duration::from_secs(5),
            platform: None,
            most_extension: Duration::from_secs(120),
        }
    }
}

/// A setting that the environment can say.
struct Variable {
    /// Without the prefix.
    name: &'static str,
    /// Where it goes.
    of: fn(&mut Settings) -> &mut Duration,
    may_be_zero: bool,
}

/// Everything that the environment can say, but for the platform's time.
const VARIABLES: [Variable; 12] = [
    Variable { name: "SHUTDOWN_TOTAL_TIMEOUT", of: |it| &mut it.total, may_be_zero: false },
    Variable { name: "SHUTDOWN_LAME_DUCK", of: |it| &mut it.lame_duck, may_be_zero: true },
    Variable { name: "SHUTDOWN_QUIET_PERIOD", of: |it| &mut it.quiet, may_be_zero: true },
    Variable { name: "SHUTDOWN_GRACEFUL_TIMEOUT", of: |it| &mut it.finish_requests, may_be_zero: true },
    Variable { name: "SHUTDOWN_BACKGROUND_TIMEOUT", of: |it| &mut it.background_tasks, may_be_zero: true },
    Variable { name: "SHUTDOWN_WEBSOCKET_TIMEOUT", of: |it| &mut it.long_lived, may_be_zero: true },
    Variable { name: "SHUTDOWN_WEBSOCKET_LAST_WORD", of: |it| &mut it.last_word, may_be_zero: true },
    Variable { name: "SHUTDOWN_SAVE_TIMEOUT", of: |it| &mut it.save, may_be_zero: true },
    Variable { name: "SHUTDOWN_CACHE_TIMEOUT", of: |it| &mut it.cache, may_be_zero: true },
    Variable { name: "SHUTDOWN_DATABASE_TIMEOUT", of: |it| &mut it.database, may_be_zero: true },
    Variable { name: "SHUTDOWN_HOOK_TIMEOUT", of: |it| &mut it.hook, may_be_zero: true },
    Variable { name: "SHUTDOWN_MOST_EXTENSION", of: |it| &mut it.most_extension, may_be_zero: true },
];
/// What the platform gives.
const PLATFORM: &str = "SHUTDOWN_PLATFORM_TIMEOUT";

/// What is said of a shutdown does not make sense. All of it is told at once.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("cannot set how the shutdown goes: {}", problems.join("; "))]
pub struct SettingsError {
    /// Everything that is wrong: which setting or variable, what it says, and what would be right.
    pub problems: Vec<String>,
}

impl Settings {
    /// The defaults, changed by what the environment says: `SEAWORTHY_SHUTDOWN_GRACEFUL_TIMEOUT=30s`, or the same without
    /// the prefix, which is looked at second. A number without a unit is seconds. `SHUTDOWN_TOTAL_TIMEOUT`,
    /// `SHUTDOWN_LAME_DUCK`, `SHUTDOWN_QUIET_PERIOD`, `SHUTDOWN_GRACEFUL_TIMEOUT` (to finish requests),
    /// `SHUTDOWN_BACKGROUND_TIMEOUT`, `SHUTDOWN_WEBSOCKET_TIMEOUT`, `SHUTDOWN_WEBSOCKET_LAST_WORD`, `SHUTDOWN_SAVE_TIMEOUT`,
    /// `SHUTDOWN_CACHE_TIMEOUT`, `SHUTDOWN_DATABASE_TIMEOUT`, `SHUTDOWN_HOOK_TIMEOUT`, `SHUTDOWN_MOST_EXTENSION`, and
    /// `SHUTDOWN_PLATFORM_TIMEOUT`, after which the platform kills.
    ///
    /// # Errors
    /// A variable says what is no duration, or they make no sense together.
    pub fn from_env() -> Result<Self, SettingsError> {
        Self::default().or_env()
    }

    /// These, changed by what the environment says.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn or_env(self) -> Result<Self, SettingsError> {
        #[allow(clippy::disallowed_methods)] // the one place that reads it for shutdowns
        self.or_said(|name| std::env::var(name).ok())
    }

    fn or_said(mut self, said: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let mut problems = Vec::new();
        let mut read = |name: &str| {
            let prefixed = format!("{PREFIX}{name}");
            let (name, text) = match said(&prefixed) {
                Some(text) => (prefixed, text),
                None => (name.to_owned(), said(name)?),
            };
            // Set to nothing is not set.
            let text = text.trim();
            if text.is_empty() {
                return None;
            }
            let read = seconds(text).map_or_else(|| parse_duration(text), Ok);
            read.map_err(|what| problems.push(format!("{name}: {text:?} {what}, or as whole seconds"))).ok()
        };
        for variable in &VARIABLES {
            if let Some(value) = read(variable.name) {
                *(variable.of)(&mut self) = value;
            }
        }
        self.platform = read(PLATFORM).or(self.platform);
        match problems.is_empty() {
            true => self.checked(),
            false => Err(SettingsError { problems }),
        }
    }

    /// These, if they make sense.
    ///
    /// # Errors
    /// They do not: no time in all, more than a day, or a lame-duck time as long as all of it.
    pub fn checked(mut self) -> Result<Self, SettingsError> {
        let mut problems = Vec::new();
        for variable in &VARIABLES {
            let value = *(variable.of)(&mut self);
            let name = variable.name;
            if value.is_zero() && !variable.may_be_zero {
                problems.push(format!("{name} is 0s; give it more, the default is 40s"));
            }
            if value > LONGEST {
                problems.push(format!("{name} is {}; it is 24h at the most", show_duration(value)));
            }
        }
        if self.platform.is_some_and(|time| time.is_zero()) {
            problems.push(format!("{PLATFORM} is 0s; leave it out where the platform waits for ever"));
        }
        let all = self.all();
        if !all.is_zero() && self.lame_duck >= all {
            let (lame_duck, all) = (show_duration(self.lame_duck), show_duration(all));
            problems.push(format!(
                "SHUTDOWN_LAME_DUCK is {lame_duck}, and {all} is all there is; make it shorter"
            ));
        }
        match problems.is_empty() {
            true => Ok(self),
            false => Err(SettingsError { problems }),
        }
    }

    /// How long all of it may take: what was said, and less where the platform gives less. A margin is left to it, because its
    /// clock began before.
    pub(crate) fn all(&self) -> Duration {
        match self.platform {
            Some(platform) => self.total.min(platform - margin(platform)),
            None => self.total,
        }
    }

    /// How much more may be asked for, in all.
    pub(crate) fn extendable(&self) -> Duration {
        match self.platform {
            Some(platform) => {
                (platform - margin(platform)).saturating_sub(self.all()).min(self.most_extension)
            }
            None => self.most_extension,
        }
    }
}

fn margin(platform: Duration) -> Duration {
    PLATFORM_MARGIN.min(platform / PLATFORM_SHARE)
}

fn seconds(text: &str) -> Option<Duration> {
    // Larger than a day is refused later; larger than this is no number of seconds.
    text.parse::<u32>().ok().map(|seconds| Duration::from_secs(seconds.into()))
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in all, lame duck {}", show_duration(self.all()), show_duration(self.lame_duck))?;
        match self.platform {
            Some(platform) => write!(f, ", the platform kills after {}", show_duration(platform)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn said(pairs: &'static [(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::default().or_said(|name| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_is_read_under_both_names() {
        let read = said(&[
            ("SHUTDOWN_GRACEFUL_TIMEOUT", "12"),
            ("SEAWORTHY_SHUTDOWN_LAME_DUCK", "250ms"),
            ("SHUTDOWN_LAME_DUCK", "9s"),
            ("SHUTDOWN_WEBSOCKET_TIMEOUT", "1m"),
            ("SHUTDOWN_HOOK_TIMEOUT", " "),
            ("SHUTDOWN_PLATFORM_TIMEOUT", "30"),
        ])
        .unwrap();
        let expected = Settings {
            finish_requests: s(12),
            lame_duck: Duration::from_millis(250),
            long_lived: s(60),
            platform: Some(s(30)),
            ..Settings::default()
        };
        assert_eq!(read, expected);
        assert_eq!(said(&[]), Ok(Settings::default()));
    }

    #[test]
    fn what_makes_no_sense_is_named_all_at_once() {
        let wrong = said(&[("SHUTDOWN_HOOK_TIMEOUT", "soon"), ("SEAWORTHY_SHUTDOWN_PLATFORM_TIMEOUT", "-1")])
            .unwrap_err();
        assert_eq!(wrong.problems.len(), 2);
        assert!(wrong.problems[0].starts_with("SHUTDOWN_HOOK_TIMEOUT: \"soon\""), "{wrong}");
        assert!(wrong.problems[1].starts_with("SEAWORTHY_SHUTDOWN_PLATFORM_TIMEOUT: \"-1\""), "{wrong}");
        for (pairs, names) in [
            ([("SHUTDOWN_TOTAL_TIMEOUT", "0")], "SHUTDOWN_TOTAL_TIMEOUT"),
            ([("SHUTDOWN_SAVE_TIMEOUT", "25h")], "SHUTDOWN_SAVE_TIMEOUT"),
            ([("SHUTDOWN_LAME_DUCK", "40s")], "SHUTDOWN_LAME_DUCK"),
            ([("SHUTDOWN_PLATFORM_TIMEOUT", "0")], "SHUTDOWN_PLATFORM_TIMEOUT"),
        ] {
            let pairs: &'static [(&str, &str)] = Box::leak(Box::new(pairs));
            let wrong = said(pairs).unwrap_err();
            assert!(wrong.problems.len() == 1 && wrong.problems[0].starts_with(names), "{wrong}");
        }
    }

    #[test]
    fn everything_fits_under_what_the_platform_gives() {
        for (platform, total, all, extendable) in [
            (None, 40, s(40), s(120)),
            (Some(60), 40, s(40), s(15)),
            (Some(45), 40, s(40), s(0)),
            (Some(30), 40, s(25), s(0)),
            (Some(10), 40, s(8), s(0)),
            (Some(1), 40, Duration::from_millis(800), s(0)),
            (Some(900), 40, s(40), s(120)),
        ] {
            let settings = Settings { platform: platform.map(s), total: s(total), ..Settings::default() };
            assert_eq!((settings.all(), settings.extendable()), (all, extendable), "{platform:?}");
            assert!(platform.is_none_or(|platform| settings.all() + settings.extendable() < s(platform)));
        }
    }
}
