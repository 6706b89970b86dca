//! One operation on a terminal: a bar that goes on, and its steps below.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use seaworthy_client::proto::seaworthy::v1::{Operation, StepState};

use crate::cli::{
    failure::Failure,
    output::{Looks, clean},
    render::operation,
};

/// Steps that are shown at a time.
const STEPS: usize = 12;
/// How a bar is drawn where its end is known: it takes what the words leave of the line, since what wraps is not redrawn in place.
const KNOWN: &str = "{prefix}\n  [{wide_bar}] {percent:>3}%  {msg}";
/// And where it is not.
const UNKNOWN: &str = "{prefix} {wide_msg}";

/// The picture, on the standard error: the result goes to the standard output. It is gone once this is dropped.
pub(super) struct Bar {
    all: MultiProgress,
    whole: ProgressBar,
    steps: Vec<ProgressBar>,
    looks: Looks,
    known: ProgressStyle,
    unknown: ProgressStyle,
}

impl Bar {
    /// Nothing is drawn before the first value.
    pub(super) fn new(looks: Looks) -> Result<Self, Failure> {
        let style = |template: &str| {
            ProgressStyle::with_template(template)
                .map_err(|cause| Failure::Internal(format!("cannot draw a bar: {cause}")))
        };
        let all = MultiProgress::new();
        let whole = all.add(ProgressBar::no_length());
        let blocks = if looks.unicode { "█▉▊▋▌▍▎▏ " } else { "=> " };
        let known = style(KNOWN)?.progress_chars(blocks);
        Ok(Self { all, whole, steps: Vec::new(), looks, known, unknown: style(UNKNOWN)? })
    }

    /// Draws what is now.
    pub(super) fn draw(&mut self, it: &Operation) {
        let progress = it.progress.unwrap_or_default();
        let is_known = progress.total_bytes > 0;
        self.whole.set_style(if is_known { self.known.clone() } else { self.unknown.clone() });
        self.whole.set_length(progress.total_bytes);
        self.whole.set_position(progress.done_bytes.min(progress.total_bytes));
        self.whole.set_prefix(operation::title(it, self.looks));
        self.whole.set_message(operation::progress(&progress));
        let running: Vec<_> = it.steps.iter().filter(|step| step.state() == StepState::Running).collect();
        let shown = running.len().min(STEPS);
        while self.steps.len() < shown {
            let line = self.all.add(ProgressBar::no_length());
            line.set_style(self.unknown.clone());
            self.steps.push(line);
        }
        for line in self.steps.drain(shown..) {
            line.finish_and_clear();
        }
        for (line, step) in self.steps.iter().zip(running) {
            line.set_prefix(format!("  {}", clean(&step.name)));
            line.set_message(operation::step_says(step));
            // What comes too soon after the last would be left out, and it may be the last of all.
            line.force_draw();
        }
        self.whole.force_draw();
    }

    /// Says something above the picture.
    pub(super) fn note(&self, text: &str) {
        // Where nobody listens it is lost, and that is fine.
        drop(self.all.println(text));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        drop(self.all.clear());
    }
}
