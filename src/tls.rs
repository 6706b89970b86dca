//! Encryption of connections: certificates, keys, authorities and revocation lists from files.
//!
//! [`open`] reads the files that the configuration names; a [`Service`] looks at them again and again and
//! publishes what they hold, whole or not at all; a [`Handle`] gives everybody what is in force. Nothing here
//! decides what a name may do: that is `identity`'s. Nothing here knows a socket either: that is `server`'s.

pub mod credentials;
pub mod expiry;
mod files;
mod material;
mod names;
pub mod peer;
pub mod service;
pub mod verified;

#[cfg(test)]
#[path = "../tests/server/pki.rs"]
mod pki;

pub use self::{
    credentials::Credentials,
    expiry::{Expiry, Kind},
    files::check,
    service::{Handle, Options, Service, Status, open},
    verified::{Lapse, Verified},
};
