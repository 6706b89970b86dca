//! Backups: as rows of a table, as a page, and in a few words.

use std::time::SystemTime;

use seaworthy_client::proto::seaworthy::v1::{Backup, BackupComponent, BackupState, VerifyDepth};

use super::{
    instance::{dash, short},
    when,
};
use crate::{
    cli::output::{Looks, Text, Tone, clean, table::Table},
    text::{bytes, counted},
};

/// Every depth of a verification.
pub(crate) const DEPTHS: [(&str, VerifyDepth); 3] =
    [("presence", VerifyDepth::Presence), ("structure", VerifyDepth::Structure), ("data", VerifyDepth::Data)];

/// How deep a verification looks.
pub(crate) fn depth(depth: VerifyDepth) -> &'static str {
    DEPTHS.iter().find(|(_, it)| *it == depth).map_or("-", |(word, _)| word)
}

/// What may be done with a backup.
pub(crate) fn state(state: BackupState) -> Text {
    match state {
        BackupState::Unspecified => Text::toned("-", Tone::Unknown),
        BackupState::Complete => Text::toned("complete", Tone::Good),
        BackupState::Partial => Text::toned("partial", Tone::Uneasy),
        BackupState::Failed => Text::toned("failed", Tone::Bad),
        BackupState::Deleted => Text::toned("deleted", Tone::Unknown),
    }
}

/// Backups as a table.
pub(crate) fn table(backups: &[Backup], wide: bool, now: SystemTime) -> Table {
    let mut heading =
        vec!["ID", "SERVICE", "STATE", "TAKEN", "COMPONENTS", "SIZE", "NEW", "STORED", "VERIFIED"];
    if wide {
        heading.extend(["ONE MOMENT", "OPERATION", "REQUEST", "WRITER"]);
    }
    heading.push("CAUSE");
    let mut table = Table::new(heading);
    for it in backups {
        let mut row: Vec<Text> = vec![
            it.id.as_str().into(),
            it.service.as_str().into(),
            state(it.state()),
            when::ago(it.end_time.as_ref(), now).into(),
            components(it).into(),
            bytes(it.bytes).into(),
            bytes(it.new_bytes).into(),
            bytes(it.stored_bytes).into(),
            verified(it, now).into(),
        ];
        if wide {
            row.push(yes(it.consistent).into());
            row.push(dash(&it.operation_id).into());
            row.push(dash(&it.request_id).into());
            row.push(dash(&it.writer_version).into());
        }
        row.push(short(dash(&it.cause), wide).into());
        table.row(row);
    }
    table
}

/// One backup, whole.
pub(crate) fn page(it: &Backup, looks: Looks, now: SystemTime) -> Vec<String> {
    let mut facts = Table::new([]);
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() && value != "-" {
            facts.row([name.into(), value.into()]);
        }
    };
    fact("cause", it.cause.clone());
    fact("begun", when::stamp(it.start_time.as_ref()));
    fact("taken", when::stamp(it.end_time.as_ref()));
    fact("size", bytes(it.bytes));
    fact("new", format!("{}, stored as {}", bytes(it.new_bytes), bytes(it.stored_bytes)));
    fact("of one moment", yes(it.consistent).to_owned());
    fact("verified", verified(it, now));
    fact("deleted", when::stamp(it.delete_time.as_ref()));
    fact("operation", it.operation_id.clone());
    fact("request", it.request_id.clone());
    fact("writer", it.writer_version.clone());
    let state = looks.paint(&state(it.state()));
    let mut lines = vec![format!("backup {} of {} {state}", clean(&it.id), clean(&it.service))];
    lines.extend(facts.lines(looks).into_iter().map(|line| format!("  {line}")));
    if it.components.is_empty() {
        return lines;
    }
    let mut table = Table::new(["COMPONENT", "INSTANCE", "KIND", "WHOLE", "SIZE", "NEW", "STORED", "CAUSE"]);
    for one in &it.components {
        let whole = if one.complete { Text::toned("yes", Tone::Good) } else { Text::toned("no", Tone::Bad) };
        table.row([
            one.name.as_str().into(),
            dash(&one.instance_id).into(),
            dash(&one.kind).into(),
            whole,
            bytes(one.bytes).into(),
            bytes(one.new_bytes).into(),
            bytes(one.stored_bytes).into(),
            dash(&one.cause).into(),
        ]);
    }
    lines.push(String::new());
    lines.extend(table.lines(looks));
    let said: Vec<String> = it.components.iter().flat_map(evidence).collect();
    if !said.is_empty() {
        lines.push(String::new());
        lines.extend(said);
    }
    lines
}

