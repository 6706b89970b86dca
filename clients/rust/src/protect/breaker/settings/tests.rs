use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const NANO: Duration = Duration::from_nanos(1);

#[test]
fn the_defaults_are_valid() {
    assert_eq!(Settings::new(Options::default()), Ok(Settings::default()));
}

#[test]
fn each_field_is_held_to_its_range_and_named() {
    let slow = |rate, longer_than| Some(SlowCalls { rate, longer_than });
    type Case = (&'static str, fn(&mut Options));
    let wrong: [Case; 29] = [
        ("consecutive_failures", |o| o.consecutive_failures = Some(0)),
        ("failure_rate", |o| o.failure_rate = Some(0.0)),
        ("failure_rate", |o| o.failure_rate = Some(-0.5)),
        ("failure_rate", |o| o.failure_rate = Some(1.01)),
        ("failure_rate", |o| o.failure_rate = Some(f64::NAN)),
        ("slow_calls.rate", |o| o.slow_calls = Some(SlowCalls { rate: 0.0, ..SlowCalls::default() })),
        ("slow_calls.rate", |o| o.slow_calls = Some(SlowCalls { rate: 1.5, ..SlowCalls::default() })),
        ("slow_calls.rate", |o| o.slow_calls = Some(SlowCalls { rate: f64::NAN, ..SlowCalls::default() })),
        ("slow_calls.longer_than", |o| {
            o.slow_calls = Some(SlowCalls { longer_than: Duration::ZERO, ..SlowCalls::default() });
        }),
        ("slow_calls.longer_than", |o| {
            o.slow_calls = Some(SlowCalls { longer_than: DAY + NANO, ..SlowCalls::default() });
        }),
        ("window", |o| o.window = SlidingWindow::Count(0)),
        ("window", |o| o.window = SlidingWindow::Count(MAX_WINDOW_CALLS + 1)),
        ("window", |o| o.window = SlidingWindow::Time(Duration::ZERO)),
        ("window", |o| o.window = SlidingWindow::Time(DAY + NANO)),
        ("minimum_calls", |o| o.minimum_calls = 0),
        ("minimum_calls", |o| {
            o.window = SlidingWindow::Count(10);
            o.minimum_calls = 11;
        }),
        ("minimum_calls", |o| {
            o.window = SlidingWindow::Count(10);
            o.minimum_calls = 0;
        }),
        ("open_time", |o| o.open_time = Duration::ZERO),
        ("open_time", |o| o.open_time = DAY + NANO),
        ("max_open_time", |o| o.max_open_time = o.open_time - NANO),
        ("max_open_time", |o| o.max_open_time = DAY + NANO),
        ("jitter", |o| o.jitter = -0.1),
        ("jitter", |o| o.jitter = 1.0),
        ("jitter", |o| o.jitter = f64::NAN),
        ("probes", |o| o.probes = 0),
        ("probes", |o| o.probes = MAX_PROBES + 1),
        ("probe_timeout", |o| o.probe_timeout = Duration::ZERO),
        ("probe_timeout", |o| o.probe_timeout = DAY + NANO),
        ("open_time", |o| {
            o.open_time = Duration::ZERO;
            o.max_open_time = Duration::ZERO;
        }),
    ];
    for (field, change) in wrong {
        let mut options = Options::default();
        change(&mut options);
        assert_eq!(Settings::new(options).map_err(|error| error.field), Err(field), "{options:?}");
    }

    let right: [fn(&mut Options); 9] = [
        |o| o.consecutive_failures = Some(1),
        |o| o.failure_rate = Some(1.0),
        |o| (o.consecutive_failures, o.failure_rate, o.slow_calls) = (None, None, None),
        |o| (o.window, o.minimum_calls) = (SlidingWindow::Count(1), 1),
        |o| o.window = SlidingWindow::Count(MAX_WINDOW_CALLS),
        |o| o.window = SlidingWindow::Time(Duration::from_millis(1)),
        |o| o.max_open_time = o.open_time,
        |o| o.jitter = 0.0,
        |o| (o.probes, o.probe_timeout) = (MAX_PROBES, DAY),
    ];
    for change in right {
        let mut options = Options { slow_calls: slow(f64::MIN_POSITIVE, DAY), ..Options::default() };
        change(&mut options);
        assert_eq!(Settings::new(options).map(|settings| *settings.options()), Ok(options));
    }
}

#[test]
fn the_error_says_what_to_do() {
    let cases: [(Options, &str); 3] = [
        (
            Options { minimum_calls: 200, window: SlidingWindow::Count(100), ..Options::default() },
            "breaker setting minimum_calls is 200: it must be from 1 to the 100 calls of the window",
        ),
        (
            Options { max_open_time: Duration::from_secs(5), ..Options::default() },
            "breaker setting max_open_time is 5s: it must be from 10s to 86400s",
        ),
        (
            Options { failure_rate: Some(50.0), ..Options::default() },
            "breaker setting failure_rate is 50: it must be above 0 and at most 1, or off",
        ),
    ];
    for (options, text) in cases {
        assert_eq!(Settings::try_from(options).map_err(|error| error.to_string()), Err(text.to_owned()));
    }
}
