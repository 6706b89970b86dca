//! Directives from whoever sends them to a session and back, with time in the test's hands.

mod lost;

use std::{task::Poll, time::Duration};

use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready, task};

use super::{
    post::{CANCEL_VALID, LAST_WORD},
    *,
};
use crate::fleet::{
    directive::Ask,
    lifecycle::Lifecycle,
    snapshot::Instance,
    testing::{self, Fleet, key},
};

const VALID: Duration = Duration::from_secs(30);

fn report(state: State) -> Report {
    Report { state, message: String::new(), held: false, inspections: vec![], verification: String::new() }
}

/// A fleet with one instance, and who asks it.
struct Setting {
    fleet: super::super::Handle,
    asks: Handle,
    key: InstanceKey,
    sent: u64,
}

impl Setting {
    fn new() -> Self {
        let mut fleet = Fleet::default();
        let key = key("orders", "i-1");
        fleet.register(&key);
        let fleet = testing::handle(fleet.state);
        Self { asks: fleet.directives(), fleet, key, sent: 0 }
    }

    fn now(&self) -> crate::time::Now {
        self.fleet.shared.clock.now()
    }

    fn attach(&self, takes: bool) -> (Session, Arc<Instance>) {
        let now = self.now();
        self.fleet.shared.state.write().open_session(now, &self.key, 1, takes).unwrap()
    }

    fn attached(&self) -> Session {
        self.attach(true).0
    }

    fn directive(&mut self) -> Directive {
        self.sent += 1;
        Directive {
            id: DirectiveId::of(&format!("d-{}", self.sent)),
            operation_id: "b-1".into(),
            generation: 3,
            not_after: self.asks.now() + VALID,
            ask: Ask::Resume { hold_id: "h-1".into() },
        }
    }

    fn try_send(&mut self) -> Result<Sent> {
        let directive = self.directive();
        self.asks.send(&self.key, 1, directive)
    }

    fn send(&mut self) -> Sent {
        self.try_send().unwrap()
    }

    fn next(&self, session: &mut Session) -> Option<Arc<Directive>> {
        let now = self.asks.now();
        let carrier = session.directives.as_mut().unwrap();
        match task::spawn(()).enter(|cx, _| carrier.poll_next(cx, now)) {
            Poll::Ready(directive) => Some(directive),
            Poll::Pending => None,
        }
    }

    /// Ids of all that is carried now.
    fn carried(&self, session: &mut Session) -> Vec<String> {
        std::iter::from_fn(|| self.next(session)).map(|directive| directive.id.to_string()).collect()
    }

    fn said(&self, session: &Session, id: &str, state: State) {
        self.fleet.directive_reported(session, id, report(state));
    }

