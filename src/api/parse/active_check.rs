//! Active checks, as a registration asks for them.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
};

use seaworthy_client::rules::checks;

use super::{Fields, bounded_duration, within};
use crate::{
    api::proto::v1 as pb,
    fleet::registration::ActiveCheck,
    probe::{Ask, Host, permit::Rules},
};

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
    let field = within(path, "interval");
    let interval = bounded_duration(fields, &field, interval, checks::DEFAULT_INTERVAL, checks::INTERVALS);
    let field = within(path, "timeout");
    let default = checks::default_timeout(interval);
    let timeout = bounded_duration(fields, &field, timeout, default, checks::TIMEOUTS);
    fields.take(field, checks::timeout(timeout, interval));
    let (ask, port, host) = (asked?, found?, host?);
    target(fields, path, rules, peer, &host, port);
    Some(ActiveCheck { ask, host, port, interval, timeout })
}

fn ask(fields: &mut Fields, path: &str, wire: pb::active_check::Ask) -> Option<Ask> {
    match wire {
        pb::active_check::Ask::Grpc(pb::GrpcCheck { service }) => {
            fields.take(within(path, "grpc.service"), checks::grpc_service(&service))?;
            Some(Ask::Grpc { service })
        }
        pb::active_check::Ask::Http(pb::HttpCheck { path: asked, expected_statuses }) => {
            let plain = fields.take(within(path, "http.path"), checks::http_path(&asked));
            let field = within(path, "http.expected_statuses");
            fields.take(field.as_str(), checks::http_statuses(expected_statuses.len()))?;
            let statuses = expected_statuses.into_iter().enumerate();
            let expected = statuses
                .filter_map(|(at, status)| fields.take(format!("{field}[{at}]"), checks::http_status(status)))
                .collect();
            let path = if asked.is_empty() { "/".to_owned() } else { asked };
            plain.map(|()| Ask::Http { path, expected })
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
