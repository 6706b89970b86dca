//! What the control plane asks of this instance, and what became of it: captures, restores, holds, inspections.
//!
//! Directives come by the session, and what became of them goes back by it, but the work is not the session's: it lives until it is
//! done, the agent ends, or the instance becomes another incarnation. A directive that comes again is answered, not carried
//! out again. What to ask, and when, is the control plane's business; what a capture is, the component's.

mod book;
mod holds;
mod job;
mod told;

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info, warn};

pub(crate) use self::told::Mouth;
use self::{
    book::Receipt,
    holds::Holds,
    job::{Outcome, Turn},
    told::Told,
};
use crate::{
    backup::{ByConnection, Part, sum::Sum},
    proto::{
        self,
        seaworthy::v1::{
            CancelDirective, CaptureDirective, Directive, InspectDirective, InstanceRef, QuiesceDirective,
            Registration, RestoreDirective, ResumeDirective, UploadOpen, directive::Ask,
        },
    },
    rt,
    transport::Transport,
};

/// Takes directives and has them carried out. Cheap to clone; what runs ends with the last clone, or by
/// [`stop`](Directives::stop).
#[derive(Clone, Debug)]
pub(crate) struct Directives {
    told: Arc<Told>,
    work: Arc<Work>,
}

/// What is carried out, and by what.
#[derive(Debug)]
struct Work {
    carrier: ByConnection,
    runtime: tokio::runtime::Handle,
    service: String,
    instance_id: String,
    components: BTreeMap<String, Taking>,
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    incarnation: u64,
    stopped: bool,
    /// By the id of the directive.
    tasks: BTreeMap<String, rt::Task<()>>,
    holds: Holds,
}