    fn ignored(&self) -> u64 {
        self.fleet.counters().ignored_reports
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_said_of_a_directive_is_heard_by_who_waits() {
    for (last, ended) in [
        (State::Done, Ended::Done(report(State::Done))),
        (State::Failed, Ended::Failed(report(State::Failed))),
        (State::Refused, Ended::Refused(report(State::Refused))),
    ] {
        let mut setting = Setting::new();
        let mut session = setting.attached();
        let mut sent = setting.send();
        assert_eq!(setting.carried(&mut session), ["d-1"]);
        assert_eq!(setting.carried(&mut session), [""; 0], "once");
        assert_eq!(sent.report(), None);
        for (said, known) in [
            (State::Received, State::Received),
            (State::Started, State::Started),
            // Said again after a lost connection: no news.
            (State::Received, State::Started),
        ] {
            setting.said(&session, "d-1", said);
            assert_eq!(sent.report().unwrap().state, known);
        }
        {
            let mut waits = task::spawn(sent.ended());
            assert_pending!(waits.poll());
            // It may take as long as it likes once it has begun.
            advance(Duration::from_secs(86_400)).await;
            assert_pending!(waits.poll());
        }
        setting.said(&session, "d-1", last);
        assert_eq!((sent.ended().await, sent.ended().await), (ended.clone(), ended));
        assert_eq!(setting.ignored(), 0);
        // Nobody waits for what has ended, or never was.
        setting.said(&session, "d-1", State::Failed);
        setting.said(&session, "d-9", State::Done);
        assert_eq!(setting.ignored(), 2);
        drop(sent);
        assert_eq!(setting.carried(&mut session), [""; 0], "nothing is cancelled");
    }
}

#[tokio::test(start_paused = true)]
async fn each_change_is_seen_and_the_end_at_once() {
    let mut setting = Setting::new();
    let session = setting.attached();
    let mut sent = setting.send();
    {
        let mut waits = task::spawn(sent.changed());
        assert_pending!(waits.poll());
        setting.said(&session, "d-1", State::Started);
        assert!(waits.is_woken());
        assert_ready!(waits.poll());
    }
    setting.said(&session, "d-1", State::Done);
    sent.changed().await;
    sent.changed().await;
    assert_eq!(sent.ended().await, Ended::Done(report(State::Done)));
}

#[tokio::test(start_paused = true)]
async fn a_report_is_a_sign_of_life() {
    let setting = Setting::new();
    let session = setting.attached();
    advance(Duration::from_secs(5)).await;
    setting.said(&session, "d-9", State::Done);
    assert_eq!(session.lease.last_heard(), setting.asks.now());
}

#[tokio::test(start_paused = true)]
async fn who_takes_none_is_not_asked() {
    let mut setting = Setting::new();
    let refused = |error: Error| {
        assert_eq!((error.kind(), error.reason()), (Kind::FailedPrecondition, Reason::DirectivesNotTaken));
        error.message().to_owned()
    };
    assert!(refused(setting.try_send().unwrap_err()).contains("has not attached"));
    let (session, shown) = setting.attach(false);
    assert!(session.directives.is_none() && !shown.takes_directives);
    assert!(refused(setting.try_send().unwrap_err()).contains("takes no directives"));
    let (mut session, shown) = setting.attach(true);
    assert!(shown.takes_directives);
    let _sent = setting.send();
    assert_eq!(setting.carried(&mut session), ["d-3"]);
    // Its stream breaks: it is known to take them, and may come back.
    setting.fleet.close_session(&session);
    drop(session);
    let _waits = setting.send();
    let (_session, shown) = setting.attach(false);
    assert!(!shown.takes_directives);
    refused(setting.try_send().unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_carried_when_the_instance_attaches_with_the_time_that_is_left() {
    let mut setting = Setting::new();
    drop(setting.attached());
    let _sent = [setting.send(), setting.send()];
    advance(Duration::from_secs(10)).await;
    let mut session = setting.attached();
    let first = setting.next(&mut session).unwrap();
    assert_eq!(first.valid_for(setting.asks.now()), VALID - Duration::from_secs(10));
    assert_eq!(setting.carried(&mut session), ["d-2"]);
}

#[tokio::test(start_paused = true)]
async fn what_has_not_ended_is_carried_again_to_the_same_incarnation() {
    let mut setting = Setting::new();
    let mut session = setting.attached();
    let mut sent: Vec<_> = (0..4).map(|_| setting.send()).collect();
    assert_eq!(setting.carried(&mut session), ["d-1", "d-2", "d-3", "d-4"]);
    setting.said(&session, "d-1", State::Done);
    setting.said(&session, "d-2", State::Started);
    drop(session);
    // However late it is: what became of it is said again.
    advance(VALID + Duration::from_secs(1)).await;
    let waiting = setting.send();
    advance(VALID).await;
    let mut session = setting.attached();
    assert_eq!(setting.carried(&mut session), ["d-2", "d-3", "d-4"], "d-5 may not begin any more");
    assert_eq!(setting.carried(&mut session), [""; 0]);
    setting.said(&session, "d-3", State::Done);
    assert!(matches!(sent[2].ended().await, Ended::Done(_)));
    drop(waiting);
}

#[tokio::test(start_paused = true)]
async fn a_later_stream_of_the_same_incarnation_is_the_one_that_is_woken() {
    let mut setting = Setting::new();
    let (mut older, mut newer) = (setting.attached(), setting.attached());
    let mut tasks = [task::spawn(()), task::spawn(())];
    for (task, session) in tasks.iter_mut().zip([&mut newer, &mut older]) {
        let (carrier, now) = (session.directives.as_mut().unwrap(), setting.asks.now());
        task.enter(|cx, _| assert!(carrier.poll_next(cx, now).is_pending()));
    }
    let _sent = setting.send();
    assert_eq!(tasks.each_ref().map(|task| task.is_woken()), [true, false]);
    assert_eq!(setting.carried(&mut older), [""; 0]);
    // Its end does not take the newer one's place away.
    drop(older);
    assert_eq!(setting.carried(&mut newer), ["d-1"]);
    let (carrier, now) = (newer.directives.as_mut().unwrap(), setting.asks.now());
    let [task, _] = &mut tasks;
    task.enter(|cx, _| assert!(carrier.poll_next(cx, now).is_pending()));
    let _sent = setting.send();
    assert!(task.is_woken());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_heard_of_who_is_gone() {
    for what in ["superseded", "removed", "left", "lost"] {
        let mut setting = Setting::new();
        let mut session = setting.attached();
        let mut sent = setting.send();
        assert_eq!(setting.carried(&mut session), ["d-1"]);
        let mut waits = task::spawn(sent.ended());
        assert_pending!(waits.poll());
        let tombstone = |removal| {
            let message = String::new();
            Arc::new(Tombstone {
                key: setting.key.clone(),
                incarnation: 1,
                removal,
                message,
                removed: now_of(&setting),
            })
        };
        let bury = |tombstone: &Arc<Tombstone>| {
            let grave =
                super::super::state::Grave { tombstone: Arc::clone(tombstone), token: testing::token() };
            setting.fleet.shared.state.write().bury(setting.now(), grave);
        };
        let (gone, reason) = match what {
            "superseded" => {
                let now = setting.now();
                testing::register(&mut setting.fleet.shared.state.write(), now, &setting.key);
                (Gone::Superseded, Reason::StaleIncarnation)
            }
            "removed" => {
                let tombstone = tombstone(Removal::Operator);
                bury(&tombstone);
                (Gone::Removed(tombstone), Reason::InstanceRemoved)
            }
            "left" => {
                let tombstone = tombstone(Removal::Deregistered);
                bury(&tombstone);
                (Gone::Left(tombstone), Reason::InstanceRemoved)
            }
            _ => {
                advance(Duration::from_secs(60)).await;
                while setting.fleet.shared.state.write().tick(setting.now(), 8).more {}
                (Gone::Lost, Reason::InstanceLost)
            }
        };
        assert!(waits.is_woken(), "{what}");
        assert_eq!(assert_ready!(waits.poll()), Ended::Gone(gone));
        drop(waits);
        assert_eq!(setting.try_send().unwrap_err().reason(), reason, "{what}");
        if what == "lost" {
            // It was away, and has perhaps begun: when it is heard again it is told not to go on.
            let mut session = setting.attached();
            assert_eq!(setting.carried(&mut session), ["d-1-cancel"]);
            setting.try_send().unwrap();
        } else {
            assert_eq!(setting.carried(&mut session), [""; 0], "{what}");
        }
    }

    fn now_of(setting: &Setting) -> std::time::SystemTime {
        setting.now().wall
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_begin_in_time_has_expired() {
    // Never carried: at once. Carried: its word may be on the way.
    for (carried, said, after) in [
        (false, None, Some(VALID)),
        (true, None, Some(VALID + LAST_WORD)),
        (true, Some(State::Received), Some(VALID + LAST_WORD)),
        (true, Some(State::Started), None),
    ] {
        let mut setting = Setting::new();
        let mut session = setting.attached();
        let mut sent = setting.send();
        if carried {
            assert_eq!(setting.carried(&mut session), ["d-1"]);
        }
        if let Some(said) = said {
            setting.said(&session, "d-1", said);
        }
        let mut waits = task::spawn(sent.ended());
        assert_pending!(waits.poll());
        advance(after.unwrap_or(VALID * 100) - Duration::from_millis(2)).await;
        assert_pending!(waits.poll());
        // Who waits may give up and wait again.
        drop(waits);
        let mut waits = task::spawn(sent.ended());
        assert_pending!(waits.poll());
        advance(Duration::from_millis(3)).await;
        if after.is_none() {
            assert_pending!(waits.poll());
            continue;
        }
        assert_eq!(assert_ready!(waits.poll()), Ended::Expired);
        drop(waits);
        assert_eq!(sent.ended().await, Ended::Expired);
        let cancels: &[&str] = if carried { &["d-1-cancel"] } else { &[] };
        assert_eq!(setting.carried(&mut session), cancels);
        setting.said(&session, "d-1", State::Done);
        assert_eq!(setting.ignored(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_is_forgotten_and_cancelled_where_it_may_have_begun() {
    let mut setting = Setting::new();
    let mut session = setting.attached();
    drop(setting.send());
    assert_eq!(setting.carried(&mut session), [""; 0], "it was never carried");
    let (second, third) = (setting.send(), setting.send());
    assert_eq!(setting.carried(&mut session), ["d-2", "d-3"]);
    let mut look = task::spawn(());
    let (carrier, now) = (session.directives.as_mut().unwrap(), setting.asks.now());
    look.enter(|cx, _| assert!(carrier.poll_next(cx, now).is_pending()));
    drop(second);
    assert!(look.is_woken());
    let cancel = setting.next(&mut session).unwrap();
    assert_eq!(cancel.ask, Ask::Cancel { directive: DirectiveId::of("d-2") });
    assert_eq!((cancel.operation_id.as_str(), cancel.generation), ("b-1", 3));
    assert_eq!(cancel.valid_for(now), CANCEL_VALID);
    // Until it is answered, or no use any more, it is said again to who comes back.
    drop(session);
    let mut session = setting.attached();
    assert_eq!(setting.carried(&mut session), ["d-2-cancel", "d-3"]);
    setting.said(&session, "d-2-cancel", State::Received);
    setting.said(&session, "d-2-cancel", State::Done);
    assert_eq!(setting.ignored(), 0);
    drop(third);
    drop(session);
    advance(CANCEL_VALID).await;
    let mut session = setting.attached();
    assert_eq!(setting.carried(&mut session), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_asked_a_bounded_number_of_things() {
    let mut setting = Setting::new();
    let mut session = setting.attached();
    let mut sent: Vec<_> = (0..MOST_PENDING).map(|_| setting.send()).collect();
    let refused = setting.try_send().unwrap_err();
    assert_eq!((refused.kind(), refused.reason()), (Kind::ResourceExhausted, Reason::TooManyDirectives));
    assert_eq!(setting.carried(&mut session).len(), MOST_PENDING);
    setting.said(&session, "d-1", State::Done);
    sent.push(setting.send());
    // As many cancels, and no more, however many are let go.
    for _ in 0..3 {
        setting.carried(&mut session);
        sent.clear();
        sent = (0..MOST_PENDING).map(|_| setting.send()).collect();
    }
    setting.carried(&mut session);
    sent.clear();
    assert_eq!(setting.carried(&mut session).len(), MOST_PENDING);
}

#[tokio::test(start_paused = true)]
async fn an_id_is_used_once() {
    let mut setting = Setting::new();
    let _session = setting.attached();
    let _sent = setting.send();
    setting.sent = 0;
    assert_eq!(setting.try_send().unwrap_err().kind(), Kind::Internal);
    assert_ne!(setting.asks.new_id().unwrap(), setting.asks.new_id().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_lifecycle_is_no_end() {
    let mut setting = Setting::new();
    let session = setting.attached();
    let mut sent = setting.send();
    let draining = setting.fleet.session_report(&session, vec![], Some(Lifecycle::Draining));
    assert!(draining.is_ok());
    let mut waits = task::spawn(sent.ended());
    assert_pending!(waits.poll());
    setting.said(&session, "d-1", State::Done);
    assert!(matches!(assert_ready!(waits.poll()), Ended::Done(_)));
}

mod whatever_happens {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    /// One incarnation's post, and what is known of it from outside.
    struct World {
        post: Arc<Post>,
        now: Mono,
        sessions: u64,
        carrier: Option<Carrier>,
        // Those that somebody waits for.
        waiting: HashMap<String, watch::Receiver<Progress>>,
        carried: HashSet<(u64, String)>,
        ended: bool,
        sent: u32,
    }

    impl World {
        fn step(&mut self, step: u8, n: usize) {
            let mut ids: Vec<_> = self.waiting.keys().cloned().collect();
            ids.sort();
            let id = ids.get(n.checked_rem(ids.len()).unwrap_or(0)).cloned();
            match (step, id) {
                (0..=2, _) => self.send(),
                (3, _) => {
                    self.sessions += 1;
                    self.carrier = Some(self.post.carry(self.sessions));
                }
                (4, _) => self.carry_all(),
                (5, Some(id)) => {
                    let state = [State::Received, State::Started, State::Done, State::Failed][n % 4];
                    let known = self.post.report(&id, report(state));
                    let over = self.waiting[&id].borrow().ended().is_some();
                    assert!(known, "{id} is waited for");
                    if over {
                        self.waiting.remove(&id);
                    }
                }
                (6, Some(id)) => {
                    self.waiting.remove(&id);
                    self.post.forget(&DirectiveId::of(&id), self.now);
                }
                (7, Some(id)) => {
                    let begun = self.waiting[&id].borrow().state() == Some(State::Started);
                    assert_eq!(self.post.expire(&DirectiveId::of(&id), self.now), !begun);
                    if !begun {
                        self.waiting.remove(&id);
                    }
                }
                (8, _) => {
                    self.post.lose(self.now);
                    self.all_are_gone(&Gone::Lost);
                }
                (9, _) if n == 0 => {
                    self.post.end(&Gone::Superseded);
                    self.ended = true;
                    self.all_are_gone(&Gone::Superseded);
                }
                _ => self.now = self.now + Duration::from_secs(n as u64 * 10),
            }
        }

        fn send(&mut self) {
            self.sent += 1;
            let id = format!("d-{}", self.sent);
            let directive = Directive {
                id: DirectiveId::of(&id),
                operation_id: "b-1".into(),
                generation: 1,
                not_after: self.now + VALID,
                ask: Ask::Resume { hold_id: String::new() },
            };
            match self.post.put(directive) {
                Ok(progress) if self.ended => assert!(progress.borrow().ended().is_some()),
                Ok(progress) => drop(self.waiting.insert(id, progress)),
                Err(_) => assert_eq!(self.waiting.len(), MOST_PENDING),
            }
        }

        fn carry_all(&mut self) {
            let Some(carrier) = &mut self.carrier else { return };
            task::spawn(()).enter(|cx, _| {
                while let Poll::Ready(directive) = carrier.poll_next(cx, self.now) {
                    let id = directive.id.to_string();
                    assert!(!self.ended);
                    assert!(self.carried.insert((self.sessions, id.clone())), "{id} twice on one stream");
                    match &directive.ask {
                        Ask::Cancel { directive } => assert!(!self.waiting.contains_key(directive.as_str())),
                        _ => assert!(self.waiting.contains_key(&id), "nobody waits for {id}"),
                    }
                }
            });
            // Nobody is forgotten: what may still begin was carried on this stream.
            for (id, progress) in &self.waiting {
                assert!(progress.borrow().ended().is_none());
                let begins_by = self.post.begins_by(&DirectiveId::of(id)).expect("it has not ended");
                let carried = self.carried.contains(&(self.sessions, id.clone()));
                assert!(carried || begins_by <= self.now, "{id} waits");
            }
        }

        fn all_are_gone(&mut self, why: &Gone) {
            for progress in self.waiting.drain().map(|(_, progress)| progress) {
                assert_eq!(progress.borrow().ended(), Some(Ended::Gone(why.clone())));
            }
        }
    }

    proptest! {
        #[test]
        fn each_is_carried_once_on_a_stream_and_who_waits_hears_the_end(
            steps in prop::collection::vec((0u8..11, 0usize..7), 1..200),
        ) {
            let mut world = World {
                post: Arc::default(),
                now: Mono::from_millis(0),
                sessions: 0,
                carrier: None,
                waiting: HashMap::new(),
                carried: HashSet::new(),
                ended: false,
                sent: 0,
            };
            for (step, n) in steps {
                world.step(step, n);
            }
        }
    }
}
