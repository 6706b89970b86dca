//! A small real service that is attached to a control plane: an HTTP API over a SQLite file.
//!
//! `POST /orders` with a JSON body `{"item": "anchor", "quantity": 2}`, `GET /orders` and
//! `GET /orders/{id}`; its own health at `/health`, `/health/live` and `/health/ready`. Its components
//! tell the truth: move the database file away and `database` is unhealthy within one interval, put it
//! back and it recovers.
//!
//! ```text
//! cargo run -p seaworthy-client --features axum --example orders -- --database /var/tmp/orders.db
//! ```

#[path = "orders/api.rs"]
mod api;
#[path = "orders/store.rs"]
mod store;

use std::{
    error::Error,
    io::{Write as _, stdout},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use clap::Parser;
use seaworthy_client::{Agent, Check, Component, Lifecycle, checks};
use serde_json::json;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::sleep,
};

use crate::store::Store;

/// Space that the database needs to go on.
const MIN_FREE_BYTES: u64 = 64 << 20;
/// Memory that the service needs to go on.
const MIN_MEMORY_BYTES: u64 = 32 << 20;
/// How long it still takes new work after it was asked to stop, so that callers can turn elsewhere.
const LAME_DUCK: Duration = Duration::from_millis(500);
/// How long requests may take to end after that.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A small order service that is attached to a Seaworthy control plane.
#[derive(Debug, Parser)]
struct Args {
    /// Where the control plane is.
    #[arg(long, default_value = "http://127.0.0.1:50051")]
    control_plane: String,
    /// Where to serve; port 0 picks one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The database file; made if it is not there at the start.
    #[arg(long, default_value = "orders.db")]
    database: PathBuf,
    /// Id of this instance; by default one of its own.
    #[arg(long)]
    instance_id: Option<String>,
    /// host:port of the payment service, where there is one.
    #[arg(long)]
    payments: Option<String>,
    /// Seconds between two reports of each component.
    #[arg(long, default_value_t = 5.0)]
    interval: f64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let interval = Duration::try_from_secs_f64(args.interval)?;
    let store = Store::open(&args.database)?;
    let listener = TcpListener::bind(args.listen).await?;
    let address = listener.local_addr()?;

    let watched = store.clone();
    let folder = store.folder();
    let mut builder = Agent::builder(args.control_plane, "orders")
        .version(env!("CARGO_PKG_VERSION"))
        .address(address.to_string())
        .label("example", "orders")
        .component(
            Component::new("database")
                .kind("sqlite")
                .essential()
                .depends_on("disk")
                .fail_threshold(1)
                .interval(interval)
                .check(Check::blocking(move || watched.check())),
        )
        .component(
            Component::new("disk")
                .kind("disk")
                .interval(interval)
                .check(checks::disk_space(folder, MIN_FREE_BYTES)),
        )
        .component(
            Component::new("memory")
                .kind("memory")
                .interval(interval)
                .check(checks::memory_available(MIN_MEMORY_BYTES)),
        );
    if let Some(payments) = args.payments {
        let payments = Component::new("payments").kind("tcp").interval(interval).check(checks::tcp(payments));
        builder = builder.depends_on("payments").component(payments.fail_threshold(1));
    }
    if let Some(id) = args.instance_id {
        builder = builder.instance_id(id);
    }
    let seaworthy = builder.attach()?;

    let router = api::router(store).merge(seaworthy.health_router());
    let ready = json!({
        "address": address.to_string(),
        "instance_id": seaworthy.instance_id(),
        "pid": std::process::id(),
    });
    writeln!(stdout(), "{ready}")?;

    let handle = seaworthy.handle();
    let (drain, draining) = oneshot::channel::<()>();
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
        asked_to_stop().await;
        handle.set_lifecycle(Lifecycle::LameDuck);
        sleep(LAME_DUCK).await;
        handle.set_lifecycle(Lifecycle::Draining);
        drop(drain);
    });
    tokio::select! {
        served = serving => served?,
        () = async { draining.await.ok(); sleep(DRAIN_TIMEOUT).await } => {}
    }
    seaworthy.leave("stopped by a signal").await;
    Ok(())
}

/// Waits for SIGTERM or Ctrl-C. Where neither can be heard it waits for ever, and the process is killed
/// like one that does not listen.
async fn asked_to_stop() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => terminate.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminated => {}
        Ok(()) = tokio::signal::ctrl_c() => {}
    }
}
