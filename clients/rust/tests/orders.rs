//! The example service as a process of its own, against the scripted control plane: what happens to its
//! database file, and what became of its operations, is seen by the control plane and at its own health endpoint.
// Helpers of tests may do what tests may.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic)]
#![cfg(unix)]

#[allow(dead_code)] // other tests use the rest of it
#[path = "support/peer.rs"]
mod peer;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::Ordering,
    time::Duration,
};

use peer::{PATIENCE, Peer, Place, Session};
use seaworthy_client::proto::seaworthy::v1::{
    CaptureDirective, CloseReason, ComponentReport, DirectiveReport, DirectiveState, HealthState,
    InspectDirective, Lifecycle, RestoreDirective, UploadFinish, attach_request::Message as Said,
    directive::Ask,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

/// Where cargo puts examples: beside the folder of the tests.
fn example() -> PathBuf {
    let test = std::env::current_exe().expect("a path");
    test.ancestors().nth(2).expect("the profile's folder").join("examples").join("orders")
}

/// Starts it, with what it says to people either shown or kept.
async fn start_telling(peer: &Peer, database: &str, told: Stdio) -> (Child, SocketAddr) {
    let mut child = Command::new(example())
        .args(["--control-plane", &peer.url(), "--database", database])
        .args(["--interval", "1s", "--instance-id", "orders-1"])
        .stdout(Stdio::piped())
        .stderr(told)
        .kill_on_drop(true)
        .spawn()
        .expect("built by a whole `cargo test`, or by `cargo build --example orders`");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let line =
        timeout(PATIENCE, lines.next_line()).await.expect("in time").expect("readable").expect("a line");
    let ready: Value = serde_json::from_str(&line).expect("one line of JSON");
    (child, ready["address"].as_str().expect("an address").parse().expect("an address"))
}

async fn start(peer: &Peer, database: &str) -> (Child, SocketAddr) {
    start_telling(peer, database, Stdio::inherit()).await
}

/// Takes reports until one of this component is in this state; the control plane answers heartbeats.
async fn report(session: &mut Session, component: &str, state: HealthState) -> ComponentReport {
    let found = async {
        loop {
            let reports = session.health().await.reports;
            let wanted = |report: &ComponentReport| report.component == component && report.state() == state;
            if let Some(report) = reports.into_iter().find(wanted) {
                return report;
            }
        }
    };
    timeout(PATIENCE, found).await.expect("a report in time")
}

async fn ask(address: SocketAddr, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let mut connection = TcpStream::connect(address).await.expect("it serves");
    let body = body.to_string();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close");
    let content = format!("Content-Type: application/json\r\nContent-Length: {}", body.len());
    let request = format!("{head}\r\n{content}\r\n\r\n{body}");
    connection.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).expect("JSON"))
}

/// Runs it to its end: the code, and what it said to people.
async fn ended(args: &[&str]) -> (Option<i32>, String) {
    let run = Command::new(example()).args(args).kill_on_drop(true).output();
    let output = timeout(PATIENCE, run)
        .await
        .expect("it ends")
        .expect("built by a whole `cargo test`, or by `cargo build --example orders`");
    assert_eq!(output.stdout, b"", "{args:?}");
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}

#[tokio::test]
async fn a_wrong_command_line_ends_with_64_and_says_what_would_be_right() {
    for (args, told) in [
        (&["--databse", "x"][..], "--database"),
        (&["--interval", "soon"], "for example 5s, 1m30s or 5"),
        (&["--interval", "5 parsecs"], "for example 5s, 1m30s or 5"),
        (&["--interval", "100ms"], "between 1s and 1h"),
        (&["--interval", "-5"], "between 1s and 1h"),
        (&["--listen", "localhost"], "socket address"),
    ] {
        let (code, said) = ended(args).await;
        assert_eq!(code, Some(64), "{args:?}: {said}");
        assert!(said.contains(told), "{args:?}: {said}");
    }
}

