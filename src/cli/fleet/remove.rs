//! `seaworthy fleet remove`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::RemoveInstanceRequest;

use super::get::get;
use crate::cli::{
    Context,
    args::target::InstanceName,
    confirm::confirm,
    exit::Exit,
    failure::Failure,
    render::{instance, when, words},
};

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct Remove {
    /// The instance: orders/i-1
    #[arg(value_name = "SERVICE/INSTANCE")]
    name: InstanceName,
    /// Why, up to 1024 characters; kept for 24 hours and told to the instance [default: empty]
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    message: String,
    /// The same name again, instead of being asked for it; needed where there is no terminal
    #[arg(long, value_name = "SERVICE/INSTANCE")]
    yes: Option<String>,
}

/// Runs it.
pub(crate) async fn run(flags: Remove, context: &mut Context) -> Result<Exit, Failure> {
    let Remove { name, message, yes } = flags;
    let remote = context.connect().await?;
    let found = get(&remote, &name).await?;
    let loss = format!(
        "removing {name} ({}, {}, last heard {}) ends its incarnation {} and closes its session; it drops out \
         of health and discovery at once, and only a new registration brings it back (an agent that still runs registers by itself)",
        instance::lifecycle(&found),
        words::health(found.health()).plain,
        when::ago(found.last_heard_time.as_ref(), context.clock.now().wall),
        found.incarnation,
    );
    confirm(&name.to_string(), yes.as_deref(), &loss)?;
    let request = RemoveInstanceRequest {
        service: name.service.clone(),
        instance_id: name.instance.clone(),
        // What was shown is what is removed, not a life that began since.
        incarnation: found.incarnation,
        message,
        allow_missing: false,
    };
    let mut fleet = remote.fleet();
    let removed = remote
        .write(&format!("remove instance {name}"), async || fleet.remove_instance(request.clone()).await)
        .await?;
    if context.output.is_json() {
        context.document("RemoveInstanceResponse", &removed)?;
    } else {
        context.output.line(format_args!("removed {name}"))?;
    }
    Ok(Exit::Done)
}
