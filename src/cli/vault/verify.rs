//! `seaworthy vault verify`.

use std::time::Duration;

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::VerifyDepth;
use serde_json::{Value, json};

use super::{
    Where, hash,
    meter::{Meter, rate},
    pick, wrong,
};
use crate::{
    cli::{
        Context,
        args::value,
        exit::Exit,
        failure::{self, Failure},
        output::{clean, note},
    },
    text::{bytes, counted},
    vault::{Depth, Domain, Finding, Id, Vault, Verified},
};

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = "\
presence looks whether every object is there, as large as it should be; structure whether the table of every pack opens and \
has what it should; data whether every byte decrypts and is what was put. Each service ends with the hash of its newest \
manifest, its head: kept elsewhere and given with --expect-head the next time, it shows that nobody has put an older state back.

Exits with 0 where all is sound, 3 where there is nothing to verify (no vault, no backups, no such service or backup), 4 where the \
place cannot be reached, 5 where the key does not open it, and 7 where something is damaged or missing, the head is another one, or a \
service has keys and no backup.")]
pub(crate) struct Verify {
    /// Only of this service [default: of all]
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    /// Only this backup, or latest: the newest that can be restored [default: all]
    #[arg(value_name = "BACKUP")]
    backup: Option<String>,
    /// How deep to look
    #[arg(long, value_name = "DEPTH", default_value = "data", value_parser = value::depth())]
    depth: VerifyDepth,
    /// Refuse where the newest manifest of the service has another hash than this
    #[arg(long, value_name = "HASH", requires = "service")]
    expect_head: Option<String>,
    #[command(flatten)]
    at: Where,
}

/// What was found of a service.
struct Found {
    service: Domain,
    head: Option<String>,
    verified: Verified,
    took: Duration,
}

/// Runs it.
pub(super) async fn run(flags: Verify, context: &mut Context) -> Result<Exit, Failure> {
    let Verify { service, backup, depth, expect_head, at } = flags;
    let depth = match depth {
        VerifyDepth::Presence => Depth::Presence,
        VerifyDepth::Structure => Depth::Structure,
        VerifyDepth::Data | VerifyDepth::Unspecified => Depth::Data,
    };
    let vault = at.open(context).await?;
    let mut all = bare(&vault, service.as_deref()).await?;
    let services = match &service {
        // It has keys alone, which is told as what is wrong with it.
        Some(_) if !all.is_empty() => Vec::new(),
        name => pick::services(&vault, name.as_deref()).await?,
    };
    for service in services {
        let head = head(&vault, &service).await?;
        if let Some(expected) = &expect_head
            && head.as_deref() != Some(&expected.to_lowercase())
        {
            let head = head.as_deref().unwrap_or("unreadable");
            return Err(Failure::Vault {
                exit: Exit::Failed,
                cause: format!(
                    "the newest manifest of {service} is {head}, and not {}: a backup was taken since, or somebody has put \
                     another state of the vault back",
                    clean(expected)
                ),
            });
        }
        let one = match backup.as_deref() {
            None => None,
            Some(text) => Some(match pick::id(text)? {
                Some(id) => id,
                None => pick::backup(&vault, &service, text).await?.manifest.id(),
            }),
        };
        let meter = Meter::new(service.to_string(), context)?;
        let verified = verify(&vault, &service, one, depth, &meter).await?;
        all.push(Found { service, head, verified, took: meter.took() });
    }
    let exit = match all.iter().all(|found| found.verified.is_sound()) {
        // Nobody may take that for a vault that was looked at.
        true if all.is_empty() => Exit::NotFound,
        true => Exit::Done,
        false => Exit::Failed,
    };
    failure::told(exit, show(&vault, &all, exit, context))
}

/// Services that have keys and no backup.
async fn bare(vault: &Vault, only: Option<&str>) -> Result<Vec<Found>, Failure> {
    // Keys first: who takes the first backup of a service meanwhile has made them before it.
    let keyed = vault.keyed_services().await.map_err(|problem| wrong(&problem))?;
    let backed_up = vault.services().await.map_err(|problem| wrong(&problem))?;
    let is_bare = |one: &Domain| !backed_up.contains(one) && only.is_none_or(|name| one.as_str() == name);
    let found = |service: Domain| {
        let what = "there are keys and no backup: none was ever committed, or somebody has taken them away";
        let finding = Finding { object: format!("keys/{service}"), what: what.to_owned() };
        let verified = Verified { findings: vec![finding], ..Verified::default() };
        Found { service, head: None, verified, took: Duration::ZERO }
    };
    Ok(keyed.into_iter().filter(is_bare).map(found).collect())
}

