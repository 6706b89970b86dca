//! Following a stream for as long as the user likes: a lost connection is taken up again, with pauses
//! that grow, from where it stopped.
//!
//! A server that is away, drains or still loads is waited for; one that says that the question is wrong is not,
//! nor one that is not there the first time it is asked. What has no stream is asked for again and again instead.

use std::{convert::Infallible, future::Future, mem, time::Duration};

use seaworthy_client::proto::seaworthy::v1::{
    WatchCursor, WatchFleetRequest, WatchFleetResponse, watch_fleet_response::Message,
};
use tonic::{Code, Response, Status, Streaming};

use super::{
    failure::{Failure, innermost, is_transport},
    live::signals::{Signal, Signals, suspend},
    output::{clean, note},
    remote::Remote,
};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Between an answer and the next question, where there is no stream.
const POLL_PAUSE: Duration = Duration::from_secs(1);

/// Runs a watch until it ends by itself or Ctrl-C is pressed.
pub(crate) async fn until_interrupted<T>(
    watch: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        ended = watch => ended,
        _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
    }
}

/// Does it, unless a signal ends it: then whatever is drawn is put back by being dropped.
pub(crate) async fn until_told<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut signals = Signals::listen()?;
    let told = async {
        loop {
            match signals.next().await {
                Signal::Stop(ending) => return Failure::Ended(ending),
                Signal::Suspend => suspend(),
                Signal::Resized => {}
            }
        }
    };
    tokio::select! {
        done = work => done,
        failure = told => Err(failure),
    }
}

/// How a watch stands with its server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Link {
    /// It is open.
    Up,
    /// It is lost or refused for now, and taken up again after a pause.
    Down {
        /// Why, in a few words.
        why: String,
        pause: Duration,
    },
}

/// Follows as [`follow_telling`] does, and says on the standard error when the connection is lost.
pub(crate) async fn follow<M, S, O, F>(
    remote: &Remote,
    action: &str,
    state: &mut S,
    open: impl Fn(&S) -> O,
    take: F,
) -> Result<(), Failure>
where
    O: Future<Output = Result<Response<Streaming<M>>, Status>>,
    F: FnMut(&mut S, M) -> Result<(), Failure>,
{
    let tell = |_: &mut S, link: Link| note_lost(&link);
    follow_telling(remote, action, state, open, take, tell).await
}

/// Says on the standard error that the connection is lost, where it is.
pub(crate) fn note_lost(link: &Link) {
    if let Link::Down { why, pause } = link {
        note(format_args!("not connected: {why}; trying again in {pause:?}"));
    }
}

/// Calls `open` for a stream and hands every message to `take`; when the stream ends, opens another.
/// `open` is called anew each time, so that it can say where to go on. `tell` hears how the connection stands.
///
/// # Errors
/// The server refuses for good, or is not there the very first time; or `take` fails.
pub(crate) async fn follow_telling<M, S, O, F>(
    remote: &Remote,
    action: &str,
    state: &mut S,
    open: impl Fn(&S) -> O,
    mut take: F,
    mut tell: impl FnMut(&mut S, Link),
) -> Result<(), Failure>
where
    O: Future<Output = Result<Response<Streaming<M>>, Status>>,
    F: FnMut(&mut S, M) -> Result<(), Failure>,
{
    // Or why it is not open.
    let mut stream = match remote.call(action, open(state)).await {
        // It starts or ends: another one, or it itself, answers soon.
        Err(Failure::Refused { status, .. }) if status.code() == Code::Unavailable => {
            Err(reason(remote, action, *status)?)
        }
        other => Ok(other?),
    };
    let mut pause = FIRST_PAUSE;
    loop {
        let lost = match &mut stream {
            Ok(open) => match open.message().await {
                Ok(Some(message)) => {
                    pause = FIRST_PAUSE;
                    take(state, message)?;
                    continue;
                }
                Ok(None) => "the server ended the stream".to_owned(),
                Err(status) => reason(remote, action, status)?,
            },
            Err(why) => mem::take(why),
        };
        tell(state, Link::Down { why: lost, pause });
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        stream = match remote.call(action, open(state)).await {
            Ok(stream) => {
                tell(state, Link::Up);
                Ok(stream)
            }
            Err(Failure::Refused { status, .. }) => Err(reason(remote, action, *status)?),
            Err(Failure::Unreachable { .. }) => Err("still away".to_owned()),
            Err(failure) => return Err(failure),
        };
    }
}

/// Calls `ask` for an answer and hands it to `take`, again and again. `tell` hears when the connection is lost, and when
/// it is there again.
///
/// # Errors
/// The server refuses for good, or is not there the very first time; or `take` fails.
pub(crate) async fn poll<T, O>(
    ask: impl Fn() -> O,
    mut take: impl FnMut(T) -> Result<(), Failure>,
    mut tell: impl FnMut(Link),
) -> Result<Infallible, Failure>
where
    O: Future<Output = Result<T, Failure>>,
{
    take(ask().await?)?;
    let mut away = false;
    loop {
        tokio::time::sleep(POLL_PAUSE).await;
        match ask().await {
            Ok(answer) => {
                if mem::take(&mut away) {
                    tell(Link::Up);
                }
                take(answer)?;
            }
            Err(failure) => match passing(&failure) {
                Some(why) => {
                    if !mem::replace(&mut away, true) {
                        tell(Link::Down { why, pause: POLL_PAUSE });
                    }
                }
                None => return Err(failure),
            },
        }
    }
}

