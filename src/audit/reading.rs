//! Reading entries back, in pages: straight from the store, and a bounded piece of it for each call.

use std::{num::NonZeroUsize, time::SystemTime};

use super::{
    Handle,
    chain::Link,
    record::{self, Kept},
};
use crate::error::Result;

/// Entries that are read from the store at once.
const PIECE: NonZeroUsize = NonZeroUsize::new(256).expect("256 is not zero");
/// Entries that are looked at for one page, whether they are wanted or not.
const LOOKED_AT: u64 = 10_000;

/// Which entries are wanted. What is empty or none wants all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter {
    /// Of this principal.
    pub principal: String,
    /// Of this operation: a method's path, or its name.
    pub operation: String,
    /// About this object, or what begins with it and `/`.
    pub object: String,
    /// From this time on.
    pub start: Option<SystemTime>,
    /// Before this time.
    pub end: Option<SystemTime>,
}

impl Filter {
    /// Whether an entry is wanted. One that cannot be read any more always is: nobody hides by that.
    pub fn wants(&self, kept: &Kept) -> bool {
        let Some(entry) = &kept.entry else { return true };
        let is = |wanted: &str, value: &str| wanted.is_empty() || wanted == value;
        let operation = &entry.call.operation;
        let method = operation.rsplit_once('/').map_or(operation.as_str(), |(_, method)| method);
        let below = |object: &str| {
            object.strip_prefix(&self.object).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        is(&self.principal, &entry.call.who.principal)
            && (is(&self.operation, operation) || self.operation == method)
            && (self.object.is_empty() || below(&entry.call.object))
            && self.start.is_none_or(|start| entry.time >= start)
            && self.end.is_none_or(|end| entry.time < end)
    }
}

/// Where the chain began and ended when a page was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ends {
    /// The entry before the oldest.
    pub anchor: Link,
    /// The newest.
    pub newest: Link,
}

/// How a page ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Read {
    /// Where the chain began and ended.
    pub ends: Ends,
    /// The number that the next page comes after. None: this was the last.
    pub next: Option<u64>,
}

impl Handle {
    /// Where the chain begins and ends.
    pub fn ends(&self) -> Ends {
        let state = self.shared.state.lock();
        Ends { anchor: state.anchor, newest: state.newest }
    }

    /// Gives the entries after a number that a filter wants, oldest first, to `take`, until that has enough: it
    /// answers whether it takes more. Ends as well where it has looked at 10,000 entries; then there is a next page.
    ///
    /// # Errors
    /// The store cannot be read, or a newer build wrote an entry.
    pub async fn page(
        &self,
        after: u64,
        filter: &Filter,
        mut take: impl FnMut(Kept) -> bool,
    ) -> Result<Read> {
        // What is written meanwhile is left to the next call, so that the end is the end of what was read.
        let mut ends = self.ends();
        let (mut last, mut looked_at) = (after.max(ends.anchor.sequence), 0);
        loop {
            let (piece, more) = record::after(&self.store, last, PIECE).await?;
            // Looked at after the store: what is about to be dropped is said first.
            let anchor = self.ends().anchor;
            if anchor.sequence > last {
                if looked_at > 0 {
                    return Ok(Read { ends, next: Some(last) });
                }
                (ends.anchor, last) = (anchor, anchor.sequence);
                continue;
            }
            // Keys that are none of ours would be read for ever.
            let more = more && !piece.is_empty();
            for kept in piece {
                if kept.sequence > ends.newest.sequence {
                    return Ok(Read { ends, next: None });
                }
                looked_at += 1;
                last = kept.sequence;
                if filter.wants(&kept) && !take(kept) {
                    return Ok(Read { ends, next: (last < ends.newest.sequence).then_some(last) });
                }
            }
            if !more {
                return Ok(Read { ends, next: None });
            }
            if looked_at >= LOOKED_AT {
                return Ok(Read { ends, next: Some(last) });
            }
            // Others on the same connection have their turn.
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::audit::entry::{Call, Draft, Entry, Who};

    fn kept(principal: &str, operation: &str, object: &str, second: u64) -> Kept {
        let who = Who { principal: principal.into(), peer: String::new() };
        let call = Call { who, operation: operation.into(), object: object.into(), request_id: "r".into() };
        let line =
            Draft::received(call).line(&Link::START, SystemTime::UNIX_EPOCH + Duration::from_secs(second));
        Kept { sequence: 1, entry: Entry::read(&line), line, hash: String::new() }
    }

    #[test]
    fn filters_as_a_table() {
        let entry = kept("token:alice", "/seaworthy.v1.FleetService/PutService", "service/orders", 100);
        let at = |second| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
        let none = Filter::default;
        for (filter, wanted) in [
            (none(), true),
            (Filter { principal: "token:alice".into(), ..none() }, true),
            (Filter { principal: "token:al".into(), ..none() }, false),
            (Filter { operation: "PutService".into(), ..none() }, true),
            (Filter { operation: "/seaworthy.v1.FleetService/PutService".into(), ..none() }, true),
            (Filter { operation: "Service".into(), ..none() }, false),
            (Filter { object: "service/orders".into(), ..none() }, true),
            (Filter { object: "service".into(), ..none() }, true),
            (Filter { object: "service/ord".into(), ..none() }, false),
            (Filter { object: "service/orders/i-1".into(), ..none() }, false),
            (Filter { start: at(100), end: at(101), ..none() }, true),
            (Filter { start: at(101), ..none() }, false),
            (Filter { end: at(100), ..none() }, false),
        ] {
            assert_eq!(filter.wants(&entry), wanted, "{filter:?}");
        }
        let changed = Kept { entry: None, ..entry };
        assert!(Filter { principal: "nobody".into(), ..none() }.wants(&changed), "nothing hides");
    }
}
