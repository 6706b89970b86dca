//! The control plane itself: which phase it is in, what it counts of itself, and whether it is ready
//! for production.
//!
//! Holds figures and judges them; what they are read from (connections, requests, disks) is up to the
//! rooms that have it.

pub mod key_kept;
pub mod readiness;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

pub use seaworthy_client::rules::Phase;

use crate::time::Clock;

/// Who takes connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Listener {
    /// gRPC.
    Grpc,
    /// Pages and probes.
    Http,
    /// Metrics, where they have a listener of their own.
    Metrics,
    /// The control plane's own health and nothing else, without encryption.
    Probe,
}

impl Listener {
    /// Every one.
    pub const ALL: [Listener; 4] = [Listener::Grpc, Listener::Http, Listener::Metrics, Listener::Probe];

    /// The word for people, wherever they read it: `grpc`.
    pub fn as_str(self) -> &'static str {
        match self {
            Listener::Grpc => "grpc",
            Listener::Http => "http",
            Listener::Metrics => "metrics",
            Listener::Probe => "probe",
        }
    }
}

/// What the control plane counts of itself. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Vitals(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    started: SystemTime,
    phase: watch::Sender<Phase>,
    connections: AtomicU64,
    accepted: AtomicU64,
    refused: [AtomicU64; Listener::ALL.len()],
    handshakes_failed: [AtomicU64; Listener::ALL.len()],
    ended: [AtomicU64; Ended::ALL.len()],
    empty: Notify,
}

/// Why a connection of the gRPC side ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// The client closed it in good order, or was let go because it answered no PING.
    Closed,
    /// It broke: the client reset it, or the network did.
    Broken,
    /// The client sent too much of something that costs it little and the server more.
    Flood,
    /// What the client sent is not HTTP/2.
    Protocol,
    /// The client took nothing of what was written to it.
    Stuck,
    /// The client asked for an answer and did not read it.
    Unread,
    /// It had reached its age, or the server stops.
    Asked,
    /// What the client had proved itself by was revoked, or has expired.
    Lapsed,
}

impl Ended {
    /// Every cause, in the order in which they are shown.
    pub const ALL: [Ended; 8] = [
        Ended::Closed,
        Ended::Broken,
        Ended::Flood,
        Ended::Protocol,
        Ended::Stuck,
        Ended::Unread,
        Ended::Asked,
        Ended::Lapsed,
    ];

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Ended::Closed => "closed",
            Ended::Broken => "broken",
            Ended::Flood => "flood",
            Ended::Protocol => "protocol",
            Ended::Stuck => "stuck",
            Ended::Unread => "unread",
            Ended::Asked => "asked",
            Ended::Lapsed => "lapsed",
        }
    }
}

/// One open connection; counted until it is dropped.
#[derive(Debug)]
pub struct ConnectionGuard(Vitals);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        if self.0.0.connections.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.0.empty.notify_waiters();
        }
    }
}

/// Connections of the gRPC side, counted; those that were refused or failed to begin are of every listener.
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    /// Open now.
    pub open: u64,
    /// Taken since the start.
    pub accepted: u64,
    /// Refused since the start, because there were too many.
    pub refused: u64,
    /// Ended since the start because they did not speak HTTP/2, or TLS where it is wanted, in time.
    pub handshakes_failed: u64,
}

impl Vitals {
    /// A control plane that starts now.
    pub fn start(clock: Clock) -> Self {
        Self(Arc::new(Inner {
            clock,
            started: clock.now().wall,
            phase: watch::Sender::new(Phase::Running),
            connections: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            refused: std::array::from_fn(|_| AtomicU64::new(0)),
            handshakes_failed: std::array::from_fn(|_| AtomicU64::new(0)),
            ended: std::array::from_fn(|_| AtomicU64::new(0)),
            empty: Notify::new(),
        }))
    }

    /// The phase it is in.
    pub fn phase(&self) -> Phase {
        *self.0.phase.borrow()
    }

    /// Enters a phase. Phases only go forward.
    pub fn enter(&self, phase: Phase) {
        self.0.phase.send_if_modified(|current| {
            let forward = phase > *current;
            if forward {
                *current = phase;
            }
            forward
        });
    }

    /// Follows the phase.
    pub fn watch_phase(&self) -> watch::Receiver<Phase> {
        self.0.phase.subscribe()
    }

    /// When it started.
    pub fn started(&self) -> SystemTime {
        self.0.started
    }

    /// How long it has run.
    pub fn uptime(&self) -> Duration {
        self.0.clock.elapsed()
    }

    /// Counts a connection that was taken.
    pub fn connection_opened(&self) -> ConnectionGuard {
        self.0.connections.fetch_add(1, Ordering::Relaxed);
        self.0.accepted.fetch_add(1, Ordering::Relaxed);
        ConnectionGuard(self.clone())
    }

    /// Counts a connection that was refused.
    pub fn connection_refused(&self, by: Listener) {
        self.0.refused[by as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that were refused since the start, because there were too many.
    pub fn refused(&self, by: Listener) -> u64 {
        self.0.refused[by as usize].load(Ordering::Relaxed)
    }

    /// Counts a connection that did not speak what is spoken there in time: TLS, or HTTP/2.
    pub fn handshake_failed(&self, at: Listener) {
        self.0.handshakes_failed[at as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that did not speak what is spoken there in time, since the start.
    pub fn handshakes_failed(&self, at: Listener) -> u64 {
        self.0.handshakes_failed[at as usize].load(Ordering::Relaxed)
    }

    /// Counts a connection that ended after it had begun to speak HTTP/2.
    pub fn connection_ended(&self, why: Ended) {
        self.0.ended[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that have ended so since the start.
    pub fn ended(&self, why: Ended) -> u64 {
        self.0.ended[why as usize].load(Ordering::Relaxed)
    }

    /// Waits until no connection has been open for a whole quiet time. Cancel safe.
    pub async fn quiet(&self, time: Duration) {
        loop {
            let emptied = self.0.empty.notified();
            let before = self.connections();
            if before.open > 0 {
                emptied.await;
                continue;
            }
            sleep(time).await;
            let after = self.connections();
            if after.open == 0 && after.accepted == before.accepted {
                return;
            }
        }
    }

    /// Connections, counted.
    pub fn connections(&self) -> Connections {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Connections {
            open: read(&self.0.connections),
            accepted: read(&self.0.accepted),
            refused: self.0.refused.iter().map(read).sum(),
            handshakes_failed: self.0.handshakes_failed.iter().map(read).sum(),
        }
    }
}
