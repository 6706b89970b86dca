//! The session of an instance: what the stream that carries it needs from the registry.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{lease::Lease, registration::Registration, snapshot::Tombstone};

/// Why the registry ends a session.
#[derive(Clone, Debug)]
pub enum Closing {
    /// Another stream took it up.
    Superseded,
    /// A newer incarnation holds the id.
    StaleIncarnation,
    /// The instance was removed.
    Removed(Arc<Tombstone>),
}

/// How a session comes to be opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Opening {
    /// With the registration: whether its answer arrives is not known.
    Registered,
    /// By somebody who has the token.
    Resumed,
}

/// An open session. The stream that holds it closes it by `Handle::close_session`.
#[derive(Debug)]
pub struct Session {
    /// Tells sessions of one instance apart.
    pub id: u64,
    /// Whose it is.
    pub instance: Incarnation,
    /// Its lease, to be touched at every message.
    pub lease: Arc<Lease>,
    /// Told when the registry ends the session.
    pub closing: oneshot::Receiver<Closing>,
}

/// One life of an instance.
#[derive(Debug)]
pub struct Incarnation {
    /// What it registered.
    pub registration: Arc<Registration>,
    /// Which life of its id this is.
    pub incarnation: u64,
}
