//! `seaworthy vault list`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::Backup;
use serde_json::json;

use super::{Where, hash, pick, wrong};
use crate::{
    api::convert,
    cli::{
        Context,
        exit::Exit,
        failure::Failure,
        output::note,
        render::{backup, document::Contract},
    },
    vault::{Domain, Id, Listed, Problem},
};

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = "\
What cannot be read is listed as failed, with why. -o json has the hash of each manifest, and -o wide that of the newest of \
each service: kept elsewhere, `vault verify --expect-head` shows by it that nobody has put an older state back.

Exits with 0 also where there are no backups or some cannot be read, 3 where there is no vault or no such service, 4 where the place \
cannot be reached, and 5 where the key does not open it.")]
pub(crate) struct List {
    /// Only of this service [default: of all]
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    #[command(flatten)]
    at: Where,
}

/// Runs it.
pub(super) async fn run(flags: List, context: &mut Context) -> Result<Exit, Failure> {
    let List { service, at } = flags;
    let vault = at.open(context).await?;
    let (mut backups, mut hashes, mut heads) = (Vec::new(), Vec::new(), Vec::new());
    for service in pick::services(&vault, service.as_deref()).await? {
        let found = vault.backups(&service).await.map_err(|problem| wrong(&problem))?;
        let of = |listed: &Result<Listed, Problem>| listed.as_ref().ok().map(hash);
        let head = found.first().and_then(|(_, newest)| of(newest));
        heads.push(format!("head of {service}: {}", head.as_deref().unwrap_or("unreadable")));
        for (id, listed) in &found {
            hashes.push(of(listed));
            backups.push(shown(&service, *id, listed));
        }
    }
    if context.output.is_json() {
        let documents = Contract::load()?.documents("Backup", &backups)?;
        let all: Vec<_> = documents
            .iter()
            .zip(&hashes)
            .map(|(backup, hash)| json!({"backup": backup, "hash": hash}))
            .collect();
        context.output.document(&json!({"vault": vault.place().url(), "id": vault.id(), "backups": all}))?;
        return Ok(Exit::Done);
    }
    if backups.is_empty() {
        note("the vault has no backups");
        return Ok(Exit::Done);
    }
    let now = context.clock.now().wall;
    context.output.table(&backup::table(&backups, context.output.is_wide(), now))?;
    if context.output.is_wide() {
        context.output.line("")?;
        heads.iter().try_for_each(|head| context.output.line(head))?;
    }
    Ok(Exit::Done)
}

/// A backup as a control plane shows it.
fn shown(service: &Domain, id: Id, listed: &Result<Listed, Problem>) -> Backup {
    match listed {
        Ok(listed) => convert::backup::backup(listed),
        Err(problem) => convert::backup::unreadable(id, service.as_str(), problem),
    }
}
