//! Metrics-only promises to say what a breaker would do. So two machines live through the same: one that does it,
//! and one that only says so.

use super::*;

struct Call {
    acted: Option<Pass>,
    shadow: Pass,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn metrics_only_says_what_normal_does(
        settings in settings(Just(Mode::Normal)),
        events in proptest::collection::vec((traffic(), 0.0..1.0_f64), 1..250),
    ) {
        let mut now = Duration::from_secs(1_000);
        let mut normal = Machine::new(settings, now);
        let metrics_only = Options { mode: Mode::MetricsOnly, ..*settings.options() };
        let mut shadow = Machine::new(Settings::new(metrics_only).unwrap(), now);
        let mut running: Vec<Call> = Vec::new();
        for (event, random) in events {
            match event {
                Event::Admit => {
                    let acted = normal.admit(now).ok();
                    let shadow = shadow.admit(now).expect("nothing is refused");
                    prop_assert_eq!(acted.is_none(), shadow.role == Role::Shadow);
                    running.push(Call { acted, shadow });
                }
                Event::Report { call, outcome, is_slow } if !running.is_empty() => {
                    let call = running.swap_remove(call % running.len());
                    let latency = Duration::from_secs(if is_slow { 6 } else { 1 });
                    if let Some(acted) = call.acted {
                        normal.report(acted, outcome, latency, now, || random);
                    }
                    shadow.report(call.shadow, outcome, latency, now, || random);
                }
                Event::Release { call } if !running.is_empty() => {
                    let call = running.swap_remove(call % running.len());
                    if let Some(acted) = call.acted {
                        normal.release(acted);
                    }
                    shadow.release(call.shadow);
                }
                Event::Wait(time) => now += time,
                Event::WaitUntilDue => now = normal.snapshot(now).open_until.unwrap_or(now),
                _ => {}
            }
            let (acted, said) = (normal.snapshot(now), shadow.snapshot(now));
            prop_assert_eq!(said.state, State::MetricsOnly);
            prop_assert_eq!(said.judged, acted.state);
            prop_assert_eq!(said.would_refuse, acted.retry_after.is_some());
            prop_assert_eq!(said.would_have_refused, acted.refused);
            prop_assert_eq!(said.shadow_totals, acted.totals);
            prop_assert_eq!(
                (said.calls, said.open_until, said.probes_out, said.generation),
                (acted.calls, acted.open_until, acted.probes_out, acted.generation)
            );
        }
    }
}
