//! The connection to the control plane.
//!
//! It is made before the first call, so that a server that is not there is told apart from one that
//! refuses. Every wait has the deadline that the user gave. A call that the server cannot answer now is tried again within
//! it, by the same rules as those of services: a question always, a change only where it certainly was not made. A server
//! that is gone is told at once.

use std::{future::Future, time::Duration};

use seaworthy_client::{
    protect::{
        clock::{Clock as _, Monotonic},
        retry::{self, Advice, Next, Plan, Safety},
    },
    proto::seaworthy::v1::{
        backup_service_client::BackupServiceClient, fleet_service_client::FleetServiceClient,
        health_service_client::HealthServiceClient, operation_service_client::OperationServiceClient,
        policy_service_client::PolicyServiceClient, restore_service_client::RestoreServiceClient,
        system_service_client::SystemServiceClient,
    },
    rules::port,
    transport::{Authorized, Connection},
};
use tokio::time::{sleep, timeout};
use tonic::{Response, Status, transport::Endpoint};

use super::{
    access::Access,
    failure::{Failure, innermost, is_transport},
    output::{clean, note},
};

/// Pages hold up to 1,000 instances with all their components.
const LARGEST_ANSWER: usize = 64 << 20;

/// A watch notices a silent peer after this and [`ANSWER_TO_PING`].
const PING_INTERVAL: Duration = Duration::from_secs(20);
const ANSWER_TO_PING: Duration = Duration::from_secs(10);

/// Tries of one call. The user's deadline ends them sooner.
const ATTEMPTS: u32 = 10;
/// The longest that a call may take, whatever the user says.
const LONGEST_CALL: Duration = Duration::from_secs(3600);
/// A pause that is longer is told, so that nobody wonders.
const TELL_FROM: Duration = Duration::from_millis(300);

/// The port of `https://` where none is named.
const HTTPS: u16 = 443;

/// A server, and how long to wait for it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    server: String,
    timeout: Duration,
    connection: Connection,
    /// Whether what cannot be answered now is tried again here.
    retries: bool,
}

impl Remote {
    /// Connects.
    pub(crate) async fn connect(access: &Access, wait: Duration) -> Result<Self, Failure> {
        let transport = access.transport(|endpoint| {
            // What it is called by is a header that it can send.
            let named = endpoint.clone().user_agent(concat!("seaworthy-cli/", env!("CARGO_PKG_VERSION")));
            named
                .unwrap_or(endpoint)
                .http2_keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(ANSWER_TO_PING)
                .connect_timeout(wait)
        })?;
        let server = access.server.clone();
        match timeout(wait, transport.connect()).await {
            Ok(Ok(connection)) => Ok(Self { server, timeout: wait, connection, retries: true }),
            Ok(Err(cause)) if cause.is_distrust() => {
                Err(Failure::Distrusted { server, cause: cause.cause() })
            }
            Ok(Err(cause)) => Err(Failure::Unreachable { server, cause: innermost(&cause) }),
            Err(_) => Err(Failure::Unreachable { server, cause: format!("no connection within {wait:?}") }),
        }
    }

    /// Address of the server as the user gave it.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// The same, for those who try again themselves: each call is made once.
    pub(crate) fn without_retries(&self) -> Self {
        Self { retries: false, ..self.clone() }
    }

    /// Asks a question, again where that can help. `action` says what is asked, for messages: `list instances`.
    pub(crate) async fn read<T>(
        &self,
        action: &str,
        ask: impl AsyncFnMut() -> Result<Response<T>, Status>,
    ) -> Result<T, Failure> {
        self.retried(Safety::Idempotent, action, ask).await
    }

    /// Asks for a change, again only where it certainly was not made.
    pub(crate) async fn write<T>(
        &self,
        action: &str,
        ask: impl AsyncFnMut() -> Result<Response<T>, Status>,
    ) -> Result<T, Failure> {
        self.retried(Safety::Unsafe, action, ask).await
    }

