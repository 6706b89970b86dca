//! Signs of life on a stream, with a window of them unacknowledged: the same loop for both sides.

use prost::Message;

use super::{Result, load::Meter, wire::Call};

/// Keeps `window` requests unacknowledged until the meter stops, and counts each when it is
/// acknowledged.
///
/// `request` makes the request of a sequence, counted from 1. `acknowledged` says from an answer, and
/// what was acknowledged before, up to which sequence all are acknowledged now.
///
/// # Errors
/// The stream ended, or what is acknowledged was never sent.
pub(crate) async fn keep<Q: Message, A: Message + Default>(
    meter: Meter,
    window: u64,
    mut call: Call,
    request: impl Fn(u64) -> Q,
    acknowledged: impl Fn(&A, u64) -> Result<u64>,
) -> Result<()> {
    let (mut sent, mut heard) = (0, 0);
    while meter.running() {
        while sent - heard < window {
            sent += 1;
            call.send(&request(sent))?;
        }
        let now = acknowledged(&call.answer().await?, heard)?;
        if now < heard || now > sent {
            return Err(format!("{now} acknowledged after {heard}, with {sent} sent").into());
        }
        meter.answered(now - heard);
        heard = now;
    }
    Ok(())
}
