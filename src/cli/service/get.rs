//! `seaworthy service get`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{GetServiceRequest, Service};

use crate::cli::{Context, exit::Exit, failure::Failure, remote::Remote, render::service};

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct Get {
    /// Name of the service
    #[arg(value_name = "SERVICE")]
    name: String,
}

/// Runs it.
pub(crate) async fn run(flags: Get, context: &mut Context) -> Result<Exit, Failure> {
    let remote = context.connect().await?;
    let found = get(&remote, &flags.name).await?;
    show(&found, context)?;
    Ok(Exit::Done)
}

/// Writes a service in the format that was asked for.
pub(crate) fn show(found: &Service, context: &mut Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.document("Service", found);
    }
    context.output.table(&service::facts(found, context.clock.now().wall))
}

/// The service as it is now.
pub(crate) async fn get(remote: &Remote, name: &str) -> Result<Service, Failure> {
    let mut fleet = remote.fleet();
    let request = GetServiceRequest { name: name.to_owned() };
    let response = remote
        .read(&format!("get service {name}"), async || fleet.get_service(request.clone()).await)
        .await?;
    Ok(response.service.unwrap_or_default())
}
