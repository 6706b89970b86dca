use std::{
    future::{Future, pending},
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::{
    Component,
    backup::{
        Backup, Inspection, RestoreReader,
        carry::script::{Script, script},
    },
};

type Failed = backup::Error;

fn part(backup: impl Backup) -> Part {
    Component::new("database").backup(backup).part().expect("a backup")
}

fn capturing<F>(capture: impl Fn(CaptureWriter) -> F + Send + Sync + 'static) -> Part
where
    F: Future<Output = Result<Evidence, Failed>> + Send + 'static,
{
    let component = Component::new("database").backup_with(capture, |_, _| async { Ok(()) });
    component.part().expect("a backup")
}

/// A turn that nobody else waits for.
async fn turn() -> Turn {
    Arc::new(Arc::<tokio::sync::Mutex<()>>::default().lock_owned().await)
}

fn captured(carrier: &Script, part: Part) -> rt::Task<Outcome> {
    let carrier = carrier.clone();
    rt::spawn(async move { capture(&carrier, &part, &UploadOpen::default(), &turn().await).await })
}

fn failed(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed(why) => why,
        other => panic!("a failure was expected, not {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_capture_that_fails_ends_without_an_end() {
    let kept: Arc<Mutex<Option<CaptureWriter>>> = Arc::default();
    let takes = {
        let kept = Arc::clone(&kept);
        move |into| {
            *kept.lock() = Some(into);
            async { Ok(Evidence::new()) }
        }
    };
    let fails = |mut into: CaptureWriter| async move {
        into.write_all(&[7; 3 << 20]).await?;
        Err("the disk is gone".into())
    };
    let panics = |mut into: CaptureWriter| async move {
        into.write_all(&[7; 3 << 20]).await?;
        panic!("on purpose")
    };
    let taken = "the capture answered while its writer was still in use";
    for (words, part, writes) in [
        ("the disk is gone", capturing(fails), true),
        ("the capture panicked: on purpose", capturing(panics), true),
        (taken, capturing(takes), false),
    ] {
        let (carrier, mut uploads, _down) = script();
        let mut task = captured(&carrier, part);
        assert_eq!(failed(task.join().await.expect("no panic")), words);
        if writes && let Ok(mut up) = uploads.try_recv() {
            while let Some(message) = up.next().await {
                let is_end =
                    matches!(message, crate::proto::seaworthy::v1::upload_request::Message::Finish(_));
                assert!(!is_end, "{words}");
            }
        }
    }
    let mut kept = kept.lock().take().expect("it was taken");
    assert!(kept.write_all(b"more").await.is_err(), "it hears that it is over");
}

#[tokio::test(start_paused = true)]
async fn a_capture_is_done_when_the_control_plane_says_so() {
    let (carrier, mut uploads, _down) = script();
    let writes = |mut into: CaptureWriter| async move {
        into.write_all(b"0123").await?;
        Ok(Evidence::new().with("rows", 1))
    };
    let mut task = captured(&carrier, capturing(writes));
    let mut up = uploads.recv().await.expect("it comes");
    up.open(0).await;
    assert_eq!(up.data(0).await, b"0123");
    assert_eq!(up.finish().await.evidence["rows"], "1");
    up.done(4).await;
    assert!(matches!(task.join().await.expect("no panic"), Outcome::Done(_)));
}

#[tokio::test(start_paused = true)]
async fn a_capture_that_cannot_be_sent_is_stopped() {
    let (carrier, mut uploads, _down) = script();
    let (alive, gone) = tokio::sync::oneshot::channel::<()>();
    let alive = Mutex::new(Some(alive));
    let endless = move |mut into: CaptureWriter| {
        let alive = alive.lock().take();
        async move {
            let _alive = alive;
            loop {
                into.write_all(&[7; 1 << 20]).await?;
            }
        }
    };
    let mut task = captured(&carrier, capturing(endless));
    let up = uploads.recv().await.expect("it comes");
    up.refuse(tonic::Status::failed_precondition("the operation has ended")).await;
    let why = failed(task.join().await.expect("no panic"));
    assert_eq!(
        why,
        "it could not be sent: the control plane refused: FailedPrecondition: the operation has ended"
    );
    assert!(gone.await.is_err(), "nothing goes on");
}

/// Restores into memory.
#[derive(Default)]
struct Memory {
    found: Arc<Mutex<Option<String>>>,
    half: bool,
    broken: AtomicBool,
}

impl Backup for Memory {
    async fn capture(&self, _: &mut CaptureWriter) -> Result<Evidence, Failed> {
        Ok(Evidence::new())
    }

    async fn restore(&self, from: &mut RestoreReader, what: &Restored) -> Result<(), Failed> {
        let mut text = String::new();
        if self.half {
            from.take(what.length).read_to_string(&mut text).await?;
            return Ok(());
        }
        from.read_to_string(&mut text).await?;
        let Restored { backup_id, evidence, source_component, .. } = what;
        let rows = evidence.get("rows").unwrap_or("no");
        *self.found.lock() = Some(format!("{text} of {source_component} in {backup_id}, {rows} rows"));
        Ok(())
    }

    async fn verify(&self) -> Result<String, Failed> {
        match self.broken.load(Ordering::Relaxed) {
            true => Err("a row is missing".into()),
            false => Ok("all is well".to_owned()),
        }
    }
}

async fn restored(memory: Memory, sent: &'static [u8]) -> Outcome {
    let (carrier, _up, mut downloads) = script();
    let ask = RestoreDirective {
        component: "database".into(),
        ticket: "swt_1".into(),
        backup_id: "b-1".into(),
        source_component: "db".into(),
        length: 4,
        evidence: [("rows".to_owned(), "1".to_owned())].into(),
        verify: true,
    };
    let part = part(memory);
    let mut task =
        rt::spawn(async move { restore(&carrier, &part, InstanceRef::default(), ask, &turn().await).await });
    let down = downloads.recv().await.expect("it comes");
    assert_eq!(down.ask.ticket, "swt_1");
    down.data(0, b"0123").await;
    down.finish(4, sent).await;
    task.join().await.expect("no panic")
}

#[tokio::test(start_paused = true)]
async fn a_restore_is_verified_when_it_came_whole() {
    let memory = Memory::default();
    let found = Arc::clone(&memory.found);
    let Outcome::Done(report) = restored(memory, b"0123").await else { panic!("it came") };
    assert_eq!(report.verification, "all is well");
    assert_eq!(found.lock().as_deref(), Some("0123 of db in b-1, 1 rows"));

    let memory = Memory::default();
    let found = Arc::clone(&memory.found);
    let why = failed(restored(memory, b"012x").await);
    assert_eq!(why, "what came is not what was sent: its digest differs");
    assert_eq!(*found.lock(), None, "nothing is put in place");

    let half = Memory { half: true, ..Memory::default() };
    assert_eq!(failed(restored(half, b"0123").await), "the restore ended before it had read everything");
    let broken = Memory { broken: true.into(), ..Memory::default() };
    let why = failed(restored(broken, b"0123").await);
    assert_eq!(why, "it was restored, and does not work: a row is missing");
}

struct Inspected(Result<Inspection, &'static str>, bool);

impl Backup for Inspected {
    async fn capture(&self, _: &mut CaptureWriter) -> Result<Evidence, Failed> {
        Ok(Evidence::new())
    }

    async fn restore(&self, _: &mut RestoreReader, _: &Restored) -> Result<(), Failed> {
        Ok(())
    }

    async fn inspect(&self) -> Result<Inspection, Failed> {
        if self.1 {
            pending::<()>().await;
        }
        Ok(self.0?)
    }
}

#[tokio::test(start_paused = true)]
async fn who_cannot_say_what_it_holds_is_left_out() {
    let named = |name: &str, inspected| (name.to_owned(), part(inspected));
    let Outcome::Done(report) = inspect(vec![
        named("a", Inspected(Ok(Inspection::holds(7).schema_version(2)), false)),
        named("b", Inspected(Err("locked"), false)),
        named("c", Inspected(Ok(Inspection::empty()), true)),
        named("d", Inspected(Ok(Inspection::unknown()), false)),
    ])
    .await
    else {
        panic!("it is done")
    };
    assert_eq!(report.inspections.len(), 1);
    assert_eq!((report.inspections[0].component.as_str(), report.inspections[0].bytes), ("a", 7));
    assert_eq!(report.message, "`b`: locked; `c`: no answer within 10s");
}

/// Where a component hangs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    /// A capture, before it has written anything.
    Begin,
    /// A capture that waits for something of its own in the middle, or a restore.
    Middle,
    /// A restore that has read everything.
    End,
    Verification,
}

/// Hangs, and holds what tells that it is gone.
struct Hangs(At, Mutex<Option<tokio::sync::oneshot::Sender<()>>>);

impl Hangs {
    fn at(at: At) -> (Part, tokio::sync::oneshot::Receiver<()>) {
        let (alive, gone) = tokio::sync::oneshot::channel();
        let hangs = Self(at, Mutex::new(Some(alive)));
        (Component::new("d").backup(hangs).stalls_after(10 * MINUTE).part().expect("a backup"), gone)
    }

    async fn when(&self, at: At) {
        if self.0 == at {
            let _alive = self.1.lock().take();
            pending::<()>().await;
        }
    }
}

impl Backup for Hangs {
    async fn capture(&self, into: &mut CaptureWriter) -> Result<Evidence, Failed> {
        self.when(At::Begin).await;
        for _ in 0..3 {
            into.write_all(&[7; 1 << 20]).await?;
            // Slow is not hung.
            tokio::time::sleep(9 * MINUTE).await;
        }
        self.when(At::Middle).await;
        Ok(Evidence::new())
    }

    async fn restore(&self, from: &mut RestoreReader, _: &Restored) -> Result<(), Failed> {
        for _ in 0..3 {
            from.read_u8().await?;
            tokio::time::sleep(9 * MINUTE).await;
        }
        self.when(At::Middle).await;
        from.read_to_end(&mut Vec::new()).await?;
        self.when(At::End).await;
        Ok(())
    }

    async fn verify(&self) -> Result<String, Failed> {
        self.when(At::Verification).await;
        Ok(String::new())
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const HANGS: &str = "hangs, and was dropped: it has neither moved a byte nor answered for 600s; look why, or give it longer by stalls_after";

#[tokio::test(start_paused = true)]
async fn a_capture_that_hangs_is_dropped_and_says_so() {
    for (at, longest) in [(At::Begin, 10 * MINUTE), (At::Middle, 29 * MINUTE)] {
        let (carrier, mut uploads, _down) = script();
        let (part, gone) = Hangs::at(at);
        let began = rt::now();
        let mut task = captured(&carrier, part);
        let taking = async {
            let Some(mut up) = uploads.recv().await else { return };
            up.open(0).await;
            let mut received = 0;
            while let Some(crate::proto::seaworthy::v1::upload_request::Message::Data(data)) = up.next().await
            {
                received = data.offset + u64::try_from(data.data.len()).expect("small");
                up.received(received).await;
            }
            assert_eq!(received, 3 << 20, "and no end");
        };
        let ended = async {
            let ended = task.join().await.expect("no panic");
            drop(carrier);
            ended
        };
        let (outcome, ()) = tokio::join!(ended, taking);
        assert_eq!(failed(outcome), format!("the capture {HANGS}"), "{at:?}");
        assert!(began.elapsed() <= longest, "{at:?}: {:?}", began.elapsed());
        assert!(gone.await.is_err(), "it is gone");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_hangs_is_dropped_and_says_so() {
    for (at, what) in [
        (At::Middle, "the restore"),
        (At::End, "the restore"),
        (At::Verification, "it was restored, and the verification"),
    ] {
        let (carrier, _up, mut downloads) = script();
        let (part, gone) = Hangs::at(at);
        let ask = RestoreDirective { length: 4, verify: true, ..RestoreDirective::default() };
        let began = rt::now();
        let mut task =
            rt::spawn(
                async move { restore(&carrier, &part, InstanceRef::default(), ask, &turn().await).await },
            );
        let down = downloads.recv().await.expect("it comes");
        down.data(0, b"0123").await;
        down.finish(4, b"0123").await;
        let outcome = task.join().await.expect("no panic");
        assert_eq!(failed(outcome), format!("{what} {HANGS}"), "{at:?}");
        assert!(began.elapsed() <= 40 * MINUTE, "{at:?}: {:?}", began.elapsed());
        assert!(gone.await.is_err(), "it is gone");
    }
}