#[tokio::test]
async fn what_cannot_be_is_told_with_what_to_do() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("orders.db");
    let database = database.to_str().expect("a plain path");
    for (args, told) in [
        (
            &["--database", "/no/such/folder/orders.db"][..],
            "error: cannot open the database /no/such/folder/orders.db: ",
        ),
        (&["--database", database, "--listen", &taken], "error: cannot listen on 127.0.0.1:"),
        (
            &["--database", database, "--control-plane", "ftp://nowhere"],
            "error: cannot attach: control_plane is `ftp://nowhere`; it must be like https://host:port",
        ),
        (
            &["--database", database, "--control-plane", "https://127.0.0.1:1"],
            "error: cannot attach: tls names no authority to trust",
        ),
        (
            &["--database", database, "--control-plane", "http://10.0.0.7:1", "--token-file", "token"],
            "error: cannot attach: token would go over plain http://",
        ),
    ] {
        let (code, said) = ended(args).await;
        assert_eq!(code, Some(1), "{args:?}: {said}");
        assert!(said.starts_with(told) && said.contains("; hint: "), "{args:?}: {said}");
        assert!(!said.contains('{') && !said.contains("Some("), "for people, not for debuggers: {said}");
    }
}

#[tokio::test]
async fn it_says_where_it_is_and_when_the_control_plane_goes_and_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("orders.db");
    let place = Place::reserve();
    let mut child = Command::new(example())
        .args(["--control-plane", &place.url(), "--database", database.to_str().expect("a plain path")])
        .args(["--instance-id", "orders-1"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("built by a whole `cargo test`, or by `cargo build --example orders`");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut until = async |wanted: &str| {
        let mut said = Vec::new();
        let found = async {
            while let Some(line) = lines.next_line().await.expect("readable") {
                said.push(line);
                if said.last().is_some_and(|line| line.contains(wanted)) {
                    return;
                }
            }
            panic!("it ended");
        };
        let in_time = timeout(PATIENCE, found).await.is_ok();
        assert!(in_time, "{wanted:?} was never said, but {said:#?}");
        said.join("\n")
    };
    let start = until("Ctrl-C").await;
    for told in
        ["orders/orders-1", &place.url(), "http://127.0.0.1:", "orders.db", "try next", "/health", "mv "]
    {
        assert!(start.contains(told), "{told} is not in {start}");
    }
    until("not attached: cannot reach the control plane at ").await;
    let mut peer = Peer::start_at(&place).await;
    let (session, _) = peer.registered(1, "sws_1").await;
    until("attached as orders/orders-1, incarnation 1").await;
    drop((session, peer));
    until("not attached: ").await;
    let mut peer = Peer::start_at(&place).await;
    let mut session = peer.session().await;
    session.open().await;
    session.opened(1, "").await;
    until("attached again as orders/orders-1, incarnation 1").await;
}

#[tokio::test]
async fn its_routes_and_its_queries_are_operations() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start().await;
    let database = folder.path().join("orders.db");
    let (mut child, address) = start(&peer, database.to_str().expect("a plain path")).await;
    let (mut session, _) = peer.registered(1, "sws_1").await;
    assert_eq!(ask(address, "GET", "/orders", &json!(null)).await.0, 200);
    assert_eq!(ask(address, "POST", "/orders", &json!({ "item": "anchor" })).await.0, 422);
    let report = async {
        loop {
            match session.next().await.expect("it stays") {
                Said::Operations(report) if report.operations.len() == 3 => return report,
                _ => {}
            }
        }
    };
    let report = timeout(PATIENCE, report).await.expect("in time");
    let counted =
        report.operations.iter().map(|stats| (stats.operation.as_str(), stats.calls, stats.successes));
    // Who asked wrongly is to blame, and not the route.
    let expected = [("GET:/orders", 1, 1), ("POST:/orders", 1, 1), ("query-database", 1, 1)];
    assert_eq!(counted.collect::<Vec<_>>(), expected);
    child.kill().await.expect("ended");
}