    async fn retried<T>(
        &self,
        safety: Safety,
        action: &str,
        mut ask: impl AsyncFnMut() -> Result<Response<T>, Status>,
    ) -> Result<T, Failure> {
        let attempts = if self.retries { ATTEMPTS } else { 1 };
        // As long as the user says.
        let total = self.timeout.clamp(Duration::from_millis(1), LONGEST_CALL);
        let values = retry::Values { attempts, total, ..retry::Values::default() };
        // What is not changed is right by itself, and so are these two.
        let settings = retry::Settings::new(values).unwrap_or_default();
        let clock = Monotonic::start();
        let mut plan = Plan::new(&settings, safety, clock.now(), Some(self.timeout));
        loop {
            let Ok(attempt) = plan.begin(clock.now()) else { return Err(self.no_answer()) };
            let status = match timeout(attempt.time_left, ask()).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => status,
                Err(_) => return Err(self.no_answer()),
            };
            let advice = if is_transport(&status) { Advice::Never } else { retry::status::advice(&status) };
            match plan.after(advice, clock.now(), retry::random()) {
                Next::After(pause) => {
                    if pause >= TELL_FROM {
                        note(format_args!("{}; trying again in {pause:.1?}", clean(status.message())));
                    }
                    sleep(pause).await;
                }
                Next::Stop(_) => return Err(self.failure(action, status)),
            }
        }
    }

    fn no_answer(&self) -> Failure {
        let cause = format!("no answer within {:?}", self.timeout.min(LONGEST_CALL));
        Failure::Unreachable { server: self.server.clone(), cause }
    }

    /// Waits for an answer to what is asked once: a stream, or what a diagnosis wants to see fail. `action` as for
    /// [`Remote::read`].
    pub(crate) async fn call<T>(
        &self,
        action: &str,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Failure> {
        match timeout(self.timeout, answer).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failure(action, status)),
            Err(_) => Err(self.no_answer()),
        }
    }

    /// What a status means.
    pub(crate) fn failure(&self, action: &str, status: Status) -> Failure {
        match Failure::from_status(&self.server, action, status) {
            Failure::Unreachable { server, cause } => match self.connection.trouble().words() {
                Some(cause) => Failure::Distrusted { server, cause },
                None => Failure::Unreachable { server, cause },
            },
            failure => failure,
        }
    }

    /// Client of the registry.
    pub(crate) fn fleet(&self) -> FleetServiceClient<Authorized> {
        FleetServiceClient::new(self.connection.channel()).max_decoding_message_size(LARGEST_ANSWER)
    }

    /// Client of health.
    pub(crate) fn health(&self) -> HealthServiceClient<Authorized> {
        HealthServiceClient::new(self.connection.channel()).max_decoding_message_size(LARGEST_ANSWER)
    }

    /// Client of what takes its time.
    pub(crate) fn operation(&self) -> OperationServiceClient<Authorized> {
        OperationServiceClient::new(self.connection.channel()).max_decoding_message_size(LARGEST_ANSWER)
    }

    /// Client of backups.
    pub(crate) fn backup(&self) -> BackupServiceClient<Authorized> {
        BackupServiceClient::new(self.connection.channel()).max_decoding_message_size(LARGEST_ANSWER)
    }

    /// Client of restores.
    pub(crate) fn restore(&self) -> RestoreServiceClient<Authorized> {
        RestoreServiceClient::new(self.connection.channel()).max_decoding_message_size(LARGEST_ANSWER)
    }

    /// Client of policies, breakers and flags.
    pub(crate) fn policy(&self) -> PolicyServiceClient<Authorized> {
        PolicyServiceClient::new(self.connection.channel()).max_decoding_message_size(LARGEST_ANSWER)
    }

    /// Client of the control plane itself.
    pub(crate) fn system(&self) -> SystemServiceClient<Authorized> {
        SystemServiceClient::new(self.connection.channel()).max_decoding_message_size(LARGEST_ANSWER)
    }
}

/// Parses `https://host:port` and `http://host:port`, and takes `host:port` for the latter. Answers the port too: the
/// scheme's where none is named.
pub(crate) fn endpoint(server: &str) -> Result<(Endpoint, u16), Failure> {
    let wrong = || {
        Failure::Usage(format!(
            "--server {server}: write https://HOST:PORT or http://HOST:PORT, for example http://127.0.0.1:50051"
        ))
    };
    let url = match server.split_once("://") {
        None => format!("http://{server}"),
        Some(("http" | "https", _)) => server.to_owned(),
        Some(_) => return Err(wrong()),
    };
    let endpoint = Endpoint::from_shared(url).map_err(|_| wrong())?;
    let uri = endpoint.uri();
    let port = uri.authority().and_then(|authority| {
        let before = authority.as_str().strip_suffix(authority.host());
        let named = !before.is_some_and(|before| before.is_empty() || before.ends_with('@'));
        match uri.scheme_str() {
            Some("https") if !named => Some(HTTPS),
            _ => port::of(authority.as_str()),
        }
    });
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
            ("https://seaworthy.internal", "seaworthy.internal", 443),
            ("https://seaworthy.internal:50051", "seaworthy.internal", 50051),
            ("https://[::1]", "::1", 443),
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
        assert_eq!(endpoint("https://h:1").unwrap().0.uri().scheme_str(), Some("https"));
        for bad in [
            "",
            "http://",
            "ftp://h:1",
            "https://",
            "https://h:",
            "https://h:0",
            "https://h:99999",
            "https://h:+1",
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
