//! What is ruled against a store in memory, on paused time.

use std::time::Duration;

use seaworthy_client::{
    flags::{Draft, DraftRule, DraftVariant},
    protect::{
        breaker,
        limit::{Algorithm, Rate, Settings},
        policy::{OnUnavailable, PermitLimit, PermitScope, PoolLimit, RateLimit, Retry, Scope, Target},
        resources::{Ceiling, CpuShare},
        retry,
    },
};

use super::{book::Force, *};
use crate::{
    fleet::names::{InstanceId, ServiceName},
    store::simulated::{Engine, Fate, Medium},
    task::{self, OnEnd},
};

const MINUTE: Duration = Duration::from_secs(60);

/// Says all that a policy can say.
fn full() -> Policy {
    let rate = Rate::new(100, Duration::from_millis(1500)).unwrap();
    let limit = |scope, algorithm, fleet_wide| RateLimit {
        scope,
        settings: Settings::new(rate, algorithm).unwrap(),
        fleet_wide,
    };
    let seven = std::num::NonZeroU32::new(7).unwrap();
    Policy {
        target: Target::Operations { service: Some("orders".into()), operation: Some("charge-card".into()) },
        limits: vec![
            limit(Scope::Global, Algorithm::TokenBucket { burst: seven }, Some(OnUnavailable::Deny)),
            limit(Scope::Operation, Algorithm::LeakyBucket { queue: 3 }, None),
            limit(Scope::Caller, Algorithm::SlidingWindow, None),
            limit(Scope::Caller, Algorithm::FixedWindow, None),
        ],
        permits: vec![PermitLimit {
            scope: PermitScope::Operation,
            max: seven,
            wait: Duration::from_millis(10),
            max_waiting: 9,
            adaptive: true,
        }],
        resources: Some(Ceiling::new(Some(1024.try_into().unwrap()), CpuShare::new(0.3).ok(), None).unwrap()),
        pools: vec![PoolLimit { name: "database".into(), size: seven, wait: MINUTE }],
        breaker: Some(breaker::Settings::default()),
        retry: Some(Retry { settings: retry::Settings::default(), safety: retry::Safety::Idempotent }),
        description: "of the bank".into(),
        ..Policy::named("charges")
    }
}

fn flag(name: &str) -> Flag {
    Flag::new(Draft {
        name: name.into(),
        variants: vec![DraftVariant::new("on", true), DraftVariant::new("off", false)],
        default_variant: "off".into(),
        rules: vec![DraftRule {
            percentage: Some(12.5),
            services: vec!["orders".into()],
            ..DraftRule::new("on")
        }],
        description: "the new one".into(),
        ..Draft::default()
    })
    .unwrap()
}

fn forced(clock: Clock, ttl: Duration) -> Override {
    let key = OverrideKey {
        service: ServiceName::parse("orders").unwrap(),
        operation: "charge/card".into(),
        instance: InstanceId::parse("i-1").ok(),
    };
    let message = "the bank is down".to_owned();
    Override { key, force: Force::Open, expires: clock.now().wall + ttl, by: "local".into(), message }
}

/// A run of the control plane, as far as it concerns what is ruled.
struct Room {
    handle: Handle,
    medium: Medium,
    clock: Clock,
    drain: drain::Signal,
    running: task::Task<()>,
    _engine: Engine,
}

async fn open_on(medium: Medium, clock: Clock, declared: Vec<Policy>) -> Room {
    let (store, engine) = medium.open(clock, Box::new(|| Fate::Written(Duration::ZERO)));
    let (handle, service) = open(Options { declared }, clock, store).await.unwrap();
    let (drain, watch) = drain::channel();
    let running = task::spawn("policy", OnEnd::Fine, service.run(watch));
    Room { handle, medium, clock, drain, running, _engine: engine }
}

async fn room(declared: Vec<Policy>) -> Room {
    let clock = Clock::start_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    open_on(Medium::default(), clock, declared).await
}

