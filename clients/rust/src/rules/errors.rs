//! How errors say why and when, by gRPC: the names that both ends go by.

use std::{fmt, time::Duration};

/// Domain of every `google.rpc.ErrorInfo` of a control plane and of this library.
pub const DOMAIN: &str = "seaworthy.dev";
/// Metadata that says when to call again, in milliseconds (gRFC A6).
pub const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// A pause in whole milliseconds, as headers and texts say it. Rounded up: who came back a part of a millisecond too early
/// would be refused again.
pub fn whole_millis(pause: Duration) -> u64 {
    u64::try_from(pause.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The same, for people: `1.5s`.
pub fn try_again_in(pause: Duration) -> impl fmt::Display {
    struct TryAgain(Duration);
    impl fmt::Display for TryAgain {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "try again in {:?}", self.0)
        }
    }
    TryAgain(Duration::from_millis(whole_millis(pause)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_to_come_back_too_early() {
        for (pause, millis, text) in [
            (Duration::ZERO, 0, "try again in 0ns"),
            (Duration::from_nanos(1), 1, "try again in 1ms"),
            (Duration::from_micros(1500), 2, "try again in 2ms"),
            (Duration::from_millis(1500), 1500, "try again in 1.5s"),
            (Duration::from_nanos(3_598_372_648_999), 3_598_373, "try again in 3598.373s"),
            (Duration::MAX, u64::MAX, "try again in 18446744073709551.615s"),
        ] {
            assert_eq!((whole_millis(pause), try_again_in(pause).to_string().as_str()), (millis, text));
        }
    }
}
