//! One operation, followed to its end: for `operations ID --watch`, and for whoever begins one and waits for it.

use std::cell::Cell;

use seaworthy_client::proto::seaworthy::v1::{
    Operation, OperationState, StepState, WatchOperationRequest, WatchOperationResponse,
};
use tokio::sync::mpsc;

use super::bar::Bar;
use crate::{
    cli::{
        Context,
        exit::Exit,
        failure::Failure,
        follow::{Link, follow_telling, note_lost, until_interrupted, until_told},
        output::{Output, clean},
        remote::Remote,
        render::{document::Contract, operation, when},
    },
    time::Clock,
};

/// Follows an operation until it has ended, shows how far it is, and at the end the whole of it. Lost connections are taken up
/// again. With `lines`, or where there is no terminal, a line is printed for each change; with JSON an object for each
/// message.
///
/// # Errors
/// There is no such operation, or the control plane refuses; Ctrl-C or a signal ended it: the operation itself goes on.
pub(super) async fn follow(
    remote: &Remote,
    id: &str,
    lines: bool,
    context: &mut Context,
) -> Result<Operation, Failure> {
    let contract = if context.output.is_json() { Some(Contract::load()?) } else { None };
    let is_picture = context.output.screen().is_some() && !lines;
    let mut view = match (contract, is_picture) {
        (Some(contract), _) => View::Objects(contract),
        (None, true) => View::Picture(Box::new(Bar::new(context.output.looks)?)),
        (None, false) => View::Lines(Said::default()),
    };
    let ended = until_told(until_interrupted(until_ended(remote, id, &mut view, context))).await?;
    let is_json = matches!(view, View::Objects(_));
    // What was drawn goes before what stays.
    drop(view);
    if !is_json {
        let now = context.clock.now().wall;
        let page = operation::page(&ended, context.output.looks, now);
        page.into_iter().try_for_each(|line| context.output.line(line))?;
    }
    Ok(ended)
}

/// How the process ends that followed it.
pub(super) fn outcome(ended: &Operation) -> Exit {
    match ended.state() {
        OperationState::Succeeded => Exit::Done,
        OperationState::Partial => Exit::InPart,
        OperationState::Cancelled => Exit::Cancelled,
        OperationState::Failed
        | OperationState::Unspecified
        | OperationState::Pending
        | OperationState::Running
        | OperationState::Cancelling => Exit::Failed,
    }
}

/// How it is shown.
enum View {
    Picture(Box<Bar>),
    Lines(Said),
    Objects(Contract),
}

impl View {
    fn take(
        &mut self,
        output: &mut Output,
        clock: Clock,
        response: &WatchOperationResponse,
    ) -> Result<(), Failure> {
        match (self, &response.operation) {
            (View::Objects(contract), _) => {
                output.object(&contract.document("WatchOperationResponse", response)?)
            }
            (View::Picture(bar), Some(it)) => {
                bar.draw(it);
                Ok(())
            }
            (View::Lines(said), Some(it)) => {
                let now = when::clock(clock.now().wall);
                for line in said.news(it) {
                    output.line(format_args!("{now}  {line}"))?;
                }
                output.flush()
            }
            (_, None) => Ok(()),
        }
    }

    fn link(&self, link: &Link) {
        match (self, link) {
            (View::Picture(bar), Link::Down { why, .. }) => {
                bar.note(&format!("not connected: {}", clean(why)));
            }
            (View::Picture(_), Link::Up) => {}
            (View::Lines(_) | View::Objects(_), link) => note_lost(link),
        }
    }
}

