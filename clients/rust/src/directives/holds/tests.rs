use std::{
    future::pending,
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    time::{advance, sleep},
};

use super::*;
use crate::{
    Component,
    backup::{self, Backup, CaptureWriter, Evidence, RestoreReader, Restored},
    proto::seaworthy::v1::DirectiveState,
};

const SECOND: Duration = Duration::from_secs(1);

/// What hooks were called, in order.
type Calls = Arc<Mutex<Vec<String>>>;

#[derive(Clone, Copy, PartialEq)]
enum How {
    Well,
    Slowly,
    Hangs,
    Fails,
    Panics,
    CannotGoOn,
}

/// Holds still in one long step, which nobody can end from outside.
struct Blocking {
    entered: mpsc::Sender<()>,
    /// The test has done what should end it.
    told: Arc<AtomicBool>,
    calls: Calls,
}

impl Backup for Blocking {
    async fn capture(&self, _: &mut CaptureWriter) -> Result<Evidence, backup::Error> {
        Ok(Evidence::new())
    }

    async fn restore(&self, _: &mut RestoreReader, _: &Restored) -> Result<(), backup::Error> {
        Ok(())
    }

    async fn quiesce(&self) -> Result<(), backup::Error> {
        self.entered.send(()).await?;
        while !self.told.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        // Long enough for whoever would not wait.
        for _ in 0..10_000 {
            std::thread::yield_now();
        }
        self.calls.lock().push("held".to_owned());
        Ok(())
    }

    async fn resume(&self) -> Result<(), backup::Error> {
        self.calls.lock().push("go on".to_owned());
        Ok(())
    }
}

