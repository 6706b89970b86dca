use std::{sync::Arc, time::Duration};

use tokio::{
    io::AsyncWriteExt as _,
    sync::mpsc::Receiver,
    time::{advance, timeout},
};
use tonic::Status;

use super::*;
use crate::backup::sum::Sum;
use crate::{
    backup::{
        CaptureWriter, Evidence,
        carry::script::{Script, Uploading, script},
    },
    rt,
};

const MINUTE: Duration = Duration::from_secs(60);

fn open() -> UploadOpen {
    UploadOpen { ticket: "swt_1".to_owned(), ..UploadOpen::default() }
}

/// An upload of what is written, in pieces of four bytes of which sixteen are kept.
fn begin(carrier: &Script) -> (CaptureWriter, Arc<Pipe>, rt::Task<Result<UploadDone, TransferError>>) {
    let pipe = Arc::new(Pipe::new(16));
    let writer = CaptureWriter::cutting(Arc::clone(&pipe), 4);
    let (carrier, sent) = (carrier.clone(), Arc::clone(&pipe));
    let task = rt::spawn(async move { upload(&carrier, &open(), &sent).await });
    (writer, pipe, task)
}

async fn next(uploads: &mut Receiver<Uploading>) -> Uploading {
    timeout(MINUTE, uploads.recv()).await.expect("it comes").expect("it is open")
}

