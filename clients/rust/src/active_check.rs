//! A check that the control plane makes itself: what it asks, where and how often. It is only described
//! here; nothing of it runs in this process.

use std::time::Duration;

use crate::{
    proto::seaworthy::v1 as wire,
    rules::checks::{self, DEFAULT_INTERVAL, Host},
};

/// How the control plane finds out how a component is, for
/// [`Component::active_check`](crate::Component::active_check).
///
/// It asks the address that the registration came from, unless [`host`](ActiveCheck::host) says otherwise.
/// Behind a proxy or NAT that is not this process: then give the host, and have it allowed there.
#[derive(Clone, Debug)]
#[must_use = "a check counts when it is given to a component"]
pub struct ActiveCheck {
    ask: wire::active_check::Ask,
    port: u16,
    host: String,
    interval: Duration,
    timeout: Option<Duration>,
}

impl ActiveCheck {
    /// Asks the standard gRPC health service on this port for a name; an empty one asks for the server as
    /// a whole. SERVING is healthy, anything else unhealthy.
    pub fn grpc(port: u16, service: impl Into<String>) -> Self {
        Self::new(port, wire::active_check::Ask::Grpc(wire::GrpcCheck { service: service.into() }))
    }

    /// Gets a path on this port by plain HTTP. A 2xx is healthy, 429 degraded, anything else unhealthy;
    /// redirects are not followed.
    pub fn http(port: u16, path: impl Into<String>) -> Self {
        let http = wire::HttpCheck { path: path.into(), expected_statuses: Vec::new() };
        Self::new(port, wire::active_check::Ask::Http(http))
    }

    /// Opens a TCP connection to this port.
    pub fn tcp(port: u16) -> Self {
        Self::new(port, wire::active_check::Ask::Tcp(wire::TcpCheck {}))
    }

    fn new(port: u16, ask: wire::active_check::Ask) -> Self {
        Self { ask, port, host: String::new(), interval: DEFAULT_INTERVAL, timeout: None }
    }

    /// Which HTTP statuses are healthy, instead of 200 to 299. At most 16, each 200 to 599. Without effect
    /// where it does not ask by HTTP.
    pub fn expect(mut self, statuses: impl IntoIterator<Item = u16>) -> Self {
        if let wire::active_check::Ask::Http(http) = &mut self.ask {
            http.expected_statuses = statuses.into_iter().map(u32::from).collect();
        }
        self
    }

    /// Whom to ask, an IP address or a DNS name. The control plane's operator has to allow its network
    /// (`checks.allowed_networks`). Default: the address that the registration came from.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }

    /// How often it asks, give or take a tenth. Default 10 s; 1 s to 1 h.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// How long an answer may take. Default 1 s, or half of the interval where that is less; 10 ms to
    /// 30 s, and shorter than the interval.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// What the control plane would refuse whatever its operator allows: the field, and what is wrong with it.
    pub(crate) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let mut wrong = |field, judged: Result<(), String>| {
            if let Err(problem) = judged {
                found.push((field, problem));
            }
        };
        if self.port == 0 {
            wrong("port", Err("must be between 1 and 65535".to_owned()));
        }
        wrong("host", Host::parse(&self.host).map(drop));
        wrong("interval", checks::interval(self.interval));
        if let Some(timeout) = self.timeout {
            wrong("timeout", checks::timeout(timeout, self.interval));
        }
        match &self.ask {
            wire::active_check::Ask::Grpc(grpc) => wrong("service", checks::grpc_service(&grpc.service)),
            wire::active_check::Ask::Http(http) => {
                wrong("path", checks::http_path(&http.path));
                let expected = &http.expected_statuses;
                match checks::http_statuses(expected.len()) {
                    Ok(()) => expected.iter().for_each(|status| {
                        wrong("expected_statuses", checks::http_status(*status).map(drop));
                    }),
                    too_many => wrong("expected_statuses", too_many),
                }
            }
            wire::active_check::Ask::Tcp(_) => {}
        }
        found
    }

    pub(crate) fn to_wire(&self) -> wire::ActiveCheck {
        let timeout = self.timeout.unwrap_or_else(|| checks::default_timeout(self.interval));
        wire::ActiveCheck {
            ask: Some(self.ask.clone()),
            port: self.port.into(),
            host: self.host.clone(),
            interval: self.interval.try_into().ok(),
            timeout: timeout.try_into().ok(),
        }
    }
}
