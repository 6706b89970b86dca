//! What the certificate of a client says of it, once it has been verified.

use std::{fmt, time::SystemTime};

/// A name that a certificate proves.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Name {
    /// A SPIFFE id: `spiffe://prod.example.org/service/orders` (SPIFFE-ID, X509-SVID 2).
    Spiffe(String),
    /// A DNS name: `ci.example.org`.
    Dns(String),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Spiffe(id) => f.write_str(id),
            Name::Dns(name) => write!(f, "dns:{name}"),
        }
    }
}

/// A verified certificate of a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerCertificate {
    /// The names that it proves: the SPIFFE id if it has one, which is then the only one that counts, else the DNS
    /// names in their order. Empty: it proves none.
    pub names: Vec<Name>,
    /// Its serial number in hexadecimal digits, for the log.
    pub serial: String,
    /// When it expires.
    pub not_after: SystemTime,
}
