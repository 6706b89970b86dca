//! Asks for slices of the limits that all instances share, for as long as a session lives: before each one ends, and by how
//! much was asked of it since. No call waits for this.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use tonic::Status;
use tracing::debug;

use crate::{
    protect::{
        Rules,
        retry::{Advice, status::advice},
        share::Share,
    },
    proto::{
        self,
        seaworthy::v1::{
            AcquireQuotaRequest, InstanceRef, QuotaSlice, QuotaWant,
            policy_service_client::PolicyServiceClient,
        },
    },
    rt,
    transport::Authorized,
};

/// How often it is looked whether there are new ones.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A demand is said of no shorter time, in seconds.
const SHORTEST: f64 = 0.1;
/// Demands over which it is averaged.
const AVERAGED_OVER: f64 = 4.0;
/// Limits of which slices are asked for at once: as many as the control plane takes.
const AT_ONCE: usize = 64;
/// A slice is asked for again after this part of its life.
const AGAIN_AFTER: u32 = 3;
/// Jitter of that, either way.
const JITTER: f64 = 0.1;

/// One limit that is shared, and when a slice of it is asked for again.
struct Asked {
    share: Arc<Share>,
    since: Instant,
    again: Instant,
    demand: Demand,
    /// Until when the slice of the session before holds: a control plane that has just started gives small ones at first.
    before: Option<Instant>,
}

/// What an instance asks for on average.
#[derive(Debug, Default)]
struct Demand {
    /// In a second. None: nothing is known yet.
    mean: Option<f64>,
    /// What was left out of what was said so far, in whole numbers: the next one makes up for it.
    owed: f64,
}

/// Runs until it is dropped.
pub(super) async fn keep(channel: Authorized, instance: InstanceRef, session_token: String, rules: Rules) {
    let mut client = PolicyServiceClient::new(channel);
    let mut asked: Vec<Asked> = Vec::new();
    let mut failures = 0;
    loop {
        take_up_new(&mut asked, &rules.shares());
        let now = rt::now();
        let mut due: Vec<&mut Asked> = asked.iter_mut().filter(|it| it.again <= now).collect();
        // Whoever has waited longest is first, so that everybody has its turn.
        due.sort_by_key(|it| it.again);
        let more = due.len() > AT_ONCE;
        due.truncate(AT_ONCE);
        let mut pause = LOOK_EVERY;
        if !due.is_empty() {
            let wants = due.iter_mut().map(|it| want(it, now)).collect();
            let (instance, session_token) = (Some(instance.clone()), session_token.clone());
            let request = AcquireQuotaRequest { instance, session_token, wants };
            match timeout(PATIENCE, client.acquire_quota(request)).await {
                Ok(Ok(answer)) => {
                    let slices = answer.into_inner().slices;
                    due.iter_mut().zip(slices).for_each(|(it, slice)| take(it, &slice));
                    if more {
                        pause = Duration::ZERO;
                    }
                    failures = 0;
                }
                Ok(Err(status)) => {
                    debug!(%status, "no slices of shared limits");
                    pause = after(asked_for(&status), failures);
                    failures += 1;
                }
                Err(_) => {
                    debug!("no slices of shared limits within {PATIENCE:?}");
                    pause = after(None, failures);
                    failures += 1;
                }
            }
        }
        sleep(pause).await;
    }
}

/// The pause that a refusal asks for.
fn asked_for(status: &Status) -> Option<Duration> {
    match advice(status) {
        Advice::IfSafe(asked) | Advice::Always(asked) => asked,
        Advice::Never | Advice::Pushback => None,
    }
}

/// How long to wait after a failure, of so many in a row before it: as long as is asked for, or longer each time. Silence
/// asks for nothing.
fn after(asked: Option<Duration>, failures: u32) -> Duration {
    let own = LOOK_EVERY.saturating_mul(1 << failures.min(7)).min(LONGEST_PAUSE);
    rt::jittered(asked.unwrap_or_default().clamp(own, LONGEST_PAUSE), JITTER)
}

