//! `seaworthy policy explain`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{
    ExplainPolicyRequest, OperationTarget, PolicyTarget, RpcTarget, policy_target::What,
};

use crate::cli::{
    Context,
    exit::Exit,
    failure::Failure,
    output::{clean, note},
    render::policy::{about, explained},
};

const HELP: &str = "\
The rule: each part is decided by itself, by the most specific policy that covers the call and has the part; parts are not
mixed. More specific is, in this order: a named RPC or operation before none, a named service before none, RPCs or operations
before everything, a named caller before none. Of two that are equally specific the one that was put comes before the one of
the configuration file, that before a built-in one, and then the one whose name comes first. Policies in shadow are chosen
among themselves, and refuse nothing.

  seaworthy policy explain --service orders --operation charge-card --caller shop
  seaworthy policy explain --rpc seaworthy.v1.FleetService/ListInstances";

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Explain {
    /// Service whose operation is called
    #[arg(long, value_name = "SERVICE", required_unless_present = "rpc", conflicts_with = "rpc")]
    service: Option<String>,
    /// Operation that is called
    #[arg(long, value_name = "OPERATION", required_unless_present = "rpc", conflicts_with = "rpc")]
    operation: Option<String>,
    /// RPC of the control plane that is called, instead: seaworthy.v1.FleetService/ListInstances
    #[arg(long, value_name = "METHOD")]
    rpc: Option<String>,
    /// Who calls [default: nobody in particular]
    #[arg(long, value_name = "NAME")]
    caller: Option<String>,
}

/// Runs it.
pub(crate) async fn run(flags: Explain, context: &mut Context) -> Result<Exit, Failure> {
    let Explain { service, operation, rpc, caller } = flags;
    let what = match rpc {
        Some(method) => What::Rpcs(RpcTarget { method }),
        None => What::Operations(OperationTarget {
            service: service.unwrap_or_default(),
            operation: operation.unwrap_or_default(),
        }),
    };
    let call = Some(PolicyTarget { what: Some(what) });
    let action = format!("explain what protects {}", about(call.as_ref()));
    let request = ExplainPolicyRequest { call, caller: caller.unwrap_or_default() };
    let remote = context.connect().await?;
    let mut client = remote.policy();
    let answer = remote.read(&action, async || client.explain_policy(request.clone()).await).await?;
    if context.output.is_json() {
        context.document("ExplainPolicyResponse", &answer)?;
        return Ok(Exit::Done);
    }
    if !answer.exempt.is_empty() {
        context.output.line(format_args!("no policy holds of it: {}", clean(&answer.exempt)))?;
    }
    if !answer.parts.is_empty() {
        context.output.table(&explained(&answer.parts))?;
    } else if answer.exempt.is_empty() {
        note("no policy covers it");
    }
    Ok(Exit::Done)
}
