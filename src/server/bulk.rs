//! Connections for much data at once: those whose client says that it takes large frames gets them in return, and wider
//! windows.
//!
//! A frame of 16 KiB, which is what everybody starts with, is what holds an upload back, not the window. But what a connection
//! may send without being read is held by the server, and a connection of many small streams needs little of it. So there are
//! few of these, in all and for each peer, each with room of its own for messages and answers (`guard::bounds`): they
//! take nothing from the others. Beyond that a connection is as all others are: slower, and never refused.

use std::{net::IpAddr, sync::Arc};

use hyper::server::conn::http2;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::places::{Place, Places};
use crate::{
    guard::bounds::{BULK_CONNECTIONS, BULK_CONNECTIONS_OF_PEER},
    task::local::Spawner,
};

/// Whoever takes larger frames than this is meant.
const ANNOUNCES_MORE_THAN: u32 = 64 * 1024;
/// Largest frame that is taken. Until it has come whole it is held.
const LARGEST_FRAME: u32 = 1024 * 1024;
/// Window of one stream: two messages of data.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
/// Window of a connection.
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// The places of such connections. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Bulks {
    of_peers: Places,
    all: Arc<Semaphore>,
}

/// What one of them has, until it is dropped.
#[derive(Debug)]
pub(super) struct Bulk {
    frame: u32,
    _of_peer: Place,
    _of_all: OwnedSemaphorePermit,
}

impl Bulks {
    pub(super) fn new() -> Self {
        Self { of_peers: Places::default(), all: Arc::new(Semaphore::new(BULK_CONNECTIONS)) }
    }

    /// A place for a connection from there whose client announces frames of this size, if it is meant and there is one.
    pub(super) fn take(&self, from: IpAddr, announced: Option<u32>) -> Option<Bulk> {
        let announced = announced.filter(|announced| *announced > ANNOUNCES_MORE_THAN)?;
        let of_all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let of_peer = self.of_peers.take(from, BULK_CONNECTIONS_OF_PEER)?;
        Some(Bulk { frame: announced.min(LARGEST_FRAME), _of_peer: of_peer, _of_all: of_all })
    }
}

impl Bulk {
    /// What it has in place of what others have.
    pub(super) fn set(&self, http2: &mut http2::Builder<Spawner>) {
        http2
            .max_frame_size(self.frame)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn who_announces_large_frames_gets_them_within_bounds() {
        let bulks = Bulks::new();
        let frame = |announced| bulks.take(from(1), announced).map(|bulk| bulk.frame);
        for (announced, given) in [
            (None, None),
            (Some(16 * 1024), None),
            (Some(ANNOUNCES_MORE_THAN), None),
            (Some(ANNOUNCES_MORE_THAN + 1), Some(ANNOUNCES_MORE_THAN + 1)),
            (Some(LARGEST_FRAME), Some(LARGEST_FRAME)),
            (Some((1 << 24) - 1), Some(LARGEST_FRAME)),
        ] {
            assert_eq!(frame(announced), given, "{announced:?}");
        }
    }

    #[test]
    fn there_are_few_of_them_and_each_place_comes_back() {
        let bulks = Bulks::new();
        let take = |peer| bulks.take(from(peer), Some(LARGEST_FRAME));
        let mut of_one: Vec<_> = (0..BULK_CONNECTIONS_OF_PEER).map(|_| take(1).unwrap()).collect();
        assert!(take(1).is_none());
        assert_eq!(
            bulks.all.available_permits(),
            BULK_CONNECTIONS - BULK_CONNECTIONS_OF_PEER,
            "no more is taken"
        );
        of_one.pop();
        of_one.push(take(1).unwrap());
        let others = (0..BULK_CONNECTIONS - BULK_CONNECTIONS_OF_PEER).map(|at| {
            let peer = 2 + u8::try_from(at / BULK_CONNECTIONS_OF_PEER).unwrap();
            take(peer).unwrap()
        });
        let others: Vec<_> = others.collect();
        assert!(take(200).is_none());
        drop(others);
        assert!(take(200).is_some());
    }
}
