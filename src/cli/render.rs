//! How messages of the contract look: as words and tables for people, as proto3 JSON for programs.

pub(crate) mod backup;
pub(crate) mod breaker;
pub(crate) mod document;
pub(crate) mod explain;
pub(crate) mod flag;
pub(crate) mod health;
pub(crate) mod identity;
pub(crate) mod instance;
pub(crate) mod operation;
pub(crate) mod policy;
pub(crate) mod restore;
pub(crate) mod service;
pub(crate) mod spec;
pub(crate) mod system;
pub(crate) mod usage;
pub(crate) mod when;
pub(crate) mod words;
