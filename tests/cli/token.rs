//! Tokens: made, listed, revoked.

use std::{fs, os::unix::fs::PermissionsExt as _};

use prost_types::Timestamp;
use seaworthy_client::proto::seaworthy::v1::{Role, Token};
use serde_json::Value;
use tempfile::TempDir;

use super::{code, login::identity, peer::Peer, run, stderr, stdout};

fn token(name: &str, id: &str, role: Role, service: &str) -> Token {
    Token {
        token_id: id.into(),
        name: name.into(),
        role: role.into(),
        service: service.into(),
        expire_time: Some(Timestamp { seconds: 4_000_000_000, nanos: 0 }),
        ..Token::default()
    }
}

struct Scene {
    peer: Peer,
    folder: TempDir,
}

impl Scene {
    async fn start() -> Self {
        let callers = vec![
            ("swt_admin", identity("alice", Role::Admin)),
            ("swt_viewer", identity("bob", Role::Viewer)),
        ];
        let revoked = Some(Timestamp { seconds: 1_000_000_000, nanos: 0 });
        let tokens = vec![
            token("alice", "tok-alice", Role::Admin, ""),
            token("orders", "tok-orders", Role::Service, "orders"),
            Token { revoke_time: revoked, ..token("orders", "tok-before", Role::Service, "orders") },
        ];
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("admin"), "swt_admin").unwrap();
        fs::write(folder.path().join("viewer"), "swt_viewer").unwrap();
        Self { peer: Peer::knowing(callers, tokens).await, folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    async fn run(&self, who: &str, args: &[&str]) -> std::process::Output {
        run(&[&["--server", &self.peer.url, "--token-file", &self.path(who)], args].concat()).await
    }
}

#[tokio::test]
async fn a_secret_is_alone_on_the_output_and_in_a_file_of_its_owner() {
    let scene = Scene::start().await;
    let create = ["token", "create", "orders", "--role", "service", "--service", "orders"];
    let made = scene.run("admin", &create).await;
    assert_eq!((code(&made), stdout(&made).as_str()), (0, "swt_made-just-now\n"), "{}", stderr(&made));
    let told = stderr(&made);
    assert!(told.contains("made token orders (tok-0123456789abcdef, service orders)"), "{told}");
    assert!(told.contains("is not shown again") && !told.contains("swt_"), "{told}");

    let json = scene.run("admin", &[&create[..], &["--lifetime", "30d", "-o", "json"]].concat()).await;
    let document: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (&document["secret"], &document["token"]["role"]),
        (&"swt_made-just-now".into(), &"ROLE_SERVICE".into())
    );

    let file = scene.path("out");
    let made = scene.run("admin", &[&create[..], &["--out", &file]].concat()).await;
    assert_eq!((code(&made), stdout(&made)), (0, String::new()), "{}", stderr(&made));
    assert_eq!(fs::read_to_string(&file).unwrap(), "swt_made-just-now\n");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // Nothing is overwritten, and then nothing is made either.
    let made = scene.peer.token_calls().len();
    let refused = scene.run("admin", &[&create[..], &["--out", &file]].concat()).await;
    assert_eq!(code(&refused), 2);
    assert!(stderr(&refused).contains("is not overwritten"), "{}", stderr(&refused));
    assert_eq!(scene.peer.token_calls().len(), made);
    assert_eq!(scene.peer.token_calls()[..2], ["create orders 4 orders 90d", "create orders 4 orders 30d"]);
}

#[tokio::test]
async fn a_token_whose_secret_cannot_be_kept_is_revoked() {
    let scene = Scene::start().await;
    let folder = scene.folder.path().join("folder");
    fs::create_dir(&folder).unwrap();
    scene.peer.takes_away(&folder);
    let file = scene.path("folder/out");
    let ended = scene.run("admin", &["token", "create", "ci", "--role", "viewer", "--out", &file]).await;
    assert_eq!((code(&ended), stdout(&ended)), (2, String::new()));
    let told = stderr(&ended);
    assert!(told.contains("cannot write") && !told.contains("swt_"), "{told}");
    assert!(
        told.contains("token ci (tok-0123456789abcdef), which nobody has the secret of, was revoked"),
        "{told}"
    );
    assert_eq!(scene.peer.token_calls()[1..], ["revoke tok-0123456789abcdef"]);
}

#[tokio::test]
async fn who_may_not_is_told_what_it_takes_and_leaves_no_file() {
    let scene = Scene::start().await;
    let file = scene.path("out");
    let refused = scene.run("viewer", &["token", "create", "x", "--role", "admin", "--out", &file]).await;
    assert_eq!(code(&refused), 5);
    let told = stderr(&refused);
    assert!(told.contains("[PERMISSION_DENIED]\nhint: it takes the role admin"), "{told}");
    assert!(fs::metadata(&file).is_err());
    assert_eq!(code(&scene.run("viewer", &["token", "list"]).await), 5);
}

#[tokio::test]
async fn tokens_are_listed_with_how_they_stand() {
    let scene = Scene::start().await;
    let list = stdout(&scene.run("admin", &["token", "list"]).await);
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines[0], "TOKEN   ROLE     SERVICE  EXPIRES    LAST USED");
    assert!(lines[1].starts_with("alice   admin    -        in "), "{list}");
    assert_eq!(lines.len(), 3, "{list}");
    let all = stdout(&scene.run("admin", &["token", "list", "--all", "-o", "wide"]).await);
    assert!(all.contains("revoked ") && all.contains("tok-before"), "{all}");
    let json = scene.run("admin", &["token", "list", "--all", "-o", "json"]).await;
    let document: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(document["tokens"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn nothing_is_revoked_without_its_name() {
    let scene = Scene::start().await;
    let silent = scene.run("admin", &["token", "revoke", "orders"]).await;
    assert_eq!(code(&silent), 1);
    let told = stderr(&silent);
    assert!(
        told.contains("(tok-orders, service orders, last used -)") && told.contains("--yes orders"),
        "{told}"
    );
    assert_eq!(scene.peer.token_calls(), Vec::<String>::new());
    // What was shown is what is revoked: by its id, whatever it was called by.
    for named in ["orders", "tok-orders"] {
        let revoked = scene.run("admin", &["token", "revoke", named, "--yes", named]).await;
        assert_eq!(
            (code(&revoked), stdout(&revoked)),
            (0, format!("revoked {named}\n")),
            "{}",
            stderr(&revoked)
        );
    }
    assert_eq!(scene.peer.token_calls(), ["revoke tok-orders"; 2]);
    let unknown = scene.run("admin", &["token", "revoke", "nobody", "--yes", "nobody"]).await;
    assert_eq!(code(&unknown), 3);
    assert!(stderr(&unknown).contains("[TOKEN_NOT_FOUND]"), "{}", stderr(&unknown));
}
