//! Encryption of connections: certificates, keys, authorities and revocation lists from files.
//!
//! Nothing here decides what a name may do: that is `identity`'s.

pub mod peer;
