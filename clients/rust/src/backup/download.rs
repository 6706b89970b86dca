//! Fetches what a restore reads, over as many connections as it takes, and goes on from the byte it has. It knows nothing of what
//! becomes of it.
//!
//! The digest that the last stream ends with is of what that stream has sent. What came by a stream that broke has none: it is held to
//! its place, to the length of the whole, and to what the connection itself vouches for (TLS).

use tokio::time::{sleep_until, timeout_at};
use tokio_stream::StreamExt as _;
use tracing::debug;

use super::{
    TransferError,
    carry::{Carrier, Ended},
    patience::Patience,
    reader::{Arrived, Incoming},
    sum::Sum,
    window::length,
};
use crate::proto::seaworthy::v1::{
    DownloadData, DownloadFinish, DownloadRequest, DownloadResponse, download_response::Message as Heard,
};

/// Fetches until all has come, as long as somebody reads. The reader learns how it ended, too.
///
/// # Errors
/// Why it did not come.
pub(crate) async fn download(
    carrier: &impl Carrier,
    ask: &DownloadRequest,
    whole: u64,
    to: Incoming,
) -> Result<(), TransferError> {
    let fetched = fetch(carrier, ask, whole, &to).await;
    let last = match &fetched {
        Ok(()) => Arrived::End,
        Err(error) => Arrived::Failed(error.clone()),
    };
    // Who does not read any more has an error of its own, or none.
    to.pieces.send(last).await.ok();
    fetched
}

async fn fetch(
    carrier: &impl Carrier,
    ask: &DownloadRequest,
    whole: u64,
    to: &Incoming,
) -> Result<(), TransferError> {
    let mut patience = Patience::new();
    let mut have = 0;
    loop {
        let ask = DownloadRequest { offset: have, ..ask.clone() };
        let (message, retry_after) = match attempt(carrier, ask, whole, to, &mut have, &mut patience).await {
            Ok(()) => return Ok(()),
            Err(Ended::ForGood(error)) => return Err(error),
            Err(Ended::Broken { message, retry_after }) => (message, retry_after),
        };
        debug!(have, "a download was interrupted: {message}");
        sleep_until(patience.again(message, retry_after)?).await;
    }
}

async fn attempt(
    carrier: &impl Carrier,
    ask: DownloadRequest,
    whole: u64,
    to: &Incoming,
    have: &mut u64,
    patience: &mut Patience,
) -> Result<(), Ended> {
    let mut answers = patience.opening(carrier.download(ask)).await?;
    let mut digest = Sum::new();
    loop {
        let answer = timeout_at(patience.until(), answers.next()).await;
        let answer = answer.map_err(|_| Ended::ForGood(patience.over()))?;
        let message = match answer {
            Some(Ok(DownloadResponse { message })) => message,
            Some(Err(status)) => return Err(Ended::of_status(&status)),
            None => return Err(Ended::broken("the control plane ended the download without a word")),
        };
        match message {
            Some(Heard::Data(DownloadData { offset, data })) => {
                if offset != *have {
                    return Err(Ended::nonsense(format!("a piece begins at {offset}, and {have} was next")));
                }
                *have += length(data.len());
                if *have > whole {
                    let problem = format!("{have} bytes came, and {whole} were promised");
                    return Err(Ended::ForGood(TransferError::Damaged { problem }));
                }
                if !data.is_empty() {
                    digest.update(&data);
                    let taken = to.pieces.send(Arrived::Piece(data)).await;
                    taken.map_err(|_| Ended::ForGood(TransferError::Stopped))?;
                    // How long the restore took for it is not the network's fault.
                    patience.renew();
                }
            }
            Some(Heard::Finish(finish)) => return confirm(&finish, whole, *have, &digest),
            // A kind that is newer than this library.
            None => {}
        }
    }
}

/// Compares what came with what the control plane says it sent.
fn confirm(finish: &DownloadFinish, whole: u64, have: u64, digest: &Sum) -> Result<(), Ended> {
    let damaged = |problem: String| Err(Ended::ForGood(TransferError::Damaged { problem }));
    if finish.length != whole || have != whole {
        return damaged(format!("{have} of {} bytes came, and {whole} were promised", finish.length));
    }
    if finish.digest != digest.digest() {
        return damaged("its digest differs".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
