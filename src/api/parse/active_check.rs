//! Active checks, as a registration asks for them.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    time::Duration,
};

use super::{Fields, bounded_duration, within};
use crate::{
    api::proto::v1 as pb,
    fleet::registration::ActiveCheck,
    probe::{Ask, Host, permit::Rules},
};

/// How often it asks where nothing is said.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
/// How long an answer may take where nothing is said.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
const INTERVALS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// A run holds one of few places for as long as this.
const TIMEOUTS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(30));
/// Longest name that a gRPC server is asked for.
const MAX_SERVICE: usize = 256;
/// Longest path.
const MAX_PATH: usize = 1024;
/// Most statuses that are expected.
const MAX_STATUSES: usize = 16;

/// An active check. `peer`: where the registration comes from.
pub(super) fn active_check(
    fields: &mut Fields,
    path: &str,
    rules: &Rules,
    peer: Option<IpAddr>,
    wire: pb::ActiveCheck,
) -> Option<ActiveCheck> {
    let pb::ActiveCheck { ask: asked, port, host, interval, timeout } = wire;
    let asked = match asked {
        Some(asked) => ask(fields, path, asked),
        None => {
            fields.wrong(within(path, "ask"), "is missing; give grpc, http or tcp");
            None
        }
    };
    let found = u16::try_from(port).ok().and_then(NonZeroU16::new);
    if found.is_none() {
        fields.wrong(within(path, "port"), format!("is {port}; use 1 to 65535"));
    }
    let host = fields.take(within(path, "host"), Host::parse(&host));
    let interval = bounded_duration(fields, &within(path, "interval"), interval, DEFAULT_INTERVAL, INTERVALS);
    let field = within(path, "timeout");
    let default = DEFAULT_TIMEOUT.min(interval / 2);
    let timeout = bounded_duration(fields, &field, timeout, default, TIMEOUTS);
    if timeout >= interval {
        fields.wrong(field, format!("is {timeout:?}; it must be shorter than the interval, {interval:?}"));
    }
    let (ask, port, host) = (asked?, found?, host?);
    target(fields, path, rules, peer, &host, port);
    Some(ActiveCheck { ask, host, port, interval, timeout })
}

fn ask(fields: &mut Fields, path: &str, wire: pb::active_check::Ask) -> Option<Ask> {
    match wire {
        pb::active_check::Ask::Grpc(pb::GrpcCheck { service }) => {
            if service.len() > MAX_SERVICE || service.chars().any(char::is_control) {
                let right = format!("has up to {MAX_SERVICE} characters, none of them control characters");
                fields.wrong(within(path, "grpc.service"), right);
                return None;
            }
            Some(Ask::Grpc { service })
        }
        pb::active_check::Ask::Http(pb::HttpCheck { path: asked, expected_statuses }) => {
            let asked = if asked.is_empty() { "/".to_owned() } else { asked };
            // It is sent as it is, so nothing in it may end a line.
            let plain = asked.starts_with('/') && asked.bytes().all(|byte| byte.is_ascii_graphic());
            if !plain || asked.len() > MAX_PATH {
                let right = format!(
                    "is not a path of up to {MAX_PATH} printable ASCII characters that begins with a slash; \
                     encode others with %"
                );
                fields.wrong(within(path, "http.path"), right);
            }
            let field = within(path, "http.expected_statuses");
            if expected_statuses.len() > MAX_STATUSES {
                let count = expected_statuses.len();
                fields.wrong(&field, format!("has {count} entries; {MAX_STATUSES} are the most"));
                return None;
            }
            let mut expected = Vec::with_capacity(expected_statuses.len());
            for (at, status) in expected_statuses.into_iter().enumerate() {
                match u16::try_from(status).ok().filter(|status| (200..=599).contains(status)) {
                    Some(status) => expected.push(status),
                    None => fields.wrong(format!("{field}[{at}]"), format!("is {status}; use 200 to 599")),
                }
            }
            plain.then_some(Ask::Http { path: asked, expected })
        }
        pb::active_check::Ask::Tcp(pb::TcpCheck {}) => Some(Ask::Tcp),
    }
}

/// Refuses an address that may not be asked. What a name means is known only when it is asked, and looked
/// at then; where no network is named nothing of it could be asked.
fn target(
    fields: &mut Fields,
    path: &str,
    rules: &Rules,
    peer: Option<IpAddr>,
    host: &Host,
    port: NonZeroU16,
) {
    let (ip, field) = match (host, peer) {
        (Host::Ip(ip), _) => (*ip, "host"),
        (Host::Peer, Some(peer)) => (peer, "port"),
        (Host::Peer, None) => {
            fields.wrong(
                within(path, "host"),
                "is missing, and where the registration comes from is not known",
            );
            return;
        }
        (Host::Name(_), _) => {
            if !rules.permits_names() {
                let closed = "is a name, and checks.allowed_networks names no network in which it could be";
                fields.wrong(within(path, "host"), closed);
            }
            return;
        }
    };
    if let Err(refused) = rules.permit(SocketAddr::new(ip, port.get()), peer) {
        fields.wrong(within(path, field), refused.to_string());
    }
}
