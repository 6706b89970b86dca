//! Backups and restores over real connections, against a scripted control plane: see `support/peer.rs`. What takes time is tested
//! where time can be paused, beside the code.
// Helpers of tests may do what tests may.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic)]

#[allow(dead_code)] // other tests use the rest of it
#[path = "support/peer.rs"]
mod peer;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use peer::{PATIENCE, Peer, Session, Uploading};
use seaworthy_client::{
    Agent, Component,
    backup::{self, Backup, CaptureWriter, Evidence, Inspection, RestoreReader, Restored},
    proto::seaworthy::v1::{
        CancelDirective, Capability, CaptureDirective, CaptureScope, CaptureSettings, CloseReason, Directive,
        DirectiveState, InspectDirective, QuiesceDirective, RestoreDirective, ResumeDirective, UploadDone,
        UploadFinish, UploadOpened, UploadProgress, attach_response::Message as Say, directive::Ask,
        open_session::How, upload_request::Message as Up, upload_response::Message as Answer,
    },
};
use tokio::{sync::watch, time::timeout};

fn agent(peer: &Peer, component: Component) -> Agent {
    let builder = Agent::builder(peer.url(), "orders").instance_id("orders-1");
    builder.component(component.interval(Duration::from_secs(60))).attach().expect("attach")
}

fn capture(component: &str) -> Ask {
    Ask::Capture(CaptureDirective { component: component.to_owned(), ticket: "swt_1".to_owned() })
}

async fn opened(upload: &mut Uploading, offset: u64) {
    let Some(Up::Open(open)) = upload.next().await else { panic!("open is first") };
    assert_eq!(open.ticket, "swt_1");
    assert_eq!(open.instance.expect("who sends").incarnation, 3);
    upload.say(Answer::Opened(UploadOpened { offset })).await;
}

/// Takes pieces until this many bytes are there.
async fn pieces(upload: &mut Uploading, whole: &mut Vec<u8>, until: usize) {
    while whole.len() < until {
        let Some(Up::Data(data)) = upload.next().await else { panic!("a piece was expected") };
        assert_eq!(data.offset, u64::try_from(whole.len()).expect("small"));
        assert!(data.data.len() <= backup::PIECE_BYTES);
        whole.extend_from_slice(&data.data);
        let received_offset = u64::try_from(whole.len()).expect("small");
        upload.say(Answer::Progress(UploadProgress { received_offset, durable_offset: 0 })).await;
    }
}

async fn finished(upload: &mut Uploading) -> UploadFinish {
    let Some(Up::Finish(finish)) = upload.next().await else { panic!("the end was expected") };
    upload.say(Answer::Done(UploadDone { length: finish.length, new_bytes: 0, stored_bytes: 0 })).await;
    finish
}

/// A file, and what a test wrote into it: more than is kept at once.
fn file(folder: &tempfile::TempDir) -> (PathBuf, Vec<u8>) {
    let path = folder.path().join("state");
    let bytes: Vec<u8> = (0_u32..5 << 20).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&path, &bytes).expect("written");
    (path, bytes)
}

#[tokio::test]
async fn a_file_is_captured_over_two_connections_and_comes_back_over_two() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, bytes) = file(&folder);
    let mut peer = Peer::start().await;
    let state = Component::new("state").backup(backup::File::new(&path)).capture_from_each().pages(8192);
    let _agent = agent(&peer, state);
    let (mut session, open) = peer.registered(3, "sws_1").await;
    assert!(open.takes_directives);
    let Some(How::Register(register)) = open.how else { panic!("a registration") };
    let declared = &register.registration.expect("who registers").components[0];
    let expected = [Capability::Health, Capability::Backup, Capability::Restore];
    assert!(declared.capabilities().eq(expected));
    let settings =
        CaptureSettings { page_bytes: 8192, scope: CaptureScope::Each.into(), ..Default::default() };
    assert_eq!(declared.capture, Some(settings));

    session.ask("d-1", capture("state")).await;
    session.directive("d-1", DirectiveState::Received).await;
    let mut upload = peer.upload().await;
    opened(&mut upload, 0).await;
    let mut whole = Vec::new();
    pieces(&mut upload, &mut whole, 7 << 20).await;
    drop(upload);
    let mut upload = peer.upload().await;
    opened(&mut upload, u64::try_from(whole.len()).expect("small")).await;
    pieces(&mut upload, &mut whole, bytes.len()).await;
    let finish = finished(&mut upload).await;
    assert_eq!(finish.evidence["bytes"], bytes.len().to_string());
    assert_eq!(
        finish.digest,
        crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &bytes).to_be_bytes()[..]
    );
    assert!(whole == bytes, "every byte arrived in its place");
    session.directive("d-1", DirectiveState::Done).await;

    std::fs::remove_file(&path).expect("destroyed");
    session.ask("d-2", Ask::Inspect(InspectDirective { components: vec!["state".to_owned()] })).await;
    let found = session.directive("d-2", DirectiveState::Done).await;
    assert!(found.inspections[0].empty);
    session.ask("d-3", restore("state", bytes.len())).await;
    let download = peer.download().await;
    assert_eq!((download.ask.offset, download.ask.ticket.as_str()), (0, "swt_2"));
    let half = bytes.len() / 2;
    download.send(0, &bytes[..half]).await;
    download.refuse(tonic::Status::unavailable("restarts")).await;
    let download = peer.download().await;
    let offset = usize::try_from(download.ask.offset).expect("small");
    assert!(offset <= half, "{offset}");
    download.send(download.ask.offset, &bytes[offset..]).await;
    download.finish(u64::try_from(bytes.len()).expect("small"), &bytes[offset..]).await;
    let done = session.directive("d-3", DirectiveState::Done).await;
    assert!(done.verification.ends_with("has 20971520 bytes"), "{}", done.verification);
    assert!(std::fs::read(&path).expect("it is back") == bytes);
}

