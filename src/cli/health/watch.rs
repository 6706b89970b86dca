//! `seaworthy health --watch`: a line now, and after every change; or a picture that is redrawn.

use std::collections::HashMap;

use seaworthy_client::proto::seaworthy::v1::{
    HealthState, Service, WatchFleetResponse, WatchHealthRequest, WatchHealthResponse, fleet_change::Change,
    watch_fleet_response::Message,
};
use tonic::{Response, Status, Streaming};

use crate::cli::{
    Context,
    args::target::Target,
    exit::Exit,
    failure::Failure,
    follow::{Place, follow, until_interrupted},
    live::{self, Frame},
    output::{Output, Screen, Text, clean},
    remote::Remote,
    render::{document::Contract, health::Tree, instance::short, when, words},
};
use crate::time::{Clock, Now};

/// What was printed last, so that only changes are printed again.
type Printed = (HealthState, String);

/// Shows one instance or component in place.
pub(super) async fn picture(
    remote: &Remote,
    target: &Target,
    screen: Screen,
    context: &Context,
) -> Result<Exit, Failure> {
    let open = |_: &Option<WatchHealthResponse>| question(remote, target);
    let take = |last: &mut Option<_>, response: WatchHealthResponse, _: Now| *last = Some(response);
    let lines = |last: &Option<WatchHealthResponse>, frame: &Frame| {
        let found = last.as_ref().filter(|last| last.known).and_then(|last| last.health.as_ref());
        let tree = Tree { looks: frame.looks, wide: context.output.is_wide(), now: frame.now.wall };
        match found.map(|found| (&found.instance, &found.component)) {
            Some((Some(instance), _)) => tree.instance_in_full(instance),
            Some((None, Some(component))) => tree.component(component),
            _ => vec![format!("nobody is known as {}", clean(&target.to_string()))],
        }
    };
    let (action, screen) = (format!("watch health of {target}"), (screen, context.output.looks));
    live::watch(remote, &action, screen, context.clock, None, open, take, lines).await?;
    Ok(Exit::Done)
}

/// Asks to follow one service, instance or component.
fn question(
    remote: &Remote,
    target: &Target,
) -> impl Future<Output = Result<Response<Streaming<WatchHealthResponse>>, Status>> + use<> {
    let mut client = remote.health();
    let request = WatchHealthRequest {
        service: target.service.clone(),
        instance_id: target.instance.clone(),
        component: target.component.clone(),
    };
    async move { client.watch_health(request).await }
}

/// Follows one service, instance or component.
pub(super) async fn target(remote: &Remote, target: &Target, context: &mut Context) -> Result<Exit, Failure> {
    let contract = if context.output.is_json() { Some(Contract::load()?) } else { None };
    let (output, clock) = (&mut context.output, context.clock);
    let open = |_: &Option<Printed>| question(remote, target);
    let name = target.to_string();
    let take = |last: &mut Option<Printed>, response: WatchHealthResponse| {
        if let Some(contract) = &contract {
            return output.object(&contract.document("WatchHealthResponse", &response)?);
        }
        let now = match &response.health {
            Some(health) if response.known => (health.state(), health.cause.clone()),
            _ => (HealthState::Unspecified, "nobody of this name is known".to_owned()),
        };
        if last.as_ref() != Some(&now) {
            line(output, clock, &name, now.0, &now.1)?;
            *last = Some(now);
        }
        Ok(())
    };
    let action = format!("watch health of {target}");
    until_interrupted(follow(remote, &action, &mut None, open, take)).await?;
    Ok(Exit::Done)
}

/// Follows all services.
pub(super) async fn services(remote: &Remote, context: &mut Context) -> Result<Exit, Failure> {
    let contract = if context.output.is_json() { Some(Contract::load()?) } else { None };
    let (output, clock) = (&mut context.output, context.clock);
    let mut state = (Place::start(""), HashMap::<String, Printed>::new());
    let open = |state: &(Place, HashMap<String, Printed>)| {
        let (mut fleet, request) = (remote.fleet(), state.0.request());
        async move { fleet.watch_fleet(request).await }
    };
    let take = |(place, last): &mut (Place, HashMap<String, Printed>), response: WatchFleetResponse| {
        place.pass(&response);
        for service in of(response, last) {
            let now = (service.health(), service.cause.clone());
            if last.get(&service.name) == Some(&now) {
                continue;
            }
            match &contract {
                Some(contract) => output.object(&contract.document("Service", &service)?)?,
                None => line(output, clock, &service.name, now.0, &now.1)?,
            }
            last.insert(service.name, now);
        }
        Ok(())
    };
    until_interrupted(follow(remote, "watch the health of all services", &mut state, open, take)).await?;
    Ok(Exit::Done)
}

/// The services that a message of the fleet tells of. One that is gone is forgotten.
fn of(response: WatchFleetResponse, last: &mut HashMap<String, Printed>) -> Vec<Service> {
    match response.message {
        Some(Message::Snapshot(part)) => part.services,
        Some(Message::Change(change)) => match change.change {
            Some(Change::Service(service)) => vec![service],
            Some(Change::ServiceRemoved(name)) => {
                last.remove(&name);
                Vec::new()
            }
            Some(Change::Instance(_) | Change::Removed(_)) | None => Vec::new(),
        },
        Some(Message::Reset(_) | Message::BookmarkTime(_)) | None => Vec::new(),
    }
}

fn line(
    output: &mut Output,
    clock: Clock,
    name: &str,
    state: HealthState,
    cause: &str,
) -> Result<(), Failure> {
    let now = when::clock(clock.now().wall);
    let health = match state {
        HealthState::Unspecified => Text::from("-"),
        _ => words::health(state),
    };
    let pad = " ".repeat(9_usize.saturating_sub(health.plain.chars().count()));
    let cause = clean(&short(cause, output.is_wide()));
    let health = output.looks.paint(&health);
    output.line(format!("{now}  {:<28}  {health}{pad}  {cause}", clean(name)).trim_end())?;
    output.flush()
}
