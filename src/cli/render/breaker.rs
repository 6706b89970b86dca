//! Breakers: as rows of a table, and as lines of a watch.

use seaworthy_client::proto::seaworthy::v1::{Breaker, BreakerState};

use super::{
    instance::{dash, short},
    usage::percent,
    when,
};
use crate::cli::output::{Text, Tone, table::Table};

/// Breakers as a table.
pub(crate) fn table<'a>(breakers: impl IntoIterator<Item = &'a Breaker>, wide: bool) -> Table {
    let mut heading =
        vec!["INSTANCE", "OPERATION", "STATE", "SINCE", "FAILED", "SLOW", "REFUSED", "RETRY IN", "OVERRIDE"];
    if wide {
        heading.extend(["CALLS", "IN A ROW", "OPENED"]);
    }
    heading.push("CAUSE");
    let mut table = Table::new(heading);
    for breaker in breakers {
        let mut row: Vec<Text> = vec![
            owner(breaker).into(),
            breaker.operation.as_str().into(),
            state(breaker.state()),
            when::left(breaker.state_age.as_ref()).into(),
            share(breaker.failure_rate, breaker.calls).into(),
            share(breaker.slow_call_rate, breaker.calls).into(),
            breaker.refused.to_string().into(),
            when::left(breaker.retry_after.as_ref()).into(),
            when::left(breaker.override_ttl.as_ref()).into(),
        ];
        if wide {
            row.push(breaker.calls.to_string().into());
            row.push(breaker.consecutive_failures.to_string().into());
            row.push(breaker.opened.to_string().into());
        }
        row.push(short(dash(&breaker.cause), wide).into());
        table.row(row);
    }
    table
}

/// Whose it is: `orders/i-1`.
pub(crate) fn owner(breaker: &Breaker) -> String {
    match breaker.service.as_str() {
        "" => "control plane".to_owned(),
        service => format!("{service}/{}", breaker.instance_id),
    }
}

/// A state of a breaker, spelt as the log and the metrics spell it.
pub(crate) fn state(state: BreakerState) -> Text {
    let (word, tone) = match state {
        BreakerState::Unspecified => return "-".into(),
        BreakerState::Closed => ("closed", Tone::Good),
        BreakerState::Open => ("open", Tone::Bad),
        BreakerState::HalfOpen => ("half_open", Tone::Uneasy),
        BreakerState::ForcedOpen => ("forced_open", Tone::Bad),
        BreakerState::ForcedClosed => ("forced_closed", Tone::Uneasy),
        BreakerState::MetricsOnly => ("metrics_only", Tone::Uneasy),
    };
    Text::toned(word, tone)
}

/// What has to be seen first is least.
pub(crate) fn rank(state: BreakerState) -> u8 {
    match state {
        BreakerState::Open | BreakerState::ForcedOpen => 0,
        BreakerState::HalfOpen => 1,
        BreakerState::ForcedClosed => 2,
        BreakerState::MetricsOnly | BreakerState::Unspecified => 3,
        BreakerState::Closed => 4,
    }
}

/// Of no calls there is no share.
fn share(share: f64, calls: u64) -> String {
    if calls == 0 { "-".to_owned() } else { percent(share) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Looks;

    const PLAIN: Looks = Looks { colour: false, unicode: false };

    fn span(seconds: i64) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos: 0 })
    }

    #[test]
    fn breakers_are_told_with_what_they_count() {
        let open = Breaker {
            service: "orders".into(),
            instance_id: "i-1".into(),
            operation: "charge-card".into(),
            state: BreakerState::Open.into(),
            state_age: span(150),
            cause: "FAILURE_RATE".into(),
            calls: 40,
            failure_rate: 0.625,
            slow_call_rate: 0.0,
            consecutive_failures: 3,
            opened: 2,
            refused: 17,
            retry_after: span(8),
            override_ttl: None,
        };
        let own = Breaker {
            operation: "store".into(),
            state: BreakerState::ForcedClosed.into(),
            override_ttl: span(300),
            ..Breaker::default()
        };
        let lines = table([&open, &own], false).lines(PLAIN);
        assert_eq!(
            lines,
            [
                "INSTANCE       OPERATION    STATE          SINCE  FAILED  SLOW  REFUSED  RETRY IN  OVERRIDE  CAUSE",
                "orders/i-1     charge-card  open           2m     62.5%   0%    17       8s        -         FAILURE_RATE",
                "control plane  store        forced_closed  -      -       -     0        -         5m        -",
            ]
        );
        let wide = table([&open], true).lines(PLAIN);
        assert!(wide[0].ends_with("OVERRIDE  CALLS  IN A ROW  OPENED  CAUSE"), "{wide:?}");
        assert!(wide[1].ends_with("-         40     3         2       FAILURE_RATE"), "{wide:?}");
    }

    #[test]
    fn every_state_has_a_word_of_its_own_and_what_refuses_comes_first() {
        let states = (1..100).filter_map(|number| BreakerState::try_from(number).ok());
        let mut words: Vec<_> = states.map(|it| (rank(it), state(it).plain)).collect();
        words.sort();
        assert_eq!(
            words.iter().map(|(_, word)| word.as_str()).collect::<Vec<_>>(),
            ["forced_open", "open", "half_open", "forced_closed", "metrics_only", "closed"]
        );
    }
}
