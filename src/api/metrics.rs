//! `/metrics`: the server's own figures, by the conventions of OpenTelemetry for RPCs and of
//! Prometheus for everything else.

mod backup;
mod operations;
mod protection;

use std::time::SystemTime;

use axum::{
    extract::State as With,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use tonic::Code;

use super::overview::Overview;
use crate::{
    audit::Stage,
    checks::{Found, Tally},
    health::State,
    probe::Kind,
    store::counters::COMMIT_SECONDS,
    system::{Ended, Listener, Phase},
    telemetry::{
        exposition::{Family, Format, Labels, render},
        histogram::Snapshot,
        process::Process,
    },
};

/// Services that have a figure of their own: each costs a scraper as many series as there are states.
const SERVICES_SHOWN: usize = 1000;

/// Every figure, in the format that the scraper prefers.
pub async fn page(With(overview): With<Overview>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let format = Format::negotiate(accept);
    let mut families = rpcs(&overview);
    families.extend(server(&overview));
    families.extend(fleet(&overview));
    families.extend(checks(&overview));
    families.extend(store(&overview));
    families.extend(identity(&overview));
    families.extend(protection::families(&overview));
    families.extend(operations::families(&overview));
    families.extend(backup::families(&overview));
    families.extend(tls(&overview));
    families.extend(audit(&overview));
    families.extend(Process::new().figures());
    ([(header::CONTENT_TYPE, format.content_type())], render(&families, format)).into_response()
}

/// A count as Prometheus carries it. Exact up to 2^53, which no count here reaches.
#[allow(clippy::cast_precision_loss)]
fn number(count: u64) -> f64 {
    count as f64
}

fn one(count: u64) -> [(Labels, f64); 1] {
    [(Labels::none(), number(count))]
}

fn rpcs(overview: &Overview) -> Vec<Family> {
    let recorder = &overview.guard.recorder;
    let method = |path: &'static str| Labels::none().with("rpc_method", path.trim_start_matches('/'));
    let ended = recorder.recorded().flat_map(|rpc| {
        let labels = method(rpc.path);
        rpc.ended.into_iter().map(move |(code, count)| {
            (labels.clone().with("rpc_response_status_code", code_name(code)), number(count))
        })
    });
    let running = recorder.recorded().map(|rpc| {
        let ended: u64 = rpc.ended.iter().map(|(_, count)| count).sum();
        (method(rpc.path), number(rpc.started.saturating_sub(ended)))
    });
    let seconds = recorder
        .recorded()
        .map(|rpc| (method(rpc.path).with("rpc_system_name", "grpc"), rpc.seconds.snapshot()));
    vec![
        Family::histogram(
            "rpc_server_call_duration",
            "How long RPCs took, streams to their end.",
            seconds.collect::<Vec<_>>(),
        ),
        Family::counter("rpc_server_calls", "RPCs that ended, by status.", ended.collect::<Vec<_>>()),
        Family::gauge(
            "rpc_server_active_calls",
            "RPCs that are being answered.",
            running.collect::<Vec<_>>(),
        ),
    ]
}

fn identity(overview: &Overview) -> Vec<Family> {
    let authenticator = &overview.guard.authenticator;
    let failures = authenticator
        .failures()
        .map(|(why, count)| (Labels::none().with("why", why.as_str()), number(count)));
    let tokens = authenticator.tokens().map_or(0, |tokens| tokens.count() as u64);
    let trouble = overview.rules.as_ref().is_some_and(|rules| rules.trouble().is_some());
    vec![
        Family::counter(
            "seaworthy_authentication_failures",
            "Proofs of who calls that did not count, by why.",
            failures.collect::<Vec<_>>(),
        ),
        Family::gauge("seaworthy_tokens", "Bearer tokens that count.", one(tokens)),
        Family::gauge(
            "seaworthy_rules_failed",
            "1 while the rule file cannot be used as it is, and the last good rules stay in force.",
            one(u64::from(trouble)),
        ),
    ]
}

fn server(overview: &Overview) -> Vec<Family> {
    let status = overview.status();
    let connections = status.connections;
    let version = Labels::none().with("version", status.version).with("boot_epoch", status.boot_epoch);
    let phase = Phase::ALL.iter().map(|phase| {
        (Labels::none().with("phase", phase.as_str()), number(u64::from(*phase == status.phase)))
    });
    let why = |why: &'static str, by: Listener| Labels::none().with("why", why).with("listener", by.as_str());
    let too_many = |by| (why("too_many", by), number(overview.vitals.refused(by)));
    let handshake = |by| (why("handshake", by), number(overview.vitals.handshakes_failed(by)));
    let closed = Listener::ALL.map(too_many).into_iter().chain(Listener::ALL.map(handshake));
    vec![
        Family::gauge("seaworthy_build_info", "Always 1; the labels say what runs.", [(version, 1.0)]),
        Family::gauge(
            "seaworthy_phase",
            "1 for the phase that the control plane is in.",
            phase.collect::<Vec<_>>(),
        ),
        Family::gauge(
            "seaworthy_connections",
            "Connections that are open on the gRPC port.",
            one(connections.open),
        ),
        Family::counter(
            "seaworthy_connections_accepted",
            "Connections that were taken.",
            one(connections.accepted),
        ),
        Family::counter(
            "seaworthy_connections_refused",
            "Connections that were refused, by listener.",
            closed.collect::<Vec<_>>(),
        ),
        Family::counter(
            "seaworthy_connections_ended",
            "Connections of the gRPC port that ended, by cause.",
            Ended::ALL
                .map(|why| (Labels::none().with("why", why.as_str()), number(overview.vitals.ended(why)))),
        ),
        Family::counter(
            "seaworthy_log_lines_dropped",
            "Lines of the log that were dropped, because whoever reads it did not take them in time.",
            one(overview.log.dropped()),
        ),
        Family::gauge(
            "seaworthy_active_requests",
            "Requests that are being answered, streams included.",
            one(status.active_requests),
        ),
        Family::gauge("seaworthy_watchers", "Watch streams that are open.", one(status.watchers)),
    ]
}

fn fleet(overview: &Overview) -> Vec<Family> {
    let (totals, counters) = (overview.fleet.totals(), overview.fleet.counters());
    let states = overview.fleet.counts_by_state();
    let instances = states
        .iter()
        .map(|(lifecycle, health, count)| {
            let labels = Labels::none().with("lifecycle", *lifecycle).with("health", *health);
            (labels, number(*count))
        })
        .collect::<Vec<_>>();
    let services = State::ALL.map(|state| {
        (Labels::none().with("health", state.as_str()), number(overview.fleet.services_in(state)))
    });
    let (shown, left_out) = service_states(overview, totals.services);
    vec![
        Family::gauge("seaworthy_services", "Services that are known, by health.", services),
        Family::gauge(
            "seaworthy_service_health",
            "1 for the health that the service is in; the first 1,000 services by name.",
            shown,
        ),
        Family::gauge(
            "seaworthy_service_health_left_out",
            "Services that seaworthy_service_health leaves out, because there are too many.",
            one(left_out),
        ),
        Family::gauge(
            "seaworthy_instances",
            "Instances that are registered, by lifecycle and health.",
            instances,
        ),
        Family::gauge(
            "seaworthy_available_instances",
            "Instances that can take work.",
            one(totals.available),
        ),
        Family::gauge(
            "seaworthy_fleet_protected_instances",
            "Lost instances that are not removed, because many were lost at once.",
            one(totals.protected),
        ),
        Family::counter(
            "seaworthy_fleet_protections",
            "Waves of losses that were put under protection.",
            one(counters.protections),
        ),
        Family::gauge("seaworthy_sessions", "Sessions that are open.", one(totals.sessions)),
        Family::counter("seaworthy_heartbeats", "Signs of life that were taken.", one(counters.heartbeats)),
        Family::counter(
            "seaworthy_health_reports",
            "Reports of components that were taken.",
            one(counters.reports),
        ),
        Family::counter(
            "seaworthy_directive_reports_ignored",
            "Reports of directives that nobody waited for, or nobody understood.",
            one(counters.ignored_reports),
        ),
        Family::gauge(
            "seaworthy_fleet_revision",
            "Revision of the last change.",
            one(overview.fleet.revision()),
        ),
    ]
}

fn checks(overview: &Overview) -> Vec<Family> {
    let tally = overview.checks.tally();
    let kind = |kind: Kind| Labels::none().with("kind", kind.as_str());
    let of = |figure: fn(&Tally, Kind) -> u64| Kind::ALL.map(|it| (kind(it), number(figure(tally, it))));
    let runs = Kind::ALL.into_iter().flat_map(|it| {
        Found::ALL.map(|found| (kind(it).with("outcome", found.as_str()), number(tally.runs(it, found))))
    });
    vec![
        Family::gauge("seaworthy_active_checks", "Active checks that are kept up.", of(Tally::checks)),
        Family::gauge(
            "seaworthy_active_check_running",
            "Active checks that wait for an answer.",
            of(Tally::active),
        ),
        Family::counter(
            "seaworthy_active_check_runs",
            "Active checks that were run, by outcome.",
            runs.collect::<Vec<_>>(),
        ),
        Family::counter(
            "seaworthy_active_check_delayed",
            "Active checks that began more than a second late, because too many others ran.",
            of(Tally::late),
        ),
        Family::counter(
            "seaworthy_active_check_skipped",
            "Active checks that were left out, because the run before was not done.",
            of(Tally::left_out),
        ),
    ]
}

/// The health of each service as a set of states, as far as a scrape can bear, and how many services
/// that leaves out.
fn service_states(overview: &Overview, services: u64) -> (Vec<(Labels, f64)>, u64) {
    let found = overview.fleet.service_states(SERVICES_SHOWN);
    let left_out = services.saturating_sub(found.len() as u64);
    let states = found.into_iter().flat_map(|(service, health)| {
        State::ALL.map(|state| {
            let labels = Labels::none().with("service", service.to_string()).with("health", state.as_str());
            (labels, number(u64::from(state == health)))
        })
    });
    (states.collect(), left_out)
}

fn store(overview: &Overview) -> Vec<Family> {
    let (status, counters) = (overview.store.status(), overview.store.counters());
    let operations = [("read", counters.reads), ("write", counters.writes), ("delete", counters.deletes)];
    let operations = operations.map(|(kind, count)| (Labels::none().with("operation", kind), number(count)));
    let mut running = 0;
    let cumulative = COMMIT_SECONDS.iter().zip(counters.commit_seconds).map(|(bound, count)| {
        running += count;
        (*bound, running)
    });
    let commits = Snapshot {
        cumulative: cumulative.collect(),
        count: counters.commits,
        sum: counters.commit_seconds_sum,
    };
    vec![
        Family::counter(
            "seaworthy_store_operations",
            "Keys that were read, written and deleted.",
            operations,
        ),
        Family::counter("seaworthy_store_commits", "Commits that were acknowledged.", one(counters.commits)),
        Family::counter(
            "seaworthy_store_failed_commits",
            "Commits that were refused or failed.",
            one(counters.failed_commits),
        ),
        Family::histogram(
            "seaworthy_store_commit_duration",
            "How long commits took until they were durable.",
            [(Labels::none(), commits)],
        ),
        Family::gauge("seaworthy_store_keys", "Keys in the store.", one(status.keys)),
        Family::gauge("seaworthy_store_size", "Size of the store on the disk.", one(status.size_bytes))
            .unit("bytes"),
        Family::gauge(
            "seaworthy_store_writable",
            "1 while the store takes writes.",
            one(u64::from(status.writable)),
        ),
    ]
}

fn tls(overview: &Overview) -> Vec<Family> {
    let Some(tls) = &overview.tls else { return Vec::new() };
    let (status, credentials) = (tls.status(), tls.credentials());
    let expiries = credentials.expiries.iter().map(|one| {
        let seconds = one.not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        (Labels::none().with("kind", one.kind.as_str()), number(seconds.as_secs()))
    });
    let outcomes = [("taken", status.taken), ("refused", status.refused)];
    vec![
        Family::gauge(
            "seaworthy_tls_certificate_not_after",
            "When what is in force expires, as Unix time, the first of each kind; a revocation list: when the next is due.",
            expiries.collect::<Vec<_>>(),
        )
        .unit("seconds"),
        Family::counter(
            "seaworthy_tls_reloads",
            "Changes of certificates, keys, authorities and revocation lists that were read, by outcome.",
            outcomes.map(|(outcome, count)| (Labels::none().with("outcome", outcome), number(count))),
        ),
        Family::gauge(
            "seaworthy_tls_last_reload_failed",
            "1 while the files on the disk are not usable, and the last good ones are in force.",
            one(u64::from(status.problem.is_some())),
        ),
    ]
}

fn audit(overview: &Overview) -> Vec<Family> {
    let (status, tally) = (overview.audit.status(), overview.audit.tally());
    let stages = Stage::ALL
        .map(|stage| (Labels::none().with("stage", stage.as_str()), number(tally.entries[stage as usize])));
    vec![
        Family::counter(
            "seaworthy_audit_entries",
            "Entries of the audit that were written, by stage.",
            stages,
        ),
        Family::counter(
            "seaworthy_audit_failures",
            "Entries that were refused because the audit could not be written.",
            one(tally.failures),
        ),
        Family::counter(
            "seaworthy_audit_dropped_denials",
            "Denials that are not in the audit because there were too many, or because nothing could be written.",
            one(tally.dropped_denials),
        ),
        Family::gauge(
            "seaworthy_audit_newest_sequence",
            "Number of the newest entry.",
            one(status.ends.newest.sequence),
        ),
    ]
}

/// The name of a status, as OpenTelemetry and gRPC write it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::Kind, guard::status::status};

    #[test]
    fn the_audit_calls_outcomes_as_grpc_does() {
        for kind in [
            Kind::InvalidArgument,
            Kind::Unauthenticated,
            Kind::PermissionDenied,
            Kind::NotFound,
            Kind::AlreadyExists,
            Kind::FailedPrecondition,
            Kind::Aborted,
            Kind::ResourceExhausted,
            Kind::Unavailable,
            Kind::DeadlineExceeded,
            Kind::Internal,
        ] {
            let error = crate::error::Error::new(kind, crate::error::Reason::Internal, "m");
            assert_eq!(kind.as_str(), code_name(status(&error).code()));
        }
    }
}
