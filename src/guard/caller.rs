//! Who calls: attached to every request, for whoever has to decide or to write it down.
//!
//! A caller is a peer address, an [`Identity`] and, where it sends one, a session token.

use std::{
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
};

use http::Request;
use tokio::sync::watch;
use tower::{Layer, Service};

use super::{access, subscriptions::Subscriptions};
use crate::{
    id::{SessionToken, TokenHash},
    identity::Identity,
    tls::peer::PeerCertificate,
};

/// Metadata that carries a session token for RPCs whose message carries none.
pub const SESSION_TOKEN_HEADER: &str = "seaworthy-session-token";

/// The connection that a request came on, attached by the accept loop.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The other end.
    pub peer: SocketAddr,
    /// The certificate that it has shown, verified. None: it has shown none, or nothing is encrypted.
    pub certificate: Option<Arc<PeerCertificate>>,
    /// Becomes true when the connection is to end: streams on it say goodbye and end themselves.
    pub closing: watch::Receiver<bool>,
    /// Waits for what several of its streams wait for.
    pub subscriptions: Subscriptions,
}

/// Who calls, and over what.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The connection it calls on.
    pub connection: Connection,
    /// Who it has proved to be.
    pub identity: Arc<Identity>,
    /// The session token that it sent in the metadata, yet to be compared with an incarnation.
    pub session: Option<TokenHash>,
}

/// Makes [`IdentifyCaller`]s for one connection.
#[derive(Clone, Debug)]
pub struct CallerLayer(Connection);

impl CallerLayer {
    /// Identifies callers on this connection.
    pub fn new(connection: Connection) -> Self {
        Self(connection)
    }
}

impl<S> Layer<S> for CallerLayer {
    type Service = IdentifyCaller<S>;

    fn layer(&self, inner: S) -> Self::Service {
        IdentifyCaller { inner, connection: self.0.clone() }
    }
}

/// Attaches a [`Caller`] to every request.
#[derive(Clone, Debug)]
pub struct IdentifyCaller<S> {
    inner: S,
    connection: Connection,
}

impl<S, A> Service<Request<A>> for IdentifyCaller<S>
where
    S: Service<Request<A>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> S::Future {
        let token = request.headers().get(SESSION_TOKEN_HEADER).and_then(|value| value.to_str().ok());
        let session = token.map(|token| SessionToken::from_wire(token).hash());
        let identity = Arc::new(Identity::local());
        if let Some(slot) = request.extensions().get::<access::Slot>() {
            slot.fill(&identity, self.connection.peer);
        }
        request.extensions_mut().insert(Caller { connection: self.connection.clone(), identity, session });
        self.inner.call(request)
    }
}