async fn verify(
    vault: &Vault,
    service: &Domain,
    backup: Option<Id>,
    depth: Depth,
    meter: &Meter,
) -> Result<Verified, Failure> {
    let operation = vault.new_id().map_err(|problem| wrong(&problem))?;
    let progress = |done, total| meter.at(done, total);
    match vault.verify(service, backup, depth, operation, progress).await {
        Err(crate::vault::Problem::Missing { object }) if object.starts_with("manifests/") => {
            let cause = format!("{object} is not in the vault; see: seaworthy vault list {service}");
            Err(Failure::Vault { exit: Exit::NotFound, cause })
        }
        verified => verified.map_err(|problem| wrong(&problem)),
    }
}

/// Hash of the newest manifest. None: it cannot be read.
async fn head(vault: &Vault, service: &Domain) -> Result<Option<String>, Failure> {
    let found = vault.backups(service).await.map_err(|problem| wrong(&problem))?;
    Ok(found.first().and_then(|(_, newest)| newest.as_ref().ok()).map(hash))
}

fn show(vault: &Vault, all: &[Found], exit: Exit, context: &mut Context) -> Result<(), Failure> {
    if context.output.is_json() {
        let services: Vec<Value> = all.iter().map(document).collect();
        let sound = exit == Exit::Done;
        let document = json!({"vault": vault.place().url(), "sound": sound, "services": services});
        return context.output.document(&document);
    }
    if all.is_empty() {
        note("nothing to verify: the vault has no backups");
    }
    all.iter().flat_map(lines).try_for_each(|line| context.output.line(line))
}

fn document(found: &Found) -> Value {
    let Verified { findings, remarks, backups, broken, packs, bytes, .. } = &found.verified;
    let backups: Vec<String> = backups.iter().map(ToString::to_string).collect();
    let told = |all: &[Finding]| -> Vec<Value> {
        all.iter().map(|one| json!({"object": one.object, "what": one.what})).collect()
    };
    let (findings, remarks) = (told(findings), told(remarks));
    json!({
        "service": found.service.as_str(), "head": found.head, "sound": found.verified.is_sound(), "backups": backups,
        "packs": packs, "bytes": bytes, "broken": broken, "findings": findings, "remarks": remarks,
    })
}

fn lines(found: &Found) -> Vec<String> {
    let Found { service, head, verified, took } = found;
    let word = if verified.is_sound() { "sound" } else { "NOT SOUND" };
    let (backups, packs) = (verified.backups.len() as u64, verified.packs);
    let mut lines = vec![format!(
        "{service}: {word}; {}, {}, {} read, {}",
        counted(backups, "backup"),
        counted(packs, "pack"),
        bytes(verified.bytes),
        rate(verified.bytes, *took),
    )];
    lines.extend(verified.broken.iter().map(|name| format!("  cannot be restored: {}", clean(name))));
    lines.extend(verified.findings.iter().map(|one| {
        // Most findings name their object themselves.
        let of = if one.what.contains(&one.object) { String::new() } else { format!("{}: ", one.object) };
        format!("  {}", clean(&format!("{of}{}", one.what)))
    }));
    lines.extend(verified.remarks.iter().map(|one| format!("  besides: {}", clean(&one.what))));
    lines.push(format!("  head {}", head.as_deref().unwrap_or("unreadable")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_line_by_line() {
        let mut found = Found {
            service: Domain::of_service("orders").unwrap(),
            head: Some("ab".to_owned()),
            verified: Verified { packs: 1, bytes: 2 << 20, ..Verified::default() },
            took: Duration::from_secs(1),
        };
        assert_eq!(lines(&found), ["orders: sound; 0 backups, 1 pack, 2.0 MiB read, 2.0 MiB/s", "  head ab"]);
        found.verified.broken.insert("01/database".to_owned());
        let finding = |what: &str| Finding { object: "packs/x".to_owned(), what: what.to_owned() };
        found.verified.findings = vec![finding("packs/x is not in the vault"), finding("is short")];
        found.head = None;
        let told = lines(&found);
        assert!(told[0].starts_with("orders: NOT SOUND;"), "{told:?}");
        assert_eq!(
            told[1..],
            [
                "  cannot be restored: 01/database",
                "  packs/x is not in the vault",
                "  packs/x: is short",
                "  head unreadable"
            ]
        );
        assert_eq!(document(&found)["sound"], json!(false));
    }
}
