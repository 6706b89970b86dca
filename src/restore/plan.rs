//! What a restore would do: which component goes to which instance, and what stands in its way. Instances are asked what they
//! hold; nothing is changed.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;

use super::Shared;
use crate::{
    backup::{Subject, Which},
    error::{self, Error, FieldViolation, Kind, Reason, Result},
    fleet::{
        directive::{Ask, Directive, Inspection},
        directives::Ended,
        lifecycle::Lifecycle,
        names::{ComponentName, InstanceId, InstanceKey, ServiceName},
        registration::Capability,
        scan::Filter,
        snapshot::Instance,
    },
    health,
    operation::{self, State as Ran},
    vault::{Component, Depth, Listed, Looked, State, Status},
};

/// Instances that are read at a time.
const PIECE: usize = 256;
/// Instances of a service that are looked at at the most.
const MOST_INSTANCES: usize = 2000;
/// How long an instance may take to say what it holds.
const SAID_WITHIN: Duration = Duration::from_secs(10);
/// Operations before of one kind that an estimate is made from.
const LOOKED_BACK: usize = 20;
/// What an estimate is made from, the best first.
const TELL: [operation::Kind; 3] =
    [operation::Kind::Restore, operation::Kind::Verify, operation::Kind::Backup];
/// Bytes below which an operation says nothing of how fast one is.
const TELLING: u64 = 1 << 20;

/// Of what a restore is asked for, and to where.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Whose backup.
    pub subject: Subject,
    /// Which.
    pub backup: Which,
    /// Only these components; none: all that it has.
    pub components: Vec<String>,
    /// Into which service; None: the same.
    pub target_service: Option<ServiceName>,
    /// Into which instance; None: that which it came from, or the only one that can take it.
    pub target_instance: Option<InstanceId>,
}

/// What stands in the way of a restore.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Guard {
    /// The component works, and its instance takes work.
    Serving,
    /// The component holds something.
    NotEmpty,
    /// The component's schema is newer than the backup's.
    NewerSchema,
    /// Nobody has verified every byte of the backup, or it was found to be damaged since.
    Unverified,
    /// The backup is partial.
    Partial,
}

impl Guard {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Guard::Serving => "serving",
            Guard::NotEmpty => "not-empty",
            Guard::NewerSchema => "newer-schema",
            Guard::Unverified => "unverified",
            Guard::Partial => "partial",
        }
    }
}

/// A guard that stands in the way, and why.
#[derive(Clone, Debug)]
pub struct Obstacle {
    /// Which.
    pub guard: Guard,
    /// Why, for people.
    pub message: String,
}

/// A component that would be restored.
#[derive(Clone, Debug)]
pub struct Item {
    /// As the backup has it.
    pub component: Component,
    /// To whom.
    pub target: InstanceKey,
    /// Which life of it.
    pub incarnation: u64,
    /// Into which component of it.
    pub target_component: ComponentName,
    /// What that holds now. None: it did not say.
    pub present: Option<Inspection>,
    /// What stands in the way of this one.
    pub obstacles: Vec<Obstacle>,
}

/// What a restore would do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The backup.
    pub listed: Listed,
    /// What would be restored.
    pub items: Vec<Item>,
    /// What stands in the way of all of it.
    pub obstacles: Vec<Obstacle>,
    /// How many bytes would be restored.
    pub bytes: u64,
    /// How long it may take. None: nothing was done before that tells it.
    pub estimate: Option<Estimate>,
}

/// How long a restore may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Estimate {
    /// So long.
    pub takes: Duration,
    /// By operations of this kind: where nothing was restored yet, others are as fast, roughly.
    pub by: operation::Kind,
}

impl Wish {
    /// The service that is restored into.
    pub fn target_service(&self) -> &str {
        self.target_service.as_ref().map_or_else(|| self.subject.as_str(), ServiceName::as_str)
    }
}

