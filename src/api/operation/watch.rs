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

/// Between two messages at the least, but for the last.
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
                let mut last = self.newest.clone();
                let newest = &mut self.newest;
                let change = async {
                    tokio::select! {
                        // The end is waited for by somebody, and told at once.
                        ended = last.wait_for(|it| it.state.is_final()) => ended.is_ok(),
                        changed = async {
                            pause.await;
                            newest.changed().await.is_ok()
                        } => changed,
                    }
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

#[cfg(test)]
mod tests {
    use std::{pin::pin, time::SystemTime};

    use futures_util::StreamExt as _;
    use tokio::sync::watch;

    use super::*;
    use crate::{
        api::watch::Watchers,
        guard::{proof::Proof, subscriptions::Subscriptions},
        id::Ordered,
        operation::{Kind, Progress, State},
        task::local::Spawner,
        time::Clock,
    };

    fn operation(state: State) -> Arc<Operation> {
        Arc::new(Operation {
            id: Ordered::from_bits(1),
            kind: Kind::Backup,
            service: "orders".to_owned(),
            state,
            created_by: "local".to_owned(),
            request_id: String::new(),
            asked: String::new(),
            steps: Vec::new(),
            progress: Progress::default(),
            events: Vec::new(),
            created: SystemTime::UNIX_EPOCH,
            started: None,
            ended: None,
            cause: String::new(),
            backup_id: None,
            report: Vec::new(),
            revision: 1,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_is_told_now_and_then_and_the_end_at_once() {
        let clock = Clock::start();
        let began = clock.mono();
        let (sender, newest) = watch::channel(operation(State::Pending));
        let (_open, closing) = watch::channel(false);
        let connection = Connection {
            peer: ([127, 0, 0, 1], 1).into(),
            certificate: None,
            proof: Proof::new(),
            closing,
            subscriptions: Subscriptions::new(Spawner::default()),
        };
        let mut told = pin!(follow(newest, Watchers::default().enter(), &connection));
        for (state, at) in [
            (State::Pending, Duration::ZERO),
            (State::Running, PAUSE),
            // The clock stands: nothing was waited for.
            (State::Succeeded, PAUSE),
        ] {
            sender.send_replace(operation(state));
            let message = told.next().await.expect("a message").expect("no error");
            let told = message.operation.expect("an operation").state();
            assert_eq!((told, clock.mono().since(began)), (convert::state(state), at));
        }
        assert!(told.next().await.is_none());
    }
}
