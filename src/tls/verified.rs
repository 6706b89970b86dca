//! What a client has proved in its handshake, and for how long that counts.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{ServerConnection, pki_types::CertificateDer};
use tokio::{sync::watch, time::sleep};

use super::{
    credentials::{Clients, Credentials},
    peer::{PeerCertificate, Unnamed},
};
use crate::time::Clock;

/// Time until a certificate is verified again though nothing was read anew: an authority in its chain may have expired,
/// or the clock may have been set.
const LOOK_AGAIN: Duration = Duration::from_secs(600);
/// A certificate counts to the end of the second that it names.
const SECOND: Duration = Duration::from_secs(1);

/// Why what was proved counts no more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Lapse {
    /// The certificate has expired.
    Expired,
    /// It is revoked, or its authority is none any more: what its verification said.
    Refused(String),
}

impl fmt::Display for Lapse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lapse::Expired => f.write_str("the client certificate has expired"),
            Lapse::Refused(why) => write!(f, "the client certificate counts no more: {why}"),
        }
    }
}

/// The certificate of a client, verified.
pub struct Verified {
    /// What it says.
    pub certificate: Arc<PeerCertificate>,
    /// As the client sent it, itself first, to be verified again.
    chain: Vec<CertificateDer<'static>>,
    /// What it was verified by last.
    by: Arc<Clients>,
}

impl Verified {
    /// What the client has shown in a handshake with these credentials. None: it has shown no certificate.
    ///
    /// # Errors
    /// Its names prove nobody; the handshake would have failed.
    pub fn of(connection: &ServerConnection, credentials: &Credentials) -> Result<Option<Self>, Unnamed> {
        let (Some(chain), Some(clients)) = (connection.peer_certificates(), &credentials.clients) else {
            return Ok(None);
        };
        let Some(own) = chain.first() else { return Ok(None) };
        let certificate = Arc::new(PeerCertificate::read(own)?);
        let chain = chain.iter().map(|one| one.clone().into_owned()).collect();
        Ok(Some(Self { certificate, chain, by: Arc::clone(clients) }))
    }

    /// Waits until it counts no more: until it expires, or what is newly read does not verify it. Cancel safe; never
    /// ready once nobody reads anything any more.
    pub async fn lapses(mut self, mut credentials: watch::Receiver<Arc<Credentials>>, clock: Clock) -> Lapse {
        let mut is_due = false;
        loop {
            let clients = credentials.borrow_and_update().clients.clone();
            let Some(clients) = clients else {
                return Lapse::Refused("no certificate is asked for any more".to_owned());
            };
            let now = clock.now().wall;
            if is_due || !Arc::ptr_eq(&clients, &self.by) {
                if let Some(lapse) = self.verdict(&clients, now) {
                    return lapse;
                }
                self.by = clients;
            }
            let left = self.certificate.not_after.duration_since(now).unwrap_or_default() + SECOND;
            tokio::select! {
                changed = credentials.changed() => match changed {
                    Ok(()) => is_due = false,
                    Err(_) => std::future::pending().await,
                },
                () = sleep(left.min(LOOK_AGAIN)) => is_due = true,
            }
        }
    }

    fn verdict(&self, clients: &Clients, now: SystemTime) -> Option<Lapse> {
        if now > self.certificate.not_after {
            return Some(Lapse::Expired);
        }
        clients.verify(&self.chain, now).err().map(|why| Lapse::Refused(why.to_string()))
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}
