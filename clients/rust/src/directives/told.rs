//! What is told of directives: written by who carries them out, read by the session. What a session has said is its own to know, so
//! that the next one says all of it again.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{
    book::{Book, Receipt},
    job::Outcome,
};
use crate::proto::seaworthy::v1::{DirectiveReport, DirectiveState};

/// Longest message of a report, in characters.
const MAX_MESSAGE: usize = 1024;

/// The book, and who waits for changes of it.
#[derive(Debug, Default)]
pub(super) struct Told {
    book: Mutex<Book>,
    changed: watch::Sender<()>,
}

/// What one session has said.
#[derive(Debug)]
pub(crate) struct Mouth {
    told: Arc<Told>,
    said: u64,
    changes: watch::Receiver<()>,
}

impl Told {
    pub(super) fn mouth(self: &Arc<Self>) -> Mouth {
        let mut changes = self.changed.subscribe();
        // What there is already is news to it.
        changes.mark_changed();
        Mouth { told: Arc::clone(self), said: 0, changes }
    }

    /// Notes a directive that may begin within so long.
    pub(super) fn receive(
        &self,
        id: &str,
        operation: &str,
        generation: u64,
        valid_for: Option<Duration>,
    ) -> Receipt {
        let late = valid_for.is_some_and(|time| time.is_zero());
        let against = late.then(|| "too late: it is not valid any more".to_owned());
        let receipt = self.book.lock().receive(id, operation, generation, against);
        self.changed.send_replace(());
        receipt
    }

    pub(super) fn is_open(&self, id: &str) -> bool {
        self.book.lock().is_open(id)
    }

    pub(super) fn start(&self, id: &str) {
        self.change(id, |report| report.set_state(DirectiveState::Started));
    }

    /// It is over. What was over before stays as it is.
    pub(super) fn close(&self, id: &str, outcome: Outcome) {
        match &outcome {
            Outcome::Done(_) => info!(directive = %id, "done"),
            Outcome::Failed(why) => warn!(directive = %id, "what the control plane asked for failed: {why}"),
            Outcome::Refused(why) => {
                warn!(directive = %id, "what the control plane asks for is not done: {why}");
            }
        }
        self.change(id, |report| match outcome {
            Outcome::Done(findings) => {
                let state = DirectiveState::Done.into();
                *report = DirectiveReport { directive_id: id.to_owned(), state, ..findings };
                report.message = cut(&report.message);
            }
            Outcome::Failed(why) => {
                report.set_state(DirectiveState::Failed);
                report.message = cut(&why);
            }
            Outcome::Refused(why) => {
                report.set_state(DirectiveState::Refused);
                report.message = cut(&why);
            }
        });
    }

    pub(super) fn forget(&self) {
        self.book.lock().forget();
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut DirectiveReport)) {
        if self.book.lock().change(id, change) {
            self.changed.send_replace(());
        }
    }
}

impl Mouth {
    /// Waits for something new to say. Cancel safe.
    pub(crate) async fn news(&mut self) {
        // It never ends: the sender is ours as well.
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Says all that is new, by a function that answers whether it could. False: it could not, and is to be asked again.
    pub(crate) fn say(&mut self, mut say: impl FnMut(DirectiveReport) -> bool) -> bool {
        loop {
            let next = self.told.book.lock().after(self.said);
            let Some((revision, report)) = next else { return true };
            if !say(report) {
                return false;
            }
            self.said = revision;
        }
    }
}

fn cut(message: &str) -> String {
    message.chars().take(MAX_MESSAGE).collect()
}
