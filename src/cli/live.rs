//! Views that are drawn in place on a terminal: what is now, redrawn when it changes, until Ctrl-C.
//!
//! Where the standard output is no terminal, or lines are asked for, nothing of this is used: a line per event
//! is what scripts and logs take.

pub(crate) mod board;
mod cut;
mod rows;
pub(crate) mod signals;

use std::{cell::RefCell, future::Future, time::Duration};

use tokio::{sync::Notify, time::sleep};
use tonic::{Response, Status, Streaming};

use self::{
    cut::cut,
    signals::{Signal, Signals},
};
use super::{
    failure::Failure,
    follow::{Link, follow_telling},
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
    let mut signals = Signals::listen()?;
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
    let painting = async {
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
    };
    tokio::select! {
        ended = following => ended,
        ended = painting => ended,
        _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
    }
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
