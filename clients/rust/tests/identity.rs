//! What proves who an instance is, against a scripted control plane over TLS: what is trusted and what is not, what is
//! said of it, and that renewing it costs nothing.
// Helpers of tests may do what tests may.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::expect_used, clippy::panic)]

#[path = "support/encrypted.rs"]
mod encrypted;
#[allow(dead_code)] // other tests use the rest of it
#[path = "support/peer.rs"]
mod peer;

use std::{collections::HashMap, fs, io, path::PathBuf, sync::Arc, time::Duration};

use encrypted::{Authority, For, Pair, over, server};
use peer::{PATIENCE, Peer, Place, Session};
use rustls::ServerConfig;
use seaworthy_client::{
    Agent, Builder, Component, LeaveOutcome, Report, Status, Tls, Token,
    proto::seaworthy::v1::{CloseReason, OpenSession, attach_request::Message as Said, open_session::How},
};
use tempfile::TempDir;
use tokio::{sync::watch, time::timeout};
use tonic::Code;
use tonic_types::{ErrorDetails, StatusExt as _};

/// An authority, a control plane that it has issued a certificate to, and a folder for what clients need.
struct Scene {
    authority: Authority,
    configuration: watch::Sender<Arc<ServerConfig>>,
    place: Place,
    peer: Peer,
    folder: TempDir,
}

impl Scene {
    /// A control plane that has this certificate and asks for none.
    async fn with(authority: Authority, pair: &Pair) -> Self {
        let (configuration, newest) = watch::channel(server(&pair.certificate, &pair.key, None));
        let place = Place::reserve();
        let peer = Peer::start_over(&place, over(newest)).await;
        let folder = tempfile::tempdir().expect("a folder");
        let scene = Self { authority, configuration, place, peer, folder };
        scene.write("ca.pem", &scene.authority.pem);
        scene
    }

    async fn start() -> Self {
        let authority = Authority::new("a test's");
        let pair = authority.issue(For::Server, &["127.0.0.1", "seaworthy.internal"]);
        Self::with(authority, &pair).await
    }

