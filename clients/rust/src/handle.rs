//! What the rest of a service holds of its agent: cheap to clone, pushes health, reads health and
//! status, never keeps the agent alive.

use std::{future::Future, sync::Arc};

use tokio::sync::watch;

use crate::{
    Lifecycle, LifecycleOrder, Report, Status,
    flags::Flags,
    health::Health,
    health::board::Board,
    protect::{Failure, Operations, ProtectError},
    ruled::Ruled,
};

/// A cheap copy of an [`Agent`](crate::Agent)'s eyes and mouth. The agent leaves when it is dropped,
/// whatever handles there are; local health goes on being answered.
#[derive(Clone, Debug)]
pub struct Handle {
    board: Board,
    ruled: Ruled,
    status: watch::Receiver<Status>,
    instance_id: Arc<str>,
}

/// No component of this name was given to the builder.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("cannot push health of component `{component}`: it was not given to the builder")]
pub struct UnknownComponent {
    /// The name that is not known.
    pub component: String,
}

/// The agent left before it was attached.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the agent has left the control plane")]
pub struct HasLeft;

impl Handle {
    pub(crate) fn new(board: Board, ruled: Ruled, status: watch::Receiver<Status>) -> Self {
        let instance_id = board.now().instance_id().into();
        Self { board, ruled, status, instance_id }
    }

    /// Id of this instance.
    pub fn instance_id(&self) -> &str {
        &self.instance_id
    }

    /// Says how a component is. Returns at once, whether or not the control plane is there: only the
    /// newest report of each component is kept, and it is sent again after every reconnect.
    ///
    /// # Errors
    /// No component of this name was given to the builder, or the control plane checks it.
    pub fn push(&self, component: &str, report: Report) -> Result<(), UnknownComponent> {
        let position = self
            .board
            .position(component)
            .ok_or_else(|| UnknownComponent { component: component.to_owned() })?;
        self.board.push(position, report);
        Ok(())
    }

    /// Says where the instance is in its life. Returns at once; the control plane and the local health
    /// endpoints learn of it.
    ///
    /// # Errors
    /// It cannot follow what it is now ([`rules::Lifecycle::allows`](crate::rules::Lifecycle::allows)), and
    /// the control plane would refuse it: what is stopping does not become ready again, and what is ready
    /// does not start. Nothing has changed then.
    pub fn set_lifecycle(&self, lifecycle: Lifecycle) -> Result<(), LifecycleOrder> {
        self.board.set_lifecycle(lifecycle)?;
        self.ruled.operations.set_lifecycle(lifecycle);
        Ok(())
    }

    /// Runs a call of an operation through everything that protects it: it is turned away while the instance shuts down,
    /// meets limits, resources, permits and its breaker, is tried again where that is allowed, and what became of it is
    /// counted. By the policies of the control plane, which may change while the service runs, and without one by those that
    /// the service's own code sets. `caller` is for whom it is done, as limits tell callers apart.
    ///
    /// Cancel safe: dropped, what it holds comes back, and it counts as cancelled.
    ///
    /// ```no_run
    /// # async fn charge() -> Result<(), std::io::Error> { Ok(()) }
    /// # async fn handler(seaworthy: seaworthy_client::Handle) {
    /// match seaworthy.protect("charge-card", "shop-7", async || charge().await).await {
    ///     Ok(()) => println!("charged"),
    ///     Err(refused_or_failed) => println!("{refused_or_failed}"),
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// It was refused, failed, or did not end in time.
    pub async fn protect<T, E, F>(
        &self,
        operation: &str,
        caller: &str,
        op: impl FnMut() -> F,
    ) -> Result<T, ProtectError<E>>
    where
        E: Failure,
        F: Future<Output = Result<T, E>>,
    {
        self.ruled.operations.protect(operation, caller, op).await
    }

    /// What the service protects: policies by its own code, pools, layers, and what became of it all.
    pub fn operations(&self) -> &Operations {
        &self.ruled.operations
    }

    /// The feature flags of the fleet, as they hold for this instance.
    pub fn flags(&self) -> &Flags {
        &self.ruled.flags
    }

    /// The health of this process now, as it sees itself.
    pub fn health(&self) -> Health {
        self.board.now()
    }

    /// The health of this process now and at every change. A slow reader sees the newest.
    pub fn watch_health(&self) -> watch::Receiver<Health> {
        self.board.watch()
    }

    /// How the attachment stands, now and at every change. A slow reader sees the newest.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Waits until it is attached, and answers the incarnation. A service need not wait: everything
    /// else works before. Waits for as long as the control plane is away. Cancel safe.
    ///
    /// # Errors
    /// The agent has left.
    pub async fn attached(&self) -> Result<u64, HasLeft> {
        let mut status = self.status.clone();
        loop {
            match &*status.borrow_and_update() {
                Status::Attached { incarnation } => return Ok(*incarnation),
                Status::Left => return Err(HasLeft),
                Status::Connecting | Status::Waiting { .. } | Status::Superseded { .. } => {}
            }
            status.changed().await.map_err(|_| HasLeft)?;
        }
    }

    /// The service's own `/health`, `/health/live` and `/health/ready`, to be merged into its router.
    #[cfg(feature = "axum")]
    pub fn health_router(&self) -> axum::Router {
        crate::health_router::router(self.board.clone(), self.status.clone())
    }

    /// The service's own `grpc.health.v1`, to be added to its tonic server. The name `""` is the
    /// process, and each component has its name.
    #[cfg(feature = "server")]
    pub fn health_service(&self) -> crate::health_service::HealthServer {
        crate::health_service::server(self.board.clone())
    }
}
