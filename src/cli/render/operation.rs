//! Operations: as rows of a table, as a page, and as lines of a watch.

use std::time::SystemTime;

use seaworthy_client::proto::seaworthy::v1::{
    Operation, OperationKind, OperationProgress, OperationState, OperationStep, StepState,
};

use super::{
    instance::{dash, short},
    system::bytes,
    when,
};
use crate::cli::output::{Looks, Text, Tone, clean, table::Table};

/// Events at the end of a page.
const EVENTS: usize = 10;

/// Every kind of operation.
pub(crate) const KINDS: [(&str, OperationKind); 3] = [
    ("backup", OperationKind::Backup),
    ("restore", OperationKind::Restore),
    ("verify", OperationKind::Verify),
];

/// Every state of an operation.
pub(crate) const STATES: [(&str, OperationState); 7] = [
    ("pending", OperationState::Pending),
    ("running", OperationState::Running),
    ("cancelling", OperationState::Cancelling),
    ("succeeded", OperationState::Succeeded),
    ("partial", OperationState::Partial),
    ("failed", OperationState::Failed),
    ("cancelled", OperationState::Cancelled),
];

/// What an operation does.
pub(crate) fn kind(kind: OperationKind) -> &'static str {
    KINDS.iter().find(|(_, it)| *it == kind).map_or("-", |(word, _)| word)
}

/// Where an operation is in its life.
pub(crate) fn state(state: OperationState) -> Text {
    let word = STATES.iter().find(|(_, it)| *it == state).map_or("-", |(word, _)| word);
    match state {
        OperationState::Unspecified | OperationState::Pending | OperationState::Running => word.into(),
        OperationState::Cancelling | OperationState::Partial | OperationState::Cancelled => {
            Text::toned(word, Tone::Uneasy)
        }
        OperationState::Succeeded => Text::toned(word, Tone::Good),
        OperationState::Failed => Text::toned(word, Tone::Bad),
    }
}

/// Whether nothing changes any more.
pub(crate) fn is_final(state: OperationState) -> bool {
    match state {
        OperationState::Unspecified
        | OperationState::Pending
        | OperationState::Running
        | OperationState::Cancelling => false,
        OperationState::Succeeded
        | OperationState::Partial
        | OperationState::Failed
        | OperationState::Cancelled => true,
    }
}

/// Operations as a table.
pub(crate) fn table(operations: &[Operation], wide: bool, now: SystemTime) -> Table {
    let mut heading = vec!["ID", "KIND", "SERVICE", "STATE", "PROGRESS", "CREATED", "TOOK"];
    if wide {
        heading.extend(["STORED", "BY", "REQUEST", "BACKUP"]);
    }
    heading.push("CAUSE");
    let mut table = Table::new(heading);
    for it in operations {
        let far = it.progress.unwrap_or_default();
        let mut row: Vec<Text> = vec![
            it.id.as_str().into(),
            kind(it.kind()).into(),
            dash(&it.service).into(),
            state(it.state()),
            share(&far).into(),
            when::ago(it.create_time.as_ref(), now).into(),
            took(it, now).into(),
        ];
        if wide {
            row.push(bytes(far.stored_bytes).into());
            row.push(it.created_by.as_str().into());
            row.push(dash(&it.request_id).into());
            row.push(dash(&it.backup_id).into());
        }
        row.push(short(dash(&it.cause), wide).into());
        table.row(row);
    }
    table
}

/// An operation in a line.
pub(crate) fn line(it: &Operation, looks: Looks) -> String {
    let cause = if it.cause.is_empty() { String::new() } else { format!("  {}", clean(&it.cause)) };
    format!("{}  {}{cause}", title(it, looks), progress(&it.progress.unwrap_or_default()))
}

/// What it is, and where: `backup of orders 01kc… running`.
pub(crate) fn title(it: &Operation, looks: Looks) -> String {
    let of = if it.service.is_empty() { String::new() } else { format!(" of {}", clean(&it.service)) };
    format!("{}{of} {} {}", kind(it.kind()), clean(&it.id), looks.paint(&state(it.state())))
}

/// How far it is: `1.0 MiB of 4.0 MiB, 512.0 KiB/s, 6s left`.
pub(crate) fn progress(far: &OperationProgress) -> String {
    let mut said = bytes(far.done_bytes);
    if far.total_bytes > 0 {
        said.push_str(&format!(" of {}", bytes(far.total_bytes)));
    }
    if far.bytes_per_second > 0 {
        said.push_str(&format!(", {}/s", bytes(far.bytes_per_second)));
    }
    if let Some(left) = when::length(far.remaining.as_ref()).filter(|left| !left.is_zero()) {
        said.push_str(&format!(", {} left", when::coarse(left)));
    }
    said
}

/// How a step is, after its name.
pub(crate) fn step_says(step: &OperationStep) -> String {
    let mut said = step_state(step.state()).plain;
    if step.total_bytes > 0 || step.done_bytes > 0 {
        let (done_bytes, total_bytes) = (step.done_bytes, step.total_bytes);
        let far = OperationProgress { done_bytes, total_bytes, ..OperationProgress::default() };
        said.push_str(&format!(", {}", progress(&far)));
    }
    if !step.message.is_empty() {
        said.push_str(&format!(": {}", clean(&step.message)));
    }
    said
}