impl Plan {
    /// Whether all that stands in the way was forced. `verify`: the backup is verified before anything else.
    ///
    /// # Errors
    /// Something stands in the way: each guard is named.
    pub fn check(&self, force: &[Guard], verify: bool) -> Result<()> {
        let of_items = self.items.iter().flat_map(|item| {
            let subject = format!("{}/{}", item.target, item.target_component);
            item.obstacles.iter().map(move |obstacle| (obstacle, subject.clone()))
        });
        let whole = self.obstacles.iter().map(|obstacle| (obstacle, "backup".to_owned()));
        let standing: Vec<(&Obstacle, String)> = whole
            .chain(of_items)
            .filter(|(obstacle, _)| {
                let is_verified = verify && obstacle.guard == Guard::Unverified;
                !is_verified && !force.contains(&obstacle.guard)
            })
            .collect();
        let Some((first, _)) = standing.first() else { return Ok(()) };
        let mut guards: Vec<&str> = standing.iter().map(|(obstacle, _)| obstacle.guard.as_str()).collect();
        guards.sort_unstable();
        guards.dedup();
        let message =
            format!("guards stand in the way of the restore ({}): {}", guards.join(", "), first.message);
        let error = Error::new(Kind::FailedPrecondition, Reason::RestoreGuarded, message);
        let error = error.with("guards", guards.join(","));
        Err(standing.into_iter().fold(error, |error, (obstacle, subject)| {
            let (kind, description) = (obstacle.guard.as_str(), obstacle.message.clone());
            error.stands(error::Obstacle { kind, subject, description })
        }))
    }
}

pub(super) async fn plan(shared: &Shared, wish: &Wish) -> Result<Plan> {
    let Subject::Service(source) = &wish.subject else {
        let message = "the control plane's own state is restored by `seaworthy vault restore --control-plane`, without a server";
        return Err(Error::field("service", message));
    };
    let listed = shared.backups.one(&wish.subject, wish.backup).await?;
    let id = listed.manifest.id();
    let not_restorable = |why: &str| {
        let message = format!("backup {id} of {source} cannot be restored: {why}");
        Error::new(Kind::FailedPrecondition, Reason::BackupNotRestorable, message)
            .with("backup_id", id.to_string())
    };
    match listed.state {
        State::Complete | State::Partial => {}
        State::Late => return Err(not_restorable("it came late, and what it needs may be gone")),
        State::Deleted => return Err(not_restorable("it is deleted; undelete it first")),
    }
    let chosen = choose(&listed, wish)?;
    let service = wish.target_service.as_ref().unwrap_or(source);
    shared.fleet.service(service)?;
    let instances = instances(shared, service).await;
    let mut items = Vec::with_capacity(chosen.len());
    for component in chosen {
        items.push(item(service, &instances, component, wish)?);
    }
    one_each(&items)?;
    inspect(shared, &mut items).await;
    for item in &mut items {
        let instance = instances.iter().find(|instance| instance.registration.key == item.target);
        item.obstacles = obstacles(instance, item);
    }
    let bytes = items.iter().map(|item| item.component.bytes).sum();
    let estimate = estimate(shared, bytes).await;
    let obstacles = of_backup(&listed);
    Ok(Plan { listed, items, obstacles, bytes, estimate })
}

/// The components of a backup that are wished for, and there.
fn choose(listed: &Listed, wish: &Wish) -> Result<Vec<Component>> {
    let complete = listed.manifest.components.iter().filter(|one| one.status == Status::Complete);
    let wanted = |one: &&Component| wish.components.is_empty() || wish.components.contains(&one.name);
    let chosen: Vec<Component> = complete.filter(wanted).cloned().collect();
    let id = listed.manifest.id();
    let mut wrong = Vec::new();
    for (at, name) in wish.components.iter().enumerate() {
        if !chosen.iter().any(|one| &one.name == name) {
            let description = format!("backup {id} has no component {name:?} that could be restored");
            wrong.push(FieldViolation { field: format!("components[{at}]"), description });
        }
    }
    if !wrong.is_empty() {
        return Err(Error::fields(wrong, 0));
    }
    if chosen.is_empty() {
        let message = format!("backup {id} has no component that could be restored");
        return Err(Error::new(Kind::FailedPrecondition, Reason::BackupNotRestorable, message));
    }
    Ok(chosen)
}

/// Refuses to restore two into one: the second would overwrite the first.
fn one_each(items: &[Item]) -> Result<()> {
    let mut seen: BTreeMap<(&InstanceKey, &ComponentName), &str> = BTreeMap::new();
    for item in items {
        let into = (&item.target, &item.target_component);
        if let Some(first) = seen.insert(into, &item.component.instance) {
            let (target, name, second) = (&item.target, &item.target_component, &item.component.instance);
            let message = format!(
                "{name} of {first} and of {second} cannot both go into {target}: attach the instances that they came from, or \
                 take one out by `seaworthy vault restore`"
            );
            let error = Error::new(Kind::FailedPrecondition, Reason::NoRestoreTarget, message);
            return Err(error.with("service", target.service.as_str()).with("component", name.as_str()));
        }
    }
    Ok(())
}

