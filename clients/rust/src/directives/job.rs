//! Carries out a capture, a restore or an inspection: the component's code in a task of its own, and beside it the transfer. Whatever
//! that code does, it becomes an outcome. It knows nothing of sessions, and reports to nobody.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{sync::OwnedMutexGuard, time::timeout};

use crate::{
    backup::{
        self, Call, CaptureWriter, Carrier, Evidence, KEPT_BYTES, Part, Pipe, Restored, TransferError,
        download, incoming, sum::Sum, upload,
    },
    proto::seaworthy::v1::{DirectiveReport, DownloadRequest, InstanceRef, RestoreDirective, UploadOpen},
    rt,
};

/// How long a component may take to say what it holds.
const INSPECT_PATIENCE: Duration = Duration::from_secs(10);

/// Whose turn it is at a component. It is over when the last clone is gone.
pub(super) type Turn = Arc<OwnedMutexGuard<()>>;

/// What became of a directive.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is done, and this was found.
    Done(DirectiveReport),
    /// It was tried.
    Failed(String),
    /// It was not.
    Refused(String),
}

impl Outcome {
    /// Done, and there is nothing more to say.
    pub(super) fn done() -> Self {
        Self::Done(DirectiveReport::default())
    }
}

/// Captures a component.
pub(super) async fn capture(carrier: &impl Carrier, part: &Part, open: &UploadOpen, turn: &Turn) -> Outcome {
    let pipe = Arc::new(Pipe::new(KEPT_BYTES));
    let _stop = StopWhenDropped(Arc::clone(&pipe));
    let mut work = begin(Arc::clone(&part.source).capture(CaptureWriter::new(Arc::clone(&pipe))), turn);
    let mut sending = pin!(upload(carrier, open, &pipe));
    let captured = tokio::select! {
        biased;
        sent = &mut sending => match sent {
            // Whoever writes has an error of it, but that of the network is the cause.
            Err(error) => return Outcome::Failed(format!("it could not be sent: {error}")),
            Ok(_) => return Outcome::Failed("it was taken before it was complete".to_owned()),
        },
        captured = answer("capture", &mut work) => captured,
        () = pipe.moved().still_for(part.stalls_after) => Err(hangs("capture", part)),
    };
    let evidence = match captured {
        Ok(evidence) => evidence,
        Err(why) => return Outcome::Failed(why),
    };
    if !pipe.finish(evidence) {
        return Outcome::Failed("the capture answered while its writer was still in use".to_owned());
    }
    match sending.await {
        Ok(_) => Outcome::done(),
        Err(error) => Outcome::Failed(format!("it could not be sent: {error}")),
    }
}

/// A writer that somebody took elsewhere hears that it is over.
struct StopWhenDropped(Arc<Pipe>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.fail(TransferError::Stopped);
    }
}

/// Restores a component, and looks whether it works where that is asked.
pub(super) async fn restore(
    carrier: &impl Carrier,
    part: &Part,
    instance: InstanceRef,
    restore: RestoreDirective,
    turn: &Turn,
) -> Outcome {
    let RestoreDirective { ticket, backup_id, source_component, length, evidence, verify, .. } = restore;
    let digest_algorithm = Sum::ALGORITHM.into();
    let ask = DownloadRequest { ticket, instance: Some(instance), offset: 0, digest_algorithm };
    let what = Restored { backup_id, evidence: Evidence::from_wire(evidence), length, source_component };
    let (incoming, reader) = incoming();
    let (was_read, moved) = (incoming.was_read(), incoming.moved());
    let mut work = begin(Arc::clone(&part.source).restore(reader, what), turn);
    let mut fetching = pin!(download(carrier, &ask, length, incoming));
    let mut fetched = false;
    let restored = loop {
        tokio::select! {
            restored = answer("restore", &mut work) => break restored,
            // The reader hears how it ended.
            _ = &mut fetching, if !fetched => fetched = true,
            () = moved.still_for(part.stalls_after) => break Err(hangs("restore", part)),
        }
    };
    match restored {
        Err(why) => Outcome::Failed(why),
        Ok(()) if !was_read.to_the_end() => {
            Outcome::Failed("the restore ended before it had read everything".to_owned())
        }
        Ok(()) if !verify => Outcome::done(),
        Ok(()) => verified(part, turn).await,
    }
}

/// Looks whether a component that was restored works.
async fn verified(part: &Part, turn: &Turn) -> Outcome {
    let mut work = begin(Arc::clone(&part.source).verify(), turn);
    match timeout(part.stalls_after, answer("verification", &mut work)).await {
        Ok(Ok(verification)) => Outcome::Done(DirectiveReport { verification, ..DirectiveReport::default() }),
        Ok(Err(why)) => Outcome::Failed(format!("it was restored, and does not work: {why}")),
        Err(_) => Outcome::Failed(format!("it was restored, and {}", hangs("verification", part))),
    }
}

/// Runs the component's code. The turn is its own until it is really gone: dropped, it may be at work until its next await.
fn begin<T: Send + 'static>(call: Call<T>, turn: &Turn) -> rt::Task<Result<T, backup::Error>> {
    let turn = Arc::clone(turn);
    rt::spawn(async move {
        let _turn = turn;
        call.await
    })
}

/// Why it was dropped.
fn hangs(what: &str, part: &Part) -> String {
    format!(
        "the {what} hangs, and was dropped: it has neither moved a byte nor answered for {:?}; look why, or give it longer by stalls_after",
        part.stalls_after
    )
}

/// Asks components what they hold. Who cannot say is left out, and `message` says why.
pub(super) async fn inspect(parts: Vec<(String, Part)>) -> Outcome {
    let mut findings = DirectiveReport::default();
    let mut problems = Vec::new();
    for (name, part) in parts {
        let mut work = rt::spawn(part.source.inspect());
        match timeout(INSPECT_PATIENCE, answer("inspection", &mut work)).await {
            Ok(Ok(found)) => findings.inspections.extend(found.to_wire(&name)),
            Ok(Err(why)) => problems.push(format!("`{name}`: {why}")),
            Err(_) => problems.push(format!("`{name}`: no answer within {INSPECT_PATIENCE:?}")),
        }
    }
    findings.message = problems.join("; ");
    Outcome::Done(findings)
}

/// What the component's code answered, or why not, in words. Cancel safe; must not be called again once it answered.
pub(super) async fn answer<T>(
    what: &str,
    work: &mut rt::Task<Result<T, backup::Error>>,
) -> Result<T, String> {
    match work.join().await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(rt::chain(&*error)),
        Err(ended) => Err(rt::why_ended(what, ended)),
    }
}

#[cfg(test)]
mod tests;
