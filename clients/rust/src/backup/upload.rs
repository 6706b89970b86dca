//! Sends a capture while it is written, over as many connections as it takes: what the control plane has is forgotten, what it
//! has not is sent again. It knows nothing of who writes, or why.
//!
//! A stream is opened only while there is something to say, for the control plane ends one on which nothing comes. How long a capture may
//! think is not judged here.

use tokio::{sync::mpsc, time::sleep_until};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tracing::debug;

use super::{
    TransferError,
    carry::{Carrier, Ended},
    patience::Patience,
    pipe::{Next, Pipe},
    window::length,
};
use crate::proto::seaworthy::v1::{
    UploadData, UploadDone, UploadOpen, UploadProgress, UploadRequest, UploadResponse,
    upload_request::Message as Say, upload_response::Message as Heard,
};

/// Messages between the window and the connection. What is in the window is not copied, so few are enough.
const QUEUE: usize = 2;

/// Sends until the control plane says that it has everything. Dropped before that, it has sent no end.
///
/// # Errors
/// Why it never will.
pub(crate) async fn upload(
    carrier: &impl Carrier,
    open: &UploadOpen,
    pipe: &Pipe,
) -> Result<UploadDone, TransferError> {
    let mut patience = Patience::new();
    loop {
        if !pipe.is_waited_for() {
            pipe.has_work().await;
            patience.renew();
        }
        let (message, retry_after) = match attempt(carrier, open, pipe, &mut patience).await {
            Ok(done) => return Ok(done),
            Err(Ended::ForGood(error)) => return Err(error),
            Err(Ended::Broken { message, retry_after }) => (message, retry_after),
        };
        debug!("an upload was interrupted: {message}");
        sleep_until(patience.again(message, retry_after)?).await;
    }
}

async fn attempt(
    carrier: &impl Carrier,
    open: &UploadOpen,
    pipe: &Pipe,
    patience: &mut Patience,
) -> Result<UploadDone, Ended> {
    let (requests, queue) = mpsc::channel(QUEUE);
    // The queue is empty and ours: there is room.
    let open = UploadOpen { expected_length: pipe.expected(), ..open.clone() };
    requests.try_send(say(Say::Open(open))).map_err(|_| Ended::broken("no room"))?;
    let opening = async {
        let mut answers = carrier.upload(ReceiverStream::new(queue)).await?;
        match answers.next().await {
            Some(Ok(UploadResponse { message: Some(Heard::Opened(opened)) })) => Ok((answers, opened.offset)),
            Some(Ok(_)) => Err(Ended::nonsense("it spoke before the upload was open")),
            Some(Err(status)) => Err(Ended::of_status(&status)),
            None => Err(Ended::broken("the control plane ended the upload without a word")),
        }
    };
    let (mut answers, mut next) = patience.opening(opening).await?;
    pipe.go_on(next).map_err(Ended::ForGood)?;
    if pipe.receive(next) {
        patience.renew();
    }
    // Dropped after the end was said, so that the other side sees that nothing follows.
    let mut requests = Some(requests);
    loop {
        let ready = if requests.is_some() { pipe.next(next) } else { Next::Nothing };
        let has_something = !matches!(ready, Next::Nothing);
        let waited_for = pipe.is_waited_for();
        tokio::select! {
            biased;
            answer = answers.next() => match answer {
                Some(Ok(UploadResponse { message })) => match message {
                    Some(Heard::Progress(UploadProgress { received_offset, durable_offset: _ })) => {
                        // What nobody sent cannot be there.
                        pipe.receive(received_offset.min(next));
                        // Also where it is no farther: so it says that it is at work, where what it writes to is slow.
                        patience.renew();
                    }
                    Some(Heard::Done(done)) if requests.is_none() => return Ok(done),
                    Some(Heard::Done(_)) => return Err(Ended::nonsense("it was done before the end")),
                    // Kinds that are newer than this library.
                    Some(Heard::Opened(_)) | None => {}
                },
                Some(Err(status)) => return Err(Ended::of_status(&status)),
                None => return Err(Ended::broken("the control plane ended the upload without a word")),
            },
            permit = reserve(requests.clone()), if has_something => {
                let Some(permit) = permit else { return Err(Ended::broken("the connection is gone")) };
                match ready {
                    Next::Piece(data) => {
                        let offset = next;
                        next += length(data.len());
                        permit.send(say(Say::Data(UploadData { offset, data })));
                    }
                    Next::Finish(finish) => {
                        permit.send(say(Say::Finish(finish)));
                        requests = None;
                    }
                    Next::Nothing => {}
                }
            }
            () = pipe.changed(), if !has_something && requests.is_some() => {
                if !waited_for {
                    patience.renew();
                }
            }
            () = sleep_until(patience.until()), if waited_for => {
                return Err(Ended::ForGood(patience.over()));
            }
        }
    }
}

/// Waits for room in the queue. `None`: the stream has ended. Cancel safe.
async fn reserve(requests: Option<mpsc::Sender<UploadRequest>>) -> Option<mpsc::OwnedPermit<UploadRequest>> {
    requests?.reserve_owned().await.ok()
}

fn say(message: Say) -> UploadRequest {
    UploadRequest { message: Some(message) }
}

#[cfg(test)]
mod tests;
