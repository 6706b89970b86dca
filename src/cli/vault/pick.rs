//! Which service, backup and component is meant, by the bucket alone.

use super::wrong;
use crate::{
    cli::{
        exit::Exit,
        failure::Failure,
        output::{clean, note},
    },
    vault::{Component, Domain, Id, Listed, Manifest, Problem, State, Status, Vault},
};

/// What means the newest that can be restored.
pub(super) const LATEST: &str = "latest";

fn not_found(cause: String) -> Failure {
    Failure::Vault { exit: Exit::NotFound, cause }
}

/// A service that has backups.
pub(super) async fn service(vault: &Vault, name: &str) -> Result<Domain, Failure> {
    let all = vault.services().await.map_err(|problem| wrong(&problem))?;
    if let Some(found) = all.iter().find(|one| one.as_str() == name) {
        return Ok(found.clone());
    }
    let names: Vec<&str> = all.iter().map(Domain::as_str).collect();
    let has =
        if names.is_empty() { "none at all".to_owned() } else { format!("those of {}", names.join(", ")) };
    Err(not_found(format!("the vault has no backups of {}; it has {has}", clean(name))))
}

/// One service, or all.
pub(super) async fn services(vault: &Vault, name: Option<&str>) -> Result<Vec<Domain>, Failure> {
    match name {
        Some(name) => Ok(vec![service(vault, name).await?]),
        None => vault.services().await.map_err(|problem| wrong(&problem)),
    }
}

/// The id of a backup as it was written on the command line. None: the latest is meant.
pub(super) fn id(text: &str) -> Result<Option<Id>, Failure> {
    if text == LATEST {
        return Ok(None);
    }
    let wrong = |cause| Failure::Usage(format!("backup {}: {cause}; or write {LATEST}", clean(text)));
    Id::parse(text).map(Some).map_err(wrong)
}

/// A backup to restore of a service: this one, or the newest that can be restored.
pub(super) async fn backup(vault: &Vault, service: &Domain, text: &str) -> Result<Listed, Failure> {
    let found = match id(text)? {
        Some(id) => match vault.backup(service, id).await {
            Err(Problem::Missing { object }) if object.starts_with("manifests/") => {
                return Err(not_found(format!(
                    "{service} has no backup {id}; see: seaworthy vault list {service}"
                )));
            }
            found => found.map_err(|problem| wrong(&problem))?,
        },
        None => latest(vault, service).await?,
    };
    let id = found.manifest.id();
    match found.state {
        State::Complete | State::Partial => Ok(found),
        State::Deleted => {
            note(format_args!("backup {id} is deleted: parts of it may be gone already"));
            Ok(found)
        }
        State::Late => Err(Failure::Vault {
            exit: Exit::Refused,
            cause: format!("backup {id} came too late, and what it needs may be gone: take another one"),
        }),
    }
}

async fn latest(vault: &Vault, service: &Domain) -> Result<Listed, Failure> {
    for (id, listed) in vault.backups(service).await.map_err(|problem| wrong(&problem))? {
        match listed {
            Ok(found) if matches!(found.state, State::Complete | State::Partial) => return Ok(found),
            Ok(_) => {}
            // Who restores an older one without being told would not know what is missing.
            Err(problem) => note(format_args!("backup {id} is passed over, it cannot be read: {problem}")),
        }
    }
    Err(not_found(format!(
        "{service} has no backup that can be restored; see: seaworthy vault list {service}"
    )))
}

/// A component of a backup.
pub(super) fn component<'a>(
    manifest: &'a Manifest,
    name: &str,
    instance: Option<&str>,
) -> Result<&'a Component, Failure> {
    let (id, shown) = (manifest.id(), clean(name));
    let fits = |one: &&Component| one.name == name && instance.is_none_or(|it| it == one.instance);
    let found: Vec<&Component> = manifest.components.iter().filter(fits).collect();
    let whole: Vec<&&Component> = found.iter().filter(|one| one.status == Status::Complete).collect();
    match (&found[..], &whole[..]) {
        ([], _) => {
            let all: Vec<String> = manifest.components.iter().map(called).collect();
            let of = instance.map(|it| format!(" of instance {}", clean(it))).unwrap_or_default();
            Err(not_found(format!("backup {id} has no component {shown}{of}; it has {}", all.join(", "))))
        }
        ([first, ..], []) => {
            let cause = first.cause.as_deref().map_or_else(|| "it was not captured".to_owned(), clean);
            let cause = format!("component {shown} is not in backup {id}: {cause}; name another backup");
            Err(Failure::Vault { exit: Exit::Failed, cause })
        }
        (_, [one]) => Ok(one),
        (_, several) => {
            let instances: Vec<String> = several.iter().map(|one| clean(&one.instance)).collect();
            let instances = instances.join(", ");
            Err(Failure::Usage(format!(
                "component {shown} is of several instances: {instances}; name one with --instance"
            )))
        }
    }
}

/// `i-1/database`.
fn called(one: &Component) -> String {
    clean(&format!("{}/{}", one.instance, one.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(components: &[(&str, &str, bool)]) -> Manifest {
        let component = |(name, instance, complete): &(&str, &str, bool)| {
            let component = Component::new(*name, "sqlite", *instance);
            if *complete { component } else { component.failed("the disk was full") }
        };
        Manifest {
            backup: [1; 16],
            service: "orders".to_owned(),
            components: components.iter().map(component).collect(),
            packs: Vec::new(),
            retention: None,
            start: 0,
            end: 0,
            writer: String::new(),
            last_renewal: 0,
            request_id: None,
            consistent: true,
            cause: None,
        }
    }

    #[test]
    fn a_component_is_found_or_it_is_said_what_there_is() {
        let it = manifest(&[
            ("database", "i-1", true),
            ("cache", "i-1", true),
            ("cache", "i-2", true),
            ("log", "i-1", false),
        ]);
        assert_eq!(component(&it, "database", None).unwrap().instance, "i-1");
        assert_eq!(component(&it, "cache", Some("i-2")).unwrap().instance, "i-2");
        for (name, instance, exit, words) in [
            ("queue", None, Exit::NotFound, "i-1/database, i-1/cache"),
            ("database", Some("i-9"), Exit::NotFound, "of instance i-9"),
            ("cache", None, Exit::Usage, "i-1, i-2; name one with --instance"),
            ("log", None, Exit::Failed, "the disk was full"),
        ] {
            let refused = component(&it, name, instance).unwrap_err();
            assert_eq!(refused.exit(), exit, "{name}");
            assert!(refused.to_string().contains(words), "{refused}");
        }
    }

    #[test]
    fn ids_are_checked_before_anything_is_read() {
        assert_eq!(id(LATEST).unwrap(), None);
        assert_eq!(id("nonsense").unwrap_err().exit(), Exit::Usage);
    }
}
