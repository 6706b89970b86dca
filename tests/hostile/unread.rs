//! Answers that are asked for and not taken, small ones too.

use crate::{
    raw::{self, Raw, Said, call, frame, message, stream},
    victim::{MIB, Victim},
};

/// A window of nothing: no stream may send a byte.
fn no_window() -> Vec<u8> {
    frame(raw::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])
}

/// As many calls as may be open, whose answers may not be sent; then others, and so on.
#[tokio::test]
async fn small_answers_that_are_not_read_are_as_many_as_there_are_streams() {
    let victim = Victim::start().await;
    let harm = || async {
        let (mut raw, mut said) = (Raw::open(victim.grpc).await, Said::default());
        raw.send(&no_window()).await.unwrap();
        for n in 0..128 {
            let ask = [call(stream(n), "/seaworthy.v1.SystemService/GetConfig"), message(stream(n), &[])];
            raw.send(&ask.concat()).await.unwrap();
        }
        raw.until(&mut said, |said| said.heads == 128).await;
        // They wait for a window; one more has no place.
        raw.send(&call(stream(128), "/seaworthy.v1.SystemService/GetConfig")).await.unwrap();
        raw.until(&mut said, |said| said.resets == [raw::REFUSED_STREAM]).await;
    };
    victim.good.beside(harm).await;
    victim.unharmed(24 * MIB).await;
}
