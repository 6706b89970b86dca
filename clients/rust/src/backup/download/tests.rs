use std::time::Duration;

use tokio::{io::AsyncReadExt as _, sync::mpsc::Receiver, time::timeout};
use tonic::Status;

use super::*;
use crate::{
    backup::{
        RestoreReader,
        carry::script::{Downloading, Script, script},
        incoming,
    },
    rt,
};

const MINUTE: Duration = Duration::from_secs(60);

fn begin(carrier: &Script, whole: u64) -> (RestoreReader, rt::Task<Result<(), TransferError>>) {
    let (incoming, reader) = incoming();
    let carrier = carrier.clone();
    let ask = DownloadRequest { ticket: "swt_1".to_owned(), ..DownloadRequest::default() };
    (reader, rt::spawn(async move { download(&carrier, &ask, whole, incoming).await }))
}

async fn next(downloads: &mut Receiver<Downloading>) -> Downloading {
    timeout(MINUTE, downloads.recv()).await.expect("it comes").expect("it is open")
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_gone_on_from_what_came() {
    let (carrier, _up, mut downloads) = script();
    let (mut reader, mut task) = begin(&carrier, 8);
    let down = next(&mut downloads).await;
    assert_eq!((down.ask.offset, down.ask.ticket.as_str()), (0, "swt_1"));
    down.data(0, b"0123").await;
    down.refuse(Status::unavailable("restarts")).await;
    let down = next(&mut downloads).await;
    assert_eq!(down.ask.offset, 4);
    down.data(4, b"4567").await;
    drop(down);
    // All came, and nobody confirmed it.
    let mut whole = vec![0; 8];
    reader.read_exact(&mut whole).await.expect("it is there");
    let down = next(&mut downloads).await;
    assert_eq!(down.ask.offset, 8);
    let mut end = [0];
    assert!(timeout(MINUTE / 60, reader.read(&mut end)).await.is_err(), "it is not the end yet");
    down.finish(8, b"").await;
    assert_eq!(reader.read(&mut end).await.expect("confirmed"), 0);
    assert_eq!(whole, b"01234567");
    task.join().await.expect("no panic").expect("it came");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_what_was_sent_is_never_the_end() {
    type Script = fn(Downloading) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
    let scripts: [(&str, Script); 6] = [
        ("what came is not what was sent: its digest differs", |down| {
            Box::pin(async move { down.finish(4, b"012x").await })
        }),
        ("what came is not what was sent: 4 of 3 bytes came, and 4 were promised", |down| {
            Box::pin(async move { down.finish(3, b"0123").await })
        }),
        ("what came is not what was sent: 5 bytes came, and 4 were promised", |down| {
            Box::pin(async move { down.data(4, b"4").await })
        }),
        ("the control plane made no sense: a piece begins at 5, and 4 was next", |down| {
            Box::pin(async move { down.data(5, b"5").await })
        }),
        ("the control plane made no sense: a piece begins at 0, and 4 was next", |down| {
            Box::pin(async move { down.data(0, b"0").await })
        }),
        ("the control plane refused: DataLoss: damaged", |down| {
            Box::pin(down.refuse(Status::data_loss("damaged")))
        }),
    ];
    for (words, go_on) in scripts {
        let (carrier, _up, mut downloads) = script();
        let (mut reader, mut task) = begin(&carrier, 4);
        let down = next(&mut downloads).await;
        down.data(0, b"0123").await;
        go_on(down).await;
        let mut read = Vec::new();
        let error = reader.read_to_end(&mut read).await.expect_err("it is not the end");
        assert_eq!(error.to_string(), words);
        assert_eq!(task.join().await.expect("no panic").expect_err("it failed").to_string(), words);
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_stream_is_not_the_end() {
    let (carrier, _up, mut downloads) = script();
    let (mut reader, _task) = begin(&carrier, 8);
    let down = next(&mut downloads).await;
    down.data(0, b"0123").await;
    down.finish(8, b"0123").await;
    let mut read = Vec::new();
    let error = reader.read_to_end(&mut read).await.expect_err("half is missing");
    assert_eq!(error.to_string(), "what came is not what was sent: 4 of 8 bytes came, and 8 were promised");
}

#[tokio::test(start_paused = true)]
async fn silence_is_given_up_and_a_slow_restore_is_not() {
    let (carrier, _up, mut downloads) = script();
    let (mut reader, mut task) = begin(&carrier, 8);
    let down = next(&mut downloads).await;
    for _ in 0..2 {
        tokio::time::advance(MINUTE).await;
    }
    down.data(0, b"0123").await;
    let mut read = [0; 4];
    reader.read_exact(&mut read).await.expect("it is there");
    let began = rt::now();
    let error = task.join().await.expect("no panic").expect_err("nothing comes");
    assert!(matches!(error, TransferError::GaveUp { .. }), "{error:?}");
    assert!(began.elapsed() <= 2 * MINUTE + Duration::from_secs(1), "{:?}", began.elapsed());

    // What is not read fills the queue, and then the time does not run.
    let (carrier, _up, mut downloads) = script();
    let (mut reader, mut task) = begin(&carrier, 10);
    let down = next(&mut downloads).await;
    for at in 0..10 {
        down.data(at, b"x").await;
    }
    tokio::time::sleep(10 * MINUTE).await;
    down.finish(10, b"xxxxxxxxxx").await;
    let mut whole = Vec::new();
    reader.read_to_end(&mut whole).await.expect("all of it");
    assert_eq!(whole.len(), 10);
    task.join().await.expect("no panic").expect("it came");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_fetched_for_nobody() {
    let (carrier, _up, mut downloads) = script();
    let (reader, mut task) = begin(&carrier, 8);
    let down = next(&mut downloads).await;
    drop(reader);
    down.data(0, b"0123").await;
    assert_eq!(task.join().await.expect("no panic"), Err(TransferError::Stopped));
}
