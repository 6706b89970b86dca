//! Records that have to be put back into the store: their instances live, and what is durable says that they
//! were removed or replaced. Where the store takes no writes they wait apart, so that nobody waits for them:
//! what is asked about the same instances meanwhile is refused.

use std::{collections::BTreeMap, future::pending, pin::Pin};

use tokio::time::{Sleep, sleep};

use super::{About, READ_BACK_PAUSE, Step};
use crate::fleet::{member::Birth, names::InstanceKey};

/// Those that wait, and until when none of them is tried again.
#[derive(Default)]
pub(super) struct Restores {
    waiting: BTreeMap<InstanceKey, Birth>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Restores {
    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether one of them is about the same thing.
    pub(super) fn holds(&self, about: &About) -> bool {
        match about {
            About::Instance(key) => self.waiting.contains_key(key),
            About::Specs => false,
        }
    }

    /// One more. Other steps are not put back.
    pub(super) fn add(&mut self, step: Step) {
        if let Step::Restore { birth } = step {
            self.waiting.insert(birth.registration.key.clone(), birth);
        }
    }

    /// The store did not take these now. All wait for a while.
    pub(super) fn put_off(&mut self, steps: Vec<Step>) {
        if !steps.is_empty() {
            self.pause = Some(Box::pin(sleep(READ_BACK_PAUSE)));
            steps.into_iter().for_each(|step| self.add(step));
        }
    }

    /// Whether they wait for a while.
    pub(super) fn are_put_off(&self) -> bool {
        self.pause.is_some()
    }

    /// Until they are to be tried again. Cancel safe.
    pub(super) async fn pause(&mut self) {
        match &mut self.pause {
            Some(pause) => pause.as_mut().await,
            None => pending().await,
        }
    }

    /// They are tried again from now on.
    pub(super) fn try_again(&mut self) {
        self.pause = None;
    }

    /// The next one. None: there is none, or they wait for a while.
    pub(super) fn next(&mut self) -> Option<Step> {
        if self.are_put_off() {
            return None;
        }
        self.waiting.pop_first().map(|(_, birth)| Step::Restore { birth })
    }

    /// Drops all of them; answers how many there were.
    pub(super) fn clear(&mut self) -> usize {
        std::mem::take(&mut self.waiting).len()
    }
}
