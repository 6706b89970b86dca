//! The room as a whole: on a disk that fails on demand, on one whose failures are diced, over restarts, and with a file.

mod file;
mod start;

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use tokio::sync::Notify;

use super::{
    verify::{Break, Verified, Verifier},
    *,
};
use crate::{
    error::{Kind, Reason},
    identity::Principal,
    store::{
        embedded::faults::{Fault, Faulty},
        simulated::{Fate, Medium},
    },
    task::{self, OnEnd, Task},
};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn limits() -> Limits {
    Limits { retention: 90 * DAY, max_entries: 100_000, enrolments: false }
}

/// An audit that runs.
struct Running {
    handle: Handle,
    drain: drain::Signal,
    task: Task<bool>,
}

impl Running {
    async fn on(store: &Store, file: Option<&Path>) -> Self {
        Self::with(store, file, limits(), Clock::start()).await
    }

    async fn with(store: &Store, file: Option<&Path>, limits: Limits, clock: Clock) -> Self {
        let options = Options { file: file.map(Path::to_owned), limits };
        let (handle, service) = open(options, clock, store.clone()).await.unwrap();
        let (drain, watch) = drain::channel();
        Self { handle, drain, task: task::spawn("audit", OnEnd::Fine, service.run(watch)) }
    }

    async fn end(self) -> bool {
        self.drain.begin();
        self.task.await.unwrap()
    }

    async fn entries(&self) -> Vec<Kept> {
        let mut entries = Vec::new();
        let (mut after, all) = (0, Filter::default());
        loop {
            let read = self.handle.page(after, &all, |kept| {
                entries.push(kept);
                true
            });
            match read.await.unwrap().next {
                Some(next) => after = next,
                None => return entries,
            }
        }
    }

    /// What a caller of the API finds.
    async fn verify(&self) -> Result<Verified, Break> {
        let mut verifier = Verifier::new(None);
        verifier.anchor(self.handle.ends().anchor);
        for kept in self.entries().await {
            verifier.take(&kept.line, &kept.hash)?;
        }
        verifier.finish(Some(self.handle.ends().newest))
    }

    async fn put(&self, object: &str) -> Result<()> {
        self.handle.change(call(object), async { Ok(()) }, |()| "done".to_owned()).await
    }

    async fn until(&self, what: &str, reached: impl Fn(&Handle) -> bool) {
        let reached = async {
            while !reached(&self.handle) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reached).await.expect(what);
    }
}

fn call(object: &str) -> Call {
    let who = Who::new(&Principal::Local, ([127, 0, 0, 1], 1).into());
    Call { who, operation: "/a.B/C".into(), object: object.into(), request_id: format!("r-{object}") }
}

/// An embedded store in memory, its engine and its folder.
fn disk() -> (Faulty, Store, impl Drop, tempfile::TempDir) {
    let disk = Faulty::default();
    let (store, engine, dir) = disk.open();
    (disk, store, engine, dir)
}

fn stages(entries: &[Kept]) -> Vec<(String, Stage, String)> {
    let entries = entries.iter().map(|kept| kept.entry.clone().unwrap());
    entries.map(|entry| (entry.call.object, entry.stage, entry.outcome)).collect()
}

#[tokio::test]
async fn a_change_has_two_entries_that_say_how_it_came_out() {
    let (_disk, store, _engine, _dir) = disk();
    let audit = Running::on(&store, None).await;
    audit.put("good").await.unwrap();
    let refused = async { Err::<(), _>(Error::new(Kind::NotFound, Reason::ServiceNotFound, "m")) };
    let refused = audit.handle.change(call("bad"), refused, |()| String::new()).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::ServiceNotFound);
    let entries = audit.entries().await;
    let completed = |object: &str, outcome: &str| (object.to_owned(), Stage::Completed, outcome.to_owned());
    let received = |object: &str| (object.to_owned(), Stage::Received, String::new());
    assert_eq!(
        stages(&entries),
        [received("good"), completed("good", "OK"), received("bad"), completed("bad", "NOT_FOUND")]
    );
    let details = entries.iter().map(|kept| kept.entry.as_ref().unwrap().detail.as_str());
    assert_eq!(details.collect::<Vec<_>>(), ["", "done", "", "SERVICE_NOT_FOUND"]);
    assert_eq!(audit.handle.tally().entries, [2, 2, 0]);
    assert!(audit.verify().await.is_ok());
    assert!(audit.end().await);
}

