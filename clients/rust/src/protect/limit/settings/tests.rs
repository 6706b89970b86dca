use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn rate(amount: u32, period: Duration) -> Rate {
    Rate::new(amount, period).expect("a rate")
}

#[test]
fn a_wrong_rate_names_its_field() {
    let table = [
        (0, SECOND, "amount", "0", "from 1 to 1000000000 in 1s"),
        (1001, Duration::from_micros(1), "amount", "1001", "from 1 to 1000 in 1µs"),
        (1, Duration::ZERO, "period", "0ns", "above 0 and at most 3153600000s"),
        (
            1,
            LONGEST + Duration::from_nanos(1),
            "period",
            "3153600000.000000001s",
            "above 0 and at most 3153600000s",
        ),
    ];
    for (amount, period, field, given, allowed) in table {
        assert_eq!(Rate::new(amount, period), Err(invalid(field, given.to_owned(), allowed.to_owned())));
    }
    assert_eq!(
        Rate::new(0, SECOND).map_err(|wrong| wrong.to_string()),
        Err("rate limit setting amount is 0: it must be from 1 to 1000000000 in 1s".to_owned())
    );
    for (amount, period) in [(1, LONGEST), (u32::MAX, LONGEST), (1000, Duration::from_micros(1))] {
        assert!(Rate::new(amount, period).is_ok());
    }
}

#[test]
fn a_permit_takes_its_share_of_the_period_rounded_up() {
    for (amount, period, nanos) in [(1, 1, 1), (3, 10, 4), (5, 10, 2), (1000, 1_000_000_000, 1_000_000)] {
        assert_eq!(rate(amount, Duration::from_nanos(period)).interval(), Duration::from_nanos(nanos));
    }
}

#[test]
fn the_burst_is_what_a_second_gives() {
    let table = [
        (100, SECOND, 100),
        (100, 60 * SECOND, 1),
        (119, 60 * SECOND, 1),
        (120, 60 * SECOND, 2),
        (1, LONGEST, 1),
        (5, SECOND / 10, 50),
        (1000, Duration::from_micros(1), 1_000_000_000),
        (u32::MAX, 5 * SECOND, 858_993_459),
    ];
    for (amount, period, burst) in table {
        assert_eq!(rate(amount, period).default_burst().get(), burst, "{amount} in {period:?}");
        let settings = Settings::token_bucket(rate(amount, period));
        assert_eq!(Settings::new(settings.rate(), settings.algorithm()), Ok(settings));
    }
}

#[test]
fn what_takes_too_long_names_its_field() {
    let slow = rate(1, LONGEST / 2);
    let two = NonZeroU32::new(2).expect("not zero");
    assert!(Settings::new(slow, Algorithm::TokenBucket { burst: two }).is_ok());
    assert!(Settings::new(slow, Algorithm::LeakyBucket { queue: 2 }).is_ok());
    let three = NonZeroU32::new(3).expect("not zero");
    for (algorithm, field) in
        [(Algorithm::TokenBucket { burst: three }, "burst"), (Algorithm::LeakyBucket { queue: 3 }, "queue")]
    {
        let wrong = invalid(field, "3".to_owned(), "at most 2 at this rate".to_owned());
        assert_eq!(Settings::new(slow, algorithm), Err(wrong));
    }
    for algorithm in [Algorithm::SlidingWindow, Algorithm::FixedWindow] {
        assert!(Settings::new(slow, algorithm).is_ok());
    }
}
