//! Views that are drawn in place on a terminal: what is now, redrawn when it changes, until Ctrl-C.
//!
//! Where the standard output is no terminal, or lines are asked for, nothing of this is used: a line per event
//! is what scripts and logs take.

pub(crate) mod board;
mod cut;
mod rows;
pub(crate) mod signals;

use std::{cell::RefCell, convert::Infallible, future::Future, time::Duration};

use tokio::{sync::Notify, time::sleep};
use tonic::{Response, Status, Streaming};

use self::{
    cut::cut,
    signals::{Signal, Signals},
};
use super::{
    failure::Failure,
    follow::{self, Link, follow_telling},
    output::{Looks, Screen, clean},
    remote::Remote,
};
use crate::time::{Clock, Now};

/// Between two frames at the least: more than people can follow, and less than a terminal can bear.
const LEAST: Duration = Duration::from_millis(100);
/// Between two frames at the most: ages go on.
const MOST: Duration = Duration::from_secs(1);

/// What a frame is drawn for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) looks: Looks,
    pub(crate) now: Now,
    /// Lines that there is room for.
    pub(crate) height: usize,
}

/// A view and how it stands with the server.
struct Live<S> {
    state: S,
    link: Link,
}

/// Follows a stream as [`follow_telling`] does, and shows `lines` of the state whenever that has changed.
///
/// # Errors
/// As `follow`; [`Failure::Interrupted`] and [`Failure::Ended`] when it was told to stop. The terminal is as before, either way.
#[allow(clippy::too_many_arguments)] // three closures over one state, and where it goes
pub(crate) async fn watch<M, S, O>(
    remote: &Remote,
    action: &str,
    (mut screen, looks): (Screen, Looks),
    clock: Clock,
    state: S,
    open: impl Fn(&S) -> O,
    mut take: impl FnMut(&mut S, M, Now),
    lines: impl Fn(&S, &Frame) -> Vec<String>,
) -> Result<(), Failure>
where
    O: Future<Output = Result<Response<Streaming<M>>, Status>>,
{
    let live = RefCell::new(Live { state, link: Link::Up });
    let changed = Notify::new();
    let mut shared = &live;
    let following = follow_telling(
        remote,
        action,
        &mut shared,
        |live| open(&live.borrow().state),
        |live, message| {
            take(&mut live.borrow_mut().state, message, clock.now());
            changed.notify_one();
            Ok(())
        },
        |live, link| {
            live.borrow_mut().link = link;
            changed.notify_one();
        },
    );
    tokio::select! {
        ended = following => ended,
        told = paint(remote, &mut screen, looks, clock, &live, &changed, lines) => told.map(|never| match never {}),
        _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
    }
}

/// Asks again and again as [`follow::poll`] does, and shows `lines` of the last answer.
///
/// # Errors
/// As `follow::poll`; else as [`watch`].
pub(crate) async fn poll<T, O>(
    remote: &Remote,
    (mut screen, looks): (Screen, Looks),
    clock: Clock,
    ask: impl Fn() -> O,
    lines: impl Fn(&T, &Frame) -> Vec<String>,
) -> Result<Infallible, Failure>
where
    O: Future<Output = Result<T, Failure>>,
{
    let live = RefCell::new(Live { state: None, link: Link::Up });
    let changed = Notify::new();
    let take = |answer| {
        live.borrow_mut().state = Some(answer);
        changed.notify_one();
        Ok(())
    };
    let tell = |link| {
        live.borrow_mut().link = link;
        changed.notify_one();
    };
    // Nothing is drawn before there is an answer.
    let lines = |state: &Option<T>, frame: &Frame| {
        state.as_ref().map(|state| lines(state, frame)).unwrap_or_default()
    };
    tokio::select! {
        ended = follow::poll(ask, take, tell) => ended,
        told = paint(remote, &mut screen, looks, clock, &live, &changed, lines) => told,
        _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
    }
}

/// Draws whenever something has changed, and every second, until a signal ends it.
async fn paint<S>(
    remote: &Remote,
    screen: &mut Screen,
    looks: Looks,
    clock: Clock,
    live: &RefCell<Live<S>>,
    changed: &Notify,
    lines: impl Fn(&S, &Frame) -> Vec<String>,
) -> Result<Infallible, Failure> {
    let mut signals = Signals::listen()?;
    loop {
        tokio::select! {
            () = changed.notified() => {}
            // Nothing is drawn, and nothing covered, before there is something to see.
            () = sleep(MOST - LEAST), if screen.is_drawn() => {}
            signal = signals.next() => match signal {
                Signal::Resized if screen.is_drawn() => {}
                Signal::Resized => continue,
                Signal::Stop(ending) => return Err(Failure::Ended(ending)),
                Signal::Suspend => {
                    screen.leave();
                    signals::suspend();
                }
            },
        }
        let size = screen.size();
        let frame = Frame { looks, now: clock.now(), height: size.height.saturating_sub(HEAD) };
        let picture = picture(&live.borrow(), &frame, remote, size.width, &lines);
        screen.draw(&picture)?;
        sleep(LEAST).await;
    }
}

/// Rows that fit below a heading, of so many; where not all do, there is room for a line that says so.
pub(crate) fn fitting(all: usize, room: usize) -> usize {
    let rows = room.saturating_sub(1);
    if all <= rows { all } else { rows.saturating_sub(1) }
}

/// Lines above what the view shows.
const HEAD: usize = 2;

fn picture<S>(
    live: &Live<S>,
    frame: &Frame,
    remote: &Remote,
    width: usize,
    lines: &impl Fn(&S, &Frame) -> Vec<String>,
) -> Vec<String> {
    let link = match &live.link {
        Link::Up => "connected".to_owned(),
        Link::Down { why, .. } => format!("reconnecting: {}", clean(why)),
    };
    let now = super::render::when::clock(frame.now.wall);
    let head = [format!("seaworthy {}  {now}  {link}  (Ctrl-C ends)", remote.server()), String::new()];
    let more = if frame.looks.unicode { '…' } else { '>' };
    let shown = lines(&live.state, frame);
    head.into_iter().chain(shown).map(|line| cut(&line, width, more)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_fit_with_their_heading_and_a_line_for_the_rest() {
        for (all, room, expected) in [(0, 10, 0), (9, 10, 9), (10, 10, 8), (100, 3, 1), (5, 1, 0), (5, 0, 0)]
        {
            let shown = fitting(all, room);
            assert_eq!(shown, expected, "{all} in {room}");
            assert!(shown == all && shown < room.max(1) || shown + 2 <= room.max(2));
        }
    }
}
