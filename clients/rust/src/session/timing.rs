//! How often to be heard and how long to bear silence, as the control plane says it, within reason.

use std::time::Duration;

use crate::proto;

/// Where the control plane says nothing.
const DEFAULT_TTL: Duration = Duration::from_secs(15);
const SHORTEST_TTL: Duration = Duration::from_secs(1);
const LONGEST_TTL: Duration = Duration::from_secs(3600);
const SHORTEST_INTERVAL: Duration = Duration::from_millis(200);
/// A heartbeat is due this many times in a lease, where the control plane says nothing.
const HEARTBEATS_PER_LEASE: u32 = 3;

/// The rhythm of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Timing {
    pub(super) ttl: Duration,
    /// At most half of the TTL, so that one lost heartbeat does not end a lease.
    pub(super) heartbeat_interval: Duration,
}

impl Timing {
    /// What the control plane said, brought within reason: zero, negative or endless times make
    /// neither a spinning nor a deaf client.
    pub(super) fn within_reason(
        ttl: Option<prost_types::Duration>,
        heartbeat_interval: Option<prost_types::Duration>,
    ) -> Self {
        let plain = |wire| proto::time(wire).filter(|time| !time.is_zero());
        let ttl = plain(ttl).unwrap_or(DEFAULT_TTL).clamp(SHORTEST_TTL, LONGEST_TTL);
        let heartbeat_interval =
            plain(heartbeat_interval).unwrap_or(ttl / HEARTBEATS_PER_LEASE).clamp(SHORTEST_INTERVAL, ttl / 2);
        Self { ttl, heartbeat_interval }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreasonable_times_are_brought_within_reason() {
        let wire = |seconds: i64| Some(prost_types::Duration { seconds, nanos: 0 });
        for (ttl, interval, expected) in [
            (wire(15), wire(5), (15_000, 5_000)),
            (wire(2), None, (2_000, 666)),
            (None, None, (15_000, 5_000)),
            (wire(0), wire(0), (15_000, 5_000)),
            (wire(-3), wire(-1), (15_000, 5_000)),
            (wire(15), wire(60), (15_000, 7_500)),
            (wire(i64::MAX), wire(i64::MAX), (3_600_000, 1_800_000)),
        ] {
            let timing = Timing::within_reason(ttl, interval);
            let got = (timing.ttl.as_millis(), timing.heartbeat_interval.as_millis());
            assert_eq!(got, expected, "ttl {ttl:?}, interval {interval:?}");
        }
    }
}
