//! The wire contract, generated from `proto/`: messages and client stubs of `seaworthy.v1`, and the
//! standard `grpc.health.v1` with its server stub. And what a time in them is worth.

use std::time::Duration;

/// Packages under `seaworthy`.
pub mod seaworthy {
    /// `seaworthy.v1`, the public contract.
    #[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
    #[allow(
        clippy::clone_on_ref_ptr,
        clippy::or_fun_call,
        clippy::missing_errors_doc,
        clippy::wildcard_imports
    )]
    pub mod v1 {
        tonic::include_proto!("seaworthy.v1");
    }
}

/// Packages under `grpc`.
pub mod grpc {
    /// `grpc.health`.
    pub mod health {
        /// `grpc.health.v1`, the standard health checking protocol.
        #[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
        #[allow(
            clippy::clone_on_ref_ptr,
            clippy::or_fun_call,
            clippy::missing_errors_doc,
            clippy::wildcard_imports
        )]
        pub mod v1 {
            tonic::include_proto!("grpc.health.v1");
        }
    }
}

/// The longest time that the wire knows, in seconds: 10,000 years. A clock can add it to now.
const LONGEST_SECONDS: u64 = 315_576_000_000;

/// A time from the wire, brought within what it may be: whatever was said, it can be added to now. `None`: none was said, or it is negative.
pub(crate) fn time(wire: Option<prost_types::Duration>) -> Option<Duration> {
    // Its own conversion panics at the least number, and knows no longest time.
    let prost_types::Duration { seconds, nanos } = wire?;
    let (seconds, nanos) = (u64::try_from(seconds).ok()?, u64::try_from(nanos).ok()?);
    Some((Duration::from_secs(seconds.min(LONGEST_SECONDS))) + Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_time_of_the_wire_can_be_added_to_now() {
        let longest = Duration::from_secs(LONGEST_SECONDS);
        for (seconds, nanos, expected) in [
            (1, 500_000_000, Some(Duration::from_millis(1500))),
            (0, 0, Some(Duration::ZERO)),
            (-1, 0, None),
            (0, -1, None),
            (i64::MIN, i32::MIN, None),
            (i64::MAX, 0, Some(longest)),
        ] {
            let time = time(Some(prost_types::Duration { seconds, nanos }));
            assert_eq!(time, expected, "{seconds} {nanos}");
            assert!(crate::rt::now().checked_add(2 * time.unwrap_or_default()).is_some());
        }
        assert_eq!(time(None), None);
    }
}
