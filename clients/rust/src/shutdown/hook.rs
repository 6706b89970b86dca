//! What a component of a service does in a shutdown: in which phase, in which order, how long it may take, and what it says of it.

use std::{fmt, future::Future, pin::Pin, time::Duration};

use tokio::time::Instant;

use super::Settings;
use crate::{rt, rules::Phase};

/// Why a hook failed. Any error becomes one by `?`, and so does a text by `.into()`; its words are in the report.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// What runs, boxed.
pub(super) type Work =
    Box<dyn FnOnce(Ending) -> Pin<Box<dyn Future<Output = Result<Said, Error>> + Send>> + Send>;

/// Where what caches do comes in their phase.
const CACHE_ORDER: i32 = 100;
/// Databases are closed after whatever may still need them.
const DATABASE_ORDER: i32 = 200;

/// What a component does when its service shuts down, by an async function. Those of one phase run by their
/// [`order`](Hook::order), and beside each other where that is the same; each within its own time, and a panic is a failure
/// like any other. None keeps the others from running.
#[must_use = "a hook counts when it is given to a shutdown"]
pub struct Hook {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) phase: Phase,
    pub(super) order: i32,
    pub(super) timeout: Option<Duration>,
    pub(super) work: Work,
}

/// What kind of component it is, which says how long it may take where nothing else does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Tasks that run beside the requests.
    BackgroundTasks,
    /// What begins such tasks by the clock.
    Scheduler,
    /// What keeps connections to clients open.
    WebSockets,
    /// State that is written down.
    State,
    /// What can be lost, and is flushed.
    Cache,
    /// What is closed last.
    Database,
    /// Anything else.
    Other,
}

impl Kind {
    /// The word for people: `background_tasks`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::BackgroundTasks => "background_tasks",
            Kind::Scheduler => "scheduler",
            Kind::WebSockets => "websockets",
            Kind::State => "state",
            Kind::Cache => "cache",
            Kind::Database => "database",
            Kind::Other => "other",
        }
    }

    pub(super) fn timeout(self, settings: &Settings) -> Duration {
        match self {
            Kind::BackgroundTasks => settings.background_tasks,
            Kind::WebSockets => settings.long_lived,
            Kind::State => settings.save,
            Kind::Cache => settings.cache,
            Kind::Database => settings.database,
            Kind::Scheduler | Kind::Other => settings.hook,
        }
    }
}

/// What a hook is told: why it ends, and until when it has time.
#[derive(Clone, Debug)]
pub struct Ending {
    pub(super) cause: String,
    pub(super) until: Instant,
}

impl Ending {
    /// Why the service ends: `SIGTERM`.
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// How much time is left for this hook.
    pub fn left(&self) -> Duration {
        self.until.saturating_duration_since(rt::now())
    }
}

/// What a hook says of what it has done, for the log and the report: nothing, a text, or a [`Checkpoint`].
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Said {
    pub(super) note: String,
    pub(super) checkpoint: Option<Checkpoint>,
}

/// What was saved, and how far.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Checkpoint {
    /// Its name: a file, a topic.
    pub name: String,
    /// Up to where: an offset, a revision, a number of rows.
    pub position: String,
    /// How many bytes it has.
    pub size: u64,
}

impl From<()> for Said {
    fn from((): ()) -> Self {
        Self::default()
    }
}

impl From<String> for Said {
    fn from(note: String) -> Self {
        Self { note, checkpoint: None }
    }
}

impl From<&str> for Said {
    fn from(note: &str) -> Self {
        note.to_owned().into()
    }
}

impl From<Checkpoint> for Said {
    fn from(checkpoint: Checkpoint) -> Self {
        Self { note: String::new(), checkpoint: Some(checkpoint) }
    }
}

