//! Backups of services: which components are captured from whom, in which order, and what becomes of it.
//!
//! Options, Service, Handle. A backup is an operation (`operation`) that is carried out here: instances are asked by directives
//! (`fleet::directives`), what they send goes into the vault (`vault`), and the vault's commit makes it a backup. The control
//! plane's own store is backed up like any component. When backups are taken, and for how long they are kept, is not decided
//! here; nor is how anything is put back (`restore`).

mod capture;
mod catalog;
mod hold;
mod own;
mod plan;
mod run;
mod tickets;
pub(crate) mod totals;
mod upload;
mod verify;

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::info;

#[cfg(test)]
pub(crate) use self::run::HELD_AT_ONCE;
pub use self::{
    catalog::{Cursor, Found, Which},
    own::{OwnEntry, read_own_state},
    plan::Wish,
    tickets::{Given, Tickets, TransferKey},
    totals::Sum,
    upload::{Finish, Upload},
};
use self::{run::Job, upload::Uploads};
use crate::{
    error::Result,
    fleet,
    fleet::names::ServiceName,
    id::Entropy,
    operation::{self, Begun, Operation, Outcome, Run, Wanted},
    policy::{self, own::Behaviour},
    store::Store,
    task::{Group, drain},
    time::{Clock, Mono},
    vault::{Depth, DigestKind, OWN_STATE, Vault},
};

/// Jobs that wait to be taken up; each is an operation that is written down.
const QUEUE: usize = 64;

/// How long after a start the control plane's own state is backed up, at the latest.
const FIRST_OWN: Duration = Duration::from_mins(1);

/// How backups are taken.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many operations read or write the vault at a time.
    pub at_once: usize,
    /// How long nothing may come of a component before its capture is given up.
    pub idle: Duration,
    /// How long an instance may take until it begins a directive.
    pub begin_within: Duration,
    /// How long a backup may take in all.
    pub most: Duration,
    /// How often the control plane's own state is backed up, where it has changed. None: only when it is asked for.
    pub own_state_every: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            at_once: 2,
            idle: Duration::from_mins(2),
            begin_within: Duration::from_mins(1),
            most: Duration::from_hours(24),
            own_state_every: Some(Duration::from_hours(1)),
        }
    }
}

/// Which service a backup is of.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Subject {
    /// One of the fleet's.
    Service(ServiceName),
    /// The control plane's own state.
    OwnState,
}

impl Subject {
    /// Its name, as requests and the vault have it.
    pub fn as_str(&self) -> &str {
        match self {
            Subject::Service(name) => name.as_str(),
            Subject::OwnState => OWN_STATE,
        }
    }

    /// By its name.
    ///
    /// # Errors
    /// It is neither a DNS label nor the name of the control plane's own state.
    pub fn parse(name: &str) -> Result<Self, String> {
        if name == OWN_STATE {
            return Ok(Self::OwnState);
        }
        ServiceName::parse(name).map(Self::Service).map_err(|invalid| invalid.to_string())
    }
}

/// What a backup is asked for with.
#[derive(Clone, Debug)]
pub struct Create {
    /// Of what.
    pub subject: Subject,
    /// Of which components and instances.
    pub wish: Wish,
    /// For how long components may be asked to hold still.
    pub max_quiesce: Duration,
    /// Who asks.
    pub by: String,
    /// The request's id; empty: none.
    pub request_id: String,
}

/// What a verification is asked for with.
#[derive(Clone, Debug)]
pub struct Verify {
    /// Of what.
    pub subject: Subject,
    /// Of which backup.
    pub which: Which,
    /// How deep it looks.
    pub depth: Depth,
    /// Who asks.
    pub by: String,
    /// The request's id; empty: none.
    pub request_id: String,
}