async fn until_ended(
    remote: &Remote,
    id: &str,
    view: &mut View,
    context: &mut Context,
) -> Result<Operation, Failure> {
    let (output, clock) = (&mut context.output, context.clock);
    let (ended, mut end) = mpsc::channel(1);
    let is_over = Cell::new(false);
    let open = |_: &&mut View| {
        let mut client = remote.operation();
        let request = WatchOperationRequest { id: id.to_owned() };
        async move { client.watch_operation(request).await }
    };
    let take = |view: &mut &mut View, response: WatchOperationResponse| {
        view.take(output, clock, &response)?;
        if let Some(it) = response.operation.filter(|it| operation::is_final(it.state())) {
            // One value is taken, and then nobody follows any more.
            is_over.set(true);
            drop(ended.try_send(it));
        }
        Ok(())
    };
    let action = format!("watch operation {}", clean(id));
    let mut shown = view;
    // A stream that ends after the operation did is not lost.
    let tell = |view: &mut &mut View, link: Link| {
        if !is_over.get() {
            view.link(&link);
        }
    };
    let following = follow_telling(remote, &action, &mut shown, open, take, tell);
    tokio::select! {
        biased;
        ended = end.recv() => ended.ok_or_else(|| Failure::Internal("nobody follows any more".to_owned())),
        stopped = following => {
            stopped?;
            Err(Failure::Internal("the watch ended before the operation did".to_owned()))
        }
    }
}

/// What was printed last, so that only changes are printed again.
#[derive(Debug, Default)]
struct Said {
    state: Option<OperationState>,
    steps: Vec<StepState>,
    events: u64,
    tenths: Option<u64>,
}

impl Said {
    /// A line for each change: of the state, of steps, events, and each tenth of the way.
    fn news(&mut self, it: &Operation) -> Vec<String> {
        let mut lines = Vec::new();
        for event in it.events.iter().filter(|event| event.sequence > self.events) {
            let step = if event.step.is_empty() { String::new() } else { format!("{}: ", event.step) };
            lines.push(clean(&format!("{step}{}", event.message)));
        }
        self.events = it.events.last().map_or(self.events, |event| event.sequence.max(self.events));
        for (at, step) in it.steps.iter().enumerate() {
            if self.steps.get(at) != Some(&step.state()) && step.state() != StepState::Pending {
                lines.push(format!("{}  {}", clean(&step.name), operation::step_says(step)));
            }
        }
        self.steps = it.steps.iter().map(|step| step.state()).collect();
        let progress = it.progress.unwrap_or_default();
        let tenths = progress.done_bytes.saturating_mul(10).checked_div(progress.total_bytes);
        let is_new_state = self.state != Some(it.state());
        if is_new_state || tenths > self.tenths && tenths.is_some() {
            lines.push(format!("{}  {}", operation::state(it.state()).plain, operation::progress(&progress)));
        }
        (self.state, self.tenths) = (Some(it.state()), tenths.max(self.tenths));
        lines
    }
}

#[cfg(test)]
mod tests {
    use seaworthy_client::proto::seaworthy::v1::{OperationEvent, OperationProgress, OperationStep};

    use super::*;

    #[test]
    fn every_end_has_an_exit_code_of_its_own() {
        for (state, code) in [
            (OperationState::Succeeded, 0),
            (OperationState::Partial, 6),
            (OperationState::Failed, 7),
            (OperationState::Cancelled, 8),
        ] {
            let ended = Operation { state: state.into(), ..Operation::default() };
            assert_eq!(outcome(&ended).code(), code, "{state:?}");
        }
    }

    #[test]
    fn a_line_is_printed_for_what_changes() {
        let mut it = Operation { state: OperationState::Running.into(), ..Operation::default() };
        let progress =
            |done_bytes| Some(OperationProgress { done_bytes, total_bytes: 100, ..Default::default() });
        it.progress = progress(0);
        it.steps.push(OperationStep {
            name: "seal".into(),
            state: StepState::Pending.into(),
            ..Default::default()
        });
        let mut said = Said::default();
        assert_eq!(said.news(&it).len(), 1);
        it.progress = progress(5);
        assert_eq!(said.news(&it), [""; 0]);
        it.progress = progress(10);
        assert_eq!(said.news(&it).len(), 1);
        it.events.push(OperationEvent { sequence: 1, message: "a\x1b[2Jb".into(), ..Default::default() });
        it.steps[0].state = StepState::Running.into();
        let lines = said.news(&it);
        assert_eq!((lines.len(), lines[0].as_str()), (2, "a\u{fffd}[2Jb"));
        assert!(lines[1].starts_with("seal  running"), "{lines:?}");
        it.state = OperationState::Succeeded.into();
        assert!(said.news(&it)[0].starts_with("succeeded"));
    }
}