async fn instances(shared: &Shared, service: &ServiceName) -> Vec<Instance> {
    let filter = Filter { service: Some(service.clone()), ..Filter::default() };
    let mut instances = Vec::new();
    let take = |instance| {
        instances.push(instance);
        instances.len() < MOST_INSTANCES
    };
    shared.fleet.each_instance(&filter, None, PIECE, take).await;
    instances
}

/// Finds who takes a component.
fn item(service: &ServiceName, instances: &[Instance], component: Component, wish: &Wish) -> Result<Item> {
    let takes =
        |instance: &&Instance| {
            instance.registration.components.iter().any(|one| {
                one.name.as_str() == component.name && one.capabilities.contains(&Capability::Restore)
            })
        };
    let id = |instance: &Instance| instance.registration.key.id.as_str().to_owned();
    let able: Vec<&Instance> = instances.iter().filter(takes).collect();
    let there: Vec<&Instance> =
        able.iter().copied().filter(|instance| instance.attached && instance.takes_directives).collect();
    let name = &component.name;
    let chosen = match &wish.target_instance {
        Some(wanted) => there.iter().find(|instance| instance.registration.key.id == *wanted),
        None => there
            .iter()
            .find(|instance| service.as_str() == wish.subject.as_str() && id(instance) == component.instance)
            .or_else(|| if there.len() == 1 { there.first() } else { None }),
    };
    let Some(instance) = chosen else {
        let message = match (&wish.target_instance, able.len(), there.len()) {
            (Some(wanted), ..) => format!(
                "instance {wanted} of {service} is not attached, or has no component {name} that can be restored"
            ),
            (None, 0, _) => format!("no instance of {service} has a component {name} that can be restored"),
            (None, _, 0) => format!("no instance of {service} that could take {name} is attached"),
            (None, ..) => format!(
                "{} instances of {service} could take {name}, and {} is not among them; name one",
                there.len(),
                component.instance
            ),
        };
        let error = Error::new(Kind::FailedPrecondition, Reason::NoRestoreTarget, message);
        return Err(error.with("service", service.as_str()).with("component", name.clone()));
    };
    let target_component =
        ComponentName::parse(name).map_err(|invalid| Error::internal(invalid.to_string()))?;
    Ok(Item {
        target: instance.registration.key.clone(),
        incarnation: instance.incarnation,
        target_component,
        present: None,
        obstacles: Vec::new(),
        component,
    })
}

/// Items with what their targets hold by now.
pub(super) async fn inspected(shared: &Shared, items: &[Item]) -> Vec<Item> {
    let mut items: Vec<Item> = items.iter().map(|item| Item { present: None, ..item.clone() }).collect();
    inspect(shared, &mut items).await;
    items
}

/// Looks once more whether anything stands in the way of a component, right before it is overwritten: what was planned may be
/// long ago. Where `spared`, nothing of it was backed up since there was nothing: what there is by now is not overwritten, whatever
/// was forced. Answers what stands in the way.
pub(super) async fn look_again(
    shared: &Shared,
    item: &Item,
    force: &[Guard],
    spared: bool,
) -> Result<(), String> {
    let Some(item) = inspected(shared, std::slice::from_ref(item)).await.pop() else { return Ok(()) };
    let instance = shared.fleet.instance(&item.target).ok();
    let is_forced = |guard| force.contains(&guard) && !(spared && guard == Guard::NotEmpty);
    let standing = obstacles(instance.as_deref(), &item).into_iter().find(|one| !is_forced(one.guard));
    standing.map_or(Ok(()), |one| {
        let unsaved = match one.guard {
            Guard::NotEmpty if spared => ", and it was empty when the others were backed up",
            _ => "",
        };
        Err(format!("the guard {} stands in the way now: {}{unsaved}", one.guard.as_str(), one.message))
    })
}

/// Asks targets what they hold. Who does not say is taken to hold something.
async fn inspect(shared: &Shared, items: &mut [Item]) {
    let mut by_target: BTreeMap<(InstanceKey, u64), Vec<ComponentName>> = BTreeMap::new();
    for item in items.iter() {
        by_target
            .entry((item.target.clone(), item.incarnation))
            .or_default()
            .push(item.target_component.clone());
    }
    let directives = shared.fleet.directives();
    let mut asked = Vec::new();
    for ((key, incarnation), components) in by_target {
        let Ok(id) = directives.new_id() else { continue };
        let directive = Directive {
            operation_id: format!("inspection-{id}"),
            id,
            generation: 1,
            not_after: directives.now() + SAID_WITHIN,
            ask: Ask::Inspect { components },
        };
        if let Ok(sent) = directives.send(&key, incarnation, directive) {
            asked.push((key, sent));
        }
    }
    let each = asked
        .into_iter()
        .map(|(key, mut sent)| async move { (key, tokio::time::timeout(SAID_WITHIN, sent.ended()).await) });
    for (key, ended) in join_all(each).await {
        let Ok(Ended::Done(report)) = ended else { continue };
        for item in items.iter_mut().filter(|item| item.target == key) {
            item.present =
                report.inspections.iter().find(|one| one.component == item.target_component).cloned();
        }
    }
}

