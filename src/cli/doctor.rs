//! `seaworthy doctor`: what is wrong with this set-up, and how to mend it.
//!
//! Goes the way to the control plane step by step, compares versions and clocks, asks it for its own report,
//! and looks at the fleet. It only looks: nothing is changed, and what it reads of a fleet is bounded.

mod finding;
mod judge;
mod reach;
mod sniff;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{
    GetReadinessRequest, HealthState, Lifecycle, ListInstancesRequest,
};
use tokio::time::{sleep, timeout};

use self::{
    finding::{Finding, Report},
    reach::Reached,
};
use super::{
    Context,
    args::value,
    exit::Exit,
    failure::{self, Failure},
    follow::until_interrupted,
    output::note,
    service,
};
use crate::system::readiness::Outcome;

/// Between two looks with `--wait`.
const PAUSE: Duration = Duration::from_secs(1);
/// Instances that are looked at for those that were not heard yet.
const LOOKED_AT: i32 = 1000;

/// Its flags.
#[derive(Args, Debug)]
#[command(
    after_help = "Exits with 0 when nothing fails (warnings do not count), 1 when a check fails, and 4 when \
                        the control plane cannot be reached; then it says what is there instead."
)]
pub(crate) struct Doctor {
    /// Look again, for so long, until nothing fails; for scripts that start things
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    wait: Option<Duration>,
    /// The ready file of the control plane, to find it where it listens elsewhere [default: none]
    #[arg(long, value_name = "FILE", env = "SEAWORTHY_READY_FILE")]
    ready_file: Option<PathBuf>,
}

/// Runs it.
pub(crate) async fn run(flags: Doctor, context: &mut Context) -> Result<Exit, Failure> {
    let report = until_interrupted(patiently(&flags, context)).await?;
    let exit = match (report.reached, report.outcome) {
        (false, _) => Exit::Unreachable,
        (true, Outcome::Fail) => Exit::No,
        (true, Outcome::Pass | Outcome::Warn) => Exit::Done,
    };
    failure::told(exit, show(&report, context))
}

fn show(report: &Report, context: &mut Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.output.document(report);
    }
    let lines = report.lines(context.output.looks, context.output.is_wide());
    lines.into_iter().try_for_each(|line| context.output.line(line))
}

/// Looks once, or until nothing fails any more or the time is up. The last look is the one that counts.
async fn patiently(flags: &Doctor, context: &Context) -> Result<Report, Failure> {
    let mut report = look(flags, context).await?;
    let Some(wait) = flags.wait else { return Ok(report) };
    let mut told = None;
    let until_fine = async {
        while let Some(trouble) = report.trouble() {
            // Said once, not at every look.
            if told.as_ref() != Some(&trouble) {
                note(format_args!("waiting: {trouble}"));
                told = Some(trouble);
            }
            sleep(PAUSE).await;
            report = look(flags, context).await?;
        }
        Ok(())
    };
    match timeout(wait, until_fine).await {
        Ok(ended) => ended?,
        Err(_) => note(format_args!("waited for {wait:?}")),
    }
    Ok(report)
}

/// One look at everything.
async fn look(flags: &Doctor, context: &Context) -> Result<Report, Failure> {
    let mut found = Vec::new();
    let reached = reach::reach(context, flags.ready_file.as_deref(), &mut found).await?;
    let is_reached = reached.is_some();
    if let Some(reached) = reached {
        found.push(judge::versions(&reached.status.version, env!("CARGO_PKG_VERSION")));
        found.push(clocks(&reached));
        found.push(http(&reached, context.timeout).await);
        found.extend(readiness(&reached).await);
        found.extend(judge::limits(&reached.status));
        found.extend(fleet(&reached).await);
        // What belongs together stands together, whoever found it.
        let order = |id: &str| GROUPS.iter().position(|group| id.split('.').next() == Some(group));
        found.sort_by_key(|finding| order(&finding.id).unwrap_or(GROUPS.len()));
    }
    Ok(Report::new(&context.server, is_reached, found))
}

/// The order of the groups; what a newer server adds comes last.
const GROUPS: [&str; 10] =
    ["reach", "version", "clock", "http", "server", "store", "transport", "identity", "limits", "fleet"];

fn clocks(reached: &Reached) -> Finding {
    let server = reached.status.server_time.and_then(|time| SystemTime::try_from(time).ok());
    judge::clocks(server, reached.asked.wall, reached.took)
}

/// Whether the HTTP side answers, where it can be asked from here.
async fn http(reached: &Reached, wait: Duration) -> Finding {
    let (id, title) = ("http.reachable", "HTTP side answers");
    let Ok(listens) = reached.status.http_address.parse::<SocketAddr>() else {
        let found = "the control plane does not tell where it listens";
        return Finding::warn(id, title, found, "update it: this program is newer");
    };
    let loopback = |host: &str| host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if listens.ip().is_loopback() && !loopback(&reached.host) {
        let found = format!("{listens} of its own machine alone; it is not asked from here");
        return Finding::pass(id, title, found);
    }
    let host = if listens.ip().is_unspecified() { reached.host.clone() } else { listens.ip().to_string() };
    let at = reach::at(&host, listens.port());
    match sniff::page(&host, listens.port(), "/health/live", wait).await {
        Ok(line) if line.contains(" 200 ") => Finding::pass(id, title, format!("http://{at}/")),
        Ok(line) => Finding::fail(id, title, format!("http://{at}/health/live: {line}"), "look at its log"),
        Err(why) => {
            let remedy = "look at firewalls between, and at http.max_connections and its log";
            Finding::fail(id, title, format!("http://{at}/: {why}"), remedy)
        }
    }
}

/// The control plane's own report, its checks under their own ids.
async fn readiness(reached: &Reached) -> Vec<Finding> {
    let mut system = reached.remote.system();
    let request = system.get_readiness(GetReadinessRequest {});
    match reached.remote.call("get the readiness report", request).await {
        Ok(report) => report.checks.iter().map(judge::folded).collect(),
        Err(failure) => vec![unanswered("server.readiness", "control plane reports on itself", &failure)],
    }
}

async fn fleet(reached: &Reached) -> Vec<Finding> {
    let remote = &reached.remote;
    let request = ListInstancesRequest {
        lifecycle: Lifecycle::Ready.into(),
        health: HealthState::Unknown.into(),
        page_size: LOOKED_AT,
        ..ListInstancesRequest::default()
    };
    let mut client = remote.fleet();
    let asked = async {
        let services = service::all(remote).await?;
        let unknown = remote.call("list instances", client.list_instances(request)).await?;
        Ok::<_, Failure>((services, unknown))
    };
    match asked.await {
        Ok((services, unknown)) => {
            let unconfirmed = unknown.instances.iter().filter(|instance| !instance.confirmed).count();
            judge::fleet(&services.services, unconfirmed, !unknown.next_page_token.is_empty())
        }
        Err(failure) => vec![unanswered("fleet.answer", "fleet can be read", &failure)],
    }
}

fn unanswered(id: &str, title: &str, failure: &Failure) -> Finding {
    Finding::fail(id, title, failure.to_string(), "look at its log, and ask again")
}
