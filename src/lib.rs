//! Seaworthy: a production-readiness control plane.
//!
//! The rooms are listed by floor, from the ground up; a room imports only from floors below its own
//! (`tests/floors.rs` keeps that). ARCHITECTURE.md is the map.

// Floor 0: used by all.
pub mod error;
pub mod id;
pub mod peer;
mod private;
pub mod task;
pub mod text;
pub mod time;

// Floor 1: ports to the outside.
pub mod config;
pub mod probe;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod vault;

// Floor 2: pure rules and engines.
pub mod health;
pub mod operation;

// Floor 3: the domain.
pub mod audit;
pub mod backup;
pub mod checks;
pub mod fleet;
pub mod identity;
pub mod policy;
pub mod restore;
pub mod system;

// Floor 4: what speaks gRPC and HTTP.
pub mod api;
pub mod guard;

// Floor 5: builds, serves and takes down everything.
pub mod server;

// Floor 6: the command line.
pub mod cli;
