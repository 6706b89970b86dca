//! The load of `Health/Check`: the same, whatever is between generator and server.

use std::time::Instant;

use tokio::task::JoinSet;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus};

use super::{
    Result,
    load::{Meter, Sample, measure},
    process::Server,
    settings::Settings,
    wire::{Connection, Connections, framed},
};

/// Connections that it takes.
pub(crate) const CONNECTIONS: usize = 4;
/// Requests in flight on each.
const IN_FLIGHT: usize = 64;

/// Asks again and again for the health of the whole server.
pub(crate) async fn checks(server: &Server, connections: Connections, settings: &Settings) -> Result<Sample> {
    let (meter, mut workers) = (Meter::default(), JoinSet::new());
    for worker in 0..CONNECTIONS * IN_FLIGHT {
        workers.spawn(check(connections.nth(worker), meter.clone()));
    }
    measure(server, settings, &meter, workers).await
}

async fn check(connection: Connection, meter: Meter) -> Result<()> {
    let request = framed(&HealthCheckRequest { service: String::new() })?;
    while meter.running() {
        let start = Instant::now();
        let answer: HealthCheckResponse =
            connection.unary("/grpc.health.v1.Health/Check", request.clone()).await?;
        if answer.status() != ServingStatus::Serving {
            return Err(format!("answered {:?}", answer.status()).into());
        }
        meter.answered_since(start);
    }
    Ok(())
}
