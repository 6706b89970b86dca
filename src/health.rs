//! The rules of health: how reports become a component's state, and how states roll up to an instance
//! and a service.
//!
//! Pure: no clock, no store, no locks. `fleet` owns the state that these rules work on, and decides
//! what a lost or unconfirmed instance is. What a service can judge of itself as well, components and their
//! roll-up, is the client library's ([`seaworthy_client::rules`]): an instance and its control plane never
//! disagree about it.

pub mod component;
pub mod rollup;

pub use seaworthy_client::rules::{HealthState as State, Verdict};
