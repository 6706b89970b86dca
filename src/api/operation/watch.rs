//! `WatchOperation`: one operation, at once and after each change, to its end.
//!
//! A watch holds nothing between two messages: it reads the newest value when its caller takes more, so that whoever is slow
//! misses what was in between, never the newest.

use std::{sync::Arc, time::Duration};

use futures_core::Stream;
use futures_util::stream::unfold;
use tokio::{
    sync::watch::Receiver,
    time::{Sleep, sleep},
};
use tonic::Status;

use crate::{
    api::{
        convert::operation as convert,
        proto::v1 as pb,
        watch::{Watching, leaving},
    },
    guard::{caller::Connection, goodbye::Goodbye},
    operation::Operation,
};

/// Between two messages at the least.
const PAUSE: Duration = Duration::from_millis(250);

/// What is next to be told.
enum Stage {
    /// The value as it is, whatever was told before.
    Newest,
    /// Another value, once this has passed.
    Change(std::pin::Pin<Box<Sleep>>),
    /// Nothing: the final value was told.
    Over,
}

struct Watch {
    newest: Receiver<Arc<Operation>>,
    stage: Stage,
    closing: Goodbye,
    _watching: Watching,
}

/// Follows an operation.
pub(super) fn follow(
    newest: Receiver<Arc<Operation>>,
    watching: Watching,
    connection: &Connection,
) -> impl Stream<Item = Result<pb::WatchOperationResponse, Status>> + Send + use<> {
    let closing = Goodbye::of(connection.closing.clone());
    let watch = Watch { newest, stage: Stage::Newest, closing, _watching: watching };
    unfold(Some(watch), |watch| async {
        let mut watch = watch?;
        let next = watch.next().await?;
        let rest = next.is_ok().then_some(watch);
        Some((next, rest))
    })
}

impl Watch {
    async fn next(&mut self) -> Option<Result<pb::WatchOperationResponse, Status>> {
        let changed = match &mut self.stage {
            Stage::Over => return None,
            Stage::Newest => true,
            Stage::Change(pause) => {
                let newest = &mut self.newest;
                let change = async {
                    pause.await;
                    newest.changed().await.is_ok()
                };
                tokio::select! {
                    biased;
                    changed = change => changed,
                    _ = self.closing.heard() => false,
                }
            }
        };
        // Whoever told it is gone with the server, or the connection is to end.
        if !changed {
            return Some(Err(leaving()));
        }
        let told = Arc::clone(&self.newest.borrow_and_update());
        self.stage = match told.state.is_final() {
            true => Stage::Over,
            false => Stage::Change(Box::pin(sleep(PAUSE))),
        };
        Some(Ok(pb::WatchOperationResponse { operation: Some(convert::operation(&told)) }))
    }
}
