//! How long and how often to measure: read from the environment, because `cargo bench` passes
//! arguments to every bench at once.

use std::{env, fmt::Display, str::FromStr, time::Duration};

use super::Result;

/// How a bench measures.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Rounds of each side. `BENCH_ROUNDS`, default 5.
    pub(crate) rounds: usize,
    /// Length of one measurement. `BENCH_SECONDS`, default 3.
    pub(crate) window: Duration,
    /// Load before each measurement that does not count: a third of it, at least 200 ms.
    pub(crate) warm_up: Duration,
    /// Worker threads of the servers, one block of rounds for each. `BENCH_THREADS`, default `1,2`.
    pub(crate) threads: Vec<usize>,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// A value that is not a number.
    pub(crate) fn read() -> Result<Self> {
        let window = Duration::try_from_secs_f64(number("BENCH_SECONDS", 3.0)?)?;
        let threads = env::var("BENCH_THREADS").unwrap_or_else(|_| "1,2".to_owned());
        Ok(Self {
            rounds: number("BENCH_ROUNDS", 5)?,
            window,
            warm_up: (window / 3).max(Duration::from_millis(200)),
            threads: threads.split(',').map(|n| parse("BENCH_THREADS", n)).collect::<Result<_>>()?,
        })
    }
}

/// Reads one number from the environment.
///
/// # Errors
/// Something else than a number.
pub(crate) fn number<T>(name: &str, default: T) -> Result<T>
where
    T: FromStr,
    T::Err: Display,
{
    env::var(name).map_or(Ok(default), |text| parse(name, &text))
}

fn parse<T>(name: &str, text: &str) -> Result<T>
where
    T: FromStr,
    T::Err: Display,
{
    text.trim().parse().map_err(|error| format!("{name}={text}: {error}").into())
}
