//! `seaworthy check`: has the control plane run active checks now.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{
    CheckNowRequest, CheckNowResponse, ComponentHealth, HealthState,
};

use super::{
    Context,
    args::target::InstanceName,
    exit::Exit,
    failure::{self, Failure},
    render::health::Tree,
};

const AFTER_HELP: &str = "\
Runs the checks that the control plane makes itself, whenever they are due, and shows how the components
are after that. Exits with 1 when one is unhealthy or unknown, or this run found it unhealthy even if its
threshold is not reached yet.";

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Check {
    /// Whose checks to run, for example orders/i-1
    #[arg(value_name = "SERVICE/INSTANCE")]
    instance: InstanceName,
    /// Only of this component [default: all that have an active check]
    #[arg(value_name = "COMPONENT")]
    component: Option<String>,
}

/// Runs it.
pub(crate) async fn run(flags: Check, context: &mut Context) -> Result<Exit, Failure> {
    let Check { instance, component } = flags;
    let remote = context.connect().await?;
    let action = format!("check {instance}");
    let InstanceName { service, instance: instance_id } = instance;
    let mut health = remote.health();
    let request = CheckNowRequest { service, instance_id, component: component.unwrap_or_default() };
    let answer = remote.write(&action, async || health.check_now(request.clone()).await).await?;
    let exit = if answer.components.iter().all(works) { Exit::Done } else { Exit::No };
    failure::told(exit, show(&answer, context))
}

/// Whether a component works, by its state and by what was found just now: degraded still does.
fn works(component: &ComponentHealth) -> bool {
    let fine = |state: HealthState| matches!(state, HealthState::Healthy | HealthState::Degraded);
    fine(component.state()) && fine(component.reported_state())
}

fn show(answer: &CheckNowResponse, context: &mut Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.document("CheckNowResponse", answer);
    }
    let (wide, now) = (context.output.is_wide(), context.clock.now().wall);
    for component in &answer.components {
        let tree = Tree { looks: context.output.looks, wide, now };
        tree.component(component).into_iter().try_for_each(|line| context.output.line(line))?;
    }
    Ok(())
}
