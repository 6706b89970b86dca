//! The accept loop: takes connections within bounds, owns them, and lets go of them at the end.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};
use tracing::{debug, warn};

use super::places::Places;
use crate::{
    config::Config,
    system::{ConnectionGuard, Listener, Vitals},
    task::{Group, drain},
};

/// Pause after the operating system would not give us a connection (too many open files, mostly).
const PAUSE: Duration = Duration::from_millis(100);

/// Time between two lines about connections that were refused.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// How many connections are taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caps {
    /// In all.
    pub(super) total: usize,
    /// From one peer: an IPv4 address, or a /64 of IPv6.
    pub(super) per_peer: usize,
}

/// Takes connections until the drain begins.
#[derive(Debug)]
pub(super) struct Accept {
    /// The configuration in force, and what it says of how many.
    pub(super) live: watch::Receiver<Arc<Config>>,
    pub(super) caps: fn(&Config) -> Caps,
    /// Who takes them.
    pub(super) listener: Listener,
    /// Where those that are refused are counted, and those of the gRPC side that are open.
    pub(super) vitals: Vitals,
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
    ) -> Group<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut connections = Group::new("connection");
        let places = Places::default();
        let mut told = None;
        loop {
            tokio::select! {
                biased;
                () = self.drain.begun() => return connections,
                Some(_) = connections.next(), if !connections.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let caps = (self.caps)(&self.live.borrow());
                        let place = (connections.len() < caps.total)
                            .then(|| places.take(peer.ip(), caps.per_peer))
                            .flatten();
                        let Some(place) = place else {
                            self.vitals.connection_refused(self.listener);
                            self.tell(peer, connections.len(), &mut told);
                            continue;
                        };
                        // Small messages must not wait for each other.
                        if let Err(cause) = stream.set_nodelay(true) {
                            debug!(component = "server", %peer, %cause, "could not set TCP_NODELAY");
                        }
                        let counted =
                            (self.listener == Listener::Grpc).then(|| self.vitals.connection_opened());
                        let serving = serve(Accepted { stream, peer, counted });
                        connections.spawn(async move {
                            let _place = place;
                            serving.await;
                        });
                    }
                    Err(cause) => {
                        warn!(component = "server", %cause, "could not accept a connection");
                        sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    /// Says that a connection was refused, now and then: whoever is refused comes back at once.
    fn tell(&self, peer: SocketAddr, open: usize, told: &mut Option<Duration>) {
        let now = self.vitals.uptime();
        if told.is_some_and(|told| now.saturating_sub(told) < TELL_EVERY) {
            return;
        }
        *told = Some(now);
        let (listener, refused) = (self.listener.as_str(), self.vitals.refused(self.listener));
        warn!(component = "server", listener, %peer, open, refused, "too many connections, refused");
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::time::Clock;

    async fn connect(to: SocketAddr) -> TcpStream {
        TcpStream::connect(to).await.unwrap()
    }

    async fn closes(mut stream: TcpStream) {
        let mut byte = [0];
        let wait = stream.read(&mut byte);
        let read = tokio::time::timeout(Duration::from_secs(20), wait).await.expect("in time");
        assert!(!matches!(read, Ok(1..)), "closed, not answered");
    }

    #[tokio::test]
    async fn a_connection_that_panics_gives_its_place_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_live, live) = watch::channel(Arc::new(Config::default()));
        let (_signal, drain) = drain::channel();
        let caps = |_: &Config| Caps { total: 8, per_peer: 2 };
        let accept =
            Accept { live, caps, listener: Listener::Http, vitals: Vitals::start(Clock::start()), drain };
        // The first is held; every other one breaks off.
        let (seen, mut served) = tokio::sync::mpsc::channel(8);
        let mut count = 0;
        let serve = move |accepted: Accepted| {
            count += 1;
            let (number, seen) = (count, seen.clone());
            Box::pin(async move {
                let _open = accepted;
                seen.send(number).await.unwrap();
                if number > 1 {
                    panic!("on purpose");
                }
                std::future::pending::<()>().await;
            }) as std::pin::Pin<Box<dyn Future<Output = ()> + Send>>
        };
        let _running = crate::task::spawn("accept", crate::task::OnEnd::Fine, accept.run(listener, serve));
        let _held = connect(address).await;
        assert_eq!(served.recv().await, Some(1));
        for number in 2..6 {
            closes(connect(address).await).await;
            assert_eq!(served.try_recv(), Ok(number), "served, not refused");
        }
    }
}
