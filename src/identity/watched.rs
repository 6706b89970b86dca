//! The rule file, read again when it changes: the rules in force are always the last good ones.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info};

use super::{authenticator::Authenticator, rules::Rules};
use crate::{
    error::{Chain, Error, Kind, Reason, Result},
    task::{self, drain},
};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Bytes of the largest file that is read.
const LARGEST: u64 = 1 << 20;

/// Reads the rules of a file.
///
/// # Errors
/// [`Reason::RulesInvalid`]: it cannot be read, is too large, or its rules are wrong; it is named.
pub fn read(file: &Path) -> Result<Rules> {
    let text = text(file).map_err(|cause| invalid(file, &cause.to_string()).because(cause))?;
    Rules::parse(&text).map_err(|wrong| invalid(file, wrong.message()))
}

fn text(file: &Path) -> io::Result<String> {
    let size = fs::metadata(file)?.len();
    if size > LARGEST {
        return Err(io::Error::other(format!("it has {size} bytes; {LARGEST} are the most")));
    }
    fs::read_to_string(file)
}

fn invalid(file: &Path, wrong: &str) -> Error {
    let message = format!("cannot use {} (auth.rules_file): {wrong}", file.display());
    Error::new(Kind::InvalidArgument, Reason::RulesInvalid, message)
}

/// Keeps the rules in step with their file.
#[derive(Debug)]
pub struct Service {
    file: PathBuf,
    authenticator: Authenticator,
    handle: Handle,
}

/// Tells how the rule file is. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Handle(Arc<Mutex<Option<String>>>);

impl Handle {
    /// What is wrong with the file as it is now. None: its rules are in force.
    pub fn trouble(&self) -> Option<String> {
        self.0.lock().clone()
    }
}

impl Service {
    /// Gives the rules of this file to the authenticator.
    pub fn new(file: PathBuf, authenticator: Authenticator) -> (Handle, Self) {
        let handle = Handle::default();
        (handle.clone(), Self { file, authenticator, handle })
    }

    /// Runs until the drain begins.
    pub async fn run(self, mut drain: drain::Watch) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut in_force, mut seen) = (None, None);
        loop {
            tokio::select! {
                biased;
                () = drain.begun() => return,
                _ = ticks.tick() => {}
            }
            let file = self.file.clone();
            let Ok(found) = task::blocking("rules", move || read(&file)).await else { continue };
            let found = Some(found.map_err(|wrong| Chain(&wrong).to_string()));
            // What is being written is seen in the middle: only what two looks in a row have seen alike is taken.
            if found == seen && found != in_force {
                if let Some(found) = &found {
                    self.take(found, in_force.is_none());
                }
                in_force.clone_from(&found);
            }
            seen = found;
        }
    }

    fn take(&self, found: &Result<Rules, String>, first: bool) {
        let file = self.file.display();
        *self.handle.0.lock() = found.as_ref().err().cloned();
        match found {
            Ok(rules) => {
                self.authenticator.set_rules(rules.clone());
                if !first {
                    info!(component = "identity", operation = "reload", %file, "the rules were read again");
                }
            }
            Err(wrong) => {
                error!(component = "identity", operation = "reload", %file, error = wrong, "the rules cannot be read; the last good ones stay in force");
            }
        }
    }
}