fn restore(component: &str, length: usize) -> Ask {
    Ask::Restore(RestoreDirective {
        component: component.to_owned(),
        ticket: "swt_2".to_owned(),
        backup_id: "b-1".to_owned(),
        source_component: component.to_owned(),
        length: u64::try_from(length).expect("small"),
        verify: true,
        ..RestoreDirective::default()
    })
}

#[tokio::test]
async fn a_damaged_download_leaves_what_was_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    std::fs::write(&path, "old").expect("written");
    let mut peer = Peer::start().await;
    let _agent = agent(&peer, Component::new("state").backup(backup::File::new(&path)));
    let (mut session, _) = peer.registered(3, "sws_1").await;
    session.ask("d-1", restore("state", 4)).await;
    let download = peer.download().await;
    download.send(0, b"0123").await;
    download.finish(4, b"012x").await;
    let failed = session.directive("d-1", DirectiveState::Failed).await;
    assert_eq!(failed.message, "what came is not what was sent: its digest differs");
    assert_eq!(std::fs::read(&path).expect("it is there"), b"old");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left beside it");
}

/// Captures when it is let, and counts what it was asked.
struct Gated {
    gate: watch::Receiver<bool>,
    captures: Arc<AtomicU32>,
    held: Arc<AtomicU32>,
}

impl Backup for Gated {
    async fn capture(&self, into: &mut CaptureWriter) -> Result<Evidence, backup::Error> {
        self.captures.fetch_add(1, Ordering::Relaxed);
        self.gate.clone().wait_for(|open| *open).await?;
        into.write_bytes(vec![7; 100].into()).await?;
        Ok(Evidence::new())
    }

    async fn restore(&self, _: &mut RestoreReader, _: &Restored) -> Result<(), backup::Error> {
        Err("not here".into())
    }

