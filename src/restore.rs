//! Restores: what a backup has goes back to instances, to where it came from or elsewhere.
//!
//! Service and Handle. A plan says what would happen and what stands in its way; a start refuses whatever was not forced by its own
//! name. A restore is an operation: instances are asked by directives, and take what they are to restore by downloads. How a
//! component puts its state in place is its own business; so is how backups come to be (`backup`).

mod download;
mod plan;
mod run;

use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::info;

pub use self::{
    download::Download,
    plan::{Estimate, Guard, Item, Obstacle, Plan, Wish},
};
use self::{download::Downloads, run::Job};
use crate::{
    backup::{self, TransferKey},
    error::Result,
    fleet,
    id::Entropy,
    operation::{self, Begun, Operation, Wanted},
    task::{Group, drain},
    vault::{DigestKind, Vault},
};

/// Restores that wait to be taken up.
const QUEUE: usize = 64;
/// Restores that are carried out at a time.
const AT_ONCE: usize = 4;

/// What a restore is asked for with.
#[derive(Clone, Debug)]
pub struct Start {
    /// Of what, to where.
    pub wish: Wish,
    /// Guards that do not stand in the way.
    pub force: Vec<Guard>,
    /// Whether the backup is verified before, where nobody has, and components look afterwards whether they work.
    pub verify: bool,
    /// Whether what is overwritten is backed up before.
    pub safety_backup: bool,
    /// Who asks.
    pub by: String,
    /// The request's id; empty: none.
    pub request_id: String,
}

impl Start {
    /// What is asked for by it, as operations have it.
    fn asked(&self) -> String {
        let Self { wish, force, verify, safety_backup, by: _, request_id: _ } = self;
        let Wish { subject, backup, components, target_service: _, target_instance } = wish;
        let (backup, instance) = (backup.to_string(), target_instance.as_ref().map(ToString::to_string));
        let guards = force.iter().map(|guard| guard.as_str());
        let flags = [verify, safety_backup].map(|flag| if *flag { "yes" } else { "no" });
        let whole = [subject.as_str(), &backup, instance.as_deref().unwrap_or_default()];
        let components = components.iter().map(String::as_str);
        // No name is empty: an empty part ends a list.
        operation::asked(whole.into_iter().chain(flags).chain(components).chain([""]).chain(guards))
    }
}

/// Restores, for whoever asks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
}

#[derive(Debug)]
struct Shared {
    fleet: fleet::Handle,
    operations: operation::Handle,
    backups: backup::Handle,
    vault: Vault,
    downloads: Downloads,
}

/// Carries restores out.
#[derive(Debug)]
pub struct Service {
    shared: Arc<Shared>,
    jobs: mpsc::Receiver<Job>,
}

/// A restore room that is to be run.
pub fn new(
    entropy: Entropy,
    fleet: fleet::Handle,
    operations: operation::Handle,
    backups: backup::Handle,
) -> (Handle, Service) {
    let vault = backups.vault().clone();
    let downloads = Downloads::new(entropy);
    let shared = Arc::new(Shared { fleet, operations, backups, vault, downloads });
    let (sender, jobs) = mpsc::channel(QUEUE);
    (Handle { shared: Arc::clone(&shared), jobs: sender }, Service { shared, jobs })
}

impl Service {
    /// Runs until the drain begins. What is under way then is left to the next start, which says that it was cut off.
    pub async fn run(self, mut drain: drain::Watch) {
        let Self { shared, mut jobs } = self;
        let mut running: Group<()> = Group::new("restore");
        loop {
            tokio::select! {
                () = drain.begun() => break,
                Some(job) = jobs.recv(), if running.len() < AT_ONCE => {
                    running.spawn(run::carry_out(Arc::clone(&shared), job));
                }
                Some(_) = running.next(), if !running.is_empty() => {}
            }
        }
        running.stop().await;
    }
}

impl Handle {
    /// Says what a restore would do. Changes nothing.
    ///
    /// # Errors
    /// There is no such backup or component, no instance that could take it, or the vault cannot be read.
    pub async fn plan(&self, wish: &Wish) -> Result<Plan> {
        plan::plan(&self.shared, wish).await
    }

    /// Begins a restore. Answered once its operation is durable; a repeat with the same request id answers the first one.
    ///
    /// # Errors
    /// As of [`plan`](Self::plan); or a guard stands in the way, or another restore into the service is under way.
    pub async fn start(&self, start: Start) -> Result<Arc<Operation>> {
        let target = start.wish.target_service().to_owned();
        let mut wanted = Wanted {
            kind: operation::Kind::Restore,
            service: target.clone(),
            backup_id: None,
            created_by: start.by.clone(),
            request_id: start.request_id.clone(),
            asked: start.asked(),
            scope: format!("restore/{target}"),
        };
        // Before it is planned: whom it went to may be gone, and a guard may stand in the way now that did not then.
        if let Some(same) = self.shared.operations.repeated(&wanted).await? {
            return Ok(same);
        }
        let place = self.jobs.try_reserve().map_err(|_| operation::too_many_wait(QUEUE, "restores"))?;
        let plan = self.plan(&start.wish).await?;
        plan.check(&start.force, start.verify)?;
        wanted.backup_id = Some(plan.listed.manifest.id());
        match self.shared.operations.begin(wanted).await? {
            Begun::Same(operation) => Ok(operation),
            Begun::New(run) => {
                let operation = run.operation();
                let forced: Vec<&str> = start.force.iter().map(|guard| guard.as_str()).collect();
                info!(component = "restore", operation = "begin", id = %operation.id, service = target, backup = %plan.listed.manifest.id(), forced = forced.join(","), "begun");
                place.send(Job { run, plan, start });
                Ok(operation)
            }
        }
    }

    /// Opens the download of a ticket, for the instance that it was given to, from an offset on.
    ///
    /// # Errors
    /// There is no such ticket, it is another's, or there are not as many bytes.
    pub fn download(
        &self,
        ticket: &str,
        by: &TransferKey,
        offset: u64,
        digest: DigestKind,
    ) -> Result<Download> {
        self.shared.downloads.open(ticket, by, offset, digest)
    }
}