/// Backups, for whoever asks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    options: Options,
    clock: Clock,
    fleet: fleet::Handle,
    operations: operation::Handle,
    vault: Vault,
    store: Store,
    policies: policy::Handle,
    uploads: Uploads,
    catalog: catalog::Catalog,
    pub(crate) totals: totals::Totals,
    /// What the control plane's own state was when it was last backed up.
    own_digest: Mutex<Option<[u8; 32]>>,
}

/// Carries backups and verifications out.
#[derive(Debug)]
pub struct Service {
    shared: Arc<Shared>,
    jobs: mpsc::Receiver<Job>,
    handle: Handle,
    orphans: Vec<operation::Orphan>,
}

/// What backups need of the rest of the control plane.
#[derive(Debug)]
pub struct Parts {
    /// The time.
    pub clock: Clock,
    /// Where tickets come from.
    pub entropy: Entropy,
    /// Whom to ask.
    pub fleet: fleet::Handle,
    /// Where operations are written down.
    pub operations: operation::Handle,
    /// Where backups go.
    pub vault: Vault,
    /// The control plane's own state.
    pub store: Store,
    /// Whether what is stored is compressed.
    pub policies: policy::Handle,
    /// What a run before did not finish.
    pub orphans: Vec<operation::Orphan>,
}

/// A backup room that is to be run.
///
/// # Errors
/// The store cannot be read, or what is there is damaged or from a newer build.
pub async fn open(options: Options, parts: Parts) -> Result<(Handle, Service)> {
    let Parts { clock, entropy, fleet, operations, vault, store, policies, orphans } = parts;
    let totals = totals::Totals::open(store.clone(), &operations).await?;
    let uploads = Uploads::new(entropy);
    let catalog = catalog::Catalog::default();
    let own_digest = Mutex::default();
    let shared = Arc::new(Shared {
        options,
        clock,
        fleet,
        operations,
        vault,
        store,
        policies,
        uploads,
        catalog,
        totals,
        own_digest,
    });
    let (sender, jobs) = mpsc::channel(QUEUE);
    let handle = Handle { shared: Arc::clone(&shared), jobs: sender };
    Ok((handle.clone(), Service { shared, jobs, handle, orphans }))
}

impl Shared {
    /// Whether what is captured now is stored as it is, because it cannot be compressed or a flag says so.
    fn stores_as_it_is(&self, incompressible: bool) -> bool {
        incompressible || !Behaviour::BackupCompression.is_on(&self.policies.book())
    }
}

impl Service {
    /// Takes up what a run before did not finish, and runs until the drain begins. What is under way then is left to the next start, which says what became of it.
    pub async fn run(self, mut drain: drain::Watch) {
        let Self { shared, mut jobs, handle, orphans } = self;
        let mut running: Group<()> = Group::new("backup");
        // Each by itself: it is in nobody's way but its own service's, whose backups wait for it.
        let mut taking_up: Group<()> = Group::new("take up");
        for orphan in orphans {
            taking_up.spawn(run::take_up(Arc::clone(&shared), orphan));
        }
        // What came before the start may never have been backed up; a start has better to do at first.
        let mut own_at =
            shared.options.own_state_every.map(|every| shared.clock.mono() + every.min(FIRST_OWN));
        loop {
            tokio::select! {
                () = drain.begun() => break,
                Some(job) = jobs.recv(), if running.len() < shared.options.at_once => {
                    running.spawn(run::carry_out(Arc::clone(&shared), job));
                }
                Some(_) = running.next(), if !running.is_empty() => {}
                Some(_) = taking_up.next(), if !taking_up.is_empty() => {}
                () = until(shared.clock, own_at) => {
                    own_at = shared.options.own_state_every.map(|every| shared.clock.mono() + every);
                    own::back_up_if_changed(&shared, &handle).await;
                }
            }
        }
        running.stop().await;
        taking_up.stop().await;
    }
}

/// Waits until then; for ever, where there is no then.
async fn until(clock: Clock, at: Option<Mono>) {
    match at {
        Some(at) => tokio::time::sleep_until(clock.instant(at)).await,
        None => std::future::pending().await,
    }
}