fn obstacles(instance: Option<&Instance>, item: &Item) -> Vec<Obstacle> {
    let mut found = Vec::new();
    let mut stands = |guard, message: String| found.push(Obstacle { guard, message });
    let (target, name) = (&item.target, &item.target_component);
    let works = instance.is_some_and(|instance| {
        instance.lifecycle == Lifecycle::Ready
            && instance.declared_components().any(|(component, health)| {
                component.name == item.target_component
                    && matches!(health.health.state, health::State::Healthy | health::State::Degraded)
            })
    });
    if works {
        stands(Guard::Serving, format!("{target} takes work, and its {name} works"));
    }
    match &item.present {
        None => stands(Guard::NotEmpty, format!("{target} did not say whether its {name} holds something")),
        Some(present) if !present.empty => {
            stands(
                Guard::NotEmpty,
                format!("{name} of {target} holds {}", crate::text::bytes(present.bytes)),
            );
        }
        Some(_) => {}
    }
    let backed_up = item.component.evidence.get("schema_version").and_then(|text| text.parse::<u64>().ok());
    if let (Some(present), Some(version)) = (&item.present, backed_up)
        && present.schema_version > version
    {
        let newer = present.schema_version;
        stands(
            Guard::NewerSchema,
            format!("{name} of {target} has schema {newer}, and the backup {version}"),
        );
    }
    found
}

fn of_backup(listed: &Listed) -> Vec<Obstacle> {
    let mut found = Vec::new();
    if !listed.is_verified(Depth::Data) {
        let message = match listed.looked() {
            None => "nobody has verified the backup".to_owned(),
            Some(Looked::Damaged(note)) => format!("the backup was found to be damaged: {}", note.evidence),
            Some(Looked::Unclear(note)) => {
                format!("nobody has verified the backup since a note about it cannot be read: {}", note.what)
            }
            Some(Looked::Sound(note)) => {
                format!("the backup was verified by {} alone, and not every byte of it", note.evidence)
            }
        };
        found.push(Obstacle { guard: Guard::Unverified, message });
    }
    if listed.state == State::Partial {
        let why = listed.manifest.cause.clone().unwrap_or_else(|| "something of it is missing".to_owned());
        found.push(Obstacle { guard: Guard::Partial, message: format!("the backup is partial: {why}") });
    }
    found
}

/// How long so many bytes may take, by the slowest of the restores before; where there were none, of what reads or writes the
/// vault as well.
async fn estimate(shared: &Shared, bytes: u64) -> Option<Estimate> {
    for kind in TELL {
        let filter = operation::Filter {
            kind: Some(kind),
            state: Some(Ran::Succeeded),
            ..operation::Filter::default()
        };
        let (before, _) = shared.operations.list(&filter, |_| true, None, LOOKED_BACK).await;
        let rates = before.iter().filter(|one| one.progress.done_bytes >= TELLING).filter_map(|one| {
            let took = one.ended?.duration_since(one.started?).ok()?;
            Some(one.progress.done_bytes as f64 / took.as_secs_f64().max(0.001))
        });
        if let Some(slowest) = rates.min_by(f64::total_cmp) {
            return Some(Estimate { takes: Duration::from_secs_f64(bytes as f64 / slowest), by: kind });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(from: &str, into: &str) -> Item {
        Item {
            component: Component::new("log", "file", from),
            target: InstanceKey {
                service: ServiceName::parse("orders").unwrap(),
                id: InstanceId::parse(into).unwrap(),
            },
            incarnation: 1,
            target_component: ComponentName::parse("log").unwrap(),
            present: None,
            obstacles: Vec::new(),
        }
    }

    #[test]
    fn nothing_is_restored_over_what_was_just_restored() {
        assert!(one_each(&[item("i-1", "i-1"), item("i-2", "i-2")]).is_ok());
        let refused = one_each(&[item("i-1", "i-1"), item("i-2", "i-3"), item("i-3", "i-1")]).unwrap_err();
        assert_eq!(refused.reason(), Reason::NoRestoreTarget);
        assert!(refused.to_string().contains("log of i-1 and of i-3"), "{refused}");
    }
}
