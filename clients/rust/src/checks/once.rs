//! The questions behind [`tcp`](super::tcp()), [`http`](super::http()) and [`grpc`](super::grpc()), asked
//! once of an address that is settled already: nothing is resolved here, so that whoever has to know whom it
//! talks to can decide that first. How long to wait is the caller's: dropping one ends it.

use std::net::SocketAddr;

use tonic::transport::{Endpoint, Uri};

use super::http::Target;
use crate::Report;

/// Opens a TCP connection, and closes it. Cancel safe.
pub async fn tcp(address: SocketAddr) -> Report {
    super::tcp::connect(address.to_string()).await
}

/// Gets a path by plain HTTP. `authority` goes into the Host header, `expected` are the statuses that are
/// healthy, none for 200 to 299; 429 is degraded, anything else unhealthy. Redirects are not followed, and
/// nothing but the status line is read. Cancel safe.
///
/// `authority` and `path` are sent as they are: without spaces and control characters.
///
/// Details: `status`.
pub async fn http(address: SocketAddr, authority: &str, path: &str, expected: &[u16]) -> Report {
    let (authority, path) = (authority.to_owned(), path.to_owned());
    super::http::ask(&Target { address: address.to_string(), authority, path }, expected).await
}

/// Asks the standard gRPC health service for a name. `authority` is the name that the server is called by.
/// Cancel safe.
///
/// Details: `status`.
pub async fn grpc(address: SocketAddr, authority: &str, service: &str) -> Report {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let origin = format!("http://{authority}").parse::<Uri>();
    match (endpoint, origin) {
        (Ok(endpoint), Ok(origin)) => super::grpc::ask_as(endpoint, origin, service.to_owned()).await,
        _ => Report::unhealthy(format!("`{authority}` at {address} cannot be asked: it is not an address")),
    }
}
