//! How the control plane is reached: the address, checked, with what is brought along to it.

use std::time::Duration;

use tonic::transport::Endpoint;

use super::{Builder, Transport};
use crate::rules::port;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a silent connection is asked whether it still lives.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long the answer may take.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The control plane at this address. None: it is none.
pub(super) fn transport(builder: &Builder) -> Option<Transport> {
    let endpoint = Endpoint::from_shared(builder.control_plane.clone()).ok().filter(|endpoint| {
        let uri = endpoint.uri();
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.authority().is_some_and(|authority| port::of(authority.as_str()).is_some())
    })?;
    let mut transport = Transport::new(tuned(endpoint));
    #[cfg(feature = "tls")]
    if let Some(tls) = &builder.tls {
        transport = transport.tls(tls.clone());
    }
    if let Some(token) = &builder.token {
        transport = transport.token(token.clone());
    }
    Some(if builder.plaintext_token { transport.allow_plaintext_token() } else { transport })
}

fn tuned(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
}
