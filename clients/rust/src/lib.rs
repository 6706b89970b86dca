//! Attaches a service to a Seaworthy control plane: registration, health, graceful leave.
//!
//! An [`Agent`] describes one running process of a service and keeps it attached in the background. The
//! service never waits for it: where the control plane is away, restarts or was never there, everything
//! goes on, and the agent comes back by itself with what is newest.
//!
//! ```no_run
//! use seaworthy_client::{Agent, Component, checks};
//!
//! # async fn serve() {}
//! # async fn ping() -> Result<(), std::io::Error> { Ok(()) }
//! # async fn run() -> Result<(), seaworthy_client::AttachError> {
//! let seaworthy = Agent::builder("http://127.0.0.1:50051", "orders")
//!     .version(env!("CARGO_PKG_VERSION"))
//!     .address("127.0.0.1:7001")
//!     .component(Component::new("database").essential().check(|| async { ping().await }))
//!     .component(Component::new("disk").check(checks::disk_space("/var/lib/orders", 1 << 30)))
//!     .attach()?;
//! serve().await;
//! seaworthy.leave("deploy").await;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//! - `axum`: the service's own `/health`, `/health/live` and `/health/ready`, as a router.
//! - `server`: the service's own `grpc.health.v1`, as a tonic service.
//!
//! The message types of the wire contract are in [`proto`], for what this library does not wrap.

mod agent;
mod builder;
mod check;
pub mod checks;
mod component;
mod handle;
mod health;
#[cfg(feature = "axum")]
mod health_router;
#[cfg(feature = "server")]
mod health_service;
mod lifecycle;
pub mod proto;
mod report;
mod rt;
mod session;
mod spec;
mod status;

#[cfg(feature = "server")]
pub use self::health_service::{HealthServer, HealthService, Watching};
pub use self::{
    agent::Agent,
    builder::{AttachError, Builder, Problem},
    check::{Check, IntoCheck},
    component::Component,
    handle::{Handle, HasLeft, UnknownComponent},
    health::{ComponentHealth, Health, Verdict},
    lifecycle::Lifecycle,
    report::{HealthState, IntoReport, Report},
    spec::ServiceSpec,
    status::{LeaveOutcome, Status},
};

/// The examples of the README are compiled.
#[cfg(all(doctest, feature = "axum", feature = "server"))]
#[doc = include_str!("../README.md")]
mod readme {}