/// Why a call failed, where trying again can help: a server that is away, stops or starts is there again soon.
pub(crate) fn passing(failure: &Failure) -> Option<String> {
    match failure {
        Failure::Unreachable { cause, .. } => Some(cause.clone()),
        Failure::Refused { status, .. } if status.code() == Code::Unavailable => {
            Some(clean(status.message()))
        }
        _ => None,
    }
}

/// Why a stream was lost, where trying again can help.
fn reason(remote: &Remote, action: &str, status: Status) -> Result<String, Failure> {
    let temporary = matches!(
        status.code(),
        Code::Unavailable
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Cancelled
            | Code::DeadlineExceeded
    );
    if is_transport(&status) {
        Ok(innermost(&status))
    } else if temporary {
        Ok(clean(status.message()))
    } else {
        Err(remote.failure(action, status))
    }
}

/// Where a watch of the fleet stands.
#[derive(Debug, Default)]
pub(crate) struct Place {
    service: String,
    cursor: Option<WatchCursor>,
    /// Whether a snapshot has begun and not yet ended: its cursor is no place to go on from.
    in_snapshot: bool,
}

impl Place {
    /// At the beginning of the given service, or of all where it is empty.
    pub(crate) fn start(service: &str) -> Self {
        Self { service: service.to_owned(), ..Self::default() }
    }

    /// What to ask for, to go on from here.
    pub(crate) fn request(&self) -> WatchFleetRequest {
        WatchFleetRequest { service: self.service.clone(), resume_after: self.cursor.clone() }
    }

    /// Moves on over a message that was taken.
    pub(crate) fn pass(&mut self, response: &WatchFleetResponse) {
        match &response.message {
            Some(Message::Reset(_)) => {
                self.in_snapshot = true;
                self.cursor = None;
            }
            Some(Message::Snapshot(part)) => self.in_snapshot = !part.complete,
            Some(Message::Change(_) | Message::BookmarkTime(_)) | None => {}
        }
        if !self.in_snapshot && response.cursor.is_some() {
            self.cursor.clone_from(&response.cursor);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        collections::VecDeque,
    };

    use seaworthy_client::proto::seaworthy::v1::{WatchReset, WatchSnapshot};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_poll_goes_on_while_the_server_is_away_and_ends_where_it_refuses() {
        let away = || Failure::Unreachable { server: "h".into(), cause: "connection refused".into() };
        let refused = |code| Failure::from_status("h", "ask", Status::new(code, "no"));
        let answers = [
            Ok(1),
            Err(refused(Code::Unavailable)),
            Err(away()),
            Ok(2),
            Ok(3),
            Err(refused(Code::PermissionDenied)),
        ];
        let answers = RefCell::new(VecDeque::from(answers));
        let (mut taken, mut told) = (Vec::new(), Vec::new());
        let clock = crate::time::Clock::start();
        let take = |answer| {
            taken.push(answer);
            Ok(())
        };
        let ask = || std::future::ready(answers.borrow_mut().pop_front().unwrap());
        let ended = poll(ask, take, |link| told.push(link)).await.unwrap_err();
        assert_eq!((taken, ended.exit().code()), (vec![1, 2, 3], 5));
        // Told once, however long it lasts.
        assert_eq!(told, [Link::Down { why: "no".into(), pause: POLL_PAUSE }, Link::Up]);
        assert_eq!(clock.elapsed(), 5 * POLL_PAUSE);
        assert!(answers.borrow().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_of_a_server_that_is_not_there_at_first_ends() {
        let asked = Cell::new(0);
        let ask = || {
            asked.set(asked.get() + 1);
            std::future::ready(Err::<(), _>(Failure::from_status("h", "ask", Status::unavailable("loading"))))
        };
        let ended = poll(ask, |()| Ok(()), |_| ()).await.unwrap_err();
        assert_eq!((ended.exit().code(), asked.get()), (5, 1));
        // Nor does it go on where nobody reads.
        let full =
            poll(|| std::future::ready(Ok(())), |()| Err(Failure::PipeClosed), |_| ()).await.unwrap_err();
        assert!(matches!(full, Failure::PipeClosed));
    }

    fn response(message: Option<Message>, revision: u64) -> WatchFleetResponse {
        WatchFleetResponse { message, cursor: Some(WatchCursor { boot_epoch: "e".into(), revision }) }
    }

    #[test]
    fn half_a_snapshot_is_no_place_to_go_on_from() {
        let mut place = Place::start("orders");
        let part = |complete| Message::Snapshot(WatchSnapshot { complete, ..WatchSnapshot::default() });
        let steps = [
            (Some(Message::Reset(WatchReset::default())), 7, None),
            (Some(part(false)), 7, None),
            (Some(part(true)), 7, Some(7)),
            (Some(Message::BookmarkTime(prost_types::Timestamp::default())), 9, Some(9)),
            (None, 10, Some(10)),
            (Some(Message::Reset(WatchReset::default())), 12, None),
        ];
        for (message, revision, expected) in steps {
            place.pass(&response(message, revision));
            assert_eq!(place.request().resume_after.map(|cursor| cursor.revision), expected);
        }
        assert_eq!(place.request().service, "orders");
    }
}
