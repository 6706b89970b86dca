//! Operations against a store in memory, on paused time.

mod ends;
mod lists;
mod restart;
mod writes;

use futures_util::FutureExt as _;

use super::*;
use crate::{
    error::{Kind as ErrorKind, Reason},
    store::simulated::{Engine, Fate, Medium},
    task::{self, OnEnd, Task, drain},
};

/// A control plane's operations, running.
struct Running {
    handle: Handle,
    orphans: Vec<Orphan>,
    clock: Clock,
    /// What becomes of commits from now on.
    fate: Arc<parking_lot::Mutex<Fate>>,
    drain: drain::Signal,
    task: Task<bool>,
    _engine: Engine,
}

const AT_ONCE: Fate = Fate::Written(Duration::from_millis(1));
/// Nothing is written for a minute.
const FULL: Fate = Fate::Refused { after: Duration::from_millis(1), lasts: Duration::from_secs(60) };

async fn start(medium: &Medium) -> Running {
    start_with(medium, Options::default()).await
}

async fn start_with(medium: &Medium, options: Options) -> Running {
    start_at(medium, options, 1_700_000_000).await
}

/// By a clock that shows so many seconds since 1970.
async fn start_at(medium: &Medium, options: Options, seconds: u64) -> Running {
    let clock = Clock::start_at(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    let fate = Arc::new(parking_lot::Mutex::new(AT_ONCE));
    let fates = Arc::clone(&fate);
    let (store, engine) = medium.open(clock, Box::new(move || *fates.lock()));
    let (handle, service, orphans) = open(options, clock, Entropy::system(), store).await.unwrap();
    let (drain, watch) = drain::channel();
    let task = task::spawn("operations", OnEnd::Fine, service.run(watch));
    Running { handle, orphans, clock, fate, drain, task, _engine: engine }
}

impl Running {
    async fn begin(&self, wanted: Wanted) -> Run {
        match self.handle.begin(wanted).await.unwrap() {
            Begun::New(run) => run,
            Begun::Same(same) => panic!("the same as {same:?}"),
        }
    }

    /// The process dies: nothing more is said, and nothing written.
    fn crash(self) {
        self.task.abort();
    }

    async fn stop(mut self) -> bool {
        self.drain.begin();
        (&mut self.task).await.unwrap()
    }
}

fn wanted(service: &str) -> Wanted {
    Wanted {
        kind: Kind::Backup,
        service: service.into(),
        backup_id: None,
        created_by: "token:alice".into(),
        request_id: String::new(),
        asked: asked(["all"]),
        scope: format!("backup/{service}"),
    }
}

/// Ends those that nobody goes on with.
fn end(orphans: Vec<Orphan>) {
    for orphan in orphans {
        let outcome = orphan.cut_off("it was cut off".into());
        // One that was taken over is somebody else's to end.
        drop(orphan.run.conclude(outcome, &[]));
    }
}

fn is_cancelled(run: &Run) -> bool {
    run.cancelled().now_or_never().is_some()
}

fn failed(cause: &str) -> Outcome {
    Outcome::Failed { cause: cause.into() }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
