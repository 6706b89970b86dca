//! `seaworthy fleet watch`: on a terminal a picture that is redrawn, elsewhere a line for each change.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{
    Instance, ResetReason, Service, WatchFleetResponse, fleet_change::Change, watch_fleet_response::Message,
};

use crate::cli::{
    Context,
    exit::Exit,
    failure::Failure,
    follow::{Place, follow, until_interrupted},
    live::{
        self,
        board::{Board, Shows},
    },
    output::{Output, Screen, Text, clean, note},
    remote::Remote,
    render::{document::Contract, instance, when, words},
};
use crate::time::Clock;

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct Watch {
    /// Only this service [default: all]
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Print a line for each instance and each change, on a terminal too
    #[arg(long)]
    lines: bool,
}

/// Runs it.
pub(crate) async fn run(flags: Watch, context: &mut Context) -> Result<Exit, Failure> {
    let remote = context.connect().await?;
    let service = flags.service.as_deref().unwrap_or_default();
    if let Some(screen) = context.output.screen().filter(|_| !flags.lines) {
        return board(&remote, Shows::Instances, service, screen, context).await;
    }
    let contract = if context.output.is_json() { Some(Contract::load()?) } else { None };
    let (output, clock) = (&mut context.output, context.clock);
    let mut place = Place::start(service);
    let open = |place: &Place| {
        let (mut fleet, request) = (remote.fleet(), place.request());
        async move { fleet.watch_fleet(request).await }
    };
    let take = |place: &mut Place, response: WatchFleetResponse| {
        place.pass(&response);
        match &contract {
            Some(contract) => output.object(&contract.document("WatchFleetResponse", &response)?),
            None => print(output, clock, response),
        }
    };
    until_interrupted(follow(&remote, "watch the fleet", &mut place, open, take)).await?;
    Ok(Exit::Done)
}

/// Shows the fleet, or a service of it, in place.
pub(crate) async fn board(
    remote: &Remote,
    shows: Shows,
    service: &str,
    screen: Screen,
    context: &Context,
) -> Result<Exit, Failure> {
    let open = |board: &Board| {
        let (mut fleet, request) = (remote.fleet(), board.place.request());
        async move { fleet.watch_fleet(request).await }
    };
    let (screen, board) = ((screen, context.output.looks), Board::new(shows, service));
    live::watch(remote, "watch the fleet", screen, context.clock, board, open, Board::take, Board::lines)
        .await?;
    Ok(Exit::Done)
}

fn print(output: &mut Output, clock: Clock, response: WatchFleetResponse) -> Result<(), Failure> {
    match response.message {
        Some(Message::Reset(reset)) => match reset.reason() {
            ResetReason::Unspecified | ResetReason::Initial => {}
            ResetReason::OtherEpoch => note("the control plane was restarted; all of its state follows"),
            ResetReason::TooFarBehind => note("changes were missed; all of the state follows"),
        },
        Some(Message::Snapshot(part)) => {
            part.services.iter().try_for_each(|service| changed_service(output, clock, service))?;
            part.instances.iter().try_for_each(|instance| changed_instance(output, clock, instance))?;
        }
        Some(Message::Change(change)) => match change.change {
            Some(Change::Instance(instance)) => changed_instance(output, clock, &instance)?,
            Some(Change::Service(service)) => changed_service(output, clock, &service)?,
            Some(Change::Removed(gone)) => {
                let why = format!("{} {}", words::removal(gone.reason()), gone.message);
                line(output, clock, &instance::tombstone_name(&gone), "removed", &"-".into(), why.trim())?;
            }
            Some(Change::ServiceRemoved(name)) => {
                line(output, clock, &name, "removed", &"-".into(), "")?;
            }
            None => {}
        },
        Some(Message::BookmarkTime(_)) | None => {}
    }
    output.flush()
}

fn changed_instance(output: &mut Output, clock: Clock, it: &Instance) -> Result<(), Failure> {
    let health = words::health(it.health());
    line(output, clock, &instance::name(it), &instance::lifecycle(it), &health, &it.cause)
}

fn changed_service(output: &mut Output, clock: Clock, it: &Service) -> Result<(), Failure> {
    let counts = it.counts.unwrap_or_default();
    let available = format!("{}/{} available", counts.available, counts.total);
    line(output, clock, &it.name, &available, &words::health(it.health()), &it.cause)
}

/// A line whose columns are as wide as what usually comes: later ones are not known yet.
fn line(
    output: &mut Output,
    clock: Clock,
    name: &str,
    state: &str,
    health: &Text,
    cause: &str,
) -> Result<(), Failure> {
    let now = when::clock(clock.now().wall);
    let pad = " ".repeat(9_usize.saturating_sub(health.plain.chars().count()));
    let cause = clean(&instance::short(cause, output.is_wide()));
    let health = output.looks.paint(health);
    let line = format!("{now}  {:<28}  {state:<16}  {health}{pad}  {cause}", clean(name));
    output.line(line.trim_end())
}