/// One operation, whole.
pub(crate) fn page(it: &Operation, looks: Looks, now: SystemTime) -> Vec<String> {
    let mut facts = Table::new(["", ""]);
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            facts.row([name.into(), value.into()]);
        }
    };
    let far = it.progress.unwrap_or_default();
    fact("cause", it.cause.clone());
    fact("progress", progress(&far));
    fact("stored", bytes(far.stored_bytes));
    fact("backup", it.backup_id.clone());
    fact("created", format!("{} by {}", when::stamp(it.create_time.as_ref()), it.created_by));
    fact("request", it.request_id.clone());
    fact("ended", it.end_time.as_ref().map(|time| when::stamp(Some(time))).unwrap_or_default());
    fact("took", took(it, now));
    let mut lines = vec![title(it, looks)];
    lines.extend(facts.lines(looks).into_iter().map(|line| format!("  {line}")));
    if !it.steps.is_empty() {
        let mut steps = Table::new(["STEP", "STATE", "DONE", "MESSAGE"]);
        for step in &it.steps {
            let done = bytes(step.done_bytes);
            let name = step.name.as_str();
            steps.row([name.into(), step_state(step.state()), done.into(), dash(&step.message).into()]);
        }
        lines.push(String::new());
        lines.extend(steps.lines(looks));
    }
    let events = it.events.len().saturating_sub(EVENTS);
    if !it.events.is_empty() {
        lines.push(String::new());
    }
    for event in it.events.iter().skip(events) {
        let step = if event.step.is_empty() { String::new() } else { format!("{}: ", clean(&event.step)) };
        lines.push(format!("{}  {step}{}", when::stamp(event.time.as_ref()), clean(&event.message)));
    }
    if !it.report.is_empty() {
        lines.push(String::new());
        lines.extend(it.report.iter().map(|line| clean(line)));
    }
    lines
}

fn step_state(state: StepState) -> Text {
    match state {
        StepState::Unspecified => "-".into(),
        StepState::Pending => "pending".into(),
        StepState::Running => "running".into(),
        StepState::Succeeded => Text::toned("succeeded", Tone::Good),
        StepState::Failed => Text::toned("failed", Tone::Bad),
        StepState::Skipped => Text::toned("skipped", Tone::Uneasy),
    }
}

/// Whole hundredths of what is to be done; a dash where that is not known.
fn share(far: &OperationProgress) -> String {
    match far.done_bytes.saturating_mul(100).checked_div(far.total_bytes) {
        Some(share) => format!("{}%", share.min(100)),
        None if far.done_bytes > 0 => bytes(far.done_bytes),
        None => "-".to_owned(),
    }
}

/// How long it took, or has taken until now.
fn took(it: &Operation, now: SystemTime) -> String {
    let end = it.end_time.and_then(|time| SystemTime::try_from(time).ok()).unwrap_or(now);
    when::age(it.start_time.as_ref(), end).unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PLAIN: Looks = Looks { colour: false, unicode: false };

    fn sample() -> Operation {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        Operation {
            id: "01kc2x7m9q4t8v0000000000ab".into(),
            kind: OperationKind::Backup.into(),
            service: "orders".into(),
            state: OperationState::Failed.into(),
            created_by: "token:alice".into(),
            progress: Some(OperationProgress {
                done_bytes: 1 << 20,
                total_bytes: 4 << 20,
                bytes_per_second: 512 << 10,
                remaining: Some(prost_types::Duration { seconds: 6, nanos: 0 }),
                ..OperationProgress::default()
            }),
            steps: vec![OperationStep {
                name: "capture orders/i-1/database".into(),
                state: StepState::Failed.into(),
                done_bytes: 1 << 20,
                message: "disk\x1b[2J full".into(),
                ..OperationStep::default()
            }],
            create_time: at(100),
            start_time: at(110),
            end_time: at(140),
            cause: "the disk is full".into(),
            report: vec!["nothing was kept".into()],
            ..Operation::default()
        }
    }

    #[test]
    fn the_words_that_can_be_typed_are_those_that_are_shown_and_all_there_are() {
        for (word, value) in KINDS {
            assert_eq!(kind(value), word);
        }
        for (word, value) in STATES {
            assert_eq!(state(value).plain, word);
        }
        let known = |valid: fn(i32) -> bool| (1..100).filter(|number| valid(*number)).count();
        assert_eq!(known(|number| OperationKind::try_from(number).is_ok()), KINDS.len());
        assert_eq!(known(|number| OperationState::try_from(number).is_ok()), STATES.len());
        assert_eq!(
            (kind(OperationKind::Unspecified), state(OperationState::Unspecified).plain.as_str()),
            ("-", "-")
        );
    }

    #[test]
    fn a_row_a_line_and_a_page_say_how_it_is() {
        let (it, now) = (sample(), SystemTime::UNIX_EPOCH + Duration::from_secs(200));
        assert_eq!(
            table(std::slice::from_ref(&it), false, now).lines(PLAIN),
            [
                "ID                          KIND    SERVICE  STATE   PROGRESS  CREATED   TOOK  CAUSE",
                "01kc2x7m9q4t8v0000000000ab  backup  orders   failed  25%       100s ago  30s   the disk is full",
            ]
        );
        assert_eq!(
            line(&it, PLAIN),
            "backup of orders 01kc2x7m9q4t8v0000000000ab failed  1.0 MiB of 4.0 MiB, 512.0 KiB/s, 6s left  the disk is full"
        );
        let page = page(&it, PLAIN, now).join("\n");
        for words in ["cause", "took", "30s", "capture orders/i-1/database", "nothing was kept"] {
            assert!(page.contains(words), "{words} is not in {page}");
        }
        assert!(!page.contains('\x1b'), "no step can paint a terminal");
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let far = OperationProgress { done_bytes: 5, ..OperationProgress::default() };
        assert_eq!((progress(&far).as_str(), share(&far).as_str()), ("5 bytes", "5 bytes"));
        assert_eq!(share(&OperationProgress::default()), "-");
        let over = OperationProgress { done_bytes: 9, total_bytes: 5, ..OperationProgress::default() };
        assert_eq!(share(&over), "100%");
    }
}
