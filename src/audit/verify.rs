//! Whether entries are one chain, as they were written: pure, and the same for the store's head at a start, for what
//! the API lists, and for an exported file.
//!
//! It finds what was changed, left out, added or moved between the first entry that it is shown and the last, and goes
//! on after it, so that one break does not hide another. What it cannot find is a chain that was written anew as a whole, or cut off at its end: for that, keep the newest hash
//! elsewhere, and expect it.

use std::fmt;

use super::{
    BROKEN, Entry,
    chain::{Hash, Link, REACH, hash},
};

/// A place where the chain is not as it was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Break {
    /// A line is not what its hash was made of.
    Changed {
        /// The entry's number, by its place.
        sequence: u64,
    },
    /// Another entry than the next one is in its place.
    Misplaced {
        /// Whose place it is.
        expected: u64,
        /// Which is there.
        found: u64,
    },
    /// An entry does not refer to the one before as that is.
    Unlinked {
        /// The number of the one that refers.
        sequence: u64,
    },
    /// The control plane itself has found the chain broken at a start, and said so in an entry.
    Reported {
        /// The number of that entry.
        sequence: u64,
        /// What it says.
        detail: String,
    },
    /// The chain ends before an entry that there was.
    CutOff {
        /// The number of one that there was.
        expected: u64,
        /// The number of the last that there is.
        last: u64,
    },
    /// An entry is not the one that was expected by its hash.
    Unexpected {
        /// Its number.
        sequence: u64,
    },
    /// The entry that was expected is older than what is kept, so that nothing can be said of it.
    NotKept {
        /// Its number.
        sequence: u64,
        /// The number of the oldest.
        oldest: u64,
    },
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Break::Changed { sequence } => {
                write!(f, "entry {sequence} was changed: its hash is not that of its line")
            }
            Break::Misplaced { expected, found } if found > expected => {
                write!(f, "entry {expected} was removed or moved: entry {found} is in its place")
            }
            Break::Misplaced { expected, found } => {
                write!(f, "entry {found} was moved: it is in the place of entry {expected}")
            }
            Break::Unlinked { sequence } => {
                let before = sequence.saturating_sub(1);
                write!(
                    f,
                    "entry {sequence} or the one before was changed: it does not refer to entry {before} as that is"
                )
            }
            Break::Reported { sequence, detail } => {
                write!(f, "the chain was found broken at a start, says entry {sequence}: {detail}")
            }
            Break::CutOff { expected, last } => {
                write!(f, "entry {expected} is missing: the chain was cut off after entry {last}")
            }
            Break::Unexpected { sequence } => {
                write!(f, "entry {sequence} is not the one that was expected: the chain was written anew")
            }
            Break::NotKept { sequence, oldest } => write!(
                f,
                "entry {sequence} is no longer kept, so that its hash cannot be compared; entry {oldest} is the oldest"
            ),
        }
    }
}

/// What was found of a chain without a break.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Verified {
    /// How many entries.
    pub entries: u64,
    /// The number of the first one; 0 where there is none.
    pub first: u64,
    /// The last one, or what the first one to come will refer to.
    pub last: Link,
}

/// Follows a chain from its first entry to its last.
#[derive(Clone, Debug)]
pub struct Verifier {
    /// The entry before the next one. None: whatever comes first is believed.
    last: Option<Link>,
    /// The entry before the first one.
    before: Link,
    entries: u64,
    expected: Option<Link>,
}

impl Verifier {
    /// At the beginning of a chain. `expected`: an entry that is known from elsewhere.
    pub fn new(expected: Option<Link>) -> Self {
        Self { last: None, before: Link::START, entries: 0, expected }
    }

    /// The oldest entry that there is comes after this one. What is dropped for its age while others are verified is
    /// no break.
    pub fn anchor(&mut self, anchor: Link) {
        if self.last.is_none_or(|last| last.sequence < anchor.sequence) {
            self.last = Some(anchor);
            self.before = anchor;
            self.entries = 0;
        }
    }

