//! The accept loop: takes connections within bounds, owns them, and lets go of them at the end.

use std::{
    collections::HashMap,
    future::Future,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};
use tracing::{debug, warn};

use crate::{
    config::Config,
    system::{ConnectionGuard, Vitals},
    task::{Group, drain},
};

/// Pause after the operating system would not give us a connection (too many open files, mostly).
const PAUSE: Duration = Duration::from_millis(100);

/// How many connections are taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caps {
    /// In all.
    pub(super) total: usize,
    /// From one address.
    pub(super) per_peer: usize,
}

/// Takes connections until the drain begins.
#[derive(Debug)]
pub(super) struct Accept {
    /// The configuration in force, and what it says of how many.
    pub(super) live: watch::Receiver<Arc<Config>>,
    pub(super) caps: fn(&Config) -> Caps,
    /// Where they are counted; None where they are not.
    pub(super) vitals: Option<Vitals>,
    /// When to stop.
    pub(super) drain: drain::Watch,
}

/// One connection that was taken.
#[derive(Debug)]
pub(super) struct Accepted {
    /// The connection.
    pub(super) stream: TcpStream,
    /// The other end.
    pub(super) peer: SocketAddr,
    /// Counts it while it is held.
    pub(super) counted: Option<ConnectionGuard>,
}

impl Accept {
    /// Runs until the drain begins, and answers the connections that are still open. `serve` says what
    /// is done with each.
    pub(super) async fn run<F>(
        mut self,
        listener: TcpListener,
        mut serve: impl FnMut(Accepted) -> F,
    ) -> Group<IpAddr>
    where
        F: Future<Output = IpAddr> + Send + 'static,
    {
        let mut connections = Group::new("connection");
        let mut peers: HashMap<IpAddr, usize> = HashMap::new();
        loop {
            tokio::select! {
                biased;
                () = self.drain.begun() => return connections,
                Some(ended) = connections.next(), if !connections.is_empty() => match ended {
                    Some(peer) => release(&mut peers, peer),
                    // A connection that panicked cannot say whose it was: count anew when all is quiet.
                    None => if connections.is_empty() { peers.clear() },
                },
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let ip = peer.ip().to_canonical();
                        let caps = (self.caps)(&self.live.borrow());
                        let held = peers.get(&ip).copied().unwrap_or_default();
                        if connections.len() >= caps.total || held >= caps.per_peer {
                            debug!(component = "server", %peer, "too many connections, refused");
                            if let Some(vitals) = &self.vitals {
                                vitals.connection_refused();
                            }
                            continue;
                        }
                        *peers.entry(ip).or_default() += 1;
                        // Small messages must not wait for each other.
                        if let Err(cause) = stream.set_nodelay(true) {
                            debug!(component = "server", %peer, %cause, "could not set TCP_NODELAY");
                        }
                        let counted = self.vitals.as_ref().map(Vitals::connection_opened);
                        connections.spawn(serve(Accepted { stream, peer, counted }));
                    }
                    Err(cause) => {
                        warn!(component = "server", %cause, "could not accept a connection");
                        sleep(PAUSE).await;
                    }
                },
            }
        }
    }
}

fn release(peers: &mut HashMap<IpAddr, usize>, peer: IpAddr) {
    if let Some(held) = peers.get_mut(&peer) {
        *held -= 1;
        if *held == 0 {
            peers.remove(&peer);
        }
    }
}
