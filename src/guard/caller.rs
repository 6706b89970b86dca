//! Who calls: attached to every request, for whoever has to decide or to write it down.
//!
//! A caller is a peer address, an [`Identity`] and, where it sends one, a session token. Whoever brings what does not
//! count is nobody; what that means for a call is `permission`'s.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderMap, Request, header::AUTHORIZATION};
use tokio::sync::watch;
use tonic::Status;

use super::{access, check::Check, proof::Proof, proofs::Proofs, subscriptions::Subscriptions};
use crate::{
    id::{BearerToken, SessionToken, TokenHash},
    identity::{
        Identity,
        authenticator::{Bearer, Identified},
        failures::Told,
    },
    tls::peer::PeerCertificate,
};

/// Metadata that carries a session token for RPCs whose message carries none.
pub const SESSION_TOKEN_HEADER: &str = "seaworthy-session-token";
/// How a bearer token is announced (RFC 6750, 2.1; case does not matter, RFC 9110, 11.1).
const BEARER: &str = "bearer ";

/// The connection that a request came on, attached by the accept loop.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The other end.
    pub peer: SocketAddr,
    /// The certificate that it has shown, verified. None: it has shown none, or nothing is encrypted.
    pub certificate: Option<Arc<PeerCertificate>>,
    /// Whether what it has proved still counts; the connection ends when it does not.
    pub proof: Proof,
    /// Becomes true when the connection is to end: streams on it say goodbye and end themselves.
    pub closing: watch::Receiver<bool>,
    /// Waits for what several of its streams wait for.
    pub subscriptions: Subscriptions,
}

/// The connection that a request of the HTTP side came on, attached to each of its requests.
#[derive(Clone, Debug)]
pub struct HttpConnection {
    /// The other end.
    pub peer: SocketAddr,
    /// The certificate that it has shown, verified. None: it has shown none, or nothing is encrypted.
    pub certificate: Option<Arc<PeerCertificate>>,
    /// Whether what it has proved still counts; the connection ends when it does not.
    pub proof: Proof,
}

/// Who calls, and over what.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The connection it calls on.
    pub connection: Connection,
    /// Who it has proved to be.
    pub identity: Arc<Identity>,
    /// What it brought did not count: what it is told, where a proof is needed.
    pub failed: Option<Told>,
    /// The session token that it sent in the metadata, yet to be compared with an incarnation.
    pub session: Option<TokenHash>,
}

/// Attaches a [`Caller`] to every request of one connection. Refuses nobody.
#[derive(Clone, Debug)]
pub struct Identify {
    connection: Connection,
    proofs: Arc<Proofs>,
}

impl Identify {
    /// Identifies callers on this connection, by what proves who they are.
    pub fn new(connection: Connection, proofs: Arc<Proofs>) -> Self {
        Self { connection, proofs }
    }
}

impl Check for Identify {
    fn check<A>(&self, request: &mut Request<A>) -> Result<(), Box<Status>> {
        let headers = request.headers();
        let token = headers.get(SESSION_TOKEN_HEADER).and_then(|value| value.to_str().ok());
        let session = token.map(|token| SessionToken::from_wire(token).hash());
        let Identified { identity, failed } = self.proofs.identify(&bearer(headers));
        if let Some(slot) = request.extensions().get::<access::Slot>() {
            slot.fill(&identity, self.connection.peer);
        }
        let connection = self.connection.clone();
        request.extensions_mut().insert(Caller { connection, identity, failed, session });
        Ok(())
    }
}

/// The bearer token of a request, as far as it has the form of one.
pub fn bearer(headers: &HeaderMap) -> Bearer {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Bearer::Absent };
    // Two of them would leave it to chance which counts.
    if values.next().is_some() {
        return Bearer::Malformed;
    }
    let text = value.to_str().ok();
    let token = text.and_then(|text| {
        let (kind, token) = text.split_at_checked(BEARER.len())?;
        kind.eq_ignore_ascii_case(BEARER).then_some(token)
    });
    token.and_then(BearerToken::hash_of).map_or(Bearer::Malformed, Bearer::Token)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::id::Entropy;

    #[test]
    fn bearers_as_a_table() {
        let token = Entropy::system().bearer_token().unwrap();
        let good = Bearer::Token(token.hash());
        let said = |kind: &str| format!("{kind}{}", token.reveal());
        for (values, expected) in [
            (vec![], Bearer::Absent),
            (vec![said("Bearer ")], good),
            (vec![said("bearer ")], good),
            (vec![said("Basic ")], Bearer::Malformed),
            (vec![said("Bearer  ")], Bearer::Malformed),
            (vec![said("")], Bearer::Malformed),
            (vec!["Bearer".into()], Bearer::Malformed),
            (vec!["Bearer ".into()], Bearer::Malformed),
            (vec![format!("{} ", said("Bearer "))], Bearer::Malformed),
            (vec![format!("Bearer {}", "x".repeat(10_000))], Bearer::Malformed),
            (vec![said("Bearer "), said("Bearer ")], Bearer::Malformed),
        ] {
            let mut headers = HeaderMap::new();
            for value in &values {
                headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(bearer(&headers), expected, "{values:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_bytes(b"Bearer \xff").unwrap());
        assert_eq!(bearer(&headers), Bearer::Malformed);
    }
}
