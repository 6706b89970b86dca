//! The access log: a share of all requests is logged with who, what, outcome and duration, on both sides.
//!
//! Which requests is decided as they come, so that the others cost a look at one number. No headers and no query are
//! logged: there may be secrets in them.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use http::HeaderMap;

use crate::identity::Identity;

/// Metadata that carries the id of a request.
pub const REQUEST_ID: &str = "x-request-id";
/// Longest id of a request that is taken from a caller.
const MAX_REQUEST_ID: usize = 128;
/// The share is in parts of this.
const WHOLE: u64 = 1000;
/// Has no divisor in common with [`WHOLE`], so that a thousand requests in a row are spread evenly.
const STRIDE: u64 = 619;

/// The id that a caller has given its request, if it is printable and not too long.
pub fn request_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let right = (1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    right.then_some(id)
}

/// Says which requests are logged. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct AccessLog(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Thousandths.
    sample: AtomicU32,
    seen: AtomicU64,
}

impl AccessLog {
    /// Logs so many thousandths of all requests.
    pub fn new(sample: u32) -> Self {
        let log = Self::default();
        log.set_sample(sample);
        log
    }

    /// Changes how many are logged.
    pub fn set_sample(&self, thousandths: u32) {
        self.0.sample.store(thousandths, Ordering::Relaxed);
    }

    /// Whether the next request is logged.
    #[inline]
    pub fn takes(&self) -> bool {
        let sample = u64::from(self.0.sample.load(Ordering::Relaxed));
        // Where all are logged, or none, there is nothing to be counted.
        sample > 0 && (sample >= WHOLE || self.next() < sample)
    }

    fn next(&self) -> u64 {
        self.0.seen.fetch_add(1, Ordering::Relaxed).wrapping_mul(STRIDE) % WHOLE
    }
}

/// Who makes a request that is logged: filled in by the layer that finds out.
#[derive(Clone, Debug, Default)]
pub struct Slot(Arc<OnceLock<(Arc<Identity>, SocketAddr)>>);

impl Slot {
    /// Says who it is, once.
    pub fn fill(&self, identity: &Arc<Identity>, peer: SocketAddr) {
        self.0.get_or_init(|| (Arc::clone(identity), peer));
    }

    /// Who it is, if anybody has found out.
    pub fn who(&self) -> Option<(&Identity, SocketAddr)> {
        self.0.get().map(|(identity, peer)| (&**identity, *peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_exact_and_spread() {
        for (sample, of_a_thousand) in
            [(0, 0), (1, 1), (10, 10), (125, 125), (500, 500), (999, 999), (1000, 1000)]
        {
            let log = AccessLog::new(sample);
            let taken: Vec<bool> = (0..1000).map(|_| log.takes()).collect();
            assert_eq!(taken.iter().filter(|taken| **taken).count(), of_a_thousand, "{sample}");
            if sample == 500 {
                let longest = taken.chunk_by(|one, other| one == other).map(<[bool]>::len).max();
                assert!(longest < Some(5), "{longest:?}");
            }
        }
    }

    #[test]
    fn it_follows_the_configuration() {
        let log = AccessLog::new(0);
        assert!(!log.takes());
        let other = log.clone();
        log.set_sample(1000);
        assert!(other.takes());
    }

    #[test]
    fn ids_of_requests_as_a_table() {
        let long = "x".repeat(129);
        for (id, taken) in [
            ("r-1", true),
            (&long[1..], true),
            ("a:b/c", true),
            ("", false),
            (&*long, false),
            ("a b", false),
            ("é", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, http::HeaderValue::from_bytes(id.as_bytes()).unwrap());
            assert_eq!(request_id(&headers), taken.then_some(id), "{id:?}");
        }
        assert_eq!(request_id(&HeaderMap::new()), None);
    }
}