#[tokio::test]
async fn many_at_once_form_one_chain_in_fewer_commits() {
    let (disk, store, _engine, _dir) = disk();
    let audit = Running::on(&store, None).await;
    // All wait for one sync, and then for few.
    disk.set(Fault::Hang);
    let objects: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    let all = futures_util::future::join_all(objects.iter().map(|object| audit.put(object)));
    let released = async {
        while !disk.hangs() {
            tokio::task::yield_now().await;
        }
        disk.set(Fault::None);
    };
    let (all, ()) = tokio::join!(all, released);
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(audit.verify().await.unwrap().entries, 400);
    assert!(store.status().revision < 100, "{}", store.status().revision);
    assert!(audit.end().await);
}

#[tokio::test]
async fn a_restart_goes_on_with_the_chain() {
    let (_disk, store, _engine, _dir) = disk();
    for start in 1..=3 {
        let audit = Running::on(&store, None).await;
        audit.put("a").await.unwrap();
        let Verified { entries, first, last } = audit.verify().await.unwrap();
        assert_eq!((entries, first, last.sequence), (2 * start, 1, 2 * start));
        assert_eq!(audit.handle.status().broken, None);
        assert!(audit.end().await);
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_no_change_without_its_end() {
    let (_disk, store, _engine, _dir) = disk();
    let audit = Running::on(&store, None).await;
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&begun), Arc::clone(&go_on));
    let change = async move {
        tell.notify_one();
        wait.notified().await;
        Ok(())
    };
    let mut caller = Box::pin(audit.handle.change(call("a"), change, |()| "done".to_owned()));
    tokio::select! {
        _ = &mut caller => panic!("it waits"),
        () = begun.notified() => {}
    }
    drop(caller);
    assert_eq!(stages(&audit.entries().await).len(), 1);
    go_on.notify_one();
    audit.until("completed", |handle| handle.ends().newest.sequence == 2).await;
    assert_eq!(stages(&audit.entries().await)[1], ("a".to_owned(), Stage::Completed, "OK".to_owned()));
    assert!(audit.end().await);
}

#[tokio::test]
async fn a_change_that_panics_is_completed_as_an_internal_error() {
    let (_disk, store, _engine, _dir) = disk();
    let audit = Running::on(&store, None).await;
    let bug = async {
        tokio::task::yield_now().await;
        panic!("on purpose")
    };
    let ended = audit.handle.change::<(), _>(call("a"), bug, |()| String::new()).await.unwrap_err();
    assert_eq!(ended.kind(), Kind::Internal);
    audit.until("completed", |handle| handle.ends().newest.sequence == 2).await;
    assert_eq!(stages(&audit.entries().await)[1].2, "INTERNAL");
    assert!(audit.end().await);
}

#[tokio::test]
async fn nothing_is_done_that_cannot_be_written_down() {
    let (disk, store, _engine, _dir) = disk();
    let audit = Running::on(&store, None).await;
    disk.set(Fault::Writes);
    let done = Arc::new(AtomicU64::new(0));
    let mark = Arc::clone(&done);
    let change = async move {
        mark.store(1, Ordering::SeqCst);
        Ok(())
    };
    let refused = audit.handle.change(call("a"), change, |()| String::new()).await.unwrap_err();
    assert_eq!((refused.kind(), refused.reason()), (Kind::Unavailable, Reason::AuditUnavailable));
    assert!(refused.retry_pause().is_some() && refused.metadata().is_empty(), "{refused:?}");
    assert_eq!(done.load(Ordering::SeqCst), 0);
    assert!(audit.handle.status().trouble.is_some());
    let refused = audit.put("at once").await.unwrap_err();
    assert_eq!(refused.reason(), Reason::AuditUnavailable);
    disk.set(Fault::None);
    audit.until("it can be written again", |handle| handle.status().trouble.is_none()).await;
    assert_eq!(audit.handle.tally().failures, 2);
    audit.put("b").await.unwrap();
    assert_eq!(audit.verify().await.unwrap().entries, 2, "the number that was refused is given to the next");
    assert!(audit.end().await);
}

