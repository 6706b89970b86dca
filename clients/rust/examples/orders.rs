//! A small real service that is attached to a control plane: an HTTP API over a SQLite file.
//!
//! `POST /orders` with a JSON body `{"item": "anchor", "quantity": 2}`, `GET /orders` and
//! `GET /orders/{id}`; its own health at `/health`, `/health/live` and `/health/ready`. Its components
//! tell the truth: move the database file away and `database` is unhealthy within one interval, put it
//! back and it recovers. The file is backed up while it serves, and restored in its place. It tells when the control plane goes away and comes back, and serves meanwhile.
//!
//! ```text
//! cargo run -p seaworthy-client --features axum --example orders -- --database /tmp/orders.db --interval 1s
//! ```

#[path = "orders/api.rs"]
mod api;
#[path = "orders/args.rs"]
mod args;
#[path = "orders/backup.rs"]
mod backup;
#[path = "orders/store.rs"]
mod store;
#[path = "orders/tell.rs"]
mod tell;

use std::{
    error::Error,
    future::IntoFuture as _,
    io::{IsTerminal as _, Write as _, stdout},
    net::SocketAddr,
    process::ExitCode,
    time::Duration,
};

use clap::Parser as _;
use seaworthy_client::{
    Agent, Builder, Check, Component, Handle, Tls, Token, checks,
    shutdown::{Checkpoint, Hook, Settings, Shutdown},
};
use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    args::Args,
    backup::Orders,
    store::{Failed, Store},
    tell::say,
};

/// Space that the database needs to go on.
const MIN_FREE_BYTES: u64 = 64 << 20;
/// How long the database may take to answer, and until it counts as slow.
const QUERY_PATIENCE: Duration = Duration::from_secs(4);
const QUERY_SLOW_AFTER: Duration = Duration::from_secs(1);
/// Memory that the service needs to go on.
const MIN_MEMORY_BYTES: u64 = 32 << 20;
/// How long it still takes new work after it was asked to stop, so that callers can turn elsewhere; and for how long none must
/// have come for that to end before.
const LAME_DUCK: Duration = Duration::from_millis(500);
const QUIET: Duration = Duration::from_millis(200);
/// How long requests may take to end after that.
const FINISH_REQUESTS: Duration = Duration::from_secs(5);
/// Exit code of a wrong command line (`EX_USAGE`).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(wrong) => {
            // Nobody reads it where it cannot be written; the exit code stays.
            drop(wrong.print());
            return if wrong.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(format_args!("error: {why}"));
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let store = Store::open(&args.database).map_err(|cause| {
        let database = args.database.display();
        format!("cannot open the database {database}: {cause}; hint: name a file in a folder that may be written, with --database")
    })?;
    let listener = TcpListener::bind(args.listen).await.map_err(|cause| {
        format!(
            "cannot listen on {}: {cause}; hint: choose another port with --listen, 0 for a free one",
            args.listen
        )
    })?;
    let address = listener.local_addr()?;
    // What the environment says counts more: SHUTDOWN_LAME_DUCK and its fellows.
    let times = Settings {
        lame_duck: LAME_DUCK,
        quiet: QUIET,
        finish_requests: FINISH_REQUESTS,
        ..Settings::default()
    };
    let shutdown = Shutdown::new(times.or_env()?)?;
    let seaworthy = describe(args, address, &store)
        .attach()
        .map_err(|cause| format!("{cause}; hint: `orders --help` says what each flag takes"))?;

    announce(&seaworthy, address)?;
    tell::greet(&seaworthy, &args.control_plane, address, store.path(), args.interval);
    let handle = seaworthy.handle();
    let (saved, closed) = (store.clone(), store.clone());
    shutdown.add(Hook::save("orders", move |_| save(saved)));
    shutdown.add(Hook::database("database", move |_| close(closed)));
    // Whoever probes is answered to the end.
    let router =
        api::router(store, handle.clone()).layer(shutdown.axum_layer()).merge(handle.health_router());
    let serving = axum::serve(listener, router).with_graceful_shutdown(shutdown.stop_serving());
    let work = async {
        tokio::select! {
            report = shutdown.run(seaworthy) => Ok(report),
            Err(cause) = serving.into_future() => Err(cause),
        }
    };
    // What is told ends by itself, once the agent has left.
    let (report, ()) = tokio::join!(work, tell::attachment(handle.clone()));
    tell::stopped(&report?);
    Ok(())
}

/// Says how far the orders are, once nobody takes any more.
async fn save(store: Store) -> Result<Checkpoint, Failed> {
    let (orders, bytes) = blocking(move || store.checkpoint()).await?;
    Ok(Checkpoint { name: "orders".to_owned(), position: orders.to_string(), size: bytes })
}

async fn close(store: Store) -> Result<(), Failed> {
    blocking(move || store.close()).await
}

#[allow(clippy::disallowed_methods)] // a service spawns as it likes; only the library must not
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failed> + Send + 'static,
) -> Result<T, Failed> {
    tokio::task::spawn_blocking(work).await?
}

/// This process, as the control plane is to know it.
fn describe(args: &Args, address: SocketAddr, store: &Store) -> Builder {
    let interval = args.interval;
    let (watched, folder) = (store.clone(), store.folder());
    let asked = Check::blocking(move || watched.check());
    let mut builder = Agent::builder(&args.control_plane, "orders")
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
                .backup(Orders::new(store.clone()))
                .capture_from_each()
                .pages(backup::PAGE_BYTES)
                .check(
                    checks::query("SELECT count(*) FROM orders", QUERY_PATIENCE, asked)
                        .slow_after(QUERY_SLOW_AFTER),
                ),
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
    if let Some(payments) = &args.payments {
        let payments = Component::new("payments").kind("tcp").interval(interval).check(checks::tcp(payments));
        builder = builder.depends_on("payments").component(payments.fail_threshold(1));
    }
    if let Some(id) = &args.instance_id {
        builder = builder.instance_id(id);
    }
    proven(builder, args)
}

/// The same, with what proves who it is. The files may be renewed at any time.
fn proven(mut builder: Builder, args: &Args) -> Builder {
    if args.ca_cert.is_some() || args.client_cert.is_some() {
        let mut tls = Tls::new();
        if let Some(authorities) = &args.ca_cert {
            tls = tls.ca_file(authorities);
        }
        if let (Some(certificate), Some(key)) = (&args.client_cert, &args.client_key) {
            tls = tls.identity(certificate, key);
        }
        builder = builder.tls(tls);
    }
    match &args.token_file {
        Some(file) => builder.token(Token::file(file)),
        None => builder,
    }
}

/// For scripts: where it serves, as a line of JSON. People are greeted instead.
fn announce(handle: &Handle, address: SocketAddr) -> std::io::Result<()> {
    if stdout().is_terminal() {
        return Ok(());
    }
    let ready = json!({
        "address": address.to_string(),
        "instance_id": handle.instance_id(),
        "pid": std::process::id(),
    });
    writeln!(stdout(), "{ready}")
}