/// Goes on with those that there are still, and begins with those that are new.
fn take_up_new(asked: &mut Vec<Asked>, shares: &[Arc<Share>]) {
    asked.retain(|it| shares.iter().any(|share| Arc::ptr_eq(share, &it.share)));
    for share in shares {
        if !asked.iter().any(|it| Arc::ptr_eq(share, &it.share)) {
            let now = rt::now();
            let before = share.slice().map(|(_, left)| now + left);
            let (share, demand) = (Arc::clone(share), Demand::default());
            asked.push(Asked { share, since: now, again: now, demand, before });
        }
    }
}

fn want(it: &mut Asked, now: Instant) -> QuotaWant {
    let which = it.share.which();
    let (period, since) = (it.share.period().as_secs_f64(), (now - it.since).as_secs_f64());
    let count = it.share.asked_so_far();
    QuotaWant {
        policy: which.policy.clone(),
        limit: u32::try_from(which.limit).unwrap_or(u32::MAX),
        operation: which.operation.clone(),
        demand: it.demand.say(count, since, period),
    }
}

impl Demand {
    /// What to say of what was asked in a time, for a period, both in seconds. None: the time is too short to say.
    ///
    /// What was asked in one second differs from the average by chance, and a slice that followed it would be too large in one
    /// second, and unused, and too small in the next. What is no chance (three standard deviations of calls that come
    /// independently) counts at once.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a share of a limit
    fn say(&mut self, count: u64, since: f64, period: f64) -> Option<u64> {
        if since < SHORTEST {
            return None;
        }
        let count = count as f64;
        let mean = match self.mean {
            Some(mean) if (count - mean * since).abs() <= 3.0 * (mean * since).max(1.0).sqrt() => {
                mean + (count / since - mean) / AVERAGED_OVER
            }
            _ => count / since,
        };
        self.mean = Some(mean);
        let exact = mean * period;
        if exact < 1.0 {
            // Less than one cannot be said, and a slice of nothing would be no slice.
            return Some(u64::from(exact > 0.01));
        }
        let exact = exact + self.owed;
        self.owed = exact.fract();
        Some(exact as u64)
    }
}