#[tokio::test]
async fn pulling_the_database_file_is_seen_and_so_is_putting_it_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("orders.db");
    let mut peer = Peer::start().await;
    let (mut child, address) = start(&peer, database.to_str().expect("a plain path")).await;
    let (mut session, _) = peer.registered(1, "sws_1").await;

    let order = json!({ "item": "anchor", "quantity": 2 });
    let (status, made) = ask(address, "POST", "/orders", &order).await;
    assert_eq!((status, &made["id"]), (201, &json!(1)));
    assert_eq!(ask(address, "GET", "/orders/1", &json!(null)).await, (200, made));
    report(&mut session, "database", HealthState::Healthy).await;
    report(&mut session, "disk", HealthState::Healthy).await;
    assert_eq!(ask(address, "GET", "/health", &json!(null)).await.0, 200);

    let away = folder.path().join("away.db");
    std::fs::rename(&database, &away).expect("moved away");
    let bad = report(&mut session, "database", HealthState::Unhealthy).await;
    assert!(bad.message.contains("No such file"), "{}", bad.message);
    let (status, health) = ask(address, "GET", "/health", &json!(null)).await;
    assert_eq!((status, &health["components"]["database"]["status"]), (503, &json!("unhealthy")));
    assert_eq!(health["attached"], true);

    std::fs::rename(&away, &database).expect("put back");
    let good = report(&mut session, "database", HealthState::Healthy).await;
    assert_eq!(good.details["orders"], "1");
    assert!(good.response_time.is_some());

    // Another file in its place is not the one that is open.
    std::fs::rename(&database, &away).expect("moved away");
    std::fs::copy(&away, &database).expect("copied");
    let bad = report(&mut session, "database", HealthState::Unhealthy).await;
    assert!(bad.message.contains("was replaced"), "{}", bad.message);

    let pid = child.id().expect("it runs").to_string();
    let told = Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill is there");
    assert!(told.success());
    let mut lifecycle = Lifecycle::Unspecified;
    // Phases that follow each other at once are told by the last of them.
    let words = loop {
        match session.next().await.expect("it says that it leaves") {
            Said::Health(health) if health.lifecycle() != Lifecycle::Unspecified => {
                lifecycle = health.lifecycle();
            }
            Said::Leave(leave) => break leave.message,
            _ => {}
        }
    };
    assert_eq!((lifecycle, words.as_str()), (Lifecycle::Stopping, "stopped by SIGTERM"));
    session.close(CloseReason::Left, None).await;
    let ended = timeout(Duration::from_secs(20), child.wait()).await.expect("it ends").expect("a status");
    assert!(ended.success(), "{ended}");
}

/// What became of an order.
enum Ordered {
    Taken,
    /// It was not taken, and whoever asked may ask elsewhere.
    TurnedAway,
    /// Nobody can say.
    Lost(String),
}

async fn order(address: SocketAddr) -> Ordered {
    // Nothing was sent yet.
    let Ok(mut connection) = TcpStream::connect(address).await else { return Ordered::TurnedAway };
    let body = json!({ "item": "anchor", "quantity": 2 }).to_string();
    let head =
        "POST /orders HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json";
    let request = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut answer = String::new();
    let answered = async {
        connection.write_all(request.as_bytes()).await?;
        connection.read_to_string(&mut answer).await
    };
    match answered.await {
        Ok(_) if answer.starts_with("HTTP/1.1 201") => Ordered::Taken,
        Ok(_) if answer.starts_with("HTTP/1.1 503") => Ordered::TurnedAway,
        Ok(_) => Ordered::Lost(answer),
        Err(cause) => Ordered::Lost(cause.to_string()),
    }
}

