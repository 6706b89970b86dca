//! Commands that wait for another one about the same thing. They have bounds of their own, so that many
//! of them make nobody else wait.

use std::collections::{HashMap, VecDeque};

use super::{About, Command, QUEUE};
use crate::store;

/// Commands that may wait for one thing. All specifications are one.
const EACH: usize = 512;

/// Those that wait, by what they wait for, each in order.
#[derive(Default)]
pub(super) struct Blocked {
    queues: HashMap<About, VecDeque<Command>>,
    count: usize,
}

impl Blocked {
    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Lets a command wait, or refuses it where too many do.
    pub(super) fn hold(&mut self, about: About, command: Command) {
        let queue = self.queues.entry(about).or_default();
        if queue.len() >= EACH {
            return command.refuse(&store::refused(format_args!(
                "has {EACH} changes of the same thing waiting already; nothing was changed"
            )));
        }
        if self.count >= QUEUE {
            return command.refuse(&store::refused(format_args!(
                "has {QUEUE} changes waiting for others already; nothing was changed"
            )));
        }
        queue.push_back(command);
        self.count += 1;
    }

    /// Those that waited for it, in order.
    pub(super) fn release(&mut self, about: &About) -> VecDeque<Command> {
        let released = self.queues.remove(about).unwrap_or_default();
        self.count -= released.len();
        released
    }

    /// All of them: of one thing in order.
    pub(super) fn release_all(&mut self) -> impl Iterator<Item = Command> + use<> {
        std::mem::take(self).queues.into_values().flatten()
    }
}
