//! `seaworthy breakers --watch`: a picture that is redrawn, or a line now and after every change of a state.

use std::collections::HashMap;

use seaworthy_client::proto::seaworthy::v1::{
    Breaker, BreakerState, GetBreakersRequest, GetBreakersResponse,
};

use super::list::all;
use crate::{
    cli::{
        Context,
        exit::Exit,
        failure::Failure,
        follow::{self, note_lost, until_interrupted},
        live::{self, Frame, fitting},
        output::{Output, Screen, clean},
        remote::Remote,
        render::{breaker, document::Contract, when},
    },
    time::Clock,
};

/// Shows them in place.
pub(super) async fn picture(
    remote: &Remote,
    request: &GetBreakersRequest,
    screen: Screen,
    context: &Context,
) -> Result<Exit, Failure> {
    let wide = context.output.is_wide();
    let lines = |found: &GetBreakersResponse, frame: &Frame| drawn(&found.breakers, wide, frame);
    let screen = (screen, context.output.looks);
    let remote = &remote.without_retries();
    match live::poll(remote, screen, context.clock, || all(remote, request), lines).await? {}
}

/// Those that refuse first, as many as there is room for.
fn drawn(breakers: &[Breaker], wide: bool, frame: &Frame) -> Vec<String> {
    if breakers.is_empty() {
        return vec!["no such breakers".to_owned()];
    }
    let mut sorted: Vec<&Breaker> = breakers.iter().collect();
    sorted.sort_by_key(|it| breaker::rank(it.state()));
    let shown = fitting(sorted.len(), frame.height);
    let mut lines = breaker::table(sorted.iter().take(shown).copied(), wide).lines(frame.looks);
    if shown < sorted.len() {
        lines.push(format!("  and {} more, none of them worse", sorted.len() - shown));
    }
    lines
}

/// Prints a line, or an object, for each now and whenever its state changes.
pub(super) async fn lines(
    remote: &Remote,
    request: &GetBreakersRequest,
    context: &mut Context,
) -> Result<Exit, Failure> {
    let contract = if context.output.is_json() { Some(Contract::load()?) } else { None };
    let (output, clock) = (&mut context.output, context.clock);
    let mut known = Known::default();
    let take = |found: GetBreakersResponse| {
        for news in known.take(found.breakers) {
            match &contract {
                Some(contract) => output.object(&contract.document("Breaker", &news)?)?,
                None => line(output, clock, &news)?,
            }
        }
        output.flush()
    };
    // The poll itself goes on, and tells that the server is away.
    let remote = remote.without_retries();
    let ask = || all(&remote, request);
    match until_interrupted(follow::poll(ask, take, |link| note_lost(&link))).await? {}
}

/// The states that were printed last.
#[derive(Debug, Default)]
struct Known(HashMap<(String, String), BreakerState>);

impl Known {
    /// Those whose state is another one, or that are new. One that is gone is forgotten.
    fn take(&mut self, found: Vec<Breaker>) -> Vec<Breaker> {
        let key = |it: &Breaker| (breaker::owner(it), it.operation.clone());
        let now: HashMap<_, _> = found.iter().map(|it| (key(it), it.state())).collect();
        let news = found.into_iter().filter(|it| self.0.get(&key(it)) != Some(&it.state())).collect();
        self.0 = now;
        news
    }
}

fn line(output: &mut Output, clock: Clock, it: &Breaker) -> Result<(), Failure> {
    let now = when::clock(clock.now().wall);
    let state = breaker::state(it.state());
    let pad = " ".repeat(13_usize.saturating_sub(state.plain.chars().count()));
    let name = format!("{} of {}", it.operation, breaker::owner(it));
    let (name, state) = (clean(&name), output.looks.paint(&state));
    output.line(format!("{now}  {name:<40}  {state}{pad}  {}", clean(&it.cause)).trim_end())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{
        cli::output::Looks,
        time::{Mono, Now},
    };

    fn breaker(operation: &str, state: BreakerState) -> Breaker {
        Breaker {
            service: "orders".into(),
            instance_id: "i-1".into(),
            operation: operation.into(),
            state: state.into(),
            ..Breaker::default()
        }
    }

    fn frame(height: usize) -> Frame {
        let now = Now { mono: Mono::from_millis(0), wall: SystemTime::UNIX_EPOCH };
        Frame { looks: Looks { colour: false, unicode: false }, now, height }
    }

    #[test]
    fn those_that_refuse_stay_in_sight() {
        let mut all: Vec<_> = (0..9).map(|n| breaker(&format!("op-{n}"), BreakerState::Closed)).collect();
        all.push(breaker("charge-card", BreakerState::Open));
        let lines = drawn(&all, false, &frame(5));
        assert_eq!(lines.len(), 5);
        assert!(lines[0].starts_with("INSTANCE ") && lines[1].contains("charge-card  open"), "{lines:?}");
        assert_eq!(lines[4], "  and 7 more, none of them worse");
        assert_eq!(drawn(&all, false, &frame(40)).len(), 11);
        assert_eq!(drawn(&[], false, &frame(40)), ["no such breakers"]);
    }

    #[test]
    fn a_line_is_printed_only_where_a_state_changes() {
        let mut known = Known::default();
        let mut told = |state, calls| {
            let found = Breaker { calls, ..breaker("charge-card", state) };
            known.take(vec![found]).len()
        };
        for (state, calls, expected) in [
            (BreakerState::Closed, 0, 1),
            (BreakerState::Closed, 7, 0),
            (BreakerState::Open, 7, 1),
            (BreakerState::Open, 7, 0),
        ] {
            assert_eq!(told(state, calls), expected, "{state:?} after {calls} calls");
        }
        assert_eq!(known.take(Vec::new()), []);
        let back = known.take(vec![breaker("charge-card", BreakerState::Open)]);
        assert_eq!(back.len(), 1, "one that is back is told again");
    }
}
