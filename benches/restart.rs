//! Restart with a large fleet in the store: until the first answer, and until all instances are known.
//!
//! A fleet of 100,000 registers through the API once, and its server is killed. Each round starts a
//! server on that data folder: the first answer is any of `Health/Check`, and all are known when
//! `GetStatus` counts them. The files are in the system's cache, as they are after a crash of a process.
#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

mod support;

use std::{sync::Arc, time::Duration};

use support::{
    Result, fleet,
    report::{self, Goal},
    settings::{self, Settings},
};

const CONNECTIONS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    support::run(async {
        let settings = Settings::read()?;
        let instances = settings::number("BENCH_INSTANCES", 100_000)?;
        report::head(&format!("Restart with {instances} instances in the store"), "none");
        for &threads in &settings.threads {
            let data = {
                let server = fleet::start(threads).await?;
                fleet::populate(&server.connect_thin(CONNECTIONS).await?, instances).await?;
                server.data()
            };
            let (mut first, mut all) = (Vec::new(), Vec::new());
            for _ in 0..settings.rounds {
                let server = fleet::start_on(threads, Arc::clone(&data)).await?;
                first.push(server.answered_after().as_secs_f64() * 1e3);
                let channel = server.connect(1).await?.remove(0);
                while fleet::count(channel.clone()).await.unwrap_or(0) < instances as u64 {
                    if server.since_start() > PATIENCE {
                        return Err(format!("not all are known after {PATIENCE:?}").into());
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                all.push(server.since_start().as_secs_f64() * 1e3);
            }
            let with = format!("{threads} server thread(s)");
            report::figure(&format!("first answer, {with}"), " ms", &first, &[], Goal::AtMost(500.0, 100.0));
            report::figure(&format!("all known, {with}"), " ms", &all, &[], Goal::AtMost(5000.0, 1000.0));
        }
        Ok(())
    })
}
