//! The connection to the control plane.
//!
//! It is made before the first call, so that a server that is not there is told apart from one that
//! refuses. Every wait has the deadline that the user gave.

use std::{future::Future, time::Duration};

use seaworthy_client::{
    proto::seaworthy::v1::{
        fleet_service_client::FleetServiceClient, health_service_client::HealthServiceClient,
        system_service_client::SystemServiceClient,
    },
    rules::port,
};
use tokio::time::timeout;
use tonic::{
    Response, Status,
    transport::{Channel, Endpoint},
};

use super::failure::{Failure, innermost};

/// Pages hold up to 1,000 instances with all their components.
const LARGEST_ANSWER: usize = 64 << 20;

/// A watch notices a silent peer after this and [`ANSWER_TO_PING`].
const PING_INTERVAL: Duration = Duration::from_secs(20);
const ANSWER_TO_PING: Duration = Duration::from_secs(10);

/// A server, and how long to wait for it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    server: String,
    timeout: Duration,
    channel: Channel,
}

impl Remote {
    /// Connects.
    pub(crate) async fn connect(server: &str, wait: Duration) -> Result<Self, Failure> {
        let (endpoint, _) = endpoint(server)?;
        let endpoint = endpoint
            .user_agent(concat!("seaworthy-cli/", env!("CARGO_PKG_VERSION")))
            .map_err(|cause| Failure::Internal(format!("cannot name this program: {cause}")))?
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(ANSWER_TO_PING)
            .connect_timeout(wait);
        let unreachable = |cause| Failure::Unreachable { server: server.to_owned(), cause };
        match timeout(wait, endpoint.connect()).await {
            Ok(Ok(channel)) => Ok(Self { server: server.to_owned(), timeout: wait, channel }),
            Ok(Err(cause)) => Err(unreachable(innermost(&cause))),
            Err(_) => Err(unreachable(format!("no connection within {wait:?}"))),
        }
    }

    /// Address of the server as the user gave it.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Waits for an answer. `action` says what is asked, for messages: `list instances`.
    pub(crate) async fn call<T>(
        &self,
        action: &str,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Failure> {
        match timeout(self.timeout, answer).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failure(action, status)),
            Err(_) => Err(Failure::Unreachable {
                server: self.server.clone(),
                cause: format!("no answer within {:?}", self.timeout),
            }),
        }
    }

    /// What a status means.
    pub(crate) fn failure(&self, action: &str, status: Status) -> Failure {
        Failure::from_status(&self.server, action, status)
    }

    /// Client of the registry.
    pub(crate) fn fleet(&self) -> FleetServiceClient<Channel> {
        FleetServiceClient::new(self.channel.clone()).max_decoding_message_size(LARGEST_ANSWER)
    }

    /// Client of health.
    pub(crate) fn health(&self) -> HealthServiceClient<Channel> {
        HealthServiceClient::new(self.channel.clone()).max_decoding_message_size(LARGEST_ANSWER)
    }

    /// Client of the control plane itself.
    pub(crate) fn system(&self) -> SystemServiceClient<Channel> {
        SystemServiceClient::new(self.channel.clone())
    }
}

/// Parses `http://host:port`, and takes `host:port` for it. Answers the port too: 80 where none is named.
fn endpoint(server: &str) -> Result<(Endpoint, u16), Failure> {
    let wrong = || {
        Failure::Usage(format!(
            "--server {server}: write http://HOST:PORT, for example http://127.0.0.1:50051"
        ))
    };
    let url = match server.split_once("://") {
        None => format!("http://{server}"),
        Some(("http", _)) => server.to_owned(),
        Some(("https", _)) => {
            return Err(Failure::Usage(format!(
                "--server {server}: TLS is not supported yet; use http:// on a network that you trust"
            )));
        }
        Some(_) => return Err(wrong()),
    };
    let endpoint = Endpoint::from_shared(url).map_err(|_| wrong())?;
    let uri = endpoint.uri();
    let port = uri.authority().and_then(|authority| port::of(authority.as_str()));
    match (uri.host(), port, uri.path()) {
        (Some(host), Some(port), "/") if !host.is_empty() => Ok((endpoint, port)),
        _ => Err(wrong()),
    }
}

/// Host and port of a server, as a connection is made to it.
///
/// # Errors
/// It is no address of a server.
pub(crate) fn place(server: &str) -> Result<(String, u16), Failure> {
    let (endpoint, port) = endpoint(server)?;
    let host = endpoint.uri().host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_those_of_the_connection() {
        for (server, host, port) in [
            ("http://127.0.0.1:50051", "127.0.0.1", 50051),
            ("localhost:1", "localhost", 1),
            ("http://[::1]:50051/", "::1", 50051),
            ("seaworthy.internal", "seaworthy.internal", 80),
        ] {
            assert_eq!(place(server).unwrap(), (host.to_owned(), port), "{server}");
        }
        assert!(matches!(place("ftp://h:1"), Err(Failure::Usage(_))));
    }

    #[test]
    fn servers_are_urls_or_host_and_port() {
        for good in ["http://127.0.0.1:50051", "127.0.0.1:50051", "localhost:1", "http://[::1]:50051/"] {
            assert_eq!(endpoint(good).unwrap().0.uri().scheme_str(), Some("http"), "{good}");
        }
        for bad in [
            "",
            "http://",
            "ftp://h:1",
            "https://h:1",
            "http://h:1/path",
            "a b:1",
            // Otherwise port 80 would be asked.
            "http://127.0.0.1:99999",
            "h:0",
            "h:+80",
            "h:",
            "::1",
        ] {
            assert!(matches!(endpoint(bad), Err(Failure::Usage(_))), "{bad:?}");
        }
    }
}
