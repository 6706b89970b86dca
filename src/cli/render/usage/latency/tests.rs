//! Latencies from buckets: which bound is told, and that a larger share is never faster.

use proptest::prelude::*;

use super::*;

fn stats(buckets: &[u64], longest: Option<Duration>) -> OperationStats {
    OperationStats {
        latency_buckets: buckets.to_vec(),
        max_latency: longest.and_then(|longest| longest.try_into().ok()),
        ..OperationStats::default()
    }
}

#[test]
fn the_bucket_that_holds_the_call_is_told() {
    let beyond = [&[0; 14][..], &[4]].concat();
    for (buckets, percent, expected) in [
        (&[][..], 50, "-"),
        (&[0, 0], 99, "-"),
        (&[1], 99, "≤5ms"),
        (&[50, 50], 50, "≤5ms"),
        (&[49, 51], 50, "≤10ms"),
        (&[99, 0, 0, 1], 99, "≤5ms"),
        (&[98, 0, 0, 2], 99, "≤50ms"),
        (&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 50, "≤2.5s"),
        (&beyond, 50, ">10s"),
        (&[u64::MAX, u64::MAX], 99, "≤5ms"),
    ] {
        assert_eq!(quantile(&stats(buckets, None), percent), expected, "{percent} of {buckets:?}");
    }
}

#[test]
fn the_longest_call_is_a_bound_too() {
    let longest = Some(Duration::from_millis(31));
    assert_eq!(quantile(&stats(&[10, 0, 0, 1], longest), 99), "≤31ms");
    assert_eq!(quantile(&stats(&[10, 0, 0, 1], longest), 50), "≤5ms");
    let beyond = [&[0; 14][..], &[4]].concat();
    assert_eq!(quantile(&stats(&beyond, Some(Duration::from_secs(70))), 50), "≤70.0s");
}

proptest! {
    #[test]
    fn a_larger_share_is_never_faster(buckets in prop::collection::vec(0..1000_u64, 1..15)) {
        let at = |percent| quantile(&stats(&buckets, None), percent);
        let order = |shown: String| {
            let bounds = ["≤5ms", "≤10ms", "≤25ms", "≤50ms", "≤75ms", "≤100ms", "≤250ms", "≤500ms", "≤750ms",
                "≤1.0s", "≤2.5s", "≤5.0s", "≤7.5s", "≤10.0s", ">10s"];
            bounds.iter().position(|bound| *bound == shown)
        };
        prop_assert!(order(at(50)) <= order(at(99)));
        prop_assert_eq!(order(at(50)).is_none(), buckets.iter().all(|calls| *calls == 0));
    }
}
