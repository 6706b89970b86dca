//! What a breaker goes by: [`Options`] are plain values as somebody wrote them, [`Settings`] are the same once
//! they are known to make sense. Nothing but [`Settings`] reaches a breaker.

use std::time::Duration;

#[cfg(test)]
mod tests;

/// The largest window by count: a breaker keeps two bytes for each of its calls.
pub const MAX_WINDOW_CALLS: u32 = 10_000;
/// The most probes: each one that is out is remembered until it is answered.
pub const MAX_PROBES: u32 = 1_000;

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// For what a breaker opens and how it closes again, not checked yet: [`Settings::new`] does that.
///
/// The three rules that open it (consecutive failures, failure rate, slow-call rate) work side by side. With all
/// of them off only an operator opens it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Opens after this many failures with no success between them. At least 1; 7 by default; `None` never does.
    pub consecutive_failures: Option<u32>,
    /// Opens when this share of the calls in the window failed. Above 0, at most 1; 0.5 by default; `None` never
    /// does.
    pub failure_rate: Option<f64>,
    /// Opens when too many calls in the window were slow, whether they failed or not. `None` never does, and
    /// then no call is slow.
    pub slow_calls: Option<SlowCalls>,
    /// The calls that the two rates are taken from. The last 30 s by default.
    pub window: SlidingWindow,
    /// The rates say nothing before this many calls are in the window. At least 1, at most a window by count;
    /// 20 by default.
    pub minimum_calls: u32,
    /// How long it stays open the first time; twice as long each time it opens again without having been closed
    /// between. 1 ms to 24 h; 10 s by default.
    pub open_time: Duration,
    /// Where the doubling ends, before jitter. `open_time` to 24 h; 60 s by default.
    pub max_open_time: Duration,
    /// The share by which each open time is made longer or shorter at random, so that many breakers do not probe
    /// in step. 0 (not at all) to below 1; 0.5 by default: 5 s to 15 s the first time, 30 s to 90 s at last.
    pub jitter: f64,
    /// How many calls are let through after the open time; all of them must succeed to close it. 1 to 1,000; 5 by
    /// default.
    pub probes: u32,
    /// A probe that said nothing for this long is lost: another call gets its place, and what it says later
    /// counts for nothing. 1 ms to 24 h; 60 s by default.
    pub probe_timeout: Duration,
    /// Whether it does what its rules say. [`Mode::Normal`] by default.
    pub mode: Mode,
}

/// When slow calls open a breaker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowCalls {
    /// The share of slow calls that opens it. Above 0, at most 1; 1 by default: every one.
    pub rate: f64,
    /// A call is slow if it took longer than this. 1 ms to 24 h; 5 s by default.
    pub longer_than: Duration,
}

/// Which calls the rates are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlidingWindow {
    /// The last so many calls. 1 to 10,000.
    Count(u32),
    /// The calls that ended within the last so long, to a tenth of it. 1 ms to 24 h.
    Time(Duration),
}

/// Whether a breaker does what its rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It does.
    Normal,
    /// Refuses every call.
    ForcedOpen,
    /// Lets every call through; the calls are counted and not judged.
    ForcedClosed,
    /// Judges as in `Normal` and lets every call through: shows what it would have done, before one trusts it.
    MetricsOnly,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            consecutive_failures: Some(7),
            failure_rate: Some(0.5),
            slow_calls: Some(SlowCalls::default()),
            window: SlidingWindow::Time(Duration::from_secs(30)),
            minimum_calls: 20,
            open_time: Duration::from_secs(10),
            max_open_time: Duration::from_secs(60),
            jitter: 0.5,
            probes: 5,
            probe_timeout: Duration::from_secs(60),
            mode: Mode::Normal,
        }
    }
}

impl Default for SlowCalls {
    fn default() -> Self {
        Self { rate: 1.0, longer_than: Duration::from_secs(5) }
    }
}

/// [`Options`] that make sense together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Settings(Options);

impl Settings {
    /// Checks options.
    ///
    /// # Errors
    ///
    /// Names the first field that is out of its range.
    pub fn new(options: Options) -> Result<Self, InvalidSettings> {
        let o = &options;
        if let Some(failures) = o.consecutive_failures {
            require(failures >= 1, "consecutive_failures", &failures, "at least 1, or off")?;
        }
        if let Some(rate) = o.failure_rate {
            require(is_share(rate), "failure_rate", &rate, "above 0 and at most 1, or off")?;
        }
        if let Some(slow) = o.slow_calls {
            require(is_share(slow.rate), "slow_calls.rate", &slow.rate, "above 0 and at most 1")?;
            require_time("slow_calls.longer_than", slow.longer_than, SHORTEST)?;
        }
        match o.window {
            SlidingWindow::Count(calls) => {
                let fits = (1..=MAX_WINDOW_CALLS).contains(&calls);
                require(fits, "window", &calls, &format!("from 1 to {MAX_WINDOW_CALLS} calls"))?;
                let reached = (1..=calls).contains(&o.minimum_calls);
                let allowed = format!("from 1 to the {calls} calls of the window");
                require(reached, "minimum_calls", &o.minimum_calls, &allowed)?;
            }
            SlidingWindow::Time(span) => {
                require_time("window", span, SHORTEST)?;
                require(o.minimum_calls >= 1, "minimum_calls", &o.minimum_calls, "at least 1")?;
            }
        }
        require_time("open_time", o.open_time, SHORTEST)?;
        require_time("max_open_time", o.max_open_time, o.open_time)?;
        require((0.0..1.0).contains(&o.jitter), "jitter", &o.jitter, "from 0 to below 1")?;
        let probes = (1..=MAX_PROBES).contains(&o.probes);
        require(probes, "probes", &o.probes, &format!("from 1 to {MAX_PROBES}"))?;
        require_time("probe_timeout", o.probe_timeout, SHORTEST)?;
        Ok(Self(options))
    }

    /// The options that were checked.
    pub fn options(&self) -> &Options {
        &self.0
    }
}

impl TryFrom<Options> for Settings {
    type Error = InvalidSettings;

    fn try_from(options: Options) -> Result<Self, InvalidSettings> {
        Self::new(options)
    }
}

/// Options that cannot be a breaker's settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("breaker setting {field} is {given}: it must be {allowed}")]
pub struct InvalidSettings {
    /// The field of [`Options`], a field within by its path: `slow_calls.rate`.
    pub field: &'static str,
    /// What was given.
    pub given: String,
    /// What would have been right, to go on after "it must be".
    pub allowed: String,
}

/// False for a number that is none, too.
fn is_share(rate: f64) -> bool {
    rate > 0.0 && rate <= 1.0
}

fn require_time(field: &'static str, given: Duration, shortest: Duration) -> Result<(), InvalidSettings> {
    let allowed = format!("from {shortest:?} to {LONGEST:?}");
    require((shortest..=LONGEST).contains(&given), field, &format!("{given:?}"), &allowed)
}

fn require(
    holds: bool,
    field: &'static str,
    given: &impl ToString,
    allowed: &str,
) -> Result<(), InvalidSettings> {
    match holds {
        true => Ok(()),
        false => Err(InvalidSettings { field, given: given.to_string(), allowed: allowed.to_owned() }),
    }
}