fn take(it: &mut Asked, slice: &QuotaSlice) {
    let now = rt::now();
    it.share.forget_asked();
    it.since = now;
    let ttl = proto::time(slice.ttl).unwrap_or_default();
    if slice.problem.is_empty() && !ttl.is_zero() {
        let held = it.share.slice();
        let goes_on = held.is_some_and(|(amount, _)| {
            slice.amount == 0.0 || (slice.amount < amount && it.before.is_some_and(|until| now < until))
        });
        if !goes_on {
            // Nothing is nothing: those who hold all of it ask again within a second, and leave a part then.
            it.share.take_slice(slice.amount, slice.holders, ttl);
        }
        // What one instance got too little of it is to get soon.
        let pause = if slice.amount > 0.0 { ttl / AGAIN_AFTER } else { LOOK_EVERY };
        it.again = now + rt::jittered(pause, JITTER);
    } else {
        debug!(policy = it.share.which().policy, "no slice of a shared limit: {}", slice.problem);
        it.again = now + PATIENCE;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::{
        protect::{
            clock::Monotonic,
            limit::{Rate, Settings},
            policy::OnUnavailable,
            share::Which,
        },
        rules::errors::PUSHBACK,
    };

    #[test]
    fn demand_is_what_was_asked_for_a_period() {
        for (count, since, period, said) in [
            (10, 1.0, 1.0, Some(10)),
            (10, 2.0, 1.0, Some(5)),
            (10, 2.0, 60.0, Some(300)),
            (0, 1.0, 1.0, Some(0)),
            (1, 0.01, 1.0, None),
            (1, 10.0, 1.0, Some(1)),
        ] {
            assert_eq!(Demand::default().say(count, since, period), said);
        }
        // Five in four seconds, in whole numbers.
        let mut demand = Demand::default();
        let said: Vec<_> = (0..4).map(|_| demand.say(5, 4.0, 1.0).unwrap()).collect();
        assert_eq!(said, [1, 1, 1, 2]);
    }

    #[test]
    fn what_comes_by_chance_is_averaged_and_a_leap_counts_at_once() {
        for (period, longer) in [(1.0, 1), (60.0, 60)] {
            let mut demand = Demand { mean: Some(4.0), owed: 0.0 };
            for count in [5, 3, 4, 6, 2, 4].repeat(10) {
                let said = demand.say(count, 1.0, period).unwrap();
                assert!((3 * longer..=5 * longer).contains(&said), "{said}");
            }
            let mut demand = Demand { mean: Some(4.0), owed: 0.0 };
            assert_eq!(demand.say(11, 1.0, period), Some(11 * longer));
            assert_eq!(demand.say(0, 1.0, period), Some(0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_takes_more_than_is_given_and_keeps_it_where_the_control_plane_starts_anew() {
        let which = Which { policy: "shared".into(), limit: 0, operation: String::new() };
        let settings = Settings::token_bucket(Rate::new(1000, Duration::from_secs(1)).unwrap());
        let began = rt::now();
        let share = Arc::new(Share::new(which, settings, OnUnavailable::LastSlice, Monotonic::start()));
        let mut asked = Vec::new();
        take_up_new(&mut asked, &[Arc::clone(&share)]);
        let after = |it: &mut Asked, amount| {
            let ttl = Some(prost_types::Duration { seconds: 3, nanos: 0 });
            take(it, &QuotaSlice { amount, ttl, holders: 10, problem: String::new() });
            it.share.slice().map_or(0.0, |(amount, _)| amount.round())
        };
        let it = &mut asked[0];
        // Others hold all of it: it is given none, takes none, and asks again soon.
        assert_eq!(after(it, 0.0), 0.0);
        assert!(it.again <= rt::now() + 2 * LOOK_EVERY);
        let is_admitted = |share: &Share| share.decide_at(rt::now() - began).is_admitted();
        assert!(!is_admitted(&it.share));
        assert_eq!((after(it, 50.0), after(it, 0.0)), (50.0, 50.0));
        advance(Duration::from_secs(3)).await;
        assert_eq!(after(it, 0.0), 0.0, "that slice has ended");
        assert!(!is_admitted(&it.share));
        // Nobody answers any more: an even part is what all would have had by now.
        advance(Duration::from_secs(3)).await;
        let admitted = (0..1000).filter(|_| is_admitted(&it.share)).count();
        assert!(admitted <= 100, "{admitted}");
        advance(Duration::from_secs(1)).await;
        assert_eq!((0..1000).filter(|_| is_admitted(&it.share)).count(), 100);
        assert_eq!(after(it, 300.0), 300.0);
        // Another session: those that are smaller count once the last one of before has ended.
        advance(Duration::from_secs(1)).await;
        let mut asked = Vec::new();
        take_up_new(&mut asked, &[share]);
        let it = &mut asked[0];
        assert_eq!((after(it, 10.0), after(it, 400.0), after(it, 10.0)), (300.0, 400.0, 400.0));
        advance(Duration::from_secs(2)).await;
        assert_eq!(after(it, 10.0), 10.0);
    }

    #[test]
    fn who_is_refused_comes_back_when_it_is_told_and_ever_more_seldom() {
        let refused = asked_for(&Status::unavailable("not now"));
        let pauses: Vec<_> = (0..20).map(|failures| after(refused, failures).as_secs_f64()).collect();
        assert!((0.2..0.3).contains(&pauses[0]) && (0.4..0.6).contains(&pauses[1]), "{pauses:?}");
        assert!((25.0..35.0).contains(&pauses[19]), "{pauses:?}");
        let mut told = Status::resource_exhausted("too many");
        told.metadata_mut().insert(PUSHBACK, 7000.into());
        assert!((6.0..8.0).contains(&after(asked_for(&told), 0).as_secs_f64()));
    }
}
