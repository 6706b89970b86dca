use std::num::NonZeroU32;

use proptest::prelude::*;
use tokio::time::advance;

use super::*;
use crate::protect::{
    clock::Clock as _,
    limit::{Algorithm, Rate, Settings},
    policy::{OnUnavailable, Origin, Policy, RateLimit, Scope, choose::Call},
    rules::Rules,
};

/// So much in a time that no test takes, by each algorithm: nothing comes back by itself.
fn algorithms(amount: u32) -> [Settings; 4] {
    let of = |algorithm| {
        let rate = Rate::new(amount, Duration::from_secs(1000)).unwrap();
        Settings::new(rate, algorithm).unwrap()
    };
    let burst = NonZeroU32::new(amount).unwrap();
    [
        of(Algorithm::TokenBucket { burst }),
        of(Algorithm::LeakyBucket { queue: amount - 1 }),
        of(Algorithm::SlidingWindow),
        of(Algorithm::FixedWindow),
    ]
}

struct Chain {
    rules: Rules,
    plan: Arc<Plan>,
}

impl Chain {
    fn of(policy: Policy) -> Self {
        let rules = Rules::new();
        rules.replace([(Arc::new(policy), Origin::Put)]);
        let call = Call::Operation { service: "orders", operation: "charge" };
        let plan = rules.plan(call, None);
        Self { rules, plan }
    }

    fn limits(limits: Vec<RateLimit>) -> Self {
        Self::of(Policy { limits, ..Policy::named("limits") })
    }

    /// The scope that refuses a call. None: it is let in, now or in its turn.
    fn refuses(&self, caller: u64) -> Option<Scope> {
        let now = self.rules.time().now();
        let asks = Caller { key: caller, name: &"caller" };
        match self.plan.try_enter(asks, self.rules.meter(), now) {
            Entering::In(_) | Entering::Wait(_) => None,
            Entering::Out(Refusal::Limited { scope, .. }) => Some(scope),
            Entering::Out(other) => panic!("{other}"),
        }
    }
}

fn limit(scope: Scope, settings: Settings) -> RateLimit {
    RateLimit { scope, settings, fleet_wide: None }
}

#[tokio::test(start_paused = true)]
async fn who_is_over_a_limit_of_his_own_uses_up_nothing_of_what_all_share() {
    let fleet = |away| {
        let settings = algorithms(10)[0];
        RateLimit { fleet_wide: Some(away), ..limit(Scope::Global, settings) }
    };
    let shared = [Scope::Global, Scope::Operation]
        .into_iter()
        .flat_map(|scope| algorithms(10).map(|settings| limit(scope, settings)))
        .chain([fleet(OnUnavailable::LastSlice)]);
    for shared in shared {
        for own in algorithms(5).map(|settings| limit(Scope::Caller, settings)) {
            let chain = Chain::limits(vec![shared.clone(), own.clone()]);
            let refused: Vec<_> = (0..100).filter_map(|_| chain.refuses(1)).collect();
            assert_eq!(refused, [Scope::Caller; 95], "{shared:?}");
            let others: Vec<_> = (0..6).map(|_| chain.refuses(2)).collect();
            assert_eq!(others[..5], [None; 5], "{shared:?}, {own:?}");
            // Both are used up by now: what all share comes first.
            assert_eq!(others[5], Some(shared.scope), "{shared:?}");
            let usage = chain.rules.usage();
            assert_eq!(usage.iter().map(|it| it.allowed).collect::<Vec<_>>(), [10, 10], "{usage:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_fleet_shares_is_not_asked_for_by_who_is_refused() {
    let shared =
        RateLimit { fleet_wide: Some(OnUnavailable::LastSlice), ..limit(Scope::Global, algorithms(1000)[0]) };
    let chain = Chain::limits(vec![shared, limit(Scope::Caller, algorithms(5)[0])]);
    assert_eq!((0..100).filter(|_| chain.refuses(1).is_some()).count(), 95);
    assert_eq!(chain.rules.shares()[0].asked_so_far(), 5);
}

#[tokio::test(start_paused = true)]
async fn of_two_limits_of_a_scope_the_second_gives_back_to_the_first() {
    let second = Duration::from_secs(1);
    for long in algorithms(5) {
        let short = Settings::new(Rate::new(3, second).unwrap(), Algorithm::FixedWindow).unwrap();
        let chain = Chain::limits(vec![limit(Scope::Caller, long), limit(Scope::Caller, short)]);
        let let_in = || (0..100).filter(|_| chain.refuses(1).is_none()).count();
        assert_eq!(let_in(), 3, "{long:?}");
        advance(second).await;
        assert_eq!(let_in(), 2, "{long:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn shadow_tells_what_would_be_refused() {
    let limits = vec![limit(Scope::Global, algorithms(10)[0]), limit(Scope::Caller, algorithms(5)[0])];
    let chain = Chain::of(Policy { shadow: true, limits, ..Policy::named("shadow") });
    for (caller, calls) in [(1, 100), (2, 5)] {
        assert!((0..calls).all(|_| chain.refuses(caller).is_none()));
    }
    let usage = chain.rules.usage();
    let sums: Vec<_> = usage.iter().map(|it| (it.allowed, it.refused)).collect();
    assert_eq!(sums, [(10, 0), (10, 95)], "{usage:?}");
}

proptest! {
    /// Whatever the order of calls: a call is let in where its caller and all together have something left, and uses up
    /// nothing where it is not.
    #[test]
    fn a_refused_call_uses_up_nothing(
        calls in proptest::collection::vec(0_u64..4, 1..60),
        (all, own) in (1_u32..20, 1_u32..10),
        (shared, each) in (0_usize..4, 0_usize..4),
    ) {
        let chain = Chain::limits(vec![
            limit(Scope::Global, algorithms(all)[shared]),
            limit(Scope::Caller, algorithms(own)[each]),
        ]);
        let mut left = (all, [own; 4]);
        for caller in calls {
            let of_caller = &mut left.1[usize::try_from(caller).unwrap()];
            let expected = match (left.0, *of_caller) {
                (0, _) => Some(Scope::Global),
                (_, 0) => Some(Scope::Caller),
                _ => None,
            };
            prop_assert_eq!(chain.refuses(caller), expected);
            if expected.is_none() {
                left.0 -= 1;
                *of_caller -= 1;
            }
        }
    }
}
