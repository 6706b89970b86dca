//! Attaches a service to a Seaworthy control plane: registration, health, graceful leave.
//!
//! An [`Agent`] describes one running process of a service and keeps it attached in the background. The
//! service never waits for it: where the control plane is away, restarts or was never there, everything
//! goes on, and the agent comes back by itself with what is newest.
//!
//! # From nothing to attached
//!
//! ```no_run
//! use seaworthy_client::{Agent, Component, Report, checks};
//!
//! # async fn ping() -> Result<(), std::io::Error> { Ok(()) }
//! # async fn serve() {}
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let seaworthy = Agent::builder("http://127.0.0.1:50051", "orders")
//!         .address("127.0.0.1:7001")
//!         .component(Component::new("database").essential().check(|| async { ping().await }))
//!         .component(Component::new("disk").check(checks::disk_space("/var/lib/orders", 1 << 30)))
//!         .component(Component::new("cache"))
//!         .attach()?; // returns at once: only what is wrong in these lines is an error
//!     seaworthy.push("cache", Report::degraded("cold"))?;
//!     serve().await;
//!     seaworthy.leave("deploy").await; // two seconds at the most; dropping the agent leaves too
//!     Ok(())
//! }
//! ```
//!
//! The control plane comes with the binary `seaworthy`: `seaworthy serve` runs one, and `seaworthy health
//! orders` shows what these lines told it. Where to go on:
//!
//! | to | see |
//! |---|---|
//! | describe the process: version, zone, labels, needs, lease | [`Builder`], [`ServiceSpec`] |
//! | say how a part is, by a function that is asked or by pushing | [`Component`], [`Check`], [`checks`], [`Report`] |
//! | say that it starts, drains, stops | [`Handle::set_lifecycle`], [`Lifecycle`] |
//! | hand it to the rest of the service | [`Agent::handle`], [`Handle`] |
//! | prove who it is, and know that the control plane is the right one | [`Builder::tls`], [`Builder::token`], [`Tls`], [`Token`] |
//! | know whether it is attached, and why not | [`Handle::status`], [`Status`], [`Handle::attached`] |
//! | end in phases, without losing a request | [`shutdown`] |
//! | let a part be backed up and restored | [`Component::backup`], [`Component::backup_with`], [`backup`] |
//! | limit, break and retry what can hurt, by the fleet's policies | [`Handle::protect`], [`protect`] |
//! | switch behaviour while it runs | [`Handle::flags`], [`flags`] |
//! | answer a platform's probes from within the service | [`Handle::health`], and the features below |
//!
//! # Features
//!
//! `tls` is on by default.
//!
//! | feature | what it adds |
//! |---|---|
//! | `tls` | `https://` control planes and client certificates: [`Tls`] |
//! | `axum` | `Operations::axum_layer`; `Handle::health_router`: the service's own `/health`, `/health/live` and `/health/ready` |
//! | `server` | `Operations::tonic_layer`; `Handle::health_service`: the service's own `grpc.health.v1`, as a tonic service |
//!
//! # When it reconnects
//!
//! By itself, always, until the agent leaves. What differs is when, and as whom:
//!
//! | what ended the session | the next try | as |
//! |---|---|---|
//! | the control plane is not there, breaks off, or acknowledges nothing for a whole lease | after up to 100 ms, doubling to 10 s, at random | the same incarnation, by its session token |
//! | it drains | when it said, plus up to 20 % | the same incarnation |
//! | it does not know the registration or its token any more | as above | a new incarnation |
//! | an operator removed the instance | after 10 s, or when it said | a new incarnation |
//! | another process holds the instance id | up to 10 s, or when its lease ends | a new incarnation, once the id is free |
//! | another process took the id over: [`Status::Superseded`] | every 10 s | a new incarnation, once the id is free |
//! | it refuses the registration itself | every 10 s | a new incarnation |
//! | it does not take the certificate or token, or what they allow is not enough | after 10 s, when it said, or as soon as one of their files changes | the same incarnation |
//! | a file of the certificate, key, authorities or token changes | at once, while the old session goes on | the same incarnation |
//!
//! After every reconnect the newest report of each component and the lifecycle are said again.
//!
//! # What is bounded
//!
//! | what | bound |
//! |---|---|
//! | reports that are kept while the control plane is away | the newest of each component; 64 components |
//! | a report | 4 KiB of message, 16 details; what is longer is cut, never refused |
//! | messages on their way | 8; reports of one moment travel together, 20 ms after the first |
//! | runs of a check | one at a time, each within its timeout; a panic or a hang is a report |
//! | operations, pools, callers that one limit tells apart | 256 (more are counted together), 32, 100,000 |
//! | what is asked of it | 64 are remembered; one capture or restore of a component at a time |
//! | a capture that the control plane does not have yet, a restore that is not read yet | 16 MiB, 8 MiB of each |
//! | a transfer that gets nowhere | given up after 2 min |
//! | a hold | ends by itself when its time is over, 10 min at the most |
//! | connecting, opening a session, leaving | 3 s, 10 s, 2 s |
//! | a connection on which nothing moves | asked after 10 s, given up 5 s later |
//! | log | each cause of a lost session once aloud, repeats at debug |
//!
//! It needs a tokio runtime with I/O and time. The message types of the wire contract are in [`proto`], for
//! what this library does not wrap; the rules by which both ends judge are in [`rules`].

mod active_check;
mod agent;
pub mod backup;
mod builder;
mod check;
pub mod checks;
mod component;
mod directives;
pub mod flags;
mod handle;
mod health;
#[cfg(feature = "axum")]
mod health_router;
#[cfg(feature = "server")]
mod health_service;
mod lifecycle;
pub mod protect;
pub mod proto;
mod report;
mod rt;
mod ruled;
pub mod rules;
mod session;
pub mod shutdown;
mod spec;
mod status;
#[doc(hidden)]
pub mod transport;

#[cfg(feature = "server")]
pub use self::health_service::{HealthServer, HealthService, Watching};
#[cfg(feature = "tls")]
pub use self::transport::Tls;
pub use self::{
    active_check::ActiveCheck,
    agent::Agent,
    builder::{AttachError, Builder, Problem},
    check::{Check, IntoCheck},
    component::Component,
    handle::{Handle, HasLeft, UnknownComponent},
    health::{ComponentHealth, Health},
    lifecycle::{Lifecycle, LifecycleOrder},
    report::{IntoReport, Report},
    rules::{HealthState, Verdict},
    spec::ServiceSpec,
    status::{LeaveOutcome, Status},
    transport::Token,
};

/// The examples of the README are compiled.
#[cfg(all(doctest, feature = "axum", feature = "server"))]
#[doc = include_str!("../README.md")]
mod readme {}
