//! `operations`: listed, shown, followed to their end and cancelled, against the real server.

use seaworthy::operation::{Begun, Kind, Outcome, Run, Wanted};
use serde_json::json;
use tokio::time::timeout;

use super::{
    PATIENCE, code,
    live::Terminal,
    policy::{Scene, row},
    run, seaworthy, stderr, stdout,
};

async fn begin(scene: &Scene, service: &str) -> Run {
    let wanted = Wanted {
        kind: Kind::Backup,
        service: service.to_owned(),
        backup_id: None,
        created_by: "token:alice".to_owned(),
        request_id: String::new(),
        asked: String::new(),
        scope: format!("backup/{service}"),
    };
    match scene.server.operations.begin(wanted).await.unwrap() {
        Begun::New(run) => run,
        Begun::Same(same) => panic!("the same as {same:?}"),
    }
}

#[tokio::test]
async fn operations_are_listed_shown_and_cancelled() {
    let scene = Scene::start().await;
    let none = run(&scene.args(&["operations"])).await;
    assert_eq!(
        (code(&none), stdout(&none), stderr(&none)),
        (0, String::new(), "no such operations\n".to_owned())
    );
    let (orders, payments) = (begin(&scene, "orders").await, begin(&scene, "payments").await);
    let step = orders.add_step("capture orders/i-1/database", 4 << 20).unwrap();
    step.start().unwrap();
    step.progress(1 << 20, 0);
    orders.event("", "the disk\nis slow").unwrap();
    orders.settled().await.unwrap();
    let (id, other) = (orders.id().to_string(), payments.id().to_string());

    let list = scene.done(&["operations"]).await;
    assert!(list.starts_with("ID "), "{list}");
    assert!(list.find(&other) < list.find(&id), "newest first: {list}");
    assert!(row(&list, &id).contains("  backup  orders    running  25%"), "{list}");
    let narrowed =
        scene.done(&["operations", "--service", "orders", "--kind", "backup", "--state", "running"]).await;
    assert_eq!(narrowed.lines().count(), 2, "{narrowed}");
    let json = scene.json(&["operations", "--limit", "1"]).await;
    assert_eq!(json["operations"].as_array().unwrap().len(), 1);

    let page = scene.done(&["operations", &id]).await;
    assert_eq!(page.lines().next().unwrap(), format!("backup of orders {id} running"));
    assert!(page.contains("progress  1.0 MiB of 4.0 MiB") && page.contains("  the disk is slow"), "{page}");
    assert!(row(&page, "capture orders/i-1/database").contains("running"), "{page}");
    let json = scene.json(&["operations", &id]).await;
    assert_eq!(json["operation"]["state"], json!("OPERATION_STATE_RUNNING"));

    let told = scene.done(&["operations", "cancel", &id, "--message", "the wrong service"]).await;
    assert_eq!(told, format!("operation {id} was told to end\n"));
    timeout(PATIENCE, orders.cancelled()).await.unwrap();
    orders.finish(Outcome::Cancelled, Vec::new()).await.unwrap();
    let again = scene.done(&["operations", "cancel", &id]).await;
    assert_eq!(again, format!("operation {id} has ended before: cancelled\n"));
    let page = scene.done(&["operations", &id]).await;
    assert!(page.contains("cancelled by local: the wrong service"), "{page}");
    scene.server.stop().await;
}

#[tokio::test]
async fn a_wrong_id_is_refused_and_a_missing_one_not_found() {
    let scene = Scene::start().await;
    let missing = "0".repeat(26);
    for args in [
        &["operations", &missing][..],
        &["operations", &missing, "--watch"],
        &["operations", "cancel", &missing],
    ] {
        let said = scene.refused(3, args).await;
        assert!(said.contains("[OPERATION_NOT_FOUND]"), "{said}");
    }
    let said = scene.refused(5, &["operations", "nonsense"]).await;
    assert!(said.contains("26 characters") && said.contains("[INVALID_FIELD]"), "{said}");
    for wrong in [
        &["operations", &missing, "--service", "orders"][..],
        &["operations", "--state", "lost"],
        &["operations", "--lines"],
        &["operations", "--limit", "0"],
        &["operations", "--watch", "cancel", &missing],
    ] {
        scene.refused(2, wrong).await;
    }
    let help = run(&["operations", "--help"]).await;
    let help = (code(&help), stdout(&help));
    assert!(help.0 == 0 && help.1.contains("7 failed, 8 cancelled."), "{help:?}");
    scene.server.stop().await;
}

