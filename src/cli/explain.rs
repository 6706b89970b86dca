//! `seaworthy explain`: why, in one answer. The tree is the server's; here it is only drawn.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{ExplainRequest, ExplainResponse};

use super::{
    Context,
    args::target::Target,
    exit::Exit,
    failure::{self, Failure},
    health,
    render::explain::Drawing,
};

/// Its flags.
#[derive(Args, Debug)]
#[command(
    after_help = "Exits with 1 when what was asked for is unhealthy or unknown; of the whole fleet, when \
                        any service is."
)]
pub(crate) struct Explain {
    /// What to explain: orders, orders/i-1 or orders/i-1/database [default: the whole fleet]
    #[arg(value_name = "SERVICE[/INSTANCE[/COMPONENT]]")]
    target: Option<Target>,
}

/// Runs it.
pub(crate) async fn run(flags: Explain, context: &mut Context) -> Result<Exit, Failure> {
    let remote = context.connect().await?;
    let action = match &flags.target {
        Some(target) => format!("explain {target}"),
        None => "explain the fleet".to_owned(),
    };
    let Target { service, instance, component } = flags.target.unwrap_or_default();
    let request = ExplainRequest { service, instance_id: instance, component };
    let answer = remote.read(&action, async || remote.health().explain(request.clone()).await).await?;
    let exit = health::verdict(answer.state());
    failure::told(exit, show(&answer, context))
}

fn show(answer: &ExplainResponse, context: &mut Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.document("ExplainResponse", answer);
    }
    let drawing = Drawing { looks: context.output.looks, now: context.clock.now().wall };
    drawing.lines(answer).into_iter().try_for_each(|line| context.output.line(line))
}