/// Customers that order without a pause, until one of their orders is not taken: how many were, and what was lost.
async fn customer(address: SocketAddr) -> (i64, Vec<String>) {
    let (mut taken, mut lost) = (0, Vec::new());
    loop {
        match order(address).await {
            Ordered::Taken => taken += 1,
            Ordered::TurnedAway => return (taken, lost),
            Ordered::Lost(why) => {
                lost.push(why);
                return (taken, lost);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_under_load_it_loses_no_order_and_saves_all_it_has_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("orders.db");
    let peer = Peer::start().await;
    let (child, address) =
        start_telling(&peer, database.to_str().expect("a plain path"), Stdio::piped()).await;
    let customers: Vec<_> = (0..8).map(|_| tokio::spawn(customer(address))).collect();
    // It is busy by then.
    while ask(address, "GET", "/orders", &json!(null)).await.1["orders"]
        .as_array()
        .is_none_or(|all| all.len() < 20)
    {}

    let pid = child.id().expect("it runs").to_string();
    let told = Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill is there");
    assert!(told.success());
    let (mut taken, mut lost) = (0, Vec::new());
    for customer in customers {
        let (some, lacking) = timeout(PATIENCE, customer).await.expect("it ends").expect("no panic");
        taken += some;
        lost.extend(lacking);
    }
    let ended = timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").expect("an end");
    let said = String::from_utf8(ended.stderr).expect("text");
    assert!(ended.status.success() && lost.is_empty(), "{lost:?}: {said}");
    let written: i64 = rusqlite::Connection::open(&database)
        .and_then(|file| file.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)))
        .expect("it is whole");
    assert_eq!(taken, written, "{said}");
    for told in [
        "stopped by SIGTERM in",
        " finished, 0 cut, ",
        &format!("saved orders up to {written}, "),
        "CleanupResources",
    ] {
        assert!(said.contains(told), "{told:?} is not in {said}");
    }
}

#[tokio::test]
async fn its_file_is_captured_while_orders_come_and_comes_back_after_it_was_destroyed() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("orders.db");
    let mut peer = Peer::start().await;
    let (mut child, address) = start(&peer, database.to_str().expect("a plain path")).await;
    let (mut session, _) = peer.registered(1, "sws_1").await;
    let order = json!({ "item": "anchor".repeat(30), "quantity": 2 });
    for _ in 0..20 {
        assert_eq!(ask(address, "POST", "/orders", &order).await.0, 201);
    }
    let inspect = |component: &str| Ask::Inspect(InspectDirective { components: vec![component.to_owned()] });
    session.ask("d-0", inspect("database")).await;
    let found = session.directive("d-0", DirectiveState::Done).await.inspections[0].clone();
    assert_eq!((found.empty, found.schema_version), (false, 1));

    let capture = CaptureDirective { component: "database".to_owned(), ticket: "swt_1".to_owned() };
    let (enough, mut asked) = tokio::sync::oneshot::channel();
    let customers = async {
        let mut taken = 20;
        while asked.try_recv().is_err() {
            assert_eq!(ask(address, "POST", "/orders", &order).await.0, 201);
            taken += 1;
        }
        taken
    };
    let captured = async {
        session.ask("d-1", Ask::Capture(capture)).await;
        let captured = peer.upload().await.whole().await;
        session.directive("d-1", DirectiveState::Done).await;
        enough.send(()).expect("they go on until now");
        captured
    };
    let (taken, (bytes, finish)) = tokio::join!(customers, captured);
    let said = |key: &str| finish.evidence[key].parse::<usize>().expect("a number");
    let rows = said("rows");
    assert!((20..=taken).contains(&rows) && taken > 20, "{rows} of {taken}");
    assert_eq!((said("page_count") * 4096, said("schema_version")), (bytes.len(), 1));
    let names =
        || std::fs::read_dir(folder.path()).expect("a folder").map(|it| it.expect("an entry").file_name());
    let left = |word: &str| names().any(|name| name.to_string_lossy().contains(word));
    assert!(!left("capturing"), "the copy is gone");

    std::fs::remove_file(&database).expect("destroyed");
    report(&mut session, "database", HealthState::Unhealthy).await;
    session.ask("d-2", inspect("database")).await;
    assert!(session.directive("d-2", DirectiveState::Done).await.inspections[0].empty);

    // Damaged, nothing of it is put in place.
    let restore = |length: usize| {
        Ask::Restore(RestoreDirective {
            component: "database".to_owned(),
            ticket: "swt_2".to_owned(),
            length: u64::try_from(length).expect("small"),
            evidence: finish.evidence.clone(),
            verify: true,
            ..RestoreDirective::default()
        })
    };
    let mut torn = bytes.clone();
    torn[4096..].fill(0xff);
    for (id, sent) in [("d-3", &torn[..]), ("d-4", &bytes[..bytes.len() / 2])] {
        session.ask(id, restore(sent.len())).await;
        let download = peer.download().await;
        download.send(0, sent).await;
        download.finish(u64::try_from(sent.len()).expect("small"), sent).await;
        let failed = session.directive(id, DirectiveState::Failed).await;
        assert!(
            failed.message.contains("malformed") || failed.message.contains("damaged"),
            "{}",
            failed.message
        );
        assert!(!database.exists() && !left("restoring"));
    }

    session.ask("d-5", restore(bytes.len())).await;
    let download = peer.download().await;
    download.send(0, &bytes).await;
    download.finish(u64::try_from(bytes.len()).expect("small"), &bytes).await;
    let done = session.directive("d-5", DirectiveState::Done).await;
    assert_eq!(done.verification, format!("the database is sound and has {rows} orders"));
    let good = report(&mut session, "database", HealthState::Healthy).await;
    assert_eq!(good.details["orders"], rows.to_string());
    let (status, made) = ask(address, "POST", "/orders", &order).await;
    assert_eq!((status, &made["id"]), (201, &json!(rows + 1)), "it goes on after what was captured");
    child.kill().await.expect("ended");
}

