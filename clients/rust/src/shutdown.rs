//! The end of a service, in phases: one primitive that signals, and the service's own code, lead to.
//!
//! Health says NOT_SERVING first, while work is still taken. That ends once it is quiet, not after a sleep. Then nothing new is
//! taken, long-lived streams hear that it ends, requests and background tasks finish, state is saved, and what is held is
//! closed. Each step has its own time, and all of them one together, below what the platform gives. A second signal skips the
//! waits. It works alone: no control plane is waited for, but for two seconds at the end to leave it.
//!
//! ```no_run
//! use seaworthy_client::{
//!     Agent,
//!     shutdown::{Checkpoint, Hook, Settings, Shutdown},
//! };
//!
//! # async fn flush() -> Result<u64, std::io::Error> { Ok(7) }
//! # async fn close() -> Result<(), std::io::Error> { Ok(()) }
//! # async fn serve(_: impl Future<Output = ()>) {}
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let shutdown = Shutdown::new(Settings::from_env()?)?;
//!     let seaworthy = Agent::builder("http://127.0.0.1:50051", "orders").attach()?;
//!     shutdown.add(Hook::save("queue", async |_| {
//!         let offset = flush().await?;
//!         Ok(Checkpoint { name: "queue".into(), position: offset.to_string(), size: 0 })
//!     }));
//!     shutdown.add(Hook::database("orders.db", async |_| Ok(close().await?)));
//!     let serving = tokio::spawn(serve(shutdown.stop_serving())); // axum, tonic: their graceful shutdown
//!     let report = shutdown.run(seaworthy).await; // until SIGTERM, SIGINT or Ctrl-C, and through all phases
//!     println!("{report}");
//!     serving.abort();
//!     Ok(())
//! }
//! ```
//!
//! Requests are counted by [`Shutdown::request`], or by a layer for whole servers: `Shutdown::axum_layer`, `tonic_layer`. Calls
//! of [protected operations](crate::Handle::protect) are waited for as well.

mod active;
mod course;
mod hook;
#[cfg(any(feature = "axum", feature = "server"))]
mod layer;
mod long_lived;
mod report;
mod settings;
mod signals;

use std::{future::Future, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};
use tracing::{info, warn};

pub(crate) use self::active::{Active, Counted, Kind as Counting};
#[cfg(any(feature = "axum", feature = "server"))]
pub use self::layer::{Count, CountLayer};
pub use self::{
    active::ShuttingDown,
    hook::{Checkpoint, Ending, Error, Hook, Kind, Said},
    long_lived::{Goodbye, LongLived},
    report::{Counts, HookReport, Outcome, PhaseReport, Report},
    settings::{Settings, SettingsError},
};
use self::{course::Course, signals::Signals};
use crate::{Agent, rt, rules::Phase};

/// The end of a service. Cheap to clone; clones are the same.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    stage: watch::Sender<Stage>,
    active: Active,
    hooks: Mutex<Vec<Hook>>,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stage {
    /// The phase.
    pub phase: Phase,
    /// Why it ends; empty while it does not.
    pub cause: String,
    /// When it was told that it is not to wait any more.
    pub(super) forced: Option<Instant>,
    /// How much more time was given.
    pub(super) extended: Duration,
}

impl Stage {
    /// Whether it was told that it is not to wait any more.
    pub fn is_forced(&self) -> bool {
        self.forced.is_some()
    }

    fn is_asked(&self) -> bool {
        !self.cause.is_empty()
    }
}

/// A request that is under way until this is dropped.
#[derive(Debug)]
#[must_use = "the request counts as finished when this is dropped"]
pub struct Request {
    _counted: Counted,
}

