//! `seaworthy doctor`: what is wrong with this set-up, and how to mend it.
//!
//! Goes the way to the control plane step by step, compares versions and clocks, asks it for its own report,
//! and looks at the fleet. It only looks: nothing is changed, and what it reads of a fleet is bounded.

mod caller;
mod finding;
mod fleet;
mod http;
mod judge;
mod reach;
mod sniff;
mod tls;

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::GetReadinessRequest;
use tokio::time::{sleep, timeout};

use self::{
    finding::{Finding, Report},
    http::Site,
    reach::{Reached, Way},
};
use super::{
    Context,
    args::value,
    exit::Exit,
    failure::{self, Failure},
    follow::until_interrupted,
    output::note,
};
use crate::system::readiness::Outcome;

/// Between two looks with `--wait`.
const PAUSE: Duration = Duration::from_secs(1);

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
    /// Where its HTTP side is, where its port is published elsewhere [default: where it listens by its own account]
    #[arg(long, value_name = "URL", value_parser = Site::parse)]
    http: Option<Site>,
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
    let access = context.access()?;
    let server = access.server.clone();
    let way = reach::reach(context, access, flags.ready_file.as_deref(), &mut found).await?;
    let is_reached = !matches!(way, Way::Nowhere);
    if let Way::Open(reached) = way {
        found.push(judge::versions(&reached.status.version, env!("CARGO_PKG_VERSION")));
        found.push(clocks(&reached));
        found.push(caller::look(&reached.remote, context.clock.now().wall).await);
        found.push(http::look(&reached, flags.http.as_ref(), context.timeout).await);
        found.extend(readiness(&reached).await);
        found.extend(judge::limits(&reached.status));
        found.extend(fleet::look(&reached, context.timeout).await);
        // What belongs together stands together, whoever found it.
        let order = |id: &str| GROUPS.iter().position(|group| id.split('.').next() == Some(group));
        found.sort_by_key(|finding| order(&finding.id).unwrap_or(GROUPS.len()));
    }
    Ok(Report::new(&server, is_reached, found))
}

/// The order of the groups; what a newer server adds comes last.
const GROUPS: [&str; 10] =
    ["reach", "version", "clock", "http", "server", "store", "transport", "identity", "limits", "fleet"];

fn clocks(reached: &Reached) -> Finding {
    let server = reached.status.server_time.and_then(|time| SystemTime::try_from(time).ok());
    judge::clocks(server, reached.asked.wall, reached.took)
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

fn unanswered(id: &str, title: &str, failure: &Failure) -> Finding {
    Finding::fail(id, title, failure.to_string(), "look at its log, and ask again")
}