struct Hooked(&'static str, How, Calls);

impl Backup for Hooked {
    async fn capture(&self, _: &mut CaptureWriter) -> Result<Evidence, backup::Error> {
        Ok(Evidence::new())
    }

    async fn restore(&self, _: &mut RestoreReader, _: &Restored) -> Result<(), backup::Error> {
        Ok(())
    }

    async fn quiesce(&self) -> Result<(), backup::Error> {
        self.2.lock().push(format!("hold {}", self.0));
        match self.1 {
            How::Well | How::CannotGoOn => Ok(()),
            How::Slowly => {
                sleep(20 * SECOND).await;
                Ok(())
            }
            How::Hangs => pending().await,
            How::Fails => Err("locked".into()),
            How::Panics => panic!("on purpose"),
        }
    }

    async fn resume(&self) -> Result<(), backup::Error> {
        self.2.lock().push(format!("go on {}", self.0));
        match self.1 {
            How::CannotGoOn => Err("stuck".into()),
            _ => Ok(()),
        }
    }
}

fn parts(hows: &[(&'static str, How)]) -> (Vec<(String, Part)>, Calls) {
    let calls = Calls::default();
    let part = |&(name, how): &(&'static str, How)| {
        let component = Component::new(name).backup(Hooked(name, how, Arc::clone(&calls))).quiesces();
        (name.to_owned(), component.part().expect("a backup"))
    };
    (hows.iter().map(part).collect(), calls)
}

fn begin(
    holds: &mut Holds,
    id: &str,
    parts: Vec<(String, Part)>,
    lease: Duration,
) -> Result<oneshot::Receiver<Result<(), String>>, String> {
    let runtime = tokio::runtime::Handle::current();
    holds.begin(&runtime, &format!("d-{id}"), id.to_owned(), parts, lease)
}

async fn resume(holds: &mut Holds, id: &str) -> (bool, String) {
    let Outcome::Done(report) = resumed(holds.release(id)).await else { panic!("it is always done") };
    (report.held, report.message)
}

#[tokio::test(start_paused = true)]
async fn it_lasts_until_it_is_released() {
    let mut holds = Holds::default();
    let (parts, calls) = parts(&[("a", How::Well), ("b", How::Well)]);
    let still = begin(&mut holds, "h", parts, 30 * SECOND).expect("they can");
    assert_eq!(still.await.expect("it says"), Ok(()));
    advance(29 * SECOND).await;
    assert_eq!(resume(&mut holds, "h").await, (true, String::new()));
    assert_eq!(*calls.lock(), ["hold a", "hold b", "go on b", "go on a"]);
    assert_eq!(resume(&mut holds, "h").await, (true, String::new()), "the answer stays");
    let told = resumed(holds.release("other")).await;
    let Outcome::Done(report) = told else { panic!("done") };
    assert!(!report.held && report.state() == DirectiveState::Unspecified, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn it_ends_by_itself_and_that_is_not_forgotten() {
    let mut holds = Holds::default();
    let (parts, calls) = parts(&[("a", How::Slowly)]);
    let began = rt::now();
    let still = begin(&mut holds, "h", parts, 30 * SECOND).expect("they can");
    assert_eq!(still.await.expect("it says"), Ok(()));
    let mut ended = holds.holds["h"].ended.clone();
    ended.wait_for(Option::is_some).await.expect("it ends");
    // The time runs from the directive on, not from when the hook answered.
    assert!(began.elapsed() < 31 * SECOND, "{:?}", began.elapsed());
    assert_eq!(*calls.lock(), ["hold a", "go on a"]);
    assert_eq!(resume(&mut holds, "h").await, (false, String::new()));
}

#[tokio::test(start_paused = true)]
async fn whoever_began_to_hold_goes_on_whatever_happens() {
    for (how, words) in [
        (How::Fails, "`b` does not hold still: locked"),
        (How::Panics, "`b` does not hold still: the hook panicked: on purpose"),
        (How::Hangs, "not all held still before the time was over"),
    ] {
        let mut holds = Holds::default();
        let (parts, calls) = parts(&[("a", How::Well), ("b", how), ("c", How::Well)]);
        let still = begin(&mut holds, "h", parts, 30 * SECOND).expect("they can");
        assert_eq!(still.await.expect("it says"), Err(words.to_owned()));
        assert_eq!(*calls.lock(), ["hold a", "hold b", "go on b", "go on a"], "{words}");
        assert!(!resume(&mut holds, "h").await.0);
    }
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_nobody_is_there_to_end_it() {
    for abandoned in [false, true] {
        let mut holds = Holds::default();
        let (parts, calls) = parts(&[("a", How::Well)]);
        let still = begin(&mut holds, "h", parts, 30 * SECOND).expect("they can");
        assert_eq!(still.await.expect("it says"), Ok(()));
        let mut ended = holds.holds["h"].ended.clone();
        let began = rt::now();
        match abandoned {
            true => holds.abandon("d-h"),
            false => drop(holds),
        }
        let ended = ended.wait_for(Option::is_some).await.expect("it ends").clone().expect("just seen");
        assert!(!ended.held && began.elapsed() < SECOND);
        assert_eq!(*calls.lock(), ["hold a", "go on a"]);
    }
}

#[tokio::test(start_paused = true)]
async fn who_cannot_go_on_is_told_and_does_not_stop_others() {
    let mut holds = Holds::default();
    let (parts, calls) = parts(&[("a", How::Well), ("b", How::CannotGoOn)]);
    let still = begin(&mut holds, "h", parts, 30 * SECOND).expect("they can");
    assert_eq!(still.await.expect("it says"), Ok(()));
    assert_eq!(resume(&mut holds, "h").await, (true, "`b` does not go on: stuck".to_owned()));
    assert_eq!(*calls.lock(), ["hold a", "hold b", "go on b", "go on a"]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_held_is_refused_and_nobody_is_asked() {
    let mut holds = Holds::default();
    let (one, calls) = parts(&[("a", How::Well)]);
    let restless = Component::new("r").backup(Hooked("r", How::Well, Arc::clone(&calls)));
    let restless = vec![("r".to_owned(), restless.part().expect("a backup"))];
    let wrong = |refused: Result<_, String>| refused.map(drop).expect_err("refused");
    let no_time = begin(&mut holds, "h", one.clone(), Duration::ZERO);
    assert_eq!(wrong(no_time), "a hold takes a time");
    assert_eq!(wrong(begin(&mut holds, "h", restless, SECOND)), "component `r` cannot hold still");
    assert!(calls.lock().is_empty());
    let still = begin(&mut holds, "h", one.clone(), 30 * SECOND).expect("it can");
    assert_eq!(wrong(begin(&mut holds, "h", one.clone(), SECOND)), "hold `h` has been");
    let busy = begin(&mut holds, "other", one.clone(), SECOND);
    assert_eq!(wrong(busy), "component `a` holds still already");
    assert_eq!(still.await.expect("it says"), Ok(()));
    resume(&mut holds, "h").await;
    for n in 0..100 {
        begin(&mut holds, &format!("h{n}"), one.clone(), 30 * SECOND).expect("it is free");
        resume(&mut holds, &format!("h{n}")).await;
    }
    assert!(holds.holds.len() <= REMEMBERED);
}

#[tokio::test]
async fn a_new_life_waits_for_the_holds_of_the_old_one() {
    let mut holds = Holds::default();
    let (one, _) = parts(&[("a", How::Well)]);
    let still = begin(&mut holds, "old", one.clone(), 30 * SECOND).expect("it can");
    assert_eq!(still.await.expect("it says"), Ok(()));
    holds.abandon_all();
    // It is still to go on: whoever held it now would be undone by that.
    let busy = begin(&mut holds, "new", one.clone(), SECOND).map(drop);
    assert_eq!(busy.expect_err("refused"), "component `a` holds still already");
    resume(&mut holds, "old").await;
    let still = begin(&mut holds, "new", one, 30 * SECOND).expect("it is free");
    assert_eq!(still.await.expect("it says"), Ok(()));
    assert!(resume(&mut holds, "new").await.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_goes_on_while_it_is_still_about_to_hold() {
    for abandoned in [false, true] {
        let mut holds = Holds::default();
        let ((entered, mut seen), told, calls) =
            (mpsc::channel(1), Arc::<AtomicBool>::default(), Calls::default());
        let blocking = Blocking { entered, told: Arc::clone(&told), calls: Arc::clone(&calls) };
        let part = Component::new("a").backup(blocking).quiesces().part().expect("a backup");
        let still = begin(&mut holds, "h", vec![("a".to_owned(), part)], 30 * SECOND).expect("it can");
        seen.recv().await.expect("it begins");
        match abandoned {
            true => holds.abandon("d-h"),
            false => drop(holds.release("h")),
        }
        told.store(true, Ordering::Release);
        assert_eq!(still.await.expect("it says"), Err("it was ended before all held still".to_owned()));
        assert_eq!(resume(&mut holds, "h").await, (false, String::new()));
        assert_eq!(*calls.lock(), ["held", "go on"]);
    }
}
