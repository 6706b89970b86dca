//! What went wrong between two that would speak TLS, in words that say who has to do something about it.

use std::{io, time::Duration};

use rustls::{
    AlertDescription as Alert, CertificateError, Error as Tls, InvalidMessage, pki_types::UnixTime,
};

/// The two ends of a connection, as far as words about it need them.
#[derive(Clone, Debug)]
pub(super) struct About {
    /// The name that the other end's certificate has to be for.
    pub(super) peer: String,
    /// Whether this end has a certificate to show.
    pub(super) has_certificate: bool,
}

impl About {
    /// Why a handshake failed. `asked`: whether the other end had asked for a certificate by then.
    pub(super) fn handshake(&self, error: &io::Error, asked: bool) -> String {
        if let Some(words) = self.broken(error) {
            return words;
        }
        let peer = &self.peer;
        match error.kind() {
            _ if asked && is_hangup(error.kind()) => self.hangup(asked),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                format!("{peer} ended the connection during the TLS handshake; is TLS spoken there?")
            }
            _ => format!("the TLS handshake with {peer} failed: {error}"),
        }
    }

    /// Why an encrypted connection broke, where TLS is the reason.
    pub(super) fn broken(&self, error: &io::Error) -> Option<String> {
        let tls = error.get_ref()?.downcast_ref::<Tls>()?;
        Some(self.tls(tls))
    }

    /// The other end went away before it had said anything.
    pub(super) fn hangup(&self, asked: bool) -> String {
        let peer = &self.peer;
        match (asked, self.has_certificate) {
            (true, false) => format!(
                "{peer} asked for a client certificate, was given none, and ended the connection; give one that its \
                 authority has issued"
            ),
            (true, true) => format!(
                "{peer} ended the connection once it had seen the client certificate; its log says why"
            ),
            (false, _) => format!("{peer} ended the connection right after the TLS handshake"),
        }
    }

    fn tls(&self, error: &Tls) -> String {
        let peer = &self.peer;
        match error {
            Tls::InvalidCertificate(why) => self.certificate(why),
            Tls::AlertReceived(alert) => self.alert(*alert),
            Tls::InvalidMessage(InvalidMessage::InvalidContentType) => {
                format!("{peer} does not speak TLS there; write http:// where it is not meant to")
            }
            Tls::PeerIncompatible(why) => format!("{peer} speaks no TLS that is still safe: {why:?}"),
            other => format!("TLS with {peer} failed: {other}"),
        }
    }

    fn certificate(&self, error: &CertificateError) -> String {
        let whose = format!("the certificate of {}", self.peer);
        match error {
            CertificateError::UnknownIssuer => {
                format!("{whose} is not issued by the given authority; give the one that has issued it")
            }
            CertificateError::BadSignature => {
                format!("{whose} is not issued by the given authority, but by another of the same name")
            }
            CertificateError::ExpiredContext { time, not_after } => {
                format!("{whose} has expired {} ago; it has to be renewed", apart(*not_after, *time))
            }
            CertificateError::Expired => format!("{whose} has expired; it has to be renewed"),
            CertificateError::NotValidYetContext { time, not_before } => format!(
                "{whose} is valid only in {}; compare the clocks of both machines",
                apart(*time, *not_before)
            ),
            CertificateError::NotValidYet => {
                format!("{whose} is not valid yet; compare the clocks of both machines")
            }
            CertificateError::NotValidForNameContext { expected: _, presented } => {
                let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
                let names = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
                format!("{whose} is for {names}; use that name, or say that it is the right one")
            }
            CertificateError::NotValidForName => format!("{whose} is for another name"),
            CertificateError::Revoked => format!("{whose} has been revoked"),
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                format!("{whose} is not one of a server")
            }
            other => format!("{whose} cannot be believed: {other}"),
        }
    }

    fn alert(&self, alert: Alert) -> String {
        let peer = &self.peer;
        let own = "the client certificate";
        match alert {
            Alert::CertificateRequired => {
                format!(
                    "{peer} wants a client certificate, and was given none; give one that its authority has issued"
                )
            }
            Alert::HandshakeFailure | Alert::BadCertificate | Alert::CertificateUnknown
                if !self.has_certificate =>
            {
                format!("{peer} refuses the TLS handshake ({alert:?}); it may want a client certificate")
            }
            Alert::UnknownCA => format!("{own} is not issued by an authority that {peer} trusts"),
            Alert::CertificateExpired => format!("{own} has expired, says {peer}; it has to be renewed"),
            Alert::CertificateRevoked => format!("{own} has been revoked, says {peer}"),
            Alert::BadCertificate
            | Alert::CertificateUnknown
            | Alert::UnsupportedCertificate
            | Alert::DecryptError
            | Alert::AccessDenied => {
                format!("{own} does not count for {peer} ({alert:?}); its log says why")
            }
            Alert::NoApplicationProtocol => {
                format!("{peer} speaks TLS, but not what is to be spoken over it; is it the right port?")
            }
            Alert::UnrecognisedName => format!("{peer} does not know itself by that name"),
            Alert::ProtocolVersion => format!("{peer} speaks no version of TLS that is still safe"),
            other => format!("{peer} refuses the TLS handshake: {other:?}"),
        }
    }
}

