//! `Health/Check` through the whole server against a bare tonic-health server.
//!
//! 4 connections with 64 requests in flight on each, closed loop, name "". Both servers run the same
//! tokio runtime with the same number of worker threads; the generator is one thread of its own process.
#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

mod support;

use support::{
    Result, bare,
    checking::{CONNECTIONS, checks},
    fleet,
    load::Sample,
    pair::Pair,
    process::Server,
    report::{self, Goal},
    settings::Settings,
};

fn main() -> Result<()> {
    if bare::serve_if_asked()? {
        return Ok(());
    }
    support::run(async {
        let settings = Settings::read()?;
        report::head("Health/Check, 4 connections x 64 in flight", "bare tonic-health");
        for &threads in &settings.threads {
            let mut pair = Pair::default();
            for _ in 0..settings.rounds {
                pair.ours.push(round(&fleet::start(threads).await?, &settings).await?);
                pair.theirs.push(round(&bare::start(threads).await?, &settings).await?);
            }
            let with = format!("{threads} server thread(s)");
            pair.rate(&format!("requests, {with}"), Goal::AtLeast(0.85, 0.95));
            pair.cpu(&format!("server CPU per request, {with}"), Goal::AtMost(1.2, 1.05));
            pair.latencies(&format!("latency, {with}"));
        }
        Ok(())
    })
}

async fn round(server: &Server, settings: &Settings) -> Result<Sample> {
    checks(server, server.connect_thin(CONNECTIONS).await?, settings).await
}