/// What a database has, order by order.
fn orders_in(database: &Path) -> Vec<(i64, String, i64)> {
    let connection = rusqlite::Connection::open(database).expect("it can be opened");
    let found: String =
        connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("it answers");
    assert_eq!(found, "ok");
    let mut query = connection.prepare("SELECT id, item, quantity FROM orders ORDER BY id").expect("a table");
    let orders = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("rows");
    orders.map(|order| order.expect("a row")).collect()
}

async fn captured(peer: &mut Peer, session: &mut Session, id: &str) -> (Vec<u8>, UploadFinish) {
    let capture = CaptureDirective { component: "database".to_owned(), ticket: "swt_1".to_owned() };
    session.ask(id, Ask::Capture(capture)).await;
    let captured = peer.upload().await.whole().await;
    session.directive(id, DirectiveState::Done).await;
    captured
}

/// Sends a database to be put in place, and answers what became of that.
async fn restored(
    peer: &mut Peer,
    session: &mut Session,
    id: &str,
    bytes: &[u8],
    state: DirectiveState,
) -> DirectiveReport {
    let length = u64::try_from(bytes.len()).expect("small");
    let (component, ticket) = ("database".to_owned(), "swt_2".to_owned());
    let restore = RestoreDirective { component, ticket, length, verify: true, ..Default::default() };
    session.ask(id, Ask::Restore(restore)).await;
    let download = peer.download().await;
    download.send(0, bytes).await;
    download.finish(length, bytes).await;
    session.directive(id, state).await
}

#[tokio::test]
async fn a_restore_over_a_live_database_leaves_what_was_captured_row_by_row() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("orders.db");
    let mut peer = Peer::start().await;
    let (mut child, address) = start(&peer, database.to_str().expect("a plain path")).await;
    let (mut session, _) = peer.registered(1, "sws_1").await;
    for n in 0..20 {
        let order = json!({ "item": format!("before {n}"), "quantity": n + 1 });
        assert_eq!(ask(address, "POST", "/orders", &order).await.0, 201);
    }
    let (bytes, _) = captured(&mut peer, &mut session, "d-1").await;
    let copy = folder.path().join("copy.db");
    std::fs::write(&copy, &bytes).expect("written");
    let expected = orders_in(&copy);
    assert_eq!(expected.len(), 20);
    // What was captured is changed and added to, in the log beside the file, by the service and by another process.
    let other = rusqlite::Connection::open(&database).expect("it can be opened");
    let mode: String = other.query_row("PRAGMA journal_mode", [], |row| row.get(0)).expect("it answers");
    assert_eq!(mode, "wal");
    other.execute("UPDATE orders SET item = 'changed', quantity = 0", []).expect("changed");
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o640);
    std::fs::set_permissions(&database, permissions).expect("set");

    let is_over = std::sync::atomic::AtomicBool::new(false);
    let customer = async |name: &str| {
        let mut taken = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            let order = json!({ "item": format!("{name} {}", taken.len()), "quantity": 7 });
            let (status, made) = ask(address, "POST", "/orders", &order).await;
            assert_eq!(status, 201, "{made}");
            taken.push((
                made["id"].as_i64().expect("an id"),
                made["item"].as_str().expect("a text").to_owned(),
                7,
            ));
        }
        taken
    };
    let reader = async {
        while !is_over.load(Ordering::Relaxed) {
            assert_eq!(ask(address, "GET", "/orders", &json!(null)).await.0, 200);
        }
    };
    let restoring = async {
        restored(&mut peer, &mut session, "d-2", &bytes, DirectiveState::Done).await;
        let after = json!({ "item": "after", "quantity": 9 });
        let (status, made) = ask(address, "POST", "/orders", &after).await;
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(status, 201);
        made["id"].as_i64().expect("an id")
    };
    let (one, two, (), after) = tokio::join!(customer("one"), customer("two"), reader, restoring);
    drop(other);
    child.kill().await.expect("ended");
    let found = orders_in(&database);
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(found, expected);
    }
    // Whoever ordered after that is there as well, and nobody else.
    assert!(found.contains(&(after, "after".to_owned(), 9)));
    for (position, order) in found.iter().enumerate().skip(expected.len()) {
        assert_eq!(order.0, i64::try_from(position).expect("small") + 1);
        let known = one.contains(order) || two.contains(order) || order.1 == "after";
        assert!(known, "{order:?} was never acknowledged");
    }
    let mode = std::fs::metadata(&database).expect("it is there").permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o640, "as it was");
}