/// A component, and whose turn it is there.
#[derive(Clone, Debug)]
struct Taking {
    part: Part,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Directives {
    pub(crate) fn new(
        transport: &Transport,
        runtime: &tokio::runtime::Handle,
        registration: &Registration,
        parts: BTreeMap<String, Part>,
    ) -> Self {
        let taking = |part| Taking { part, turn: Arc::default() };
        let work = Work {
            carrier: ByConnection::new(transport),
            runtime: runtime.clone(),
            service: registration.service.clone(),
            instance_id: registration.instance_id.clone(),
            components: parts.into_iter().map(|(name, part)| (name, taking(part))).collect(),
            running: Mutex::default(),
        };
        Self { told: Arc::default(), work: Arc::new(work) }
    }

    /// A session of this incarnation is open; what became of its directives is said there again. Nothing that was asked of
    /// another incarnation goes on.
    pub(crate) fn attached(&self, incarnation: u64) -> Mouth {
        let mut running = self.work.running.lock();
        if running.incarnation != incarnation {
            running.end();
            running.incarnation = incarnation;
            self.told.forget();
        }
        drop(running);
        self.told.mouth()
    }

    /// Ends everything that runs. What holds still goes on, in the background. Nothing is taken any more.
    pub(crate) fn stop(&self) {
        let mut running = self.work.running.lock();
        running.end();
        running.stopped = true;
    }

    /// Takes a directive that came by a session of this incarnation.
    pub(crate) fn take(&self, incarnation: u64, directive: Directive) {
        let mut running = self.work.running.lock();
        // A session that outlives its incarnation has nothing to ask for.
        if running.stopped || running.incarnation != incarnation {
            return;
        }
        let Directive { id, operation_id, generation, valid_for, ask } = directive;
        let valid_for = valid_for.map(|valid_for| proto::time(Some(valid_for)).unwrap_or_default());
        match self.told.receive(&id, &operation_id, generation, valid_for) {
            Receipt::Known => debug!(directive = %id, "asked again"),
            Receipt::Refused => warn!(directive = %id, "a directive came too late"),
            Receipt::New => {
                info!(directive = %id, operation = %operation_id, "the control plane asks: {}", name(ask.as_ref()));
                // A time that the clock cannot show is as good as none.
                let until = valid_for.and_then(|time| rt::now().checked_add(time));
                let told = &*self.told;
                running.tasks.retain(|id, _| told.is_open(id));
                if let Err(refused) = self.begin(&mut running, &id, until, ask) {
                    self.told.close(&id, Outcome::Refused(refused));
                }
            }
        }
    }

    /// Has it carried out.
    ///
    /// # Errors
    /// Why it is not even tried.
    fn begin(
        &self,
        running: &mut Running,
        id: &str,
        until: Option<Instant>,
        ask: Option<Ask>,
    ) -> Result<(), String> {
        match ask {
            Some(Ask::Capture(capture)) => self.capture(running, id, until, capture),
            Some(Ask::Restore(restore)) => self.restore(running, id, until, restore),
            Some(Ask::Quiesce(quiesce)) => self.quiesce(running, id, quiesce),
            Some(Ask::Resume(ResumeDirective { hold_id })) => {
                let resumed = running.holds.release(&hold_id);
                self.run(running, id, async move { holds::resumed(resumed).await });
                Ok(())
            }
            Some(Ask::Inspect(InspectDirective { components })) => {
                let parts = self.parts(&components)?;
                self.run(running, id, job::inspect(parts));
                Ok(())
            }
            Some(Ask::Cancel(CancelDirective { directive_id })) => {
                let was_open = self.told.is_open(&directive_id) && directive_id != id;
                // Dropped, it ends at its next await.
                drop(running.tasks.remove(&directive_id));
                running.holds.abandon(&directive_id);
                if was_open {
                    self.told.close(&directive_id, Outcome::Failed("it was cancelled".to_owned()));
                }
                self.told.start(id);
                self.told.close(id, Outcome::done());
                Ok(())
            }
            None => Err("this kind of directive is not known: the client library is older".to_owned()),
        }
    }

    fn capture(
        &self,
        running: &mut Running,
        id: &str,
        until: Option<Instant>,
        CaptureDirective { component, ticket }: CaptureDirective,
    ) -> Result<(), String> {
        let taking = self.taking(&component)?;
        let open = UploadOpen {
            ticket,
            instance: Some(self.instance(running)),
            digest_algorithm: Sum::ALGORITHM.into(),
            expected_length: 0,
        };
        let (carrier, part) = (self.work.carrier.clone(), taking.part.clone());
        let work = async move |turn: Turn| job::capture(&carrier, &part, &open, &turn).await;
        self.run_in_turn(running, id, until, &taking, work);
        Ok(())
    }

    fn restore(
        &self,
        running: &mut Running,
        id: &str,
        until: Option<Instant>,
        restore: RestoreDirective,
    ) -> Result<(), String> {
        let taking = self.taking(&restore.component)?;
        let instance = self.instance(running);
        let (carrier, part) = (self.work.carrier.clone(), taking.part.clone());
        let work = async move |turn: Turn| job::restore(&carrier, &part, instance, restore, &turn).await;
        self.run_in_turn(running, id, until, &taking, work);
        Ok(())
    }

    fn quiesce(
        &self,
        running: &mut Running,
        id: &str,
        QuiesceDirective { components, hold_id, lease }: QuiesceDirective,
    ) -> Result<(), String> {
        let lease = proto::time(lease).unwrap_or_default();
        let parts = self.parts(&components)?;
        let quiesced = running.holds.begin(&self.work.runtime, id, hold_id, parts, lease)?;
        self.run(running, id, holds::quiesced(quiesced));
        Ok(())
    }

    /// Runs it, and tells what became of it.
    fn run(&self, running: &mut Running, id: &str, work: impl Future<Output = Outcome> + Send + 'static) {
        let (told, own) = (Arc::clone(&self.told), id.to_owned());
        let task = rt::spawn(async move {
            told.start(&own);
            told.close(&own, work.await);
        });
        running.tasks.insert(id.to_owned(), task);
    }

    /// The same, when nobody else captures or restores the component; where that is too late, it is refused.
    fn run_in_turn<F>(
        &self,
        running: &mut Running,
        id: &str,
        until: Option<Instant>,
        taking: &Taking,
        work: impl FnOnce(Turn) -> F + Send + 'static,
    ) where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let (told, own, turn) = (Arc::clone(&self.told), id.to_owned(), Arc::clone(&taking.turn));
        let task = rt::spawn(async move {
            let turn = match until {
                Some(until) => timeout_at(until, turn.lock_owned()).await,
                None => Ok(turn.lock_owned().await),
            };
            let outcome = match turn {
                Ok(turn) => {
                    told.start(&own);
                    work(Arc::new(turn)).await
                }
                Err(_) => Outcome::Refused("too late: the component was busy until then".to_owned()),
            };
            told.close(&own, outcome);
        });
        running.tasks.insert(id.to_owned(), task);
    }

    fn taking(&self, component: &str) -> Result<Taking, String> {
        let found = self.work.components.get(component);
        found.cloned().ok_or_else(|| format!("there is no component `{component}` that can be backed up"))
    }

    fn parts(&self, components: &[String]) -> Result<Vec<(String, Part)>, String> {
        let mut parts: Vec<(String, Part)> =
            Vec::with_capacity(components.len().min(self.work.components.len()));
        for name in components {
            if parts.iter().any(|(other, _)| other == name) {
                return Err(format!("component `{name}` is named twice"));
            }
            parts.push((name.clone(), self.taking(name)?.part));
        }
        Ok(parts)
    }

    fn instance(&self, running: &Running) -> InstanceRef {
        InstanceRef {
            service: self.work.service.clone(),
            instance_id: self.work.instance_id.clone(),
            incarnation: running.incarnation,
        }
    }
}

impl Running {
    fn end(&mut self) {
        self.tasks.clear();
        self.holds.abandon_all();
    }
}

/// What is asked, for the log.
fn name(ask: Option<&Ask>) -> &'static str {
    match ask {
        Some(Ask::Capture(_)) => "capture",
        Some(Ask::Restore(_)) => "restore",
        Some(Ask::Quiesce(_)) => "hold still",
        Some(Ask::Resume(_)) => "go on",
        Some(Ask::Inspect(_)) => "inspect",
        Some(Ask::Cancel(_)) => "cancel",
        None => "something unknown",
    }
}
