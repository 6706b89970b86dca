//! `seaworthy breakers force` and `release`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use seaworthy_client::proto::seaworthy::v1::{
    BreakerState, ListInstancesRequest, OverrideBreakerRequest, OverrideBreakerResponse,
};
use tonic::Code;

use crate::{
    cli::{
        Context,
        args::{target::ServiceOrInstance, value},
        confirm::confirm,
        exit::Exit,
        failure::Failure,
        fleet,
        output::clean,
        remote::Remote,
        render::when,
    },
    text::counted,
};

/// How long an override holds where it is not said.
const USUAL: Duration = Duration::from_secs(5 * 60);

/// What a breaker is forced to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Forced {
    /// It refuses every call
    Open,
    /// It refuses no call
    Closed,
}

/// Flags of `force`.
#[derive(Args, Debug)]
pub(super) struct Force {
    /// Whose: orders for all of its instances, those that come later too; or orders/i-1
    #[arg(value_name = "SERVICE[/INSTANCE]")]
    target: ServiceOrInstance,
    /// Name of the operation
    #[arg(value_name = "OPERATION")]
    operation: String,
    /// What to force it to
    #[arg(value_name = "STATE")]
    state: Forced,
    /// For how long, with its unit, up to 24h [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    ttl: Option<Duration>,
    /// Why, up to 1024 characters [default: empty]
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    message: String,
    /// The operation's name again, instead of being asked for it; needed where there is no terminal, with open
    #[arg(long, value_name = "OPERATION")]
    yes: Option<String>,
}

/// Flags of `release`.
#[derive(Args, Debug)]
pub(super) struct Release {
    /// Whose, as it was forced: orders, or orders/i-1
    #[arg(value_name = "SERVICE[/INSTANCE]")]
    target: ServiceOrInstance,
    /// Name of the operation
    #[arg(value_name = "OPERATION")]
    operation: String,
}

/// Forces one.
pub(super) async fn force(flags: Force, context: &mut Context) -> Result<Exit, Failure> {
    let Force { target, operation, state, ttl, message, yes } = flags;
    let remote = context.connect().await?;
    if state == Forced::Open {
        // In an overload, which may be why, they cannot be counted.
        let instances = match attached(&remote.without_retries(), &target).await {
            Err(Failure::Refused { status, .. }) if status.code() == Code::ResourceExhausted => None,
            counted => Some(counted?),
        };
        confirm(&operation, yes.as_deref(), &loss(&target, &operation, ttl.unwrap_or(USUAL), instances))?;
    }
    let (word, state) = match state {
        Forced::Open => ("open", BreakerState::ForcedOpen),
        Forced::Closed => ("closed", BreakerState::ForcedClosed),
    };
    let request = OverrideBreakerRequest {
        service: target.service.clone(),
        instance_id: target.instance.clone(),
        operation: operation.clone(),
        state: state.into(),
        ttl: ttl.and_then(|ttl| ttl.try_into().ok()),
        message,
    };
    let action = format!("force the breaker of {operation} of {target} {word}");
    let forced = change(&remote, &action, request).await?;
    if context.output.is_json() {
        context.document("OverrideBreakerResponse", &forced)?;
        return Ok(Exit::Done);
    }
    let until = forced.r#override.as_ref().and_then(|it| it.expire_time.as_ref());
    context.output.line(format_args!(
        "forced the breaker of {} of {} {word} until {}, on {}",
        clean(&operation),
        clean(&target.to_string()),
        when::stamp(until),
        counted(forced.instances.into(), "instance"),
    ))?;
    Ok(Exit::Done)
}

/// Releases one.
pub(super) async fn release(flags: Release, context: &mut Context) -> Result<Exit, Failure> {
    let Release { target, operation } = flags;
    let remote = context.connect().await?;
    let request = OverrideBreakerRequest {
        service: target.service.clone(),
        instance_id: target.instance.clone(),
        operation: operation.clone(),
        state: BreakerState::Closed.into(),
        ..OverrideBreakerRequest::default()
    };
    let action = format!("release the breaker of {operation} of {target}");
    let released = change(&remote, &action, request).await?;
    if context.output.is_json() {
        context.document("OverrideBreakerResponse", &released)?;
        return Ok(Exit::Done);
    }
    context.output.line(format_args!(
        "released the breaker of {} of {}, on {}",
        clean(&operation),
        clean(&target.to_string()),
        counted(released.instances.into(), "instance"),
    ))?;
    Ok(Exit::Done)
}

async fn change(
    remote: &Remote,
    action: &str,
    request: OverrideBreakerRequest,
) -> Result<OverrideBreakerResponse, Failure> {
    let mut client = remote.policy();
    remote.write(action, async || client.override_breaker(request.clone()).await).await
}

/// How many attached instances it reaches now.
async fn attached(remote: &Remote, target: &ServiceOrInstance) -> Result<u64, Failure> {
    let request = ListInstancesRequest { service: target.service.clone(), ..ListInstancesRequest::default() };
    let found = fleet::all(remote, request).await?.instances;
    let is_meant = |id: &str| target.instance.is_empty() || id == target.instance;
    let meant = found.iter().filter(|it| {
        it.attached && it.registration.as_ref().is_some_and(|named| is_meant(&named.instance_id))
    });
    Ok(meant.count() as u64)
}

fn loss(target: &ServiceOrInstance, operation: &str, ttl: Duration, instances: Option<u64>) -> String {
    let (operation, shown) = (clean(operation), clean(&target.to_string()));
    let later = if target.instance.is_empty() { ", and those that come later," } else { "" };
    let refuse = if instances == Some(1) && later.is_empty() { "refuses" } else { "refuse" };
    format!(
        "forcing the breaker of {operation} of {shown} open is a stop: within a second {}{later} {refuse} every call of \
         {operation}, for {ttl:?} or until `seaworthy breakers release {shown} {operation}`",
        instances.map_or_else(
            || "attached instances (too much goes on to count them)".to_owned(),
            |instances| counted(instances, "attached instance").to_string(),
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stop_does_is_said_with_how_many_it_reaches() {
        let told = |target: &str, instances| {
            loss(&target.parse().unwrap(), "charge-card", Duration::from_secs(300), instances)
        };
        assert_eq!(
            told("orders", Some(3)),
            "forcing the breaker of charge-card of orders open is a stop: within a second 3 attached instances, and those \
             that come later, refuse every call of charge-card, for 300s or until `seaworthy breakers release orders \
             charge-card`"
        );
        assert!(
            told("orders/i-1", Some(1)).contains(" 1 attached instance refuses every call"),
            "{}",
            told("orders/i-1", Some(1))
        );
        assert!(told("orders", Some(0)).contains(" 0 attached instances, and those that come later, refuse"));
        assert!(told("orders", None).contains("within a second attached instances (too much goes on"));
    }
}