impl Room {
    async fn restart(self) -> Room {
        let Room { medium, clock, drain, running, _engine, .. } = self;
        drain.begin();
        running.await.unwrap();
        open_on(medium, clock, Vec::new()).await
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_put_is_there_after_a_restart_as_it_was_said() {
    let room = room(Vec::new()).await;
    let put = room.handle.put(full(), None, "token:alice".into()).await.unwrap();
    let put_flag = room.handle.put_flag(flag("new-checkout"), None, "token:alice".into()).await.unwrap();
    let put_override = room.handle.force(forced(room.clock, MINUTE)).await.unwrap();
    let room = room.restart().await;
    let book = room.handle.book();
    assert_eq!(book.policy("charges"), Some(&put));
    assert_eq!(book.flag("new-checkout"), Some(&put_flag));
    assert_eq!(book.forced(&put_override.key), Some(&put_override));
}

#[tokio::test(start_paused = true)]
async fn only_who_has_seen_the_newest_changes_it() {
    let room = room(Vec::new()).await;
    let by = || "local".to_owned();
    let refused = |error: Error| (error.kind(), error.reason());
    let mismatch = (Kind::FailedPrecondition, Reason::RevisionMismatch);
    assert_eq!(room.handle.put(full(), Some(5), by()).await.map_err(refused), Err(mismatch));
    let first = room.handle.put(full(), Some(0), by()).await.unwrap();
    let revision = first.put.as_ref().unwrap().revision;
    assert_eq!(room.handle.put(full(), Some(0), by()).await.map_err(refused), Err(mismatch));
    let second = room.handle.put(full(), Some(revision), by()).await.unwrap();
    assert!(second.put.as_ref().unwrap().revision > revision);
    let taken = room.handle.take_back("charges".into(), Some(revision)).await.map_err(refused);
    assert_eq!(taken, Err(mismatch));
    assert_eq!(room.handle.take_back("charges".into(), None).await.unwrap(), None);
    let missing = room.handle.take_back("charges".into(), None).await.map_err(refused);
    assert_eq!(missing, Err((Kind::NotFound, Reason::PolicyNotFound)));
    let built_in = room.handle.take_back("control-plane".into(), None).await.map_err(refused);
    assert_eq!(built_in, Err((Kind::FailedPrecondition, Reason::PolicyNotPut)));
}

#[tokio::test(start_paused = true)]
async fn overrides_end_by_themselves_and_with_their_record() {
    let room = room(Vec::new()).await;
    let put = room.handle.force(forced(room.clock, MINUTE)).await.unwrap();
    let mut watch = room.handle.watch();
    watch.borrow_and_update();
    timeout(2 * MINUTE, watch.changed()).await.expect("it ends").unwrap();
    assert!(room.clock.now().wall >= put.expires, "not before its time");
    assert!(room.handle.book().forced(&put.key).is_none());
    let room = room.restart().await;
    assert_eq!(room.handle.book().overrides().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn policies_of_the_file_are_replaced_as_a_whole() {
    let room = room(vec![Policy::named("a"), Policy::named("b")]).await;
    assert!(room.handle.book().policy("b").is_some());
    let mut watch = room.handle.watch();
    watch.borrow_and_update();
    room.handle.declare(vec![Policy::named("a")]).unwrap();
    watch.changed().await.unwrap();
    let book = room.handle.book();
    assert!(book.policy("a").is_some() && book.policy("b").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_flag_of_the_control_planes_own_is_as_at_first_once_it_is_taken_back() {
    let room = room(Vec::new()).await;
    let off = Flag::new(Draft {
        name: own::Behaviour::Permits.flag().into(),
        variants: vec![DraftVariant::new("off", false)],
        default_variant: "off".into(),
        ..Draft::default()
    });
    room.handle.put_flag(off.unwrap(), None, "local".into()).await.unwrap();
    assert!(!own::Behaviour::Permits.is_on(&room.handle.book()));
    let back = room.handle.take_back_flag(own::Behaviour::Permits.flag().into(), None).await.unwrap();
    assert!(back.is_some_and(|placed| placed.put.is_none()));
    assert!(own::Behaviour::Permits.is_on(&room.handle.book()));
    let again = room.handle.take_back_flag(own::Behaviour::Permits.flag().into(), None).await;
    assert_eq!(again.unwrap_err().reason(), Reason::FlagNotFound);
}

#[tokio::test(start_paused = true)]
async fn what_is_told_at_once_is_bounded_in_bytes() {
    let room = room(Vec::new()).await;
    let mut put = 0;
    let refused = loop {
        let text = |n: usize| format!("{put}-{n}-{}", "x".repeat(4000));
        let flag = Flag::new(Draft {
            name: format!("flag-{put}"),
            variants: (0..16).map(|n| DraftVariant::new(format!("v-{n}"), text(n))).collect(),
            default_variant: "v-0".into(),
            ..Draft::default()
        });
        match room.handle.put_flag(flag.unwrap(), None, "local".into()).await {
            Ok(_) => put += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.reason(), Reason::TooManyFlags);
    assert!((20..30).contains(&put), "{put} flags of 64 KiB");
}