impl Shutdown {
    /// The end of this service, with these times.
    ///
    /// # Errors
    /// The settings make no sense.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let settings = settings.checked()?;
        let stage =
            Stage { phase: Phase::Running, cause: String::new(), forced: None, extended: Duration::ZERO };
        let stage = watch::Sender::new(stage);
        Ok(Self(Arc::new(Inner { settings, stage, active: Active::new(), hooks: Mutex::default() })))
    }

    /// Adds what a component does when the service ends. One whose phase is over already is not run, which is logged.
    pub fn add(&self, hook: Hook) {
        let phase = self.0.stage.borrow().phase;
        if hook.phase <= phase {
            warn!(hook = hook.name, %phase, "the service ends already, and this hook came too late for its phase");
            return;
        }
        self.0.hooks.lock().push(hook);
    }

    /// Counts a request until it is dropped.
    ///
    /// # Errors
    /// Nothing new is taken any more: whoever asks should ask another instance.
    pub fn request(&self) -> Result<Request, ShuttingDown> {
        Ok(Request { _counted: self.0.active.enter(Counting::Request)? })
    }

    /// Counts a stream or a connection that ends only when it is told to: a WebSocket, a watch. It hears of the end by
    /// [`LongLived::closing`].
    ///
    /// # Errors
    /// Nothing new is taken any more.
    pub fn long_lived(&self) -> Result<LongLived, ShuttingDown> {
        let counted = self.0.active.enter(Counting::LongLived)?;
        Ok(LongLived::new(counted, self.0.stage.subscribe(), self.0.settings.last_word))
    }

    /// How far it is, now and at every change.
    pub fn stage(&self) -> watch::Receiver<Stage> {
        self.0.stage.subscribe()
    }

    /// Waits until it was asked to end. Cancel safe.
    pub fn initiated(&self) -> impl Future<Output = ()> + Send + 'static {
        self.reached(Phase::InitiateShutdown)
    }

    /// Waits until requests have finished: for the graceful shutdown of a server whose requests are counted by a layer. Until
    /// then it goes on answering, and turns away what comes late: a listener that closes before throws away connections that
    /// nobody has taken yet. Cancel safe.
    pub fn stop_serving(&self) -> impl Future<Output = ()> + Send + 'static {
        self.reached(Phase::SaveState)
    }

    /// Waits until nothing new is to be taken: for loops that fetch work, and for servers whose requests nobody counts. Cancel
    /// safe.
    pub fn stop_accepting(&self) -> impl Future<Output = ()> + Send + 'static {
        self.reached(Phase::StopAcceptingRequests)
    }

    fn reached(&self, phase: Phase) -> impl Future<Output = ()> + Send + 'static {
        let mut stage = self.0.stage.subscribe();
        async move {
            // An error means that nobody is there to go on: that is an end as well.
            stage.wait_for(|stage| stage.phase >= phase).await.ok();
        }
    }

    /// Asks it to end, as SIGTERM does. Answers whether it was the first to ask.
    pub fn begin(&self, cause: impl Into<String>) -> bool {
        let mut cause = cause.into();
        if cause.is_empty() {
            cause.push_str("asked to");
        }
        self.0.stage.send_if_modified(|stage| {
            let first = !stage.is_asked();
            if first {
                stage.cause = cause;
            }
            first
        })
    }

    /// Asks it to end and to wait for nothing any more, as a second SIGTERM does. State is still saved and closed, for a second
    /// each.
    pub fn force(&self, cause: impl Into<String>) {
        let cause = cause.into();
        self.begin(cause.as_str());
        let changed = self.0.stage.send_if_modified(|stage| {
            let first = stage.forced.is_none();
            stage.forced.get_or_insert_with(rt::now);
            first
        });
        if changed {
            warn!(cause, "asked again: stopping now");
        }
    }

    /// Asks for more time, for what is under way and in all. Answers how much of it was given: together no more than
    /// [`Settings::most_extension`], and nothing that the platform does not give, nor before it ends.
    pub fn extend(&self, by: Duration) -> Duration {
        let most = self.0.settings.extendable();
        let mut given = Duration::ZERO;
        self.0.stage.send_if_modified(|stage| {
            if stage.is_asked() && stage.forced.is_none() {
                given = by.min(most.saturating_sub(stage.extended));
                stage.extended += given;
            }
            !given.is_zero()
        });
        if !given.is_zero() {
            info!(?given, asked = ?by, "the shutdown has more time");
        }
        given
    }

    /// Waits for SIGTERM, SIGINT, Ctrl-C, or [`begin`](Self::begin); goes through all phases, in step with what the agent says of
    /// its lifecycle; leaves the fleet; and answers how it went. The exit is bounded, whatever the hooks do, as long as none
    /// blocks the runtime. A service calls it once, and ends with it.
    pub async fn run(self, agent: Agent) -> Report {
        Box::pin(self.run_with(Some(agent))).await
    }

    /// The same for a process that has no agent.
    pub async fn run_alone(self) -> Report {
        Box::pin(self.run_with(None)).await
    }

    async fn run_with(self, agent: Option<Agent>) -> Report {
        let mut signals = Signals::listen();
        let hear = async {
            loop {
                let signal = signals.next().await;
                if !self.begin(signal) {
                    self.force(signal);
                }
            }
        };
        let course = async {
            let mut stage = self.0.stage.subscribe();
            // The sender is held here.
            stage.wait_for(Stage::is_asked).await.ok();
            Course::begin(self.clone(), agent.as_ref().map(|agent| agent.handle())).go(agent).await
        };
        tokio::select! {
            report = course => report,
            // Never: a signal leads to nothing but more haste.
            report = hear => report,
        }
    }
}

#[cfg(test)]
mod tests;
