//! One instance of the demo: the client library on a thread and a runtime of its own, so that it can die as a
//! process dies, with everything that it had open and without a word.

use std::{io, thread::JoinHandle, time::Duration};

use seaworthy_client::{Agent, AttachError, Report};
use tokio::sync::mpsc;

use super::cast::{Role, Trouble};
use crate::task::{self, OnEnd};

/// Short, so that who dies is seen to be lost. The same at any speed, for it must not end while a machine is busy.
pub(super) const LEASE: Duration = Duration::from_secs(3);
/// Cues on their way; each is taken at once.
const QUEUE: usize = 16;

/// A running instance. It dies when this is dropped.
#[derive(Debug)]
pub(super) struct Player {
    cues: mpsc::Sender<(&'static str, Report)>,
    thread: JoinHandle<()>,
}

impl Player {
    /// Starts an instance. It attaches in the background, like any other.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(super) fn start(role: &'static Role, id: String, control_plane: String) -> io::Result<Self> {
        let (cues, heard) = mpsc::channel(QUEUE);
        let live = move || {
            // Without a runtime it is an instance that was never there.
            let Ok(runtime) = task::small_runtime() else { return };
            let agent = runtime.block_on(live(role, id, control_plane, heard));
            // In this order: what it would still say in leaving is never sent.
            drop(runtime);
            drop(agent);
        };
        Ok(Self { cues, thread: task::thread("demo instance", OnEnd::Fine, live)? })
    }

    /// Lets a part of it say how it is.
    pub(super) fn push(&self, part: &'static str, trouble: Option<Trouble>) {
        let report = match trouble {
            None => Report::healthy(),
            Some(Trouble::Slow(what)) => Report::degraded(what),
            Some(Trouble::Down(what)) => Report::unhealthy(what),
        };
        // Who has ended hears nothing, and a full queue is one that nobody takes from.
        drop(self.cues.try_send((part, report)));
    }

    /// Kills it, and answers what to wait for where its end matters.
    pub(super) fn kill(self) -> JoinHandle<()> {
        let Self { cues, thread } = self;
        drop(cues);
        thread
    }
}

/// Says what it is told to, until nobody tells it any more.
async fn live(
    role: &'static Role,
    id: String,
    control_plane: String,
    mut heard: mpsc::Receiver<(&'static str, Report)>,
) -> Result<Agent, AttachError> {
    let described = Agent::builder(control_plane, role.service)
        .instance_id(id)
        .version(role.version)
        .label("demo", "true")
        .lease_ttl(LEASE)
        .spec(role.spec());
    let described = role.parts.iter().fold(described, |it, part| it.component(part.component()));
    let agent = described.attach()?;
    for part in role.parts {
        // It was declared above.
        drop(agent.push(part.name, Report::healthy()));
    }
    while let Some((part, report)) = heard.recv().await {
        drop(agent.push(part, report));
    }
    Ok(agent)
}