    async fn quiesce(&self) -> Result<(), backup::Error> {
        self.held.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn resume(&self) -> Result<(), backup::Error> {
        self.held.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    async fn inspect(&self) -> Result<Inspection, backup::Error> {
        Err("locked".into())
    }
}

struct Gate {
    gate: watch::Sender<bool>,
    captures: Arc<AtomicU32>,
    held: Arc<AtomicU32>,
}

fn gated() -> (Component, Gate) {
    let (gate, wait) = watch::channel(false);
    let (captures, held) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
    let backup = Gated { gate: wait, captures: Arc::clone(&captures), held: Arc::clone(&held) };
    (Component::new("database").backup(backup).quiesces(), Gate { gate, captures, held })
}

async fn resumed(peer: &mut Peer, incarnation: u64, token: &str) -> Session {
    let mut session = peer.session().await;
    session.open().await;
    session.opened(incarnation, token).await;
    session
}

#[tokio::test]
async fn a_capture_outlives_its_session_and_is_told_again() {
    let mut peer = Peer::start().await;
    let (component, gate) = gated();
    let _agent = agent(&peer, component);
    let (mut session, _) = peer.registered(3, "sws_1").await;
    session.ask("d-1", capture("database")).await;
    session.directive("d-1", DirectiveState::Started).await;
    session.ask("d-1", capture("database")).await;
    session.directive("d-1", DirectiveState::Started).await;
    drop(session);
    let mut session = resumed(&mut peer, 3, "").await;
    session.directive("d-1", DirectiveState::Started).await;
    gate.gate.send_replace(true);
    let mut upload = peer.upload().await;
    opened(&mut upload, 0).await;
    let mut whole = Vec::new();
    pieces(&mut upload, &mut whole, 100).await;
    finished(&mut upload).await;
    session.directive("d-1", DirectiveState::Done).await;
    session.close(CloseReason::Draining, Some(Duration::ZERO)).await;
    let mut session = resumed(&mut peer, 3, "").await;
    session.directive("d-1", DirectiveState::Done).await;
    assert_eq!(gate.captures.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn nothing_goes_on_in_another_incarnation() {
    let mut peer = Peer::start().await;
    let (component, gate) = gated();
    let _agent = agent(&peer, component);
    let (mut session, _) = peer.registered(3, "sws_1").await;
    session.ask("d-1", capture("database")).await;
    session.directive("d-1", DirectiveState::Started).await;
    session.close(CloseReason::Removed, Some(Duration::ZERO)).await;
    let mut session = resumed(&mut peer, 4, "sws_2").await;
    // The gate is watched by nobody else than the component and its capture.
    let stopped = async {
        while gate.gate.receiver_count() > 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, stopped).await.expect("it is stopped");
    // Not known here: it is as new.
    gate.gate.send_replace(true);
    session.ask("d-1", Ask::Resume(ResumeDirective { hold_id: "h".to_owned() })).await;
    assert!(!session.directive("d-1", DirectiveState::Done).await.held);
}

#[tokio::test]
async fn what_is_too_late_or_unknown_is_refused_and_a_cancel_ends_what_runs() {
    let mut peer = Peer::start().await;
    let (component, gate) = gated();
    let _agent = agent(&peer, component);
    let (mut session, _) = peer.registered(3, "sws_1").await;
    let directive = |id: &str, generation, seconds: i64, ask| say(id, generation, seconds * 1000, ask);
    session.say(directive("d-1", 2, 30, Some(capture("database")))).await;
    session.directive("d-1", DirectiveState::Started).await;
    for (id, generation, seconds, ask, words) in [
        ("d-2", 1, 30, Some(capture("database")), "of generation 1, and the operation is at 2"),
        ("d-3", 2, 0, Some(capture("database")), "too late: it is not valid any more"),
        ("d-4", 2, 30, None, "this kind of directive is not known: the client library is older"),
        ("d-5", 2, 30, Some(capture("cash")), "there is no component `cash` that can be backed up"),
    ] {
        session.say(directive(id, generation, seconds, ask)).await;
        assert_eq!(session.directive(id, DirectiveState::Refused).await.message, words);
    }
    session.say(say("d-9", 2, 50, Some(capture("database")))).await;
    let late = session.directive("d-9", DirectiveState::Refused).await;
    assert_eq!(late.message, "too late: the component was busy until then");
    // Its turn comes when the one before has ended.
    session.say(directive("d-6", 2, 30, Some(capture("database")))).await;
    session.directive("d-6", DirectiveState::Received).await;
    let cancel = CancelDirective { directive_id: "d-1".to_owned() };
    session.say(directive("d-7", 2, 30, Some(Ask::Cancel(cancel)))).await;
    assert_eq!(session.directive("d-1", DirectiveState::Failed).await.message, "it was cancelled");
    session.directive("d-6", DirectiveState::Started).await;
    assert_eq!(gate.captures.load(Ordering::Relaxed), 2);
    session.ask("d-8", Ask::Inspect(InspectDirective { components: vec!["database".to_owned()] })).await;
    session.directive("d-8", DirectiveState::Refused).await;
}

fn say(id: &str, generation: u64, millis: i64, ask: Option<Ask>) -> Say {
    let nanos = i32::try_from(millis % 1000).expect("small") * 1_000_000;
    valid_for(id, generation, prost_types::Duration { seconds: millis / 1000, nanos }, ask)
}

fn valid_for(id: &str, generation: u64, time: prost_types::Duration, ask: Option<Ask>) -> Say {
    let (id, operation_id) = (id.to_owned(), "op-1".to_owned());
    Say::Directive(Directive { id, operation_id, generation, valid_for: Some(time), ask })
}

#[tokio::test]
async fn a_time_that_no_clock_can_show_is_for_ever_and_one_before_now_is_over() {
    let mut peer = Peer::start().await;
    let (component, gate) = gated();
    let _agent = agent(&peer, component);
    let (mut session, _) = peer.registered(3, "sws_1").await;
    let time = |seconds| prost_types::Duration { seconds, nanos: 0 };
    session.say(valid_for("d-1", 1, time(i64::MAX), Some(capture("database")))).await;
    session.directive("d-1", DirectiveState::Started).await;
    session.say(valid_for("d-2", 1, time(i64::MIN), Some(capture("database")))).await;
    session.directive("d-2", DirectiveState::Refused).await;
    gate.gate.send_replace(true);
    let mut upload = peer.upload().await;
    opened(&mut upload, 0).await;
    pieces(&mut upload, &mut Vec::new(), 100).await;
    finished(&mut upload).await;
    session.directive("d-1", DirectiveState::Done).await;
}

/// Captures in one long step, which nobody can end from outside, and counts how many do so at a time.
struct Blocking {
    told: Arc<AtomicBool>,
    at_once: Arc<AtomicU32>,
    most: Arc<AtomicU32>,
}

impl Backup for Blocking {
    async fn capture(&self, into: &mut CaptureWriter) -> Result<Evidence, backup::Error> {
        let at_once = self.at_once.fetch_add(1, Ordering::AcqRel) + 1;
        self.most.fetch_max(at_once, Ordering::AcqRel);
        while !self.told.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        // Long enough for whoever would not wait.
        for _ in 0..10_000 {
            std::thread::yield_now();
        }
        self.at_once.fetch_sub(1, Ordering::AcqRel);
        into.write_bytes(vec![7; 100].into()).await?;
        Ok(Evidence::new())
    }

    async fn restore(&self, _: &mut RestoreReader, _: &Restored) -> Result<(), backup::Error> {
        Err("not here".into())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn the_next_one_begins_only_when_the_one_that_was_cancelled_is_really_over() {
    let mut peer = Peer::start().await;
    let (told, at_once, most) = (Arc::default(), Arc::default(), Arc::<AtomicU32>::default());
    let blocking = Blocking { told: Arc::clone(&told), at_once, most: Arc::clone(&most) };
    let _agent = agent(&peer, Component::new("database").backup(blocking));
    let (mut session, _) = peer.registered(3, "sws_1").await;
    session.ask("d-1", capture("database")).await;
    session.directive("d-1", DirectiveState::Started).await;
    let inside = async {
        while most.load(Ordering::Acquire) == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, inside).await.expect("it begins");
    session.ask("d-2", capture("database")).await;
    session.directive("d-2", DirectiveState::Received).await;
    session.ask("d-3", Ask::Cancel(CancelDirective { directive_id: "d-1".to_owned() })).await;
    session.directive("d-1", DirectiveState::Failed).await;
    told.store(true, Ordering::Release);
    let mut upload = peer.upload().await;
    opened(&mut upload, 0).await;
    pieces(&mut upload, &mut Vec::new(), 100).await;
    finished(&mut upload).await;
    session.directive("d-2", DirectiveState::Done).await;
    assert_eq!(most.load(Ordering::Acquire), 1, "one at a time");
}

fn quiesce(hold_id: &str) -> Ask {
    let (components, hold_id) = (vec!["database".to_owned()], hold_id.to_owned());
    let lease = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    Ask::Quiesce(QuiesceDirective { components, hold_id, lease })
}

#[tokio::test]
async fn a_hold_ends_when_it_is_told_to_and_with_the_agent_and_so_does_a_capture() {
    let mut peer = Peer::start().await;
    let (component, gate) = gated();
    let agent = agent(&peer, component);
    let (mut session, _) = peer.registered(3, "sws_1").await;
    session.ask("d-1", quiesce("h-1")).await;
    session.directive("d-1", DirectiveState::Done).await;
    assert_eq!(gate.held.load(Ordering::Relaxed), 1);
    drop(session);
    let mut session = resumed(&mut peer, 3, "").await;
    session.ask("d-2", Ask::Resume(ResumeDirective { hold_id: "h-1".to_owned() })).await;
    assert!(session.directive("d-2", DirectiveState::Done).await.held);
    assert_eq!(gate.held.load(Ordering::Relaxed), 0);
    session.ask("d-3", quiesce("h-2")).await;
    session.directive("d-3", DirectiveState::Done).await;
    assert_eq!(gate.held.load(Ordering::Relaxed), 1);
    session.ask("d-4", capture("database")).await;
    session.directive("d-4", DirectiveState::Started).await;
    drop(agent);
    let gone_on = async {
        while gate.held.load(Ordering::Relaxed) > 0 || gate.gate.receiver_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, gone_on).await.expect("it goes on");
}