#[tokio::test]
async fn a_restore_leaves_what_is_beside_it_and_waits_for_nobody_elses_transaction() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("orders.db");
    // Of a run that was killed.
    for killed in ["orders.db.capturing-abc", "orders.db.restoring-def"] {
        std::fs::create_dir(folder.path().join(killed)).expect("made");
        std::fs::write(folder.path().join(killed).join("orders.db"), "half").expect("written");
    }
    let mut peer = Peer::start().await;
    let (mut child, address) = start(&peer, database.to_str().expect("a plain path")).await;
    let (mut session, _) = peer.registered(1, "sws_1").await;
    let names = || {
        let names = std::fs::read_dir(folder.path()).expect("a folder");
        names
            .map(|it| it.expect("an entry").file_name().into_string().expect("plain"))
            .collect::<BTreeSet<_>>()
    };
    let left = || names().into_iter().filter(|name| !name.starts_with("orders.db-")).collect::<Vec<_>>();
    assert_eq!(left(), ["orders.db"], "what was left goes at the start");
    let order = json!({ "item": "anchor", "quantity": 2 });
    assert_eq!(ask(address, "POST", "/orders", &order).await.0, 201);
    // Of others who are at it, by whatever names.
    for theirs in ["orders.db.capturing", "orders.db.restoring"] {
        std::fs::write(folder.path().join(theirs), "theirs").expect("written");
    }
    let (bytes, _) = captured(&mut peer, &mut session, "d-1").await;
    restored(&mut peer, &mut session, "d-2", &bytes, DirectiveState::Done).await;
    assert_eq!(left(), ["orders.db", "orders.db.capturing", "orders.db.restoring"]);

    let mut other = rusqlite::Connection::open(&database).expect("it can be opened");
    let reading = other.transaction().expect("begun");
    let count: i64 =
        reading.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).expect("it reads");
    assert_eq!(count, 1);
    // Only in the log, which cannot be brought into the file while somebody reads what was before.
    assert_eq!(ask(address, "POST", "/orders", &order).await.0, 201);
    let failed = restored(&mut peer, &mut session, "d-3", &bytes, DirectiveState::Failed).await;
    assert!(failed.message.contains("is in use by another process"), "{}", failed.message);
    drop(reading);
    assert_eq!(ask(address, "POST", "/orders", &order).await.1["id"], 3, "it is as it was");
    restored(&mut peer, &mut session, "d-4", &bytes, DirectiveState::Done).await;
    assert_eq!(ask(address, "POST", "/orders", &order).await.1["id"], 2);
    assert_eq!(left().len(), 3, "nothing is left beside it");
    child.kill().await.expect("ended");
}

#[tokio::test]
async fn only_a_database_that_is_not_there_is_empty() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, away) = (folder.path().join("data"), folder.path().join("away"));
    std::fs::create_dir(&data).expect("made");
    let mut peer = Peer::start().await;
    let (mut child, _) = start(&peer, data.join("orders.db").to_str().expect("a plain path")).await;
    let (mut session, _) = peer.registered(1, "sws_1").await;
    let inspect = || Ask::Inspect(InspectDirective { components: vec!["database".to_owned()] });
    std::fs::rename(&data, &away).expect("moved away");
    session.ask("d-1", inspect()).await;
    let found = session.directive("d-1", DirectiveState::Done).await;
    assert!(found.inspections[0].empty);
    // Its folder is none: nobody knows what is there.
    std::fs::write(&data, "").expect("written");
    session.ask("d-2", inspect()).await;
    let found = session.directive("d-2", DirectiveState::Done).await;
    assert_eq!(found.inspections, []);
    assert!(found.message.contains("cannot look at"), "{}", found.message);
    child.kill().await.expect("ended");
}