/// What it is, in a few words: `1.2 GiB in 2 components, taken 3h ago`.
pub(crate) fn says(it: &Backup, now: SystemTime) -> String {
    let components = counted(it.components.len() as u64, "component");
    format!("{} in {components}, taken {}", bytes(it.bytes), when::ago(it.end_time.as_ref(), now))
}

/// What the source said of itself, in a fixed order.
fn evidence(one: &BackupComponent) -> Option<String> {
    let mut said: Vec<_> =
        one.evidence.iter().map(|(name, value)| format!("{} {}", clean(name), clean(value))).collect();
    said.sort_unstable();
    let from =
        if one.instance_id.is_empty() { String::new() } else { format!(" of {}", clean(&one.instance_id)) };
    (!said.is_empty()).then(|| format!("{}{from} says: {}", clean(&one.name), said.join(", ")))
}

/// How many components it has; of how many, where some are not whole.
fn components(it: &Backup) -> String {
    let (all, whole) = (it.components.len(), it.components.iter().filter(|one| one.complete).count());
    if all == whole { all.to_string() } else { format!("{whole} of {all}") }
}

fn verified(it: &Backup, now: SystemTime) -> String {
    match &it.verify_time {
        Some(time) if !it.verify_cause.is_empty() => format!("DAMAGED {}", when::ago(Some(time), now)),
        Some(time) => format!("{} {}", depth(it.verify_depth()), when::ago(Some(time), now)),
        None => "-".to_owned(),
    }
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PLAIN: Looks = Looks { colour: false, unicode: false };

    fn sample() -> Backup {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let component = |name: &str, complete| BackupComponent {
            name: name.into(),
            instance_id: "i-1".into(),
            complete,
            bytes: 2 << 20,
            evidence: [("rows".to_owned(), "12".to_owned()), ("pages\x1b".to_owned(), "3".to_owned())].into(),
            ..BackupComponent::default()
        };
        Backup {
            id: "01kc2x7m9q4t8v0000000000ab".into(),
            service: "orders".into(),
            state: BackupState::Partial.into(),
            cause: "cache was not captured".into(),
            components: vec![component("database", true), component("cache", false)],
            start_time: at(90),
            end_time: at(100),
            bytes: 4 << 20,
            new_bytes: 1 << 20,
            stored_bytes: 1 << 10,
            verify_time: at(150),
            verify_depth: VerifyDepth::Data.into(),
            ..Backup::default()
        }
    }

    #[test]
    fn a_row_and_a_page_say_how_it_is() {
        let (it, now) = (sample(), SystemTime::UNIX_EPOCH + Duration::from_secs(200));
        let lines = table(std::slice::from_ref(&it), false, now).lines(PLAIN);
        assert_eq!(lines.len(), 2);
        for words in ["partial", "100s ago", "1 of 2", "4.0 MiB", "data 50s ago", "cache was not captured"] {
            assert!(lines[1].contains(words), "{words} is not in {lines:?}");
        }
        let page = page(&it, PLAIN, now).join("\n");
        for words in ["of orders partial", "1.0 MiB, stored as 1.0 KiB", "of one moment  no", "database"] {
            assert!(page.contains(words), "{words} is not in {page}");
        }
        assert!(page.contains("database of i-1 says: pages\u{fffd} 3, rows 12"), "{page}");
        assert_eq!(says(&it, now), "4.0 MiB in 2 components, taken 100s ago");
        let wide = table(&[it], true, now).lines(PLAIN);
        assert!(wide[0].contains("ONE MOMENT"), "{wide:?}");
    }

    #[test]
    fn every_state_and_depth_has_a_word() {
        for (word, value) in DEPTHS {
            assert_eq!(depth(value), word);
        }
        assert_eq!(state(BackupState::Unspecified).plain, "-");
        let known = |valid: fn(i32) -> bool| (1..100).filter(|number| valid(*number)).count();
        assert_eq!(known(|number| VerifyDepth::try_from(number).is_ok()), DEPTHS.len());
    }
}
