//! `seaworthy health`.

mod watch;

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{
    GetHealthRequest, Health as Found, HealthState, Instance, ListInstancesRequest,
};
use serde::Serialize;

use super::{
    Context,
    args::target::Target,
    exit::Exit,
    failure::{self, Failure},
    fleet,
    live::board::Shows,
    remote::Remote,
    render::{
        document::{Contract, Document},
        health::Tree,
    },
    service,
};

/// How many instances a tree shows before it says that there are more; `wide` and `json` show all.
const SHOWN: usize = 50;

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = "Exits with 1 when anything that was asked for is unhealthy or unknown.")]
pub(crate) struct Health {
    /// What to look at: orders, orders/i-1 or orders/i-1/database [default: all services]
    #[arg(value_name = "SERVICE[/INSTANCE[/COMPONENT]]")]
    target: Option<Target>,
    /// Follow it until Ctrl-C: redrawn in place on a terminal, elsewhere a line now and after every change;
    /// survives lost connections
    #[arg(short, long)]
    watch: bool,
    /// With --watch: print lines, on a terminal too
    #[arg(long, requires = "watch")]
    lines: bool,
}

/// Runs it.
pub(crate) async fn run(flags: Health, context: &mut Context) -> Result<Exit, Failure> {
    let remote = context.connect().await?;
    if let Some(screen) = context.output.screen().filter(|_| flags.watch && !flags.lines) {
        return match &flags.target {
            None => fleet::board(&remote, Shows::Services, "", screen, context).await,
            Some(Target { service, instance, .. }) if instance.is_empty() => {
                fleet::board(&remote, Shows::Instances, service, screen, context).await
            }
            Some(target) => watch::picture(&remote, target, screen, context).await,
        };
    }
    match flags.target {
        None if flags.watch => watch::services(&remote, context).await,
        None => services(&remote, context).await,
        Some(target) if flags.watch => watch::target(&remote, &target, context).await,
        Some(target) => detail(&remote, &target, context).await,
    }
}

async fn services(remote: &Remote, context: &mut Context) -> Result<Exit, Failure> {
    let found = service::all(remote).await?;
    let mut verdicts = found.services.iter().map(|service| verdict(service.health()));
    let exit = verdicts.find(|exit| *exit == Exit::No).unwrap_or(Exit::Done);
    failure::told(exit, service::show(&found, context))
}

/// Whether something works, as an exit code: degraded still does.
pub(super) fn verdict(state: HealthState) -> Exit {
    match state {
        HealthState::Healthy | HealthState::Degraded => Exit::Done,
        HealthState::Unhealthy | HealthState::Unknown | HealthState::Unspecified => Exit::No,
    }
}

/// What `json` shows: the answer, and for a service its instances.
#[derive(Serialize)]
struct Detail {
    health: Document,
    #[serde(skip_serializing_if = "Option::is_none")]
    instances: Option<Vec<Document>>,
}

async fn detail(remote: &Remote, target: &Target, context: &mut Context) -> Result<Exit, Failure> {
    let Target { service, instance, component } = target.clone();
    let of_service = instance.is_empty();
    let mut client = remote.health();
    let request = GetHealthRequest { service: service.clone(), instance_id: instance, component };
    let answer = remote
        .read(&format!("get health of {target}"), async || client.get_health(request.clone()).await)
        .await?;
    let found = answer.health.unwrap_or_default();
    let exit = verdict(found.state());
    let instances = if of_service { Some(instances(remote, service).await?) } else { None };
    failure::told(exit, show(&found, instances, context))
}

fn show(found: &Found, instances: Option<Vec<Instance>>, context: &mut Context) -> Result<(), Failure> {
    if context.output.is_json() {
        let contract = Contract::load()?;
        let health = contract.document("Health", found)?;
        let instances = instances.map(|instances| contract.documents("Instance", &instances)).transpose()?;
        return context.output.document(&Detail { health, instances });
    }
    let lines = tree(found, instances.unwrap_or_default(), context);
    lines.into_iter().try_for_each(|line| context.output.line(line))
}

async fn instances(remote: &Remote, service: String) -> Result<Vec<Instance>, Failure> {
    let request = ListInstancesRequest { service, ..ListInstancesRequest::default() };
    Ok(fleet::all(remote, request).await?.instances)
}

fn tree(found: &Found, instances: Vec<Instance>, context: &Context) -> Vec<String> {
    let wide = context.output.is_wide();
    let tree = Tree { looks: context.output.looks, wide, now: context.clock.now().wall };
    match (&found.service, &found.instance, &found.component) {
        (Some(service), _, _) => tree.service(service, instances, if wide { usize::MAX } else { SHOWN }),
        (None, Some(instance), _) => tree.instance_in_full(instance),
        (None, None, Some(component)) => tree.component(component),
        (None, None, None) => Vec::new(),
    }
}