#[tokio::test]
async fn what_was_done_and_could_not_be_written_is_said_so_and_written_later() {
    let (disk, store, _engine, _dir) = disk();
    let audit = Running::on(&store, None).await;
    let fails = disk.clone();
    let change = async move {
        fails.set(Fault::Writes);
        Ok(())
    };
    let told = audit.handle.change(call("a"), change, |()| "done".to_owned()).await.unwrap_err();
    assert_eq!((told.kind(), told.reason()), (Kind::Unavailable, Reason::AuditUnavailable));
    assert_eq!(told.metadata(), [("outcome", "changed".to_owned())]);
    disk.set(Fault::None);
    audit.until("it is written", |handle| handle.ends().newest.sequence == 2).await;
    assert_eq!(stages(&audit.entries().await)[1], ("a".to_owned(), Stage::Completed, "OK".to_owned()));
    assert!(audit.verify().await.is_ok());
    assert!(audit.end().await);
}

#[tokio::test]
async fn a_hanging_disk_is_given_up_after_five_seconds_and_nothing_is_done() {
    let (disk, store, _engine, _dir) = disk();
    let audit = Running::on(&store, None).await;
    disk.set(Fault::Hang);
    let change = async { panic!("it must not be done") };
    let began = audit.handle.shared.clock.elapsed();
    let refused = audit.handle.change::<(), _>(call("a"), change, |()| String::new()).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::AuditUnavailable);
    assert!(audit.handle.shared.clock.elapsed() - began >= Duration::from_secs(5));
    disk.set(Fault::None);
    audit.put("b").await.unwrap();
    assert!(audit.verify().await.is_ok());
    assert!(audit.end().await);
}

/// However many have come and given up meanwhile, there is a place for what is done.
#[tokio::test(start_paused = true)]
async fn what_was_done_while_the_disk_hangs_is_written_once_it_does_not() {
    let medium = Medium::default();
    let clock = Clock::start();
    let hangs = Arc::new(AtomicU64::new(0));
    let hanging = Arc::clone(&hangs);
    let fates = move || Fate::Written(Duration::from_secs(hanging.swap(0, Ordering::SeqCst)));
    let (store, _engine) = medium.open(clock, Box::new(fates));
    let audit = Running::with(&store, None, limits(), clock).await;
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&begun), Arc::clone(&go_on));
    let change = async move {
        tell.notify_one();
        wait.notified().await;
        Ok(())
    };
    let slow = audit.handle.change(call("slow"), change, |()| "done".to_owned());
    let others = async {
        begun.notified().await;
        hangs.store(60, Ordering::SeqCst);
        let objects: Vec<String> = (0..600).map(|number| number.to_string()).collect();
        for _ in 0..3 {
            let all = futures_util::future::join_all(objects.iter().map(|object| audit.put(object))).await;
            let refused = |outcome: &Result<()>| {
                outcome.as_ref().is_err_and(|error| error.reason() == Reason::AuditUnavailable)
            };
            assert!(all.iter().all(refused), "none is done");
        }
        go_on.notify_one();
    };
    let (told, ()) = tokio::join!(slow, others);
    assert_eq!(told.unwrap_err().metadata(), [("outcome", "changed".to_owned())]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let written = stages(&audit.entries().await);
    assert!(written.contains(&("slow".to_owned(), Stage::Completed, "OK".to_owned())), "{written:?}");
    assert!(audit.verify().await.is_ok());
    assert!(audit.end().await);
}

