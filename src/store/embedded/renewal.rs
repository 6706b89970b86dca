//! The writer's part in writing the log anew: when to have it done, and taking it over.

use std::sync::Arc;

use tracing::{info, warn};

use super::{
    compact::{self, Renewed},
    log,
    shared::Table,
    writer::{Request, Work, Writer},
};
use crate::{
    store::Trouble,
    task::{self, OnEnd},
};

impl Writer {
    /// Has the log written anew, beside the work, when much of it is dead.
    pub(super) fn renew_if_due(&mut self) {
        let due = |table: &Table| compact::is_due(&self.log, &table.index, self.dead_bytes);
        if self.renewal.is_some() || !self.shared.table.read().as_ref().is_some_and(due) {
            return;
        }
        let (shared, folder, old) =
            (Arc::clone(&self.shared), Arc::clone(&self.folder), Arc::clone(self.log.file()));
        let (generation, began) = (self.log.generation(), self.log.end());
        let work = move || {
            let renewed = compact::renew(&shared, &folder, old.as_ref(), generation, began);
            let renewed = renewed.unwrap_or_else(|cause| {
                warn!(component = "store", %cause, "could not write the log anew; the old one stays");
                None
            });
            let adopt = Request { work: Work::Adopt(renewed.map(Box::new)), ..Request::wake() };
            // A store that closes meanwhile keeps its old log.
            drop(shared.queue.blocking_send(adopt));
        };
        match task::thread("store-renewal", OnEnd::Fine, work) {
            Ok(renewal) => self.renewal = Some(renewal),
            Err(cause) => warn!(component = "store", %cause, "no thread to write the log anew"),
        }
    }

    /// Takes over a log that was written anew.
    pub(super) fn adopt(&mut self, renewed: Option<Box<Renewed>>) {
        if let Some(renewal) = self.renewal.take() {
            // Its last deed was to send this.
            drop(renewal.join());
        }
        let Some(mut renewed) = renewed else {
            // Not at once again: when as much more is dead.
            self.dead_bytes = self.dead_bytes.saturating_mul(2);
            return self.forget_renewed();
        };
        let written =
            renewed.follow(self.log.file().as_ref(), self.log.end()).and_then(|()| renewed.log.publish());
        if let Err(cause) = written {
            warn!(component = "store", %cause, "could not finish a log written anew");
            if !renewed.log.is_published() {
                self.dead_bytes = self.dead_bytes.saturating_mul(2);
                return self.forget_renewed();
            }
            // It has the name already, so it is what a restart would find.
            self.shared.troubled(Trouble::from(&cause));
        }
        let Renewed { log, index, .. } = *renewed;
        let before = self.log.len();
        self.log = log;
        let table = Table { index, file: Arc::clone(self.log.file()) };
        let old = self.shared.table.write().replace(table);
        self.shared.note_log(&self.log);
        info!(component = "store", before, after = self.log.len(), "wrote the log anew");
        self.write_mark();
        // A large index takes its time to go: not on this thread. Without a thread it goes here.
        drop(task::thread("store-renewal", OnEnd::Fine, move || drop(old)));
    }

    /// Removes what was written of a log that is not taken over.
    pub(super) fn forget_renewed(&self) {
        if let Err(cause) = self.folder.remove(log::NEW_FILE) {
            warn!(component = "store", %cause, "could not remove an unfinished log");
        }
    }
}