#[tokio::test(start_paused = true)]
async fn what_is_written_arrives_with_its_digest() {
    let (carrier, mut uploads, _down) = script();
    let (mut writer, pipe, mut task) = begin(&carrier);
    writer.expect_bytes(10);
    writer.write_all(b"0123456789").await.expect("room");
    let mut up = next(&mut uploads).await;
    let open = up.open(0).await;
    assert_eq!((open.ticket.as_str(), open.expected_length), ("swt_1", 10));
    assert_eq!([up.data(0).await, up.data(4).await].concat(), b"01234567");
    drop(writer);
    assert_eq!(up.data(8).await, b"89");
    assert!(pipe.finish(Evidence::new().with("rows", 3)));
    let finish = up.finish().await;
    assert_eq!((finish.length, &finish.digest[..]), (10, &Sum::of(b"0123456789")[..]));
    assert_eq!(finish.evidence["rows"], "3");
    up.received(10).await;
    up.done(10).await;
    assert_eq!(task.join().await.expect("no panic").expect("sent").length, 10);
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_gone_on_from_where_the_control_plane_is() {
    let (carrier, mut uploads, _down) = script();
    let (mut writer, pipe, mut task) = begin(&carrier);
    writer.write_all(b"0123456789ab").await.expect("room");
    let mut up = next(&mut uploads).await;
    up.open(0).await;
    up.data(0).await;
    up.data(4).await;
    up.received(4).await;
    drop(up);
    // It had a little more than it could say.
    let mut up = next(&mut uploads).await;
    up.open(6).await;
    assert_eq!([up.data(6).await, up.data(8).await].concat(), b"6789ab");
    up.received(12).await;
    drop(writer);
    assert!(pipe.finish(Evidence::new()));
    up.finish().await;
    // It breaks before the end was confirmed: it is said again.
    up.refuse(Status::unavailable("restarts")).await;
    let mut up = next(&mut uploads).await;
    up.open(12).await;
    let finish = up.finish().await;
    assert_eq!(&finish.digest[..], &Sum::of(b"0123456789ab")[..]);
    up.done(12).await;
    assert!(task.join().await.expect("no panic").is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_writer_waits_until_what_it_wrote_is_received() {
    let (carrier, mut uploads, _down) = script();
    let (mut writer, _pipe, _task) = begin(&carrier);
    let mut up = next_after(&mut uploads, writer.write_all(b"0123456789abcdef")).await;
    up.open(0).await;
    let mut writing = std::pin::pin!(writer.write_all(b"g"));
    for at in [0, 4, 8, 12] {
        assert!(timeout(MINUTE / 60, &mut writing).await.is_err(), "16 bytes are kept");
        up.data(at).await;
    }
    up.received(4).await;
    writing.await.expect("room");
}

async fn next_after(
    uploads: &mut Receiver<Uploading>,
    written: impl Future<Output = std::io::Result<()>>,
) -> Uploading {
    written.await.expect("room");
    next(uploads).await
}

#[tokio::test(start_paused = true)]
async fn what_is_not_kept_any_more_cannot_be_sent_again() {
    let (carrier, mut uploads, _down) = script();
    let (mut writer, _pipe, mut task) = begin(&carrier);
    let mut up = next_after(&mut uploads, writer.write_all(b"01234567")).await;
    up.open(0).await;
    up.data(0).await;
    up.data(4).await;
    up.received(8).await;
    drop(up);
    // Nothing is owed, so nothing is opened before there is more.
    assert!(timeout(MINUTE, uploads.recv()).await.is_err());
    writer.write_all(b"89ab").await.expect("room");
    next(&mut uploads).await.open(3).await;
    let error = task.join().await.expect("no panic").expect_err("it is gone");
    assert_eq!(error, TransferError::TooFarBack { wanted: 3, kept: 8 });
}

#[tokio::test(start_paused = true)]
async fn nobody_there_is_given_up_after_two_minutes_and_silence_too() {
    let (carrier, uploads, _down) = script();
    drop(uploads);
    let (mut writer, _pipe, mut task) = begin(&carrier);
    writer.write_all(b"0123").await.expect("room");
    let began = rt::now();
    let error = task.join().await.expect("no panic").expect_err("nobody is there");
    assert_eq!(error.to_string(), "nothing got through for 120s; the last try: no route");
    assert!(began.elapsed() > MINUTE && began.elapsed() <= 2 * MINUTE, "{:?}", began.elapsed());

    let (carrier, mut uploads, _down) = script();
    let (mut writer, _pipe, mut task) = begin(&carrier);
    let mut up = next_after(&mut uploads, writer.write_all(b"0123")).await;
    up.open(0).await;
    let began = rt::now();
    let ended = task.join().await.expect("no panic");
    assert!(matches!(ended, Err(TransferError::GaveUp { .. })), "{ended:?}");
    assert!(began.elapsed() <= 2 * MINUTE + Duration::from_secs(1), "{:?}", began.elapsed());
}

/// What it writes to may be slow: it says so by saying the same again.
#[tokio::test(start_paused = true)]
async fn a_control_plane_that_says_that_it_is_at_work_is_waited_for() {
    let (carrier, mut uploads, _down) = script();
    let (mut writer, pipe, mut task) = begin(&carrier);
    let mut up = next_after(&mut uploads, writer.write_all(b"0123")).await;
    up.open(0).await;
    up.data(0).await;
    drop(writer);
    assert!(pipe.finish(Evidence::new()));
    up.finish().await;
    for _ in 0..10 {
        advance(MINUTE).await;
        up.received(4).await;
        assert!(timeout(Duration::from_millis(1), task.join()).await.is_err());
    }
    up.done(4).await;
    assert_eq!(task.join().await.expect("no panic").expect("sent").length, 4);
}

#[tokio::test(start_paused = true)]
async fn a_capture_may_think_for_an_hour() {
    let (carrier, mut uploads, _down) = script();
    let (mut writer, pipe, mut task) = begin(&carrier);
    assert!(timeout(60 * MINUTE, uploads.recv()).await.is_err(), "there is nothing to say");
    let mut up = next_after(&mut uploads, writer.write_all(b"0123")).await;
    up.open(0).await;
    up.data(0).await;
    up.received(4).await;
    advance(MINUTE).await;
    up.refuse(Status::deadline_exceeded("nothing came for a minute")).await;
    assert!(timeout(60 * MINUTE, uploads.recv()).await.is_err(), "there is still nothing to say");
    let mut up = next_after(&mut uploads, writer.write_all(b"4567")).await;
    up.open(4).await;
    up.data(4).await;
    drop(writer);
    assert!(pipe.finish(Evidence::new()));
    up.finish().await;
    up.done(8).await;
    assert!(task.join().await.expect("no panic").is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_ends_it() {
    type Ending = fn(Uploading) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
    let endings: [(&str, Ending); 4] = [
        ("the control plane refused: FailedPrecondition: it has ended", |up| {
            Box::pin(up.refuse(Status::failed_precondition("it has ended")))
        }),
        ("the control plane made no sense: it spoke before the upload was open", |up| {
            Box::pin(async move { up.received(1).await })
        }),
        ("the control plane made no sense: it wants to go on at 9, and only 4 bytes were sent", |mut up| {
            Box::pin(async move { drop(up.open(9).await) })
        }),
        ("the control plane made no sense: it was done before the end", |mut up| {
            Box::pin(async move {
                up.open(0).await;
                up.done(4).await;
            })
        }),
    ];
    for (words, end) in endings {
        let (carrier, mut uploads, _down) = script();
        let (mut writer, _pipe, mut task) = begin(&carrier);
        end(next_after(&mut uploads, writer.write_all(b"0123")).await).await;
        let error = task.join().await.expect("no panic").expect_err("it cannot be");
        assert_eq!(error.to_string(), words);
    }
}