#[tokio::test]
async fn who_follows_one_gets_lines_and_an_exit_code_that_tells_the_outcome() {
    let scene = Scene::start().await;
    let cause = || "the disk is full".to_owned();
    for (outcome, expected, word) in [
        (Outcome::Succeeded, 0, "succeeded"),
        (Outcome::Partial { cause: cause() }, 6, "partial"),
        (Outcome::Failed { cause: cause() }, 7, "failed"),
        (Outcome::Cancelled, 8, "cancelled"),
    ] {
        let run = begin(&scene, "orders").await;
        let id = run.id().to_string();
        let mut watching = seaworthy(&scene.args(&["operations", &id, "--watch"]));
        watching.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let watching = watching.spawn().unwrap();
        let step = run.add_step("capture", 10).unwrap();
        step.start().unwrap();
        step.progress(10, 10);
        step.succeed().unwrap();
        run.finish(outcome, vec!["that was all".into()]).await.unwrap();
        let ended = timeout(PATIENCE, watching.wait_with_output()).await.unwrap().unwrap();
        assert_eq!((code(&ended), stderr(&ended)), (expected, String::new()), "{}", stdout(&ended));
        let said = stdout(&ended);
        assert!(said.contains(&format!("  {word}  10 bytes of 10 bytes\n")), "{said}");
        assert!(said.contains(&format!("backup of orders {id} {word}\n")), "{said}");
        assert!(said.ends_with("\nthat was all\n"), "{said}");
    }
    let run = begin(&scene, "orders").await;
    let id = run.id().to_string();
    run.finish(Outcome::Succeeded, Vec::new()).await.unwrap();
    let objects = scene.done(&["-o", "json", "operations", &id, "--watch"]).await;
    let object: serde_json::Value = serde_json::from_str(objects.trim_end()).unwrap();
    assert_eq!(object["operation"]["state"], json!("OPERATION_STATE_SUCCEEDED"));
    scene.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_a_bar_is_redrawn_and_the_report_stays() {
    let scene = Scene::start().await;
    let run = begin(&scene, "orders").await;
    let id = run.id().to_string();
    let step = run.add_step("capture orders/i-1/database", 4 << 20).unwrap();
    step.start().unwrap();
    step.progress(1 << 20, 4 << 20);
    let mut terminal = Terminal::start(120, 24, &scene.args(&["operations", &id, "--watch"]));
    let step_says = "capture orders/i-1/database running, 1.0 MiB of 4.0 MiB";
    terminal.until("a bar", |picture| picture.contains(" 25%") && picture.contains(step_says));
    step.progress(3 << 20, 4 << 20);
    terminal.until("further", |picture| picture.contains(" 75%") && !picture.contains(" 25%"));
    step.succeed().unwrap();
    run.finish(Outcome::Failed { cause: "the disk is full".into() }, vec!["nothing was kept".into()])
        .await
        .unwrap();
    assert_eq!(terminal.ended(), 7);
    let picture = terminal.until("the report", |picture| picture.contains("nothing was kept"));
    assert!(picture.contains("the disk is full") && !picture.contains('%'), "{picture}");

    // The list, which Ctrl-C ends.
    let mut terminal = Terminal::start(120, 24, &scene.args(&["operations", "--watch"]));
    terminal.until("the list", |picture| picture.contains(&id) && picture.contains("failed"));
    terminal.signal(rustix::process::Signal::INT);
    assert_eq!(terminal.ended(), 130);
    scene.server.stop().await;
}
