//! Binding ports.

use std::{io, net::SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::error::{Error, Kind, Reason, Result};

/// Connections that wait to be accepted: enough for a fleet that comes back all at once.
const BACKLOG: i32 = 4096;

/// Listens on an address; `setting` is named where that fails.
///
/// # Errors
/// The address is in use or not ours.
pub(super) fn bind(setting: &str, at: SocketAddr) -> Result<TcpListener> {
    try_bind(at).map_err(|cause| {
        let what = match cause.kind() {
            io::ErrorKind::AddrInUse => {
                "it is in use; stop what uses it, or choose another port (0: any that is free)"
            }
            io::ErrorKind::AddrNotAvailable => "this machine has no such address",
            io::ErrorKind::PermissionDenied => "it is not allowed; ports below 1024 need a capability",
            _ => "the operating system refused",
        };
        Error::new(
            Kind::FailedPrecondition,
            Reason::AddressUnusable,
            format!("cannot listen on {at} ({setting}): {what}"),
        )
        .because(cause)
    })
}

fn try_bind(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the run before to time out.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Where a listener listens.
///
/// # Errors
/// The operating system cannot say.
pub(super) fn address(listener: &TcpListener) -> Result<SocketAddr> {
    listener.local_addr().map_err(Error::internal)
}
