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

use std::{error::Error, net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;
use seaworthy_client::{Agent, Check, Component, Lifecycle, checks};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use crate::store::Store;

/// Space that the database needs to go on.
const MIN_FREE_BYTES: u64 = 64 << 20;
/// Memory that the service needs to go on.
const MIN_MEMORY_BYTES: u64 = 32 << 20;

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
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = axum::serve(listener, router).with_graceful_shutdown(async {
        // An error means that `stop` was dropped: stop as well.
        stopped.await.ok();
    });
    let serving = tokio::spawn(serving.into_future());
    println!(
        r#"{{"address":"{address}","instance_id":"{}","pid":{}}}"#,
        seaworthy.instance_id(),
        std::process::id()
    );

    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    // Turn new work away, finish what is here, say goodbye.
    seaworthy.set_lifecycle(Lifecycle::LameDuck);
    seaworthy.set_lifecycle(Lifecycle::Draining);
    drop(stop);
    let drained = tokio::time::timeout(Duration::from_secs(5), serving).await;
    seaworthy.leave("stopped by a signal").await;
    drained???;
    Ok(())
}
