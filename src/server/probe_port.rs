//! The port for platforms that cannot probe by TLS: the control plane's own health, by gRPC and by HTTP, without
//! encryption, and nothing else. Which of the two is spoken the first bytes tell.

use std::{io, pin::Pin};

use axum::Router;
use tokio::time::timeout;
use tracing::debug;

use super::{
    accept::Accepted,
    grpc::{self, Hold},
    http,
    preface::{self, Speaks},
    routes::ProbeRouter,
    transport::Transport,
    wrong_port::{self, HANDSHAKE},
};
use crate::{
    guard::Guard,
    system::{Listener, Vitals},
    task::{
        drain,
        local::{LocalTasks, Spawner},
    },
};

/// What it takes to answer here. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    pub(super) grpc: grpc::Settings,
    pub(super) http: http::Settings,
    pub(super) guard: Guard,
    pub(super) health: ProbeRouter,
    pub(super) pages: Router,
    pub(super) vitals: Vitals,
    pub(super) drain: drain::Watch,
}

/// Serves one connection after another.
pub(super) fn serve(probe: Probe) -> impl FnMut(Accepted) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    move |accepted| {
        let spawner = Spawner::default();
        let clock = probe.grpc.clock();
        Box::pin(LocalTasks::new(clock, spawner.clone(), connection(probe.clone(), accepted, spawner)))
    }
}

async fn connection(probe: Probe, accepted: Accepted, spawner: Spawner) {
    let Probe { grpc, http, guard, health, pages, vitals, mut drain } = probe;
    let Accepted { stream, peer, counted: _ } = accepted;
    let begun = async {
        match preface::read(Transport::Plain(stream)).await? {
            Speaks::Other(begun) if begun.said().first() == Some(&HANDSHAKE) => {
                Err(wrong_port::with_tls(begun).await)
            }
            speaks => Ok::<_, io::Error>(speaks),
        }
    };
    let begun = tokio::select! {
        begun = timeout(grpc.handshake_timeout(), begun) => begun.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
        () = drain.begun() => return,
    };
    match begun {
        Ok(Speaks::Http2(begun)) => {
            let hold = Hold { settings: grpc, router: health, guard, vitals: None, spawner };
            let closing = async move { drain.begun().await };
            Box::pin(hold.run(begun, peer, None, None, closing)).await;
        }
        Ok(Speaks::Other(begun)) => {
            let ended = Box::pin(http::hold(http, pages, drain, begun, peer, None)).await;
            debug!(component = "server", %peer, ?ended, "HTTP connection of the probe port ended");
        }
        Err(cause) => {
            vitals.handshake_failed(Listener::Probe);
            debug!(component = "server", %peer, %cause, "no connection of the probe port came of it");
        }
    }
}
