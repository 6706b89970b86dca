//! `backup` and `restore`: their help, and what is refused before anything is asked.

use parking_lot::Mutex;
use seaworthy::vault::{Kek, Secret};

use super::{
    code,
    keeper::{Kept, keeper},
    nobody,
    policy::Scene,
    run, stderr, stdout,
};

/// Runs a command that does what it is asked, whatever it tells of it.
async fn done(scene: &Scene, args: &[&str]) -> String {
    let ended = run(&scene.args(args)).await;
    assert_eq!(code(&ended), 0, "{args:?}: {}{}", stdout(&ended), stderr(&ended));
    stdout(&ended)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_one_instance_goes_to_another_service_and_instance() {
    let scene = Scene::start().await;
    let kept = |bytes: &[u8]| Kept::new(Mutex::new(bytes.to_vec()));
    let (one, two, three, four) = (kept(b"one"), kept(b"two"), kept(b""), kept(b""));
    let _agents = [
        keeper(&scene.server, "orders", "i-1", &one).await,
        keeper(&scene.server, "orders", "i-2", &two).await,
        keeper(&scene.server, "copies", "i-3", &three).await,
        keeper(&scene.server, "copies", "i-4", &four).await,
    ];
    done(&scene, &["backup", "create", "orders", "--instance", "i-2"]).await;
    let listed = scene.json(&["backup", "list", "orders"]).await;
    assert_eq!(listed["backups"][0]["components"][0]["instance_id"], "i-2", "{listed}");

    // Nobody has verified it, and nobody does.
    let to = ["restore", "run", "orders", "latest", "--to-service", "copies", "--to-instance", "i-4"];
    let refused = run(&scene.args(&[&to[..], &["--force", "not-empty", "--no-verify"]].concat())).await;
    assert_eq!(code(&refused), 5, "{}", stderr(&refused));
    assert!(stderr(&refused).contains("unverified"), "{}", stderr(&refused));
    let forced = ["--force", "not-empty", "--force", "unverified", "--no-verify"];
    done(&scene, &[&to[..], &forced].concat()).await;
    assert_eq!((three.lock().as_slice(), four.lock().as_slice()), (&b""[..], &b"two"[..]));
    let listed = scene.json(&["backup", "list", "orders"]).await;
    assert!(listed["backups"][0]["verify_time"].is_null(), "{listed}");
    let nowhere = scene.args(&[
        "restore",
        "plan",
        "orders",
        "latest",
        "--to-service",
        "copies",
        "--to-instance",
        "i-9",
    ]);
    let nowhere = run(&nowhere).await;
    assert_eq!(code(&nowhere), 5, "{}", stderr(&nowhere));
    assert!(stderr(&nowhere).contains("i-9"), "{}", stderr(&nowhere));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_deleted_and_comes_back() {
    let scene = Scene::start().await;
    done(&scene, &["backup", "create", "_seaworthy"]).await;
    let id = scene.json(&["backup", "list"]).await["backups"][0]["id"].as_str().unwrap().to_owned();
    let delete = ["backup", "delete", "_seaworthy", &id];
    // Without a terminal nobody can be asked.
    assert_ne!(code(&run(&scene.args(&delete)).await), 0);
    assert_ne!(code(&run(&scene.args(&[&delete[..], &["--confirm", "other"]].concat())).await), 0);
    let told = done(&scene, &[&delete[..], &["--confirm", &id, "--message", "too old"]].concat()).await;
    assert!(told.contains(&format!("seaworthy backup undelete _seaworthy {id}")), "{told}");
    assert_eq!(scene.json(&["backup", "list"]).await["backups"].as_array().map_or(0, Vec::len), 0);
    let shown = scene.json(&["backup", "show", "_seaworthy", &id]).await.to_string();
    assert!(shown.contains("DELETED") && shown.contains("too old"), "{shown}");
    let told = done(&scene, &["backup", "undelete", "_seaworthy", &id]).await;
    assert!(told.contains("is back"), "{told}");
    assert_eq!(scene.json(&["backup", "list"]).await["backups"][0]["id"], id.as_str());
    let missing = run(&scene.args(&["backup", "undelete", "_seaworthy", &"0".repeat(26)])).await;
    assert_eq!(code(&missing), 3, "{}", stderr(&missing));
}

#[tokio::test]
async fn a_key_is_confirmed_by_the_id_of_its_copy_and_never_by_itself() {
    let scene = Scene::start().await;
    let bare = run(&scene.args(&["key", "confirm"])).await;
    assert_eq!(code(&bare), 2);
    assert!(stderr(&bare).contains("--id") && stderr(&bare).contains("--key-file"), "{}", stderr(&bare));
    let other = run(&scene.args(&["key", "confirm", "--id", "0123456789abcdef"])).await;
    assert_eq!(code(&other), 5, "{}", stderr(&other));
    let id = Kek::new(Secret::new([7; 32])).id().unwrap();
    assert!(stderr(&other).contains(&id), "{}", stderr(&other));
    let told = done(&scene, &["key", "confirm", "--id", &id]).await;
    assert!(told.contains(&format!("the key {id} is kept elsewhere too")), "{told}");
}

#[tokio::test]
async fn what_is_wrong_is_refused_before_anything_is_asked() {
    for (args, words) in [
        (&["backup", "create"][..], "SERVICE"),
        (&["backup", "create", "orders", "--max-quiesce", "0s"], "write a time above zero"),
        (&["backup", "create", "orders", "--detach", "--lines"], "cannot be used with"),
        (&["backup", "show", "orders"], "ID"),
        (&["backup", "verify", "orders", "latest", "--depth", "deep"], "presence, structure, data"),
        (&["backup", "delete", "orders"], "ID"),
        (&["restore", "plan"], "SERVICE"),
        (
            &["restore", "run", "orders", "--force", "all"],
            "serving, not-empty, newer-schema, unverified, partial",
        ),
        (&["restore", "orders"], "unrecognized subcommand"),
    ] {
        let ended = run(args).await;
        assert_eq!(code(&ended), 2, "{args:?}: {}", stderr(&ended));
        assert!(stderr(&ended).contains(words), "{args:?}: {}", stderr(&ended));
    }
}

#[tokio::test]
async fn the_help_says_what_the_exit_codes_are() {
    for args in [&["backup", "create"][..], &["restore", "run"]] {
        let help = run(&[args, &["--help"]].concat()).await;
        assert_eq!(code(&help), 0);
        let words = stdout(&help).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words.contains("6 done in part, 7 failed, 8 cancelled. Ctrl-C ends the view"),
            "{}",
            stdout(&help)
        );
    }
}

#[tokio::test]
async fn without_a_control_plane_nothing_is_done() {
    let (address, _held) = nobody();
    let server = format!("http://{address}");
    for args in [
        &["backup", "create", "orders"][..],
        &["backup", "list"],
        &["backup", "delete", "orders", "x", "--confirm", "x"],
        &["restore", "plan", "orders"],
        &["restore", "run", "orders", "latest", "--verify", "--no-verify"],
    ] {
        let ended = run(&[&["--server", &server], args].concat()).await;
        assert_eq!((code(&ended), stdout(&ended)), (4, String::new()), "{args:?}: {}", stderr(&ended));
    }
}
