//! What the certificate of a client says of it, once it has been verified.

use std::{fmt, time::SystemTime};

use x509_parser::parse_x509_certificate;

use super::{expiry::time, names};

/// A name that a certificate proves.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Name {
    /// A SPIFFE id: `spiffe://prod.example.org/service/orders` (SPIFFE-ID, X509-SVID 2).
    Spiffe(String),
    /// A DNS name, in lower case: `ci.example.org`.
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

/// Why a certificate proves nothing, although an authority vouches for it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Unnamed(pub(super) String);

impl PeerCertificate {
    /// Reads a certificate, in DER. That it is verified is up to the caller.
    ///
    /// # Errors
    /// It is no certificate, or breaks the rules for names of X509-SVID.
    pub fn read(der: &[u8]) -> Result<Self, Unnamed> {
        let (_, certificate) =
            parse_x509_certificate(der).map_err(|_| Unnamed("is no certificate of X.509".to_owned()))?;
        Ok(Self {
            names: names::of(&certificate)?,
            serial: hexadecimal(certificate.raw_serial()),
            not_after: time(certificate.validity().not_after),
        })
    }
}

/// Without the zero that DER puts in front of what would be negative.
fn hexadecimal(serial: &[u8]) -> String {
    let digits = serial.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(serial);
    digits.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_as_a_table() {
        for (serial, digits) in
            [(&[1, 0xab][..], "01ab"), (&[0, 0xff], "ff"), (&[0], "00"), (&[], ""), (&[0, 0, 1], "0001")]
        {
            assert_eq!(hexadecimal(serial), digits, "{serial:?}");
        }
    }
}
