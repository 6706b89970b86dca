//! What is between a capture that writes and an upload that sends: the window, who waits for room in it, and how it ends.

use std::{
    collections::HashMap,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Evidence, Moved, TransferError, window::Window};
use crate::proto::seaworthy::v1::UploadFinish;

/// Shared by both sides.
#[derive(Debug)]
pub(crate) struct Pipe {
    state: Mutex<State>,
    /// There is more to send, or it is complete.
    more: Notify,
    moved: Moved,
}

#[derive(Debug)]
struct State {
    window: Window,
    /// How many bytes there will be, as far as it is known.
    expected: u64,
    /// The writer, where it waits for room.
    waiting: Option<Waker>,
    /// Set by the writer when it is dropped.
    digest: Option<Bytes>,
    /// Set when the capture answered.
    finish: Option<UploadFinish>,
    /// Why nothing more can be sent.
    failed: Option<TransferError>,
}

/// What to send from an offset on.
pub(super) enum Next {
    Piece(Bytes),
    Finish(UploadFinish),
    /// The capture has not written it yet.
    Nothing,
}

impl Pipe {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            state: Mutex::new(State {
                window: Window::new(most),
                expected: 0,
                waiting: None,
                digest: None,
                finish: None,
                failed: None,
            }),
            more: Notify::new(),
            moved: Moved::new(),
        }
    }

    /// When something was written or received.
    pub(crate) fn moved(&self) -> &Moved {
        &self.moved
    }

    /// Waits for room for a piece.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), TransferError>> {
        let mut state = self.state.lock();
        if let Some(failed) = &state.failed {
            return Poll::Ready(Err(failed.clone()));
        }
        if state.window.has_room() {
            self.moved.now();
            return Poll::Ready(Ok(()));
        }
        state.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Notes how many bytes there will be.
    pub(super) fn expect(&self, bytes: u64) {
        self.state.lock().expected = bytes;
    }

    pub(super) fn expected(&self) -> u64 {
        self.state.lock().expected
    }

    /// Takes a piece from the writer.
    pub(super) fn push(&self, piece: Bytes) {
        self.state.lock().window.push(piece);
        self.more.notify_one();
    }

    /// The writer is gone; this is the digest of all that it wrote.
    pub(super) fn written(&self, digest: Bytes) {
        self.state.lock().digest = Some(digest);
    }

    /// The capture is complete. False: somebody still holds its writer, so that nobody knows what it is.
    pub(crate) fn finish(&self, evidence: Evidence) -> bool {
        let mut state = self.state.lock();
        let Some(digest) = state.digest.clone() else { return false };
        state.finish = Some(UploadFinish {
            length: state.window.end(),
            digest,
            evidence: evidence.into_wire::<HashMap<_, _>>(),
        });
        drop(state);
        self.more.notify_one();
        true
    }

    /// Nothing more can be sent: tells the writer why.
    pub(crate) fn fail(&self, why: TransferError) {
        let mut state = self.state.lock();
        state.failed = Some(why);
        if let Some(waiting) = state.waiting.take() {
            waiting.wake();
        }
    }

    /// Waits for something that is not received.
    pub(super) async fn has_work(&self) {
        while !self.is_waited_for() {
            self.more.notified().await;
        }
    }

    /// Waits for a change on the writer's side.
    pub(super) async fn changed(&self) {
        self.more.notified().await;
    }

    pub(super) fn next(&self, offset: u64) -> Next {
        let state = self.state.lock();
        match (state.window.at(offset), &state.finish) {
            (Some(piece), _) => Next::Piece(piece),
            (None, Some(finish)) => Next::Finish(finish.clone()),
            (None, None) => Next::Nothing,
        }
    }

    /// Whether the control plane owes something: it has not everything that was written so far, or has not said that it is
    /// the end.
    pub(super) fn is_waited_for(&self) -> bool {
        let state = self.state.lock();
        state.finish.is_some() || !state.window.is_received()
    }

    /// Notes how far the control plane is. True: it is farther than before.
    pub(super) fn receive(&self, offset: u64) -> bool {
        let mut state = self.state.lock();
        let is_news = state.window.receive(offset);
        if is_news {
            self.moved.now();
        }
        if state.window.has_room()
            && let Some(waiting) = state.waiting.take()
        {
            waiting.wake();
        }
        is_news
    }

    pub(super) fn go_on(&self, offset: u64) -> Result<(), TransferError> {
        self.state.lock().window.go_on(offset)
    }
}
