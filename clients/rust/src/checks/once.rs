//! The questions behind [`http`](super::http()) and [`grpc`](super::grpc()), asked once over a connection that
//! is open already: nothing is resolved or connected to here, so that whoever has to know whom it talks to
//! can decide that first. How long to wait is the caller's: dropping one ends it, and closes the connection.

use tokio::net::TcpStream;

use crate::Report;

/// Gets a path by plain HTTP. `authority` goes into the Host header, `expected` are the statuses that are
/// healthy, none for 200 to 299; 429 is degraded, anything else unhealthy. Redirects are not followed, and
/// nothing but the status line is read. Cancel safe.
///
/// `authority` and `path` are sent as they are: without spaces and control characters.
///
/// Details: `status`.
pub async fn http(connection: TcpStream, authority: &str, path: &str, expected: &[u16]) -> Report {
    super::http::ask_over(connection, authority, path, expected).await
}

/// Asks the standard gRPC health service for a name. `authority` is the name that the server is called by.
/// Cancel safe; no task is left behind.
///
/// Details: `status`.
pub async fn grpc(connection: TcpStream, authority: &str, service: &str) -> Report {
    super::grpc::ask(connection, authority, service.to_owned()).await
}
