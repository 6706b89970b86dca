//! The command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;
use jiff::SignedDuration;

const EXAMPLE: &str = "\
Exit codes:
  0    stopped when it was told to
  1    it could not start, or go on
  64   wrong usage

For example, beside a control plane with its defaults:
  orders --database /tmp/orders.db --interval 1s";

/// A small order service with its orders in a SQLite file, attached to a Seaworthy control plane. It runs
/// the same whether the control plane is there or not, and tells when that changes.
#[derive(Debug, Parser)]
#[command(name = "orders", version, after_help = EXAMPLE, max_term_width = 100)]
pub(crate) struct Args {
    /// Where the control plane is
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:50051")]
    pub(crate) control_plane: String,
    /// Authorities, in PEM, that the control plane's certificate has to be issued by; needed with https://
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_cert: Option<PathBuf>,
    /// Certificate, in PEM, that proves whose instance this is [default: none]
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub(crate) client_cert: Option<PathBuf>,
    /// Private key of that certificate, in PEM [default: none]
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub(crate) client_key: Option<PathBuf>,
    /// File with a token that proves the same [default: none]
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Where to serve; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// The database file; made if it is not there at the start
    #[arg(long, value_name = "FILE", default_value = "orders.db")]
    pub(crate) database: PathBuf,
    /// Id of this instance, unique in the service [default: host name, process id and a random part]
    #[arg(long, value_name = "ID")]
    pub(crate) instance_id: Option<String>,
    /// The payment service, which is then watched as a component [default: none]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) payments: Option<String>,
    /// Time between two reports of each component, 1s to 1h: 5s, 1m30s, or a number of seconds
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = interval, allow_negative_numbers = true)]
    pub(crate) interval: Duration,
}

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3600);

fn interval(text: &str) -> Result<Duration, String> {
    let written = text.parse().map(SignedDuration::from_secs).or_else(|_| text.parse::<SignedDuration>());
    let written = written.map_err(|_| "write a time with its unit, for example 5s, 1m30s or 5".to_owned())?;
    match Duration::try_from(written) {
        Ok(interval) if (SHORTEST..=LONGEST).contains(&interval) => Ok(interval),
        _ => Err("it must be between 1s and 1h".to_owned()),
    }
}
