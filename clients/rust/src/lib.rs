//! Attach a service to a Seaworthy control plane.

pub mod proto;