    /// The number of the last entry that it was shown.
    pub fn sequence(&self) -> u64 {
        self.last.map_or(0, |last| last.sequence)
    }

    /// Takes the next entry. After a break it can be shown the one after that all the same.
    ///
    /// # Errors
    /// It is not the next one, or not as it was written, or says that the chain was found broken.
    pub fn take(&mut self, line: &str, stated: &str) -> Result<(), Break> {
        let own = hash(line);
        let entry = Entry::read(line);
        let number = entry.as_ref().map_or(0, |entry| entry.sequence);
        let place = self.last.map_or(number, |last| last.sequence.saturating_add(1));
        let Some(entry) = entry.filter(|_| own.to_hex().as_str() == stated) else {
            // The one after it refers to what it was, which its hash may still say.
            let hash = Hash::from_hex(stated).unwrap_or(own);
            // Of a first one that does not say its number nothing is known.
            self.last = (place > 0).then_some(Link { sequence: place, hash });
            self.entries += 1;
            return Err(Break::Changed { sequence: place });
        };
        let link = Link { sequence: number, hash: own };
        let found = self.judge(place, &link, &entry);
        // What was moved here from before, or was made up, does not say where the chain goes on.
        if number.checked_sub(place).is_some_and(|ahead| ahead <= REACH) {
            if self.entries == 0 && number == place {
                self.before = Link { sequence: number.saturating_sub(1), hash: entry.previous_hash };
            }
            self.entries += 1;
            self.last = Some(link);
        }
        found
    }

    /// What is to be said of an entry whose hash is right.
    fn judge(&self, place: u64, link: &Link, entry: &Entry) -> Result<(), Break> {
        let Link { sequence, hash } = *link;
        if sequence != place {
            return Err(Break::Misplaced { expected: place, found: sequence });
        }
        if self.last.is_some_and(|last| last.hash != entry.previous_hash) {
            return Err(Break::Unlinked { sequence });
        }
        if self.expected.is_some_and(|expected| expected.sequence == sequence && expected.hash != hash) {
            return Err(Break::Unexpected { sequence });
        }
        if entry.call.operation == BROKEN {
            return Err(Break::Reported { sequence, detail: entry.detail.clone() });
        }
        Ok(())
    }

    /// Ends it. `newest`: the entry that is said to be the last.
    ///
    /// # Errors
    /// There were more, or the one that was expected is not among them.
    pub fn finish(self, newest: Option<Link>) -> Result<Verified, Break> {
        let last = self.last.unwrap_or(Link::START);
        if let Some(newest) = newest {
            if newest.sequence > last.sequence {
                return Err(Break::CutOff { expected: newest.sequence, last: last.sequence });
            }
            if newest.sequence == last.sequence && newest.hash != last.hash {
                return Err(Break::Unexpected { sequence: last.sequence });
            }
        }
        if let Some(expected) = self.expected {
            let Link { sequence, hash } = expected;
            if sequence > last.sequence {
                return Err(Break::CutOff { expected: sequence, last: last.sequence });
            }
            if sequence < self.before.sequence {
                return Err(Break::NotKept { sequence, oldest: self.before.sequence.saturating_add(1) });
            }
            if sequence == self.before.sequence && hash != self.before.hash {
                return Err(Break::Unexpected { sequence });
            }
        }
        let first = if self.entries == 0 { 0 } else { self.before.sequence.saturating_add(1) };
        Ok(Verified { entries: self.entries, first, last })
    }
}

/// A line of the exported file: an entry with its hash.
pub fn exported(line: &str, hash: &str) -> String {
    format!("{{\"hash\":\"{hash}\",\"line\":{line}}}\n")
}

/// The entry and the hash of a line of the exported file, without its end. None: it is no such line.
pub fn read_exported(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("{\"hash\":\"")?;
    let (hash, rest) = rest.split_at_checked(64)?;
    let line = rest.strip_prefix("\",\"line\":")?.strip_suffix('}')?;
    Some((line, hash))
}

#[cfg(test)]
mod tests;
