//! Feature flags, switched and put from a file, against the real server.

use std::fs;

use serde_json::json;

use super::policy::{Scene, row};

#[tokio::test]
async fn a_flag_is_switched_and_the_rest_of_it_stays() {
    let scene = Scene::start().await;
    let put =
        scene.done(&["flags", "put", "new-checkout", "--percentage", "10", "--service", "orders"]).await;
    assert_eq!(row(&put, "variants"), "variants     on (true), off (false)");
    assert_eq!(row(&put, "default"), "default      off (false)");
    assert_eq!(row(&put, "rule 1"), "rule 1       10% of orders: on");

    let off = scene.done(&["flags", "put", "new-checkout", "--off"]).await;
    assert_eq!(row(&off, "rule 1"), row(&put, "rule 1"));
    assert_eq!(row(&off, "disabled"), "disabled     yes: the default holds for everybody");
    let on = scene.done(&["flags", "put", "new-checkout", "--on"]).await;
    assert_eq!((row(&on, "default"), row(&on, "rule 1")), ("default      on (true)", row(&put, "rule 1")));
    let more =
        scene.done(&["flags", "put", "new-checkout", "--percentage", "50", "--service", "orders"]).await;
    assert_eq!(row(&more, "rule 1"), "rule 1       50% of orders: on");
    assert_eq!(row(&more, "disabled"), "disabled     no");

    let list = scene.done(&["flags", "list"]).await;
    assert!(row(&list, "new-checkout").contains("  bool ") && list.starts_with("FLAG "), "{list}");
    assert!(row(&list, "new-checkout").ends_with("  50% of orders: on"), "{list}");
    let json = scene.json(&["flags", "get", "new-checkout"]).await;
    assert_eq!((&json["default_variant"], &json["rules"][0]["percentage"]), (&json!("on"), &json!(50.0)));
    let stale = ["flags", "put", "new-checkout", "--off", "--if-revision", "0"];
    scene.refused(5, &stale).await;
    scene.server.stop().await;
}

#[tokio::test]
async fn a_flag_is_put_from_a_file_and_deleted_by_its_name() {
    let scene = Scene::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("greeting.json");
    let greeting = json!({
        "name": "greeting",
        "variants": [{"name": "short", "value": {"string_value": "hi"}}, {"name": "long", "value": {"string_value": "hello"}}],
        "default_variant": "short",
        "rules": [{"instances": ["i-1"], "variant": "long"}],
    });
    fs::write(&file, greeting.to_string()).unwrap();
    let put = scene.done(&["flags", "put", file.to_str().unwrap()]).await;
    assert_eq!(row(&put, "variants"), "variants     short (\"hi\"), long (\"hello\")");
    assert_eq!(row(&put, "rule 1"), "rule 1       instances i-1: long");
    let odd = scene.refused(2, &["flags", "put", "greeting", "--on"]).await;
    assert!(odd.contains("has no variant that is true"), "{odd}");
    let nothing = scene.refused(2, &["flags", "put", "greeting"]).await;
    assert!(nothing.contains("--on, --off or --percentage"), "{nothing}");

    let silent = scene.refused(1, &["flags", "delete", "greeting"]).await;
    assert!(silent.contains("short (\"hi\")") && silent.contains("--yes greeting"), "{silent}");
    let deleted = scene.done(&["flags", "delete", "greeting", "--yes", "greeting"]).await;
    assert_eq!(deleted, "deleted flag greeting\n");
    scene.refused(3, &["flags", "get", "greeting"]).await;
    scene.server.stop().await;
}
