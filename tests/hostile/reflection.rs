//! The largest answers that anybody may ask for without proving anything: the descriptors.

use crate::{
    raw::{self, Raw, Said, call, frame, stream},
    victim::{MIB, Victim},
};

/// Asks for the file of a symbol, as a message in a frame.
fn question(id: u32) -> Vec<u8> {
    let symbol = b"seaworthy.v1.FleetService";
    let length = u8::try_from(symbol.len()).unwrap();
    let message = [&[0x22, length], symbol.as_slice()].concat();
    let framed = [&[0, 0, 0, 0, length + 2], message.as_slice()].concat();
    frame(raw::DATA, 0, id, &framed)
}

/// Ten questions of 32 bytes on each stream, whose answers of tens of KiB nobody reads.
#[tokio::test]
async fn questions_whose_answers_nobody_reads_are_bounded() {
    for path in
        ["v1", "v1alpha"].map(|v| format!("/grpc.reflection.{v}.ServerReflection/ServerReflectionInfo"))
    {
        let victim = Victim::start().await;
        let harm = || async {
            let (mut raw, mut said) = (Raw::open(victim.grpc).await, Said::default());
            raw.send(&frame(raw::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).await.unwrap();
            for n in 0..100 {
                let questions = question(stream(n)).repeat(10);
                raw.send(&[call(stream(n), &path), questions].concat()).await.unwrap();
            }
            raw.send(&frame(raw::PING, 0, 0, &[0; 8])).await.unwrap();
            raw.until(&mut said, |said| said.pongs == 1 && said.heads > 90).await;
        };
        victim.good.beside(harm).await;
        victim.unharmed(64 * MIB).await;
    }
}