/// Whatever becomes of commits, also where nobody can tell for a while: one chain, and every change that was
/// acknowledged is in it.
#[tokio::test(start_paused = true)]
async fn a_disk_that_fails_by_the_dice_does_not_break_the_chain() {
    let mut all_acknowledged = 0;
    for seed in 0..40_u64 {
        let medium = Medium::default();
        let clock = Clock::start();
        let mut dice = fastrand::Rng::with_seed(seed);
        let (after, lasts) = (Duration::from_millis(2), Duration::from_millis(700));
        let fates = move || match dice.u8(0..10) {
            0 => Fate::Refused { after, lasts },
            1 | 2 => Fate::Open { after, lasts, shown: dice.bool(), written: dice.bool() },
            _ => Fate::Written(after),
        };
        let (store, engine) = medium.open(clock, Box::new(fates));
        let audit = Running::with(&store, None, limits(), clock).await;
        let mut acknowledged = Vec::new();
        for round in 0..10 {
            let objects: Vec<String> = (0..5).map(|number| format!("{round}-{number}")).collect();
            let all = futures_util::future::join_all(objects.iter().map(|object| audit.put(object))).await;
            acknowledged.extend(objects.into_iter().zip(all).filter(|(_, done)| done.is_ok()));
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        all_acknowledged += acknowledged.len();
        audit.end().await;
        drop(engine);
        // Another one finds it whole.
        let (store, _engine) = medium.open(clock, Box::new(|| Fate::Written(Duration::ZERO)));
        let audit = Running::with(&store, None, limits(), clock).await;
        assert_eq!(audit.handle.status().broken, None, "seed {seed}");
        audit.verify().await.unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        let written = stages(&audit.entries().await);
        for (object, _) in acknowledged {
            let completed = (object, Stage::Completed, "OK".to_owned());
            assert!(written.contains(&completed), "seed {seed}: {completed:?}");
        }
        audit.end().await;
    }
    assert!((200..1900).contains(&all_acknowledged), "some fail, and some do not: {all_acknowledged}");
}

#[tokio::test(start_paused = true)]
async fn what_is_old_or_too_much_is_dropped_behind_an_anchor() {
    let medium = Medium::default();
    let clock = Clock::start_at(SystemTime::UNIX_EPOCH + 1000 * DAY);
    let (store, _engine) = medium.open(clock, Box::new(|| Fate::Written(Duration::ZERO)));
    let few = Limits { max_entries: 7, retention: Duration::from_secs(3600), ..limits() };
    let audit = Running::with(&store, None, few, clock).await;
    for number in 0..300 {
        audit.put(&number.to_string()).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(61)).await;
    let kept = audit.verify().await.unwrap();
    assert_eq!((kept.entries, kept.first, kept.last.sequence), (7, 594, 600));
    assert_eq!(medium.entries("audit/").len(), 7);
    // A change of the limits counts at once.
    audit.handle.configure(Limits { max_entries: 3, ..few });
    audit.until("dropped", |handle| handle.ends().anchor.sequence == 597).await;
    // The newest stays, however old.
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    let kept = audit.verify().await.unwrap();
    assert_eq!((kept.entries, kept.first), (1, 600));
    audit.end().await;
    let audit = Running::with(&store, None, few, clock).await;
    assert_eq!(audit.handle.status().broken, None);
    audit.put("again").await.unwrap();
    tokio::time::sleep(Duration::from_secs(61)).await;
    let kept = audit.verify().await.unwrap();
    assert_eq!((kept.first, kept.last.sequence), (601, 602), "the old one is dropped for its age");
    audit.end().await;
}

#[tokio::test(start_paused = true)]
async fn denials_are_few_and_never_in_the_way() {
    let medium = Medium::default();
    let clock = Clock::start();
    let (store, _engine) = medium.open(clock, Box::new(|| Fate::Written(Duration::from_millis(1))));
    let audit = Running::with(&store, None, limits(), clock).await;
    let why = Error::new(Kind::PermissionDenied, Reason::PermissionDenied, "m");
    for _ in 0..1000 {
        audit.handle.try_denied(call("service/orders"), &why);
    }
    audit.put("a").await.unwrap();
    let tally = audit.handle.tally();
    assert_eq!((tally.entries, tally.dropped_denials), ([1, 1, 60], 940));
    let denied = &stages(&audit.entries().await)[0];
    assert_eq!(denied, &("service/orders".to_owned(), Stage::Denied, "PERMISSION_DENIED".to_owned()));
    assert!(audit.end().await);
}
