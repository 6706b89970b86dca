//! How messages of the contract look: as words and tables for people, as proto3 JSON for programs.

pub(crate) mod document;
pub(crate) mod explain;
pub(crate) mod health;
pub(crate) mod identity;
pub(crate) mod instance;
pub(crate) mod service;
pub(crate) mod spec;
pub(crate) mod system;
pub(crate) mod when;
pub(crate) mod words;
