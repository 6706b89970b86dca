//! Seaworthy: a production-readiness control plane.
//!
//! The rooms are listed by floor, from the ground up; a room imports only from floors below its own
//! (`tests/floors.rs` keeps that). ARCHITECTURE.md is the map.

// Floor 0: used by all.
pub mod error;
pub mod id;
pub mod task;
pub mod time;

// Floor 1: ports to the outside.
pub mod config;
pub mod telemetry;
