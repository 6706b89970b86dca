//! The vault: an encrypted, deduplicated repository of backups on an object store. `FORMAT.md` beside it is what lies in the
//! bucket, byte by byte, and the order of things; this is the engine that keeps to it. It knows no gRPC, no fleet and no
//! store of the control plane: who is backed up, when, and who may do it is decided above.

mod catalog;
mod chunk;
mod compress;
mod condemned;
mod cut;
mod damage;
mod digest;
#[doc(hidden)]
pub mod fuzzing;
mod index;
mod kek;
mod keyring;
mod manifest;
mod names;
mod note;
mod open;
mod pack;
mod place;
mod problem;
mod read;
mod seal;
mod secret;
mod segment;
mod session;
mod settle;
mod staging;
pub mod step;
mod table;
mod verify;
mod write;

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;

pub use self::{
    catalog::{Listed, Looked, State},
    cut::Cut,
    digest::{Digest, DigestKind},
    kek::{Kdf, Kek, KeyItself, KeySource, Passphrase},
    manifest::{Component, MAX_EVIDENCE, Manifest, Status},
    names::{Domain, Id, OWN_STATE, PackName},
    note::{Decision, Note, Unreadable},
    open::{Options, Vault},
    place::Place,
    problem::{Problem, Result},
    read::{Reader, Reading},
    secret::{Secret, SystemRandom},
    session::Purpose,
    verify::{Depth, Finding, Verified},
    write::{Captured, Committed, Draft, How, Intake, Stream, Writing},
};