/// Whether the other end just went away.
pub(super) fn is_hangup(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

/// How far two times are apart, in the largest unit that leaves at least two of it.
fn apart(earlier: UnixTime, later: UnixTime) -> String {
    let seconds = Duration::from_secs(later.as_secs().saturating_sub(earlier.as_secs())).as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// `DnsName("orders.example")` → `orders.example`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"')
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;

    use super::*;

    fn about(has_certificate: bool) -> About {
        About { peer: "h".to_owned(), has_certificate }
    }

    fn said(has_certificate: bool, error: Tls) -> String {
        about(has_certificate).broken(&io::Error::new(io::ErrorKind::InvalidData, error)).expect("TLS's")
    }

    fn day(number: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(number * 86_400))
    }

    #[test]
    fn what_is_wrong_with_a_server_as_a_table() {
        let wrong_name = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("h").expect("a name"),
            presented: vec!["DnsName(\"a\")".to_owned(), "IpAddress(10.0.0.7)".to_owned()],
        };
        for (error, words) in [
            (
                CertificateError::UnknownIssuer,
                "the certificate of h is not issued by the given authority; give the one that has issued it",
            ),
            (
                CertificateError::ExpiredContext { time: day(105), not_after: day(100) },
                "the certificate of h has expired 5 days ago; it has to be renewed",
            ),
            (
                CertificateError::NotValidYetContext { time: day(100), not_before: day(103) },
                "the certificate of h is valid only in 3 days; compare the clocks of both machines",
            ),
            (
                wrong_name,
                "the certificate of h is for a, 10.0.0.7; use that name, or say that it is the right one",
            ),
            (CertificateError::InvalidPurpose, "the certificate of h is not one of a server"),
        ] {
            assert_eq!(said(false, Tls::InvalidCertificate(error)), words);
        }
        let plain = said(false, Tls::InvalidMessage(InvalidMessage::InvalidContentType));
        assert!(plain.contains("does not speak TLS"), "{plain}");
    }

    #[test]
    fn what_a_server_says_is_wrong_with_the_client_as_a_table() {
        for (alert, has_certificate, words) in [
            (Alert::CertificateRequired, false, "wants a client certificate"),
            (Alert::HandshakeFailure, false, "may want a client certificate"),
            (Alert::UnknownCA, true, "not issued by an authority that h trusts"),
            (Alert::CertificateExpired, true, "the client certificate has expired"),
            (Alert::CertificateRevoked, true, "the client certificate has been revoked"),
            (Alert::BadCertificate, true, "does not count for h"),
            (Alert::NoApplicationProtocol, false, "right port"),
        ] {
            let said = said(has_certificate, Tls::AlertReceived(alert));
            assert!(said.contains(words), "{alert:?}: {said}");
        }
    }

    #[test]
    fn who_hangs_up_is_told_apart_by_what_it_asked_for() {
        assert!(about(false).hangup(true).contains("asked for a client certificate, was given none"));
        assert!(about(true).hangup(true).contains("once it had seen the client certificate"));
        assert!(about(false).hangup(false).contains("right after the TLS handshake"));
        let eof = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert!(about(false).handshake(&eof, false).contains("is TLS spoken there?"));
        assert_eq!(about(false).broken(&eof), None);
    }
}
