//! `seaworthy service delete`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{DeleteServiceRequest, Service, SpecSource};

use super::get::get;
use crate::cli::{Context, confirm::confirm, exit::Exit, failure::Failure, render::spec};

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// Name of the service
    #[arg(value_name = "SERVICE")]
    name: String,
    /// The same name again, instead of being asked for it; needed where there is no terminal
    #[arg(long, value_name = "SERVICE")]
    yes: Option<String>,
}

/// Runs it.
pub(crate) async fn run(flags: Delete, context: &mut Context) -> Result<Exit, Failure> {
    let Delete { name, yes } = flags;
    let remote = context.connect().await?;
    let found = get(&remote, &name).await?;
    confirm(&name, yes.as_deref(), &loss(&found))?;
    let request = DeleteServiceRequest {
        name: name.clone(),
        confirm_name: name.clone(),
        // What was shown is what is deleted, not what was put since.
        if_revision: (found.spec_source() == SpecSource::Operator).then_some(found.spec_revision),
        allow_missing: false,
    };
    let mut fleet = remote.fleet();
    let deleted = remote
        .write(&format!("delete service {name}"), async || fleet.delete_service(request.clone()).await)
        .await?;
    if context.output.is_json() {
        context.document("DeleteServiceResponse", &deleted)?;
        return Ok(Exit::Done);
    }
    context.output.line(match deleted.service {
        Some(_) => {
            format!("deleted the specification of {name}; its instances stay, and what they declare counts")
        }
        None => format!("deleted {name}"),
    })?;
    Ok(Exit::Done)
}

fn loss(service: &Service) -> String {
    let needs = service.spec.clone().unwrap_or_default();
    let instances = service.counts.unwrap_or_default().total;
    format!(
        "deleting service {} loses the operator's specification, revision {} (budget: {}; depends on: {}; \
         objectives: {}); instances that stay registered: {instances}",
        service.name,
        service.spec_revision,
        spec::budget(&needs),
        spec::dependencies(&needs),
        spec::objectives(&needs),
    )
}
