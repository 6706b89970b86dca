//! Says once in the log why the default in the code holds in place of a flag.

use std::collections::HashSet;

use parking_lot::Mutex;
use tracing::{Level, debug, enabled};

use super::{names::MAX_FLAG, value::Kind};

/// Most that is said: names come from code, and code can make them up.
const MOST_TOLD: usize = 256;

/// Why the default in the code holds.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Miss {
    /// There is no flag of that name.
    Unknown,
    /// The flag is of another kind than it was asked for as.
    OtherKind {
        /// What it is.
        is: Kind,
        /// As what it was asked for.
        asked: Kind,
    },
}

/// What was said already.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<HashSet<(String, Miss)>>);

impl Told {
    /// Says it at debug, unless it was said.
    pub(super) fn tell(&self, flag: &str, miss: Miss) {
        // Where nobody listens it costs next to nothing.
        if !enabled!(Level::DEBUG) {
            return;
        }
        let flag: String = flag.chars().take(MAX_FLAG).collect();
        if !self.is_new(&flag, miss) {
            return;
        }
        match miss {
            Miss::Unknown => debug!(?flag, "no such flag: the default in the code holds"),
            Miss::OtherKind { is, asked } => {
                debug!(
                    ?flag,
                    "the flag is of kind {is}, asked for as {asked}: the default in the code holds"
                );
            }
        }
    }

    /// Whether it is still to be said.
    fn is_new(&self, flag: &str, miss: Miss) -> bool {
        let mut told = self.0.lock();
        told.len() < MOST_TOLD && told.insert((flag.to_owned(), miss))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_said_once() {
        let told = Told::default();
        let (is, asked) = (Kind::Bool, Kind::Text);
        for (new, flag, miss) in [
            (true, "a", Miss::Unknown),
            (false, "a", Miss::Unknown),
            (true, "b", Miss::Unknown),
            (true, "a", Miss::OtherKind { is, asked }),
            (false, "a", Miss::OtherKind { is, asked }),
            (true, "a", Miss::OtherKind { is: asked, asked: is }),
            (false, "a", Miss::Unknown),
        ] {
            assert_eq!(told.is_new(flag, miss), new, "{flag} {miss:?}");
        }
    }

    #[test]
    fn no_more_is_said_and_kept_than_it_may() {
        let told = Told::default();
        let new = (0..1000).filter(|at| told.is_new(&format!("flag-{at}"), Miss::Unknown));
        assert_eq!(new.count(), MOST_TOLD);
        assert_eq!(told.0.lock().len(), MOST_TOLD);
    }
}