impl Handle {
    /// Begins a backup. Answered once its operation is durable; a repeat with the same request id answers the first one.
    ///
    /// # Errors
    /// There is nothing that can be captured, a backup of the same service is under way, or the store cannot write.
    pub async fn create(&self, create: Create) -> Result<Arc<Operation>> {
        let Create { subject, wish, max_quiesce, by, request_id } = create;
        let wanted = Wanted {
            kind: operation::Kind::Backup,
            service: subject.as_str().to_owned(),
            backup_id: None,
            created_by: by,
            request_id: request_id.clone(),
            asked: wish.asked(max_quiesce),
            scope: format!("backup/{}", subject.as_str()),
        };
        if let Some(same) = self.shared.operations.repeated(&wanted).await? {
            return Ok(same);
        }
        let plan = match &subject {
            Subject::OwnState => plan::Plan::default(),
            Subject::Service(name) => plan::plan(&self.shared.fleet, name, &wish).await?,
        };
        let job = |run: Run| Job::Backup { run, subject, plan, max_quiesce, request_id };
        self.begin(wanted, job).await
    }

    /// Begins to verify a backup; a repeat with the same request id answers the first one.
    ///
    /// # Errors
    /// It is not there, or the store cannot write.
    pub async fn verify(&self, verify: Verify) -> Result<Arc<Operation>> {
        let Verify { subject, which, depth, by, request_id } = verify;
        let mut wanted = Wanted {
            kind: operation::Kind::Verify,
            service: subject.as_str().to_owned(),
            backup_id: None,
            created_by: by,
            request_id,
            asked: operation::asked([which.to_string().as_str(), depth.as_str()]),
            // Once it is known which.
            scope: String::new(),
        };
        if let Some(same) = self.shared.operations.repeated(&wanted).await? {
            return Ok(same);
        }
        let backup = self.one(&subject, which).await?.manifest.id();
        (wanted.backup_id, wanted.scope) = (Some(backup), format!("verify/{backup}"));
        self.begin(wanted, |run| Job::Verify { run, subject, backup, depth }).await
    }

    async fn begin(&self, wanted: Wanted, job: impl FnOnce(Run) -> Job) -> Result<Arc<Operation>> {
        // A place first: what is written down is carried out.
        let place = self
            .jobs
            .try_reserve()
            .map_err(|_| operation::too_many_wait(QUEUE, "backups and verifications"))?;
        match self.shared.operations.begin(wanted).await? {
            Begun::Same(operation) => Ok(operation),
            Begun::New(run) => {
                let operation = run.operation();
                info!(component = "backup", operation = operation.kind.as_str(), id = %operation.id, service = operation.service, "begun");
                place.send(job(run));
                Ok(operation)
            }
        }
    }

    /// Opens the upload of a ticket, for the instance that it was given to.
    ///
    /// # Errors
    /// There is no such ticket, or it is another's.
    pub async fn upload(
        &self,
        ticket: &str,
        from: &TransferKey,
        digest: DigestKind,
        expected: u64,
    ) -> Result<Upload> {
        self.shared.uploads.open(ticket, from, digest, expected).await
    }

    /// What operations came to since the first of them, by kind and outcome.
    pub fn sums(&self) -> Vec<(String, String, Sum)> {
        self.shared.totals.sums()
    }

    /// When services were last backed up with success, since 1970.
    pub fn last_success(&self) -> Vec<(String, Duration)> {
        self.shared.totals.last_success()
    }

    /// Ends a restore, and counts it.
    ///
    /// # Errors
    /// How it ended could not be written down.
    pub(crate) async fn finish_restore(
        &self,
        run: Run,
        outcome: Outcome,
        report: Vec<String>,
    ) -> Result<Arc<Operation>> {
        // Its bytes are those that were fetched.
        self.shared.totals.finish(run, outcome, report, totals::Sizes::default()).await
    }

    /// The vault.
    pub fn vault(&self) -> &Vault {
        &self.shared.vault
    }
}