impl Hook {
    /// A hook of the service's own in any phase but the first and the last (there it runs in the next, or the one before).
    /// What it answers is in the report.
    pub fn new<F, S>(
        name: impl Into<String>,
        phase: Phase,
        work: impl FnOnce(Ending) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<S, Error>> + Send + 'static,
        S: Into<Said>,
    {
        let phase = phase.clamp(Phase::InitiateShutdown, Phase::CleanupResources);
        Self::of_kind(name, Kind::Other, phase, 0, work)
    }

    /// Waits for tasks that run beside the requests, once these have finished. They are told to end by
    /// [`Shutdown::stop_accepting`](super::Shutdown::stop_accepting), or by this. 10 s.
    pub fn background_tasks<F, S>(
        name: impl Into<String>,
        work: impl FnOnce(Ending) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<S, Error>> + Send + 'static,
        S: Into<Said>,
    {
        Self::of_kind(name, Kind::BackgroundTasks, Phase::FinishActiveRequests, 0, work)
    }

    /// Stops what begins tasks by the clock, when no new requests are taken either. 5 s.
    pub fn scheduler<F, S>(name: impl Into<String>, work: impl FnOnce(Ending) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<S, Error>> + Send + 'static,
        S: Into<Said>,
    {
        Self::of_kind(name, Kind::Scheduler, Phase::StopAcceptingRequests, 0, work)
    }

    /// Tells clients of connections that the service keeps by itself, and closes these. 5 s. Connections that are
    /// [`LongLived`](super::LongLived) need no hook.
    pub fn websockets<F, S>(name: impl Into<String>, work: impl FnOnce(Ending) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<S, Error>> + Send + 'static,
        S: Into<Said>,
    {
        Self::of_kind(name, Kind::WebSockets, Phase::StopAcceptingRequests, 0, work)
    }

    /// Writes down what is not yet, and says by a [`Checkpoint`] how far. 5 s.
    pub fn save<F, S>(name: impl Into<String>, work: impl FnOnce(Ending) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<S, Error>> + Send + 'static,
        S: Into<Said>,
    {
        Self::of_kind(name, Kind::State, Phase::SaveState, 0, work)
    }

    /// Flushes and closes a cache, before databases. A text that it answers, such as its hit rate, is logged. 5 s.
    pub fn cache<F, S>(name: impl Into<String>, work: impl FnOnce(Ending) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<S, Error>> + Send + 'static,
        S: Into<Said>,
    {
        Self::of_kind(name, Kind::Cache, Phase::CleanupResources, CACHE_ORDER, work)
    }

    /// Closes a database, after all else. 5 s.
    pub fn database<F, S>(name: impl Into<String>, work: impl FnOnce(Ending) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<S, Error>> + Send + 'static,
        S: Into<Said>,
    {
        Self::of_kind(name, Kind::Database, Phase::CleanupResources, DATABASE_ORDER, work)
    }

    fn of_kind<F, S>(
        name: impl Into<String>,
        kind: Kind,
        phase: Phase,
        order: i32,
        work: impl FnOnce(Ending) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<S, Error>> + Send + 'static,
        S: Into<Said>,
    {
        let work: Work = Box::new(move |ending| {
            let work = work(ending);
            Box::pin(async move { work.await.map(Into::into) })
        });
        Self { name: name.into(), kind, phase, order, timeout: None, work }
    }

    /// Where it comes in its phase: after those with a lower number, beside those with the same. Default 0; caches 100,
    /// databases 200.
    pub fn order(mut self, order: i32) -> Self {
        self.order = order;
        self
    }

    /// How long it may take at the most.
    pub(super) fn longest(&self, settings: &Settings) -> Duration {
        self.timeout.unwrap_or_else(|| self.kind.timeout(settings))
    }

    /// How long it may take. Default: what the [`Settings`] say of its kind.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, phase, order, timeout, work: _ } = self;
        f.debug_struct("Hook")
            .field("name", name)
            .field("kind", kind)
            .field("phase", phase)
            .field("order", order)
            .field("timeout", timeout)
            .finish_non_exhaustive()
    }
}
