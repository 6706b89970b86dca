//! How far a long look or a restore is: a bar on the standard error where that is a terminal, and a rate at the end.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    cli::{Context, failure::Failure},
    text::bytes,
    time::Clock,
};

/// How a bar is drawn: it takes what the words leave of the line.
const BAR: &str = "{prefix} [{wide_bar}] {percent:>3}%  {msg}";

/// A bar that is gone once this is dropped.
#[derive(Debug)]
pub(super) struct Meter {
    bar: ProgressBar,
    clock: Clock,
    began: Duration,
}

impl Meter {
    /// Of something that is called so.
    pub(super) fn new(what: String, context: &Context) -> Result<Self, Failure> {
        let style = ProgressStyle::with_template(BAR)
            .map_err(|cause| Failure::Internal(format!("cannot draw a bar: {cause}")))?;
        let blocks = if context.output.looks.unicode { "█▉▊▋▌▍▎▏ " } else { "=> " };
        // Where the standard error is no terminal, nothing is drawn.
        let bar = if context.output.is_json() { ProgressBar::hidden() } else { ProgressBar::no_length() };
        bar.set_style(style.progress_chars(blocks));
        bar.set_prefix(what);
        Ok(Self { bar, clock: context.clock, began: context.clock.elapsed() })
    }

    /// So far it is.
    pub(super) fn at(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done.min(total));
        self.bar.set_message(format!("{} of {}, {}", bytes(done), bytes(total), rate(done, self.took())));
    }

    /// How long it has taken.
    pub(super) fn took(&self) -> Duration {
        self.clock.elapsed().saturating_sub(self.began)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Bytes in each second: `1.5 MiB/s`.
pub(super) fn rate(done: u64, took: Duration) -> String {
    let millis = took.as_millis().max(1);
    let each = u128::from(done) * 1000 / millis;
    format!("{}/s", bytes(u64::try_from(each).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_bytes_in_a_second() {
        assert_eq!(rate(3 << 20, Duration::from_secs(2)), "1.5 MiB/s");
        assert_eq!(rate(5, Duration::ZERO), "4.8 KiB/s");
    }
}
