//! Restores: what one would do, and what stands in its way.

use std::time::SystemTime;

use seaworthy_client::proto::seaworthy::v1::{
    EstimateBasis, Inspection, PlanRestoreResponse, RestoreGuard, RestoreItem, RestoreObstacle,
};

use super::{backup, instance::dash, when};
use crate::{
    cli::output::{Looks, Text, Tone, clean, table::Table},
    text::bytes,
};

/// Every guard, by the name that forces it.
pub(crate) const GUARDS: [(&str, RestoreGuard); 5] = [
    ("serving", RestoreGuard::Serving),
    ("not-empty", RestoreGuard::NotEmpty),
    ("newer-schema", RestoreGuard::NewerSchema),
    ("unverified", RestoreGuard::Unverified),
    ("partial", RestoreGuard::Partial),
];

/// The name of a guard.
pub(crate) fn guard(guard: RestoreGuard) -> &'static str {
    GUARDS.iter().find(|(_, it)| *it == guard).map_or("-", |(word, _)| word)
}

/// The name of a guard as an error names it. None: there is no such guard.
pub(crate) fn guard_by(word: &str) -> Option<&'static str> {
    GUARDS.iter().find(|(name, _)| *name == word).map(|(name, _)| *name)
}

/// The flags that force guards, each once.
pub(crate) fn flags<'a>(guards: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in guards {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.iter().map(|name| format!("--force {name}")).collect::<Vec<_>>().join(" ")
}

/// A plan, whole.
pub(crate) fn page(plan: &PlanRestoreResponse, looks: Looks, now: SystemTime) -> Vec<String> {
    let of = plan.backup.clone().unwrap_or_default();
    let about = when::length(plan.estimate.as_ref());
    let by = match plan.estimate_basis() {
        EstimateBasis::Restores | EstimateBasis::Unspecified => "",
        EstimateBasis::Verifications => ", by verifications: nothing was restored yet",
        EstimateBasis::Backups => ", by backups: nothing was restored or verified yet",
    };
    let about =
        about.map_or_else(|| "not known".to_owned(), |about| format!("about {}{by}", when::coarse(about)));
    let mut facts = Table::new([]);
    let state = backup::state(of.state());
    facts.row(["backup".into(), format!("{}, {}", state.plain, backup::says(&of, now)).into()]);
    facts.row(["to restore".into(), bytes(plan.bytes).into()]);
    facts.row(["time".into(), Text::from(about)]);
    let mut lines = vec![format!("restore of {} from backup {}", clean(&of.service), clean(&of.id))];
    lines.extend(facts.lines(looks).into_iter().map(|line| format!("  {line}")));
    let mut items = Table::new(["COMPONENT", "FROM", "TO", "SIZE", "THERE NOW", "IN THE WAY"]);
    for it in &plan.items {
        let way: Vec<&str> = it.obstacles.iter().map(|one| guard(one.guard())).collect();
        let way = if way.is_empty() { "-".into() } else { Text::toned(&way.join(", "), Tone::Uneasy) };
        items.row([
            it.component.as_str().into(),
            dash(&it.source_instance_id).into(),
            target(it).into(),
            bytes(it.bytes).into(),
            present(it.present.as_ref()).into(),
            way,
        ]);
    }
    lines.push(String::new());
    lines.extend(items.lines(looks));
    let all = plan.obstacles.iter().map(|one| ("all of it", one));
    let each = plan.items.iter().flat_map(|it| it.obstacles.iter().map(|one| (it.component.as_str(), one)));
    let obstacles: Vec<(&str, &RestoreObstacle)> = all.chain(each).collect();
    if obstacles.is_empty() {
        return lines;
    }
    let mut table = Table::new(["GUARD", "OF", "WHY"]);
    for (of, one) in &obstacles {
        let name = Text::toned(guard(one.guard()), Tone::Uneasy);
        table.row([name, (*of).into(), dash(&one.message).into()]);
    }
    lines.push(String::new());
    lines.extend(table.lines(looks));
    let names = obstacles.iter().map(|(_, one)| guard(one.guard()));
    lines.push(String::new());
    lines.push(format!(
        "nothing is restored as long as these stand in the way; to force them: {}",
        flags(names)
    ));
    lines
}

/// `orders/i-1/database`.
fn target(it: &RestoreItem) -> String {
    let component = dash(&it.target_component);
    match &it.target {
        Some(at) => format!("{}/{}/{component}", at.service, at.instance_id),
        None => component.to_owned(),
    }
}

fn present(inspection: Option<&Inspection>) -> String {
    match inspection {
        None => "not said".to_owned(),
        Some(found) if found.empty => "nothing".to_owned(),
        Some(Inspection { bytes: size, schema_version: 0, .. }) => bytes(*size),
        Some(found) => format!("{}, schema {}", bytes(found.bytes), found.schema_version),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use seaworthy_client::proto::seaworthy::v1::{Backup, BackupState, InstanceRef};

    use super::*;

    const PLAIN: Looks = Looks { colour: false, unicode: false };

    #[test]
    fn every_guard_has_a_name_and_is_known_by_it() {
        for (word, value) in GUARDS {
            assert_eq!(guard(value), word);
            assert_eq!(guard_by(word), Some(word));
        }
        let known = (1..100).filter(|number| RestoreGuard::try_from(*number).is_ok()).count();
        assert_eq!((known, guard_by("INVALID_FIELD")), (GUARDS.len(), None));
        assert_eq!(flags(["serving", "partial", "serving"]), "--force serving --force partial");
    }

    #[test]
    fn a_plan_names_what_stands_in_the_way_and_how_it_is_forced() {
        let obstacle = |guard: RestoreGuard, message: &str| RestoreObstacle {
            guard: guard.into(),
            message: message.into(),
        };
        let plan = PlanRestoreResponse {
            backup: Some(Backup {
                id: "01kc2x7m9q4t8v0000000000ab".into(),
                service: "orders".into(),
                state: BackupState::Complete.into(),
                ..Backup::default()
            }),
            items: vec![RestoreItem {
                component: "database".into(),
                source_instance_id: "i-1".into(),
                target: Some(InstanceRef {
                    service: "orders".into(),
                    instance_id: "i-2".into(),
                    ..InstanceRef::default()
                }),
                target_component: "database".into(),
                bytes: 3 << 20,
                present: Some(Inspection { bytes: 1 << 20, schema_version: 4, ..Inspection::default() }),
                obstacles: vec![obstacle(RestoreGuard::NotEmpty, "it has\x1b[2J rows")],
            }],
            obstacles: vec![obstacle(RestoreGuard::Unverified, "nobody has verified it")],
            bytes: 3 << 20,
            estimate: Some(prost_types::Duration { seconds: 40, nanos: 0 }),
            estimate_basis: EstimateBasis::Verifications.into(),
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(200);
        let page = page(&plan, PLAIN, now).join("\n");
        for words in [
            "restore of orders from backup 01kc2x7m9q4t8v0000000000ab",
            "about 40s, by verifications: nothing was restored yet",
            "database   i-1   orders/i-2/database  3.0 MiB  1.0 MiB, schema 4  not-empty",
            "unverified  all of it  nobody has verified it",
            "to force them: --force unverified --force not-empty",
        ] {
            assert!(page.contains(words), "{words} is not in {page}");
        }
        assert!(!page.contains('\x1b'), "{page}");
        let free = PlanRestoreResponse::default();
        let page = super::page(&free, PLAIN, now).join("\n");
        assert!(page.contains("not known") && !page.contains("force"), "{page}");
    }
}
