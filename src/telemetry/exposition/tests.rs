//! Golden pages in both formats.

use super::*;

fn families() -> Vec<Family> {
    let snapshot = Snapshot { cumulative: vec![(0.0005, 1), (1.0, 3), (10.0, 3)], count: 4, sum: 12.5 };
    vec![
        Family::counter(
            "seaworthy_refusals",
            "Calls refused, \"by reason\".\nSee C:\\README.",
            [
                (Labels::from([("reason", "FLEET_FULL"), ("class", "read")]), 3.0),
                (Labels::none().with("reason", "a\\b\"c\nd".to_owned()), 0.5),
            ],
        ),
        Family::counter("process_cpu", "CPU time.", [(Labels::none(), 1.25)]).unit("seconds"),
        Family::gauge("seaworthy_instances", "Nobody.", []),
        Family::gauge(
            "seaworthy_limit",
            "Odd values.",
            [
                (Labels::from([("n", "inf")]), f64::INFINITY),
                (Labels::from([("n", "neg")]), f64::NEG_INFINITY),
                (Labels::from([("n", "nan")]), f64::NAN),
                (Labels::from([("n", "big")]), 1e15),
            ],
        ),
        Family::histogram("rpc_duration", "Time.", [(Labels::from([("method", "Get")]), snapshot)]),
    ]
}

#[test]
fn text_is_as_prometheus_wants_it() {
    let golden = r#"# HELP seaworthy_refusals_total Calls refused, "by reason".\nSee C:\\README.
# TYPE seaworthy_refusals_total counter
seaworthy_refusals_total{reason="FLEET_FULL",class="read"} 3
seaworthy_refusals_total{reason="a\\b\"c\nd"} 0.5
# HELP process_cpu_seconds_total CPU time.
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 1.25
# HELP seaworthy_limit Odd values.
# TYPE seaworthy_limit gauge
seaworthy_limit{n="inf"} +Inf
seaworthy_limit{n="neg"} -Inf
seaworthy_limit{n="nan"} NaN
seaworthy_limit{n="big"} 1000000000000000
# HELP rpc_duration_seconds Time.
# TYPE rpc_duration_seconds histogram
rpc_duration_seconds_bucket{method="Get",le="0.0005"} 1
rpc_duration_seconds_bucket{method="Get",le="1"} 3
rpc_duration_seconds_bucket{method="Get",le="10"} 3
rpc_duration_seconds_bucket{method="Get",le="+Inf"} 4
rpc_duration_seconds_sum{method="Get"} 12.5
rpc_duration_seconds_count{method="Get"} 4
"#;
    assert_eq!(render(&families(), Format::Text), golden);
}

#[test]
fn open_metrics_is_as_its_standard_wants_it() {
    let golden = r#"# HELP seaworthy_refusals Calls refused, \"by reason\".\nSee C:\\README.
# TYPE seaworthy_refusals counter
seaworthy_refusals_total{reason="FLEET_FULL",class="read"} 3
seaworthy_refusals_total{reason="a\\b\"c\nd"} 0.5
# HELP process_cpu_seconds CPU time.
# TYPE process_cpu_seconds counter
# UNIT process_cpu_seconds seconds
process_cpu_seconds_total 1.25
# HELP seaworthy_limit Odd values.
# TYPE seaworthy_limit gauge
seaworthy_limit{n="inf"} +Inf
seaworthy_limit{n="neg"} -Inf
seaworthy_limit{n="nan"} NaN
seaworthy_limit{n="big"} 1000000000000000
# HELP rpc_duration_seconds Time.
# TYPE rpc_duration_seconds histogram
# UNIT rpc_duration_seconds seconds
rpc_duration_seconds_bucket{method="Get",le="0.0005"} 1
rpc_duration_seconds_bucket{method="Get",le="1.0"} 3
rpc_duration_seconds_bucket{method="Get",le="10.0"} 3
rpc_duration_seconds_bucket{method="Get",le="+Inf"} 4
rpc_duration_seconds_sum{method="Get"} 12.5
rpc_duration_seconds_count{method="Get"} 4
# EOF
"#;
    assert_eq!(render(&families(), Format::OpenMetrics), golden);
}

#[test]
fn every_bound_of_the_real_histogram_is_written_plainly() {
    let histogram = crate::telemetry::histogram::Histogram::new();
    let family = Family::histogram("d", "Time.", [(Labels::none(), histogram.snapshot())]);
    let page = render(&[family], Format::OpenMetrics);
    assert!(page.contains("d_seconds_bucket{le=\"0.0001\"} 0\n"), "{page}");
    assert!(page.contains("d_seconds_bucket{le=\"0.00025\"} 0\n"), "{page}");
    assert_eq!(page.lines().filter(|line| line.contains("_bucket{")).count(), 20);
}

#[test]
fn nothing_is_still_a_page() {
    assert_eq!(render(&[], Format::Text), "");
    assert_eq!(render(&[], Format::OpenMetrics), "# EOF\n");
}
