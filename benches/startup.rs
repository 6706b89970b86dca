//! Start to the first answered RPC, and resident memory when idle, beside a bare tonic-health server
//! and etcd.
//!
//! Each start is a new process on an empty data folder (made by the server itself). The time runs from
//! the spawn to the answer SERVING of `Health/Check` on a new connection, for all three alike. Memory
//! is read two seconds later, after that one call.
#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

mod support;

use std::time::Duration;

use support::{
    Result, bare, etcd, fleet,
    process::Server,
    report::{self, Goal},
    settings::Settings,
};

const IDLE: Duration = Duration::from_secs(2);

/// One side: its name, and its figures.
struct Side {
    name: &'static str,
    start_ms: Vec<f64>,
    idle_mib: Vec<f64>,
}

fn main() -> Result<()> {
    if bare::serve_if_asked()? {
        return Ok(());
    }
    support::run(async {
        let settings = Settings::read()?;
        let mut sides = ["seaworthy", "bare tonic-health", etcd::NAME].map(|name| Side {
            name,
            start_ms: Vec::new(),
            idle_mib: Vec::new(),
        });
        let threads = settings.threads.last().copied().unwrap_or(2);
        for _ in 0..settings.rounds {
            sides[0].take(&fleet::start(threads).await?).await?;
            sides[1].take(&bare::start(threads).await?).await?;
            sides[2].take(&etcd::start(threads).await?).await?;
        }
        let [ours, peers @ ..] = &sides;
        for (peer, goals) in peers.iter().zip([true, false]) {
            report::head(&format!("Start and idle memory, {threads} server thread(s)"), peer.name);
            let goal = |must, aim| if goals { Goal::AtMost(must, aim) } else { Goal::Shown };
            let (start, idle) = (goal(50.0, 10.0), goal(20.0, 12.0));
            report::figure("start to first answer", " ms", &ours.start_ms, &peer.start_ms, start);
            report::figure("resident memory, idle", " MiB", &ours.idle_mib, &peer.idle_mib, idle);
        }
        Ok(())
    })
}

impl Side {
    async fn take(&mut self, server: &Server) -> Result<()> {
        tokio::time::sleep(IDLE).await;
        self.start_ms.push(server.served_after().as_secs_f64() * 1e3);
        self.idle_mib.push(server.resident_mib()?);
        Ok(())
    }
}