    /// From the next connection on it wants a certificate of this authority.
    fn wants_certificates_of(&self, authority: &Authority) {
        let pair = self.authority.issue(For::Server, &["127.0.0.1"]);
        self.configuration.send_replace(server(&pair.certificate, &pair.key, Some(&authority.pem)));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a file in its place at one moment.
    fn write(&self, name: &str, text: &str) {
        fs::write(self.path("new"), text).expect("written");
        fs::rename(self.path("new"), self.path(name)).expect("renamed");
    }

    /// The key first: who reads between the two sees that they do not belong together.
    fn write_pair(&self, pair: &Pair) {
        self.write("own.key", &pair.key);
        self.write("own.pem", &pair.certificate);
    }

    fn url(&self) -> String {
        self.place.url().replace("http://", "https://")
    }

    fn tls(&self) -> Tls {
        Tls::new().ca_file(self.path("ca.pem"))
    }

    fn builder(&self, tls: Tls) -> Builder {
        Agent::builder(self.url(), "orders").instance_id("orders-1").tls(tls)
    }

    fn with_certificate(&self) -> Builder {
        self.builder(self.tls().identity(self.path("own.pem"), self.path("own.key")))
    }
}

async fn wait_for(agent: &Agent, condition: impl FnMut(&Status) -> bool) -> Status {
    let mut status = agent.status();
    timeout(PATIENCE, status.wait_for(condition)).await.expect("in time").expect("open").clone()
}

/// Why it is not attached.
async fn trouble(agent: &Agent) -> String {
    match wait_for(agent, |status| matches!(status, Status::Waiting { .. })).await {
        Status::Waiting { last_error, .. } => last_error,
        other => panic!("not attached was expected, not {other:?}"),
    }
}

fn resumes(open: &OpenSession) -> Option<(u64, &str)> {
    match &open.how {
        Some(How::Resume(resume)) => {
            Some((resume.instance.as_ref().expect("who").incarnation, &resume.session_token))
        }
        _ => None,
    }
}

/// Takes messages until something is reported.
async fn reported(session: &mut Session) {
    while session.health().await.reports.is_empty() {}
}

/// Answers heartbeats until the client is gone.
async fn until_gone(mut session: Session) {
    while let Some(said) = session.next().await {
        if let Said::Heartbeat(heartbeat) = said {
            session.ack(heartbeat.sequence).await;
        }
    }
}

#[tokio::test]
async fn attaches_encrypted_and_proves_itself_on_every_call() {
    let mut scene = Scene::start().await;
    scene.write("token", "swt_first\n");
    let agent = scene.builder(scene.tls()).token(Token::file(scene.path("token"))).attach().expect("attach");
    let (session, _) = scene.peer.registered(3, "sws_1").await;
    assert_eq!(session.authorization.as_deref(), Some("Bearer swt_first"));
    assert_eq!(agent.attached().await, Ok(3));
    session.close(CloseReason::Draining, Some(Duration::ZERO)).await;
    // What is read is read anew.
    scene.write("token", "swt_second");
    let (session, open) = scene.peer.registered(3, "").await;
    assert_eq!(session.authorization.as_deref(), Some("Bearer swt_second"));
    assert_eq!(resumes(&open), Some((3, "sws_1")));
    drop(session);
    assert_eq!(agent.leave("done").await, LeaveOutcome::Deregistered);
    let (by, _) = scene.peer.deregistered_by().await;
    assert_eq!(by.as_deref(), Some("Bearer swt_second"));
}

#[tokio::test]
async fn who_is_not_trusted_is_told_plainly() {
    let own = Authority::new("a test's");
    let names = ["127.0.0.1"];
    let past = own.issue(For::PastServer, &names);
    let client = own.issue(For::Client, &names);
    let elsewhere = own.issue(For::Server, &["orders.internal", "10.0.0.7"]);
    let stranger = Authority::new("a stranger's").issue(For::Server, &names);
    for (pair, expected) in [
        (stranger, "the certificate of 127.0.0.1 is not issued by the given authority"),
        (past, "the certificate of 127.0.0.1 has expired"),
        (elsewhere, "the certificate of 127.0.0.1 is for orders.internal, 10.0.0.7"),
        (client, "the certificate of 127.0.0.1 is not one of a server"),
    ] {
        let authority = Authority::new("a test's");
        let mut scene = Scene::with(authority, &pair).await;
        scene.write("ca.pem", &own.pem);
        let agent = scene.builder(scene.tls()).token(Token::new("swt_hidden")).attach().expect("attach");
        let told = trouble(&agent).await;
        assert!(told.contains(expected), "{expected}: {told}");
        assert!(told.starts_with("cannot reach the control plane at https://127.0.0.1:"), "{told}");
        drop(agent);
        assert!(timeout(Duration::from_millis(50), scene.peer.session()).await.is_err(), "nothing was said");
    }
}

#[tokio::test]
async fn another_name_can_be_the_right_one() {
    let mut scene = Scene::start().await;
    let tls = || Tls::new().ca_pem(&scene.authority.pem);
    let wrong = scene.builder(tls().server_name("payments.internal")).attach().expect("attach");
    let told = trouble(&wrong).await;
    assert!(
        told.contains("the certificate of payments.internal is for 127.0.0.1, seaworthy.internal"),
        "{told}"
    );
    let right = scene.builder(tls().server_name("seaworthy.internal")).attach().expect("attach");
    let (_session, _) = scene.peer.registered(1, "sws_1").await;
    assert_eq!(right.attached().await, Ok(1));
}

#[tokio::test]
async fn who_speaks_no_tls_is_told_so() {
    let peer = Peer::start().await;
    let url = peer.url().replace("http://", "https://");
    let pem = Authority::new("a test's").pem;
    let agent = Agent::builder(url, "orders").tls(Tls::new().ca_pem(pem)).attach().expect("attach");
    let told = trouble(&agent).await;
    assert!(told.contains("TLS"), "{told}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_missed_and_judged() {
    let mut scene = Scene::start().await;
    scene.wants_certificates_of(&scene.authority);
    // In TLS 1.3 the client thinks that all is well by the time that it is refused.
    let without = scene.builder(scene.tls()).attach().expect("attach");
    let told = trouble(&without).await;
    assert!(told.contains("client certificate"), "{told}");
    assert_eq!(without.leave("").await, LeaveOutcome::NotRegistered, "nothing was done");

    scene.write_pair(&Authority::new("a stranger's").issue(For::Client, &["orders"]));
    let stranger = scene.with_certificate().attach().expect("attach");
    let told = trouble(&stranger).await;
    assert!(told.contains("client certificate"), "{told}");
    // One that counts, put in its place, is enough.
    scene.write_pair(&scene.authority.issue(For::Client, &["orders"]));
    let (_session, _) = scene.peer.registered(4, "sws_1").await;
    assert_eq!(timeout(PATIENCE, stranger.attached()).await.expect("in time"), Ok(4));
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let scene = Scene::start().await;
    let pair = |scene: &Scene| scene.authority.issue(For::Client, &["orders"]);
    let (one, other) = (pair(&scene), pair(&scene));
    let told = async |builder: Builder| trouble(&builder.attach().expect("attach")).await;
    let missing = told(scene.builder(Tls::new().ca_file(scene.path("nowhere.pem")))).await;
    assert!(missing.contains("cannot read the authorities") && missing.contains("nowhere.pem"), "{missing}");
    let missing = told(scene.builder(scene.tls()).token(Token::file(scene.path("nowhere")))).await;
    assert!(missing.contains("cannot read the token file"), "{missing}");
    scene.write("own.pem", &one.certificate);
    scene.write("own.key", &other.key);
    let mismatch = told(scene.with_certificate()).await;
    assert!(mismatch.contains("own.key does not belong to the certificate"), "{mismatch}");
    scene.write("own.key", "-----BEGIN PRIVATE KEY-----\nhidden\n-----END PRIVATE KEY-----\n");
    let broken = told(scene.with_certificate()).await;
    assert!(broken.contains("own.key has no private key") && !broken.contains("hidden"), "{broken}");
    scene.write("own.pem", "hidden");
    let broken = told(scene.with_certificate()).await;
    assert!(broken.contains("own.pem has no certificate in PEM") && !broken.contains("hidden"), "{broken}");
}

/// The whole of a renewal: the new connection is there before the old one is let go of.
#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_gap() {
    let mut scene = Scene::start().await;
    scene.wants_certificates_of(&scene.authority);
    scene.write_pair(&scene.authority.issue(For::Client, &["orders"]));
    let builder = scene.with_certificate().component(Component::new("cache"));
    let agent = builder.attach().expect("attach");
    let (mut old, _) = scene.peer.registered(7, "sws_1").await;
    assert_eq!(agent.attached().await, Ok(7));
    agent.push("cache", Report::healthy()).expect("known");
    reported(&mut old).await;
    let mut status = agent.status();
    status.mark_unchanged();

    scene.write_pair(&scene.authority.issue(For::Client, &["orders"]));
    // The old one goes on while the new one is opened.
    let mut new = tokio::select! {
        new = scene.peer.session() => new,
        () = until_gone(old) => panic!("the old session ended before there was a new one"),
    };
    let open = new.open().await;
    assert_eq!(resumes(&open), Some((7, "sws_1")));
    new.opened(7, "").await;
    // Everything is said again there, and nobody noticed.
    reported(&mut new).await;
    assert!(!status.has_changed().expect("open"), "{:?}", *status.borrow());
    drop(new);
    drop(agent);
}

#[tokio::test]
async fn being_superseded_by_oneself_is_no_reason_to_give_up() {
    let mut scene = Scene::start().await;
    scene.write("token", "swt_first");
    let agent = scene.builder(scene.tls()).token(Token::file(scene.path("token"))).attach().expect("attach");
    let (old, _) = scene.peer.registered(7, "sws_1").await;
    assert_eq!(agent.attached().await, Ok(7));
    scene.write("token", "swt_second");
    let mut new = tokio::select! {
        new = scene.peer.session() => new,
        () = tokio::time::sleep(PATIENCE) => panic!("it does not come again"),
    };
    assert_eq!(new.authorization.as_deref(), Some("Bearer swt_second"));
    // As the control plane does: the old one hears of it first, and the answer comes later, or never.
    new.open().await;
    old.close(CloseReason::Superseded, None).await;
    drop(new);
    let (new, open) = scene.peer.registered(7, "").await;
    assert_eq!(resumes(&open), Some((7, "sws_1")));
    wait_for(&agent, |status| *status == Status::Attached { incarnation: 7 }).await;
    drop(new);
}

#[tokio::test]
async fn a_renewal_that_does_not_work_leaves_the_old_connection_alone() {
    let mut scene = Scene::start().await;
    scene.write("token", "swt_first");
    let agent = scene.builder(scene.tls()).token(Token::file(scene.path("token"))).attach().expect("attach");
    let (mut old, _) = scene.peer.registered(7, "sws_1").await;
    assert_eq!(agent.attached().await, Ok(7));
    scene.write("token", "no token at all");
    // Two heartbeats later at the earliest, it has been looked at.
    for _ in 0..3 {
        loop {
            if let Some(Said::Heartbeat(heartbeat)) = old.next().await {
                old.ack(heartbeat.sequence).await;
                break;
            }
        }
    }
    assert_eq!(*agent.status().borrow(), Status::Attached { incarnation: 7 });
    // The next one that is right is taken.
    scene.write("token", "swt_third");
    let mut new = tokio::select! {
        new = scene.peer.session() => new,
        () = until_gone(old) => panic!("the old session ended before there was a new one"),
    };
    assert_eq!(new.authorization.as_deref(), Some("Bearer swt_third"));
    assert_eq!(resumes(&new.open().await), Some((7, "sws_1")));
    new.opened(7, "").await;
}

#[tokio::test]
async fn leaving_while_it_goes_over_leaves_by_the_new_connection() {
    let mut scene = Scene::start().await;
    scene.write("token", "swt_first");
    let agent = scene.builder(scene.tls()).token(Token::file(scene.path("token"))).attach().expect("attach");
    let (_old, _) = scene.peer.registered(7, "sws_1").await;
    assert_eq!(agent.attached().await, Ok(7));
    scene.write("token", "swt_second");
    let mut new = scene.peer.session().await;
    let leaving = tokio::spawn(agent.leave("deploy"));
    new.open().await;
    new.opened(7, "").await;
    assert_eq!(new.until_leave().await.as_deref(), Some("deploy"));
    new.close(CloseReason::Left, None).await;
    assert_eq!(leaving.await.expect("no panic"), LeaveOutcome::Deregistered);
}

#[tokio::test]
async fn leaving_while_it_does_not_get_over_leaves_by_the_old_connection() {
    for refused in [true, false] {
        let mut scene = Scene::start().await;
        scene.write("token", "swt_first");
        let builder = scene.builder(scene.tls()).token(Token::file(scene.path("token")));
        let agent = builder.attach().expect("attach");
        let (mut old, _) = scene.peer.registered(7, "sws_1").await;
        assert_eq!(agent.attached().await, Ok(7));
        scene.write("token", "swt_second");
        let mut new = scene.peer.session().await;
        let leaving = tokio::spawn(agent.leave("deploy"));
        // Where nobody answers, that is waited for a while.
        new.open().await;
        let _silent = match refused {
            true => {
                new.refuse(refusal(Code::Unauthenticated, "UNAUTHENTICATED", None)).await;
                None
            }
            false => Some(new),
        };
        assert_eq!(old.until_leave().await.as_deref(), Some("deploy"), "refused: {refused}");
        old.close(CloseReason::Left, None).await;
        assert_eq!(leaving.await.expect("no panic"), LeaveOutcome::Deregistered, "refused: {refused}");
    }
}

/// The answer to the try may be what was lost.
#[tokio::test]
async fn an_old_connection_that_was_superseded_meanwhile_is_not_believed_that_all_is_over() {
    let mut scene = Scene::start().await;
    scene.write("token", "swt_first");
    let agent = scene.builder(scene.tls()).token(Token::file(scene.path("token"))).attach().expect("attach");
    let (mut old, _) = scene.peer.registered(7, "sws_1").await;
    assert_eq!(agent.attached().await, Ok(7));
    scene.write("token", "swt_second");
    let mut new = scene.peer.session().await;
    let leaving = tokio::spawn(agent.leave("deploy"));
    new.open().await;
    new.refuse(refusal(Code::Unavailable, "SERVER_DRAINING", None)).await;
    assert_eq!(old.until_leave().await.as_deref(), Some("deploy"));
    old.close(CloseReason::Superseded, None).await;
    assert_eq!(scene.peer.deregistered().await.session_token, "sws_1");
    assert_eq!(leaving.await.expect("no panic"), LeaveOutcome::Deregistered);
}

fn refusal(code: Code, reason: &str, retry: Option<Duration>) -> tonic::Status {
    let mut details = ErrorDetails::with_error_info(reason, "seaworthy.dev", HashMap::new());
    details.set_retry_info(retry);
    tonic::Status::with_error_details(code, "as the script says", details)
}

#[tokio::test]
async fn who_is_not_taken_waits_and_comes_back_as_soon_as_the_file_changes() {
    for (code, reason, hint) in [
        (Code::Unauthenticated, "UNAUTHENTICATED", "Builder::token"),
        (Code::PermissionDenied, "PERMISSION_DENIED", "--role service"),
        (Code::ResourceExhausted, "AUTHENTICATION_LIMITED", "wrong tokens"),
    ] {
        let mut peer = Peer::start().await;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        fs::write(&file, "swt_wrong").expect("written");
        let agent = Agent::builder(peer.url(), "orders").token(Token::file(&file)).attach().expect("attach");
        let first = peer.session().await;
        assert_eq!(first.authorization.as_deref(), Some("Bearer swt_wrong"));
        first.refuse(refusal(code, reason, Some(Duration::from_secs(60)))).await;
        let status = wait_for(&agent, |status| matches!(status, Status::Waiting { .. })).await;
        let Status::Waiting { retry_in, last_error } = status else { panic!("{status:?}") };
        assert!(retry_in >= Duration::from_secs(10), "{reason}: {retry_in:?}");
        assert!(last_error.contains(reason) && last_error.contains(hint), "{last_error}");
        assert!(!last_error.contains("swt_"), "{last_error}");
        fs::write(&file, "swt_right").expect("written");
        let (session, _) = peer.registered(1, "sws_1").await;
        assert_eq!(session.authorization.as_deref(), Some("Bearer swt_right"));
    }
}

/// Where everything that is logged goes.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_is_ever_in_the_log_or_in_what_is_shown() {
    let log = Log::default();
    let writer = log.clone();
    // Of every thread, and of the other tests as well: their secrets are hidden too.
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).expect("the only one");
    let mut scene = Scene::start().await;
    scene.write("token", "swt_hidden-in-a-file");
    let builder = scene.builder(scene.tls()).token(Token::file(scene.path("token")));
    let shown = format!("{builder:?} {:?}", Token::new("swt_hidden-in-code"));
    let agent = builder.attach().expect("attach");
    let (session, _) = scene.peer.registered(1, "sws_1").await;
    assert_eq!(session.authorization.as_deref(), Some("Bearer swt_hidden-in-a-file"));
    session.refuse(refusal(Code::Unauthenticated, "UNAUTHENTICATED", None)).await;
    let told = trouble(&agent).await;
    drop(agent);
    let logged = String::from_utf8_lossy(&log.0.lock().expect("no panic")).into_owned();
    assert!(logged.contains("TRACE") && logged.contains("[UNAUTHENTICATED]"), "it was logged: {logged}");
    for text in [logged, shown, told] {
        assert!(!text.contains("hidden"), "{text}");
    }
}
