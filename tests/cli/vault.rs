//! `vault`, `keygen` and `key`: by a bucket and a key alone. No control plane is there; the engine makes the vault.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use bytes::Bytes;
use seaworthy::{
    time::Clock,
    vault::{
        Component, Cut, DigestKind, Domain, Draft, How, Id, Kek, KeyItself, OWN_STATE, Options, Place,
        SystemRandom, Vault, Writing,
    },
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;

use super::{PATIENCE, code, run, seaworthy, stderr, stdout};

const HOW: How = How { cut: Cut::Content, incompressible: false, digest: DigestKind::Blake3 };

/// A vault in a folder, with its key beside it.
struct Home {
    dir: TempDir,
    vault: Vault,
}

impl Home {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let kek = Kek::new(SystemRandom::new().secret().unwrap());
        fs::write(dir.path().join("vault.key"), &*kek.to_text()).unwrap();
        fs::set_permissions(dir.path().join("vault.key"), fs::Permissions::from_mode(0o600)).unwrap();
        let place = Place::folder(&dir.path().join("vault")).unwrap();
        let options = Options { place, key: Arc::new(KeyItself::new(kek, "test")), clock: Clock::start() };
        let vault = Vault::open(options).await.unwrap();
        Self { dir, vault }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn path(&self, name: &str) -> String {
        self.file(name).to_str().unwrap().to_owned()
    }

    /// Backs components up, each of an instance of its own name.
    async fn back_up(&self, service: &str, what: &[(&str, &str, &[u8])]) -> Id {
        let domain = Domain::of_service(service).unwrap();
        let writing = Writing::begin(&self.vault, &domain, self.vault.new_id().unwrap()).await.unwrap();
        let mut components = Vec::new();
        for (name, instance, bytes) in what {
            let mut stream = writing.intake().stream(HOW);
            for piece in bytes.chunks(77_777) {
                stream.push(Bytes::copy_from_slice(piece)).await.unwrap();
            }
            let mut component = named(name, instance);
            stream.finish().await.unwrap().fill(&mut component);
            components.push(component);
        }
        let backup = self.vault.new_id().unwrap();
        let draft = Draft { backup, components, consistent: true, cause: None, request_id: None };
        writing.commit(draft, || async { true }).await.unwrap();
        backup
    }

    /// The whole command line of a subcommand of `vault`.
    async fn run(&self, args: &[&str]) -> std::process::Output {
        let (vault, key) = (self.path("vault"), self.path("vault.key"));
        run(&[&["vault"], args, &["--vault", &vault, "--key-file", &key]].concat()).await
    }

    async fn done(&self, args: &[&str]) -> String {
        let ended = self.run(args).await;
        assert_eq!(code(&ended), 0, "{args:?}: {}", stderr(&ended));
        stdout(&ended)
    }

    async fn refused(&self, expected: i32, args: &[&str]) -> String {
        let ended = self.run(args).await;
        assert_eq!(code(&ended), expected, "{args:?}: {}{}", stdout(&ended), stderr(&ended));
        assert_eq!(stdout(&ended), "", "{args:?}");
        stderr(&ended)
    }
}

fn named(name: &str, instance: &str) -> Component {
    Component {
        evidence: BTreeMap::from([("rows".to_owned(), "12".to_owned())]),
        ..Component::new(name, "sqlite", instance)
    }
}

/// Bytes that nothing compresses.
fn noise(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..length).map(|_| random.u8(..)).collect()
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_a_vault_is_listed_verified_and_restored_byte_for_byte() {
    let home = Home::new().await;
    let empty = home.run(&["list"]).await;
    assert_eq!((code(&empty), stderr(&empty)), (0, "the vault has no backups\n".to_owned()));
    // Nobody may take that for a vault that was looked at.
    let nothing = home.refused(3, &["verify"]).await;
    assert!(nothing.contains("nothing to verify"), "{nothing}");
    let nothing: Value = serde_json::from_slice(&home.run(&["verify", "-o", "json"]).await.stdout).unwrap();
    assert_eq!(nothing["sound"], false);
    let (large, small) = (noise(3 << 20), b"words ".repeat(1000));
    let first = home.back_up("orders", &[("database", "i-1", b"old")]).await;
    let second = home
        .back_up("orders", &[("database", "i-1", &large), ("cache", "i-1", b"a"), ("cache", "i-2", b"b")])
        .await;
    home.back_up("payments", &[("ledger", "i-1", &small)]).await;

    let list = home.done(&["list"]).await;
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 4, "{list}");
    assert!(lines[1].starts_with(&second.to_string()) && lines[1].contains("  complete  "), "{list}");
    assert!(lines[1].contains("3.0 MiB") && lines[2].starts_with(&first.to_string()), "{list}");
    let list: Value = serde_json::from_str(&home.done(&["list", "orders", "-o", "json"]).await).unwrap();
    assert_eq!(list["backups"].as_array().unwrap().len(), 2);
    assert_eq!(list["backups"][0]["backup"]["components"][0]["evidence"]["rows"], "12");
    let head = list["backups"][0]["hash"].as_str().unwrap().to_owned();
    assert!(home.done(&["list", "-o", "wide"]).await.contains(&format!("head of orders: {head}")));

    let verified = home.done(&["verify"]).await;
    assert!(
        verified.starts_with("orders: sound; 2 backups, ") && verified.contains("\npayments: sound;"),
        "{verified}"
    );
    assert!(verified.contains(&format!("  head {head}\n")), "{verified}");
    home.done(&["verify", "orders", "latest", "--depth", "structure", "--expect-head", &head]).await;
    let other = home.refused(7, &["verify", "orders", "--expect-head", "ab"]).await;
    assert!(other.contains(&head) && other.contains("not ab"), "{other}");
    let found: Value = serde_json::from_str(&home.done(&["verify", "orders", "-o", "json"]).await).unwrap();
    assert_eq!((&found["sound"], &found["services"][0]["head"]), (&true.into(), &head.as_str().into()));

    let to = home.path("orders.db");
    let told = home.done(&["restore", "orders", "latest", "database", "--to", &to]).await;
    assert!(
        told.starts_with("restored orders/i-1/database from backup ") && told.contains("3.0 MiB in "),
        "{told}"
    );
    assert_eq!(fs::read(&to).unwrap(), large);
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    let there = home.refused(2, &["restore", "orders", "latest", "database", "--to", &to]).await;
    assert!(there.contains("--overwrite replaces it"), "{there}");
    let first = first.to_string();
    home.done(&["restore", "orders", &first, "database", "--to", &to, "--overwrite"]).await;
    assert_eq!(fs::read(&to).unwrap(), b"old");

    let piped = home.run(&["restore", "orders", "latest", "database", "--to", "-"]).await;
    assert_eq!((code(&piped), piped.stdout == large), (0, true));
    assert!(stderr(&piped).starts_with("restored orders/i-1/database"), "{}", stderr(&piped));
    let of_several = home.refused(2, &["restore", "orders", "latest", "cache", "--to", "-"]).await;
    assert!(of_several.contains("i-1, i-2; name one with --instance"), "{of_several}");
    let one = home.run(&["restore", "orders", "latest", "cache", "--instance", "i-2", "--to", "-"]).await;
    assert_eq!(stdout(&one), "b");

    let rebuilt = home.done(&["rebuild-catalog"]).await;
    assert_eq!(
        rebuilt.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>(),
        ["orders", "2", "0", "0", "0", "0", "2"]
    );
    // Nothing is left beside what was restored.
    assert!(
        fs::read_dir(home.dir.path())
            .unwrap()
            .all(|entry| { !entry.unwrap().file_name().to_str().unwrap().ends_with(".partial") })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_with_what_there_is() {
    let home = Home::new().await;
    home.back_up("orders", &[("database", "i-1", b"rows")]).await;
    let missing = "0".repeat(26);
    for (expected, args, words) in [
        (3, &["list", "payments"][..], "it has those of orders"),
        (3, &["verify", "orders", &missing], "vault list orders"),
        (3, &["restore", "orders", &missing, "database", "--to", "-"], "vault list orders"),
        (3, &["restore", "orders", "latest", "cache", "--to", "-"], "it has i-1/database"),
        (3, &["restore", "--control-plane", "--data-dir", &home.path("data")], "no backups of _seaworthy"),
        (2, &["verify", "orders", "nonsense"], "or write latest"),
        (2, &["restore", "orders", "latest", "database", "--to", "/nowhere/x"], "/nowhere/x"),
        (2, &["restore", "orders", "latest", "database"], "--to"),
        (2, &["restore", "--control-plane"], "--data-dir"),
        (2, &["restore", "--control-plane", "--data-dir", "x", "latest", "database"], "cannot be used with"),
        (2, &["verify", "--expect-head", "ab"], "SERVICE"),
        (2, &["verify", "--depth", "deep"], "presence"),
        (2, &["list", "--vault-option", "region"], "NAME=VALUE"),
        (2, &["list", "--passphrase-file", "x"], "cannot be used with"),
    ] {
        let told = home.refused(expected, args).await;
        assert!(told.contains(words), "{args:?}: {told}");
    }
    assert!(!home.file("data").exists());
    let key = home.path("vault.key");
    let nowhere = run(&["vault", "list", "--vault", &home.path("nowhere"), "--key-file", &key]).await;
    assert_eq!(code(&nowhere), 3);
    assert!(stderr(&nowhere).contains("there is no vault at") && !home.file("nowhere").exists());
    fs::create_dir(home.file("empty")).unwrap();
    let empty = run(&["vault", "list", "--vault", &home.path("empty"), "--key-file", &key]).await;
    assert_eq!(code(&empty), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_wrong_or_missing_is_told_and_the_right_one_may_be_in_the_environment() {
    let home = Home::new().await;
    home.back_up("orders", &[("database", "i-1", b"rows")]).await;
    let vault = home.path("vault");
    let list = |key: &str| ["vault", "list", "--vault", &vault, "--key-file", key].map(str::to_owned);
    let ended = |args: [String; 6]| async move { run(&args.each_ref().map(String::as_str)).await };
    let missing = ended(list(&home.path("nowhere.key"))).await;
    assert_eq!(code(&missing), 2);
    assert!(stderr(&missing).contains("nowhere.key") && stderr(&missing).contains("--key-file"));
    assert_eq!(code(&run(&["keygen", "--out", &home.path("other.key")]).await), 0);
    let other = ended(list(&home.path("other.key"))).await;
    assert_eq!(code(&other), 5);
    assert!(stderr(&other).contains("the key does not open this vault"), "{}", stderr(&other));

    let text = fs::read_to_string(home.file("vault.key")).unwrap();
    let by_variable = |key: &str| {
        let mut command = seaworthy(&["vault", "list", "--vault", &vault]);
        command.env("SEAWORTHY_VAULT_KEY", key);
        command
    };
    let right = by_variable(&text).output().await.unwrap();
    assert_eq!((code(&right), stdout(&right).lines().count()), (0, 2), "{}", stderr(&right));
    let slip = by_variable(&text.replace("swk1_", "swk1_0")).output().await.unwrap();
    assert_eq!(code(&slip), 2);
    assert!(stderr(&slip).contains("SEAWORTHY_VAULT_KEY"), "{}", stderr(&slip));
    for ended in [&right, &slip, &other] {
        assert!(![stdout(ended), stderr(ended)].concat().contains(&text[5..30]));
    }
    fs::set_permissions(home.file("vault.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = home.run(&["list"]).await;
    assert_eq!(code(&exposed), 0);
    assert!(stderr(&exposed).contains("chmod 600"), "{}", stderr(&exposed));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_ends_with_7_and_hides_nothing_else() {
    let home = Home::new().await;
    let backup = home.back_up("orders", &[("database", "i-1", &noise(2 << 20))]).await;
    home.back_up("payments", &[("ledger", "i-1", b"rows")]).await;
    let packs = files(&home.file("vault/packs/orders"));
    let pack = packs.iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(pack, &bytes).unwrap();

    let verified = home.run(&["verify"]).await;
    let told = stdout(&verified);
    assert_eq!(code(&verified), 7, "{told}");
    assert!(told.contains("orders: NOT SOUND;") && told.contains("payments: sound;"), "{told}");
    assert!(told.contains(&format!("cannot be restored: {backup}/database")), "{told}");
    home.done(&["verify", "payments"]).await;
    home.done(&["verify", "--depth", "presence"]).await;
    let to = home.path("orders.db");
    let refused = home.refused(7, &["restore", "orders", "latest", "database", "--to", &to]).await;
    assert!(refused.contains("is damaged"), "{refused}");
    assert!(!home.file("orders.db").exists());
    home.done(&["restore", "payments", "latest", "ledger", "--to", &home.path("ledger")]).await;

    // A manifest that cannot be read is listed, and stands in the way of nothing else.
    home.back_up("payments", &[("ledger", "i-1", b"newer")]).await;
    let newest = files(&home.file("vault/manifests/payments")).into_iter().max().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&newest, &bytes).unwrap();
    let list = home.done(&["list", "payments", "-o", "wide"]).await;
    assert!(list.contains("  failed  ") && list.contains("it cannot be read: "), "{list}");
    let rebuilt = home.run(&["rebuild-catalog"]).await;
    assert_eq!(code(&rebuilt), 7);
    assert!(stdout(&rebuilt).contains(" cannot be read: "), "{}", stdout(&rebuilt));
    let older = home.run(&["restore", "payments", "latest", "ledger", "--to", "-"]).await;
    assert_eq!((code(&older), stdout(&older)), (0, "rows".to_owned()));
    assert!(stderr(&older).contains("is passed over"), "{}", stderr(&older));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_without_any_backup_are_not_sound() {
    let home = Home::new().await;
    home.back_up("orders", &[("database", "i-1", b"rows")]).await;
    home.back_up("payments", &[("ledger", "i-1", b"rows")]).await;
    home.done(&["verify"]).await;
    fs::remove_dir_all(home.file("vault/manifests/orders")).unwrap();
    for args in [&["verify"][..], &["verify", "orders"]] {
        let verified = home.run(args).await;
        assert_eq!(code(&verified), 7, "{args:?}: {}", stderr(&verified));
        let told = stdout(&verified);
        assert!(told.contains("orders: NOT SOUND;") && told.contains("keys and no backup"), "{told}");
        assert_eq!(told.contains("payments: sound;"), args.len() == 1, "{told}");
    }
    home.done(&["verify", "payments"]).await;
    home.refused(3, &["verify", "stock"]).await;
}

/// By a URL, by the environment, and where a control plane with defaults has it; what the environment has of other things
/// changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_vault_is_found_by_its_url_and_where_it_usually_is() {
    let home = Home::new().await;
    home.back_up("orders", &[("database", "i-1", b"rows")]).await;
    let url = format!("file://{}", home.path("vault"));
    let key = home.path("vault.key");
    let listed = run(&["vault", "list", "--vault", &url, "--key-file", &key]).await;
    assert_eq!((code(&listed), stdout(&listed).lines().count()), (0, 2), "{}", stderr(&listed));
    let data = home.file("seaworthy-data");
    fs::create_dir(&data).unwrap();
    fs::rename(home.file("vault"), data.join("vault")).unwrap();
    fs::rename(home.file("vault.key"), data.join("vault.key")).unwrap();
    let usual = seaworthy(&["vault", "verify"]).current_dir(home.dir.path()).output().await.unwrap();
    assert_eq!(code(&usual), 0, "{}", stderr(&usual));
    let mut named = seaworthy(&["vault", "list"]);
    named
        .env("SEAWORTHY_VAULT_PLACE", data.join("vault"))
        .env("SEAWORTHY_VAULT_KEY_FILE", data.join("vault.key"));
    let named = named.envs([("AWS_PROFILE", "shop"), ("AZURE_CONFIG_DIR", "/x")]).output().await.unwrap();
    assert_eq!((code(&named), stdout(&named).lines().count()), (0, 2), "{}", stderr(&named));
}

/// A file that is replaced is never one that a link leads to.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_writes_through_no_link() {
    let home = Home::new().await;
    home.back_up("orders", &[("database", "i-1", b"rows")]).await;
    fs::write(home.file("precious"), "kept").unwrap();
    std::os::unix::fs::symlink(home.file("precious"), home.file("orders.db")).unwrap();
    let to = home.path("orders.db");
    let refused = home.refused(2, &["restore", "orders", "latest", "database", "--to", &to]).await;
    assert!(refused.contains("--overwrite replaces it"), "{refused}");
    home.done(&["restore", "orders", "latest", "database", "--to", &to, "--overwrite"]).await;
    assert_eq!(fs::read(home.file("precious")).unwrap(), b"kept");
    assert!(fs::symlink_metadata(&to).unwrap().is_file());
    assert_eq!(fs::read(&to).unwrap(), b"rows");
}

#[tokio::test]
async fn the_help_of_each_command_says_its_exit_codes() {
    for command in ["list", "verify", "restore", "rebuild-catalog"] {
        let help = run(&["vault", command, "--help"]).await;
        let words = stdout(&help).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words.contains("Exits with 0 ") && words.contains("5 where the key does not open"),
            "{words}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_planes_own_state_becomes_a_data_folder() {
    let home = Home::new().await;
    let mut lines = "{\"seaworthy_store\":1,\"revision\":7}\n".to_owned();
    for number in 0..1500 {
        lines.push_str(&format!("{{\"key\":\"things/{number:05}\",\"text\":\"{number}\"}}\n"));
    }
    home.back_up(OWN_STATE, &[("store", "control-plane", lines.as_bytes())]).await;
    let data = home.path("data");
    let restore = ["restore", "--control-plane", "--data-dir", &data];
    let ended = home.run(&restore).await;
    assert_eq!(code(&ended), 0, "{}", stderr(&ended));
    assert!(stdout(&ended).contains(": 1500 keys, "), "{}", stdout(&ended));
    assert!(
        stderr(&ended).contains(&format!("vault.key' seaworthy serve --data-dir '{data}'\n")),
        "{}",
        stderr(&ended)
    );
    let again = home.refused(2, &restore).await;
    assert!(again.contains("has a store already"), "{again}");
    let options = seaworthy::store::embedded::Options::new(&data, Clock::start());
    let (store, engine) = seaworthy::store::embedded::open(options).unwrap();
    assert_eq!(store.status().keys, 1500);
    assert_eq!(store.get("things/01499").await.unwrap().unwrap().value, "1499");
    engine.close().await.unwrap();
}

/// The pipe is full, and the restore waits for who reads it.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_nobody_reads_ends_by_ctrl_c_and_by_the_end_of_the_pipe() {
    use tokio::io::AsyncReadExt as _;
    let home = Home::new().await;
    home.back_up("orders", &[("database", "i-1", &noise(3 << 20))]).await;
    let (vault, key) = (home.path("vault"), home.path("vault.key"));
    let args = [
        "vault",
        "restore",
        "orders",
        "latest",
        "database",
        "--to",
        "-",
        "--vault",
        &vault,
        "--key-file",
        &key,
    ];
    for (is_interrupted, expected) in [(true, 130), (false, 70)] {
        let mut child = seaworthy(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut reader = child.stdout.take().unwrap();
        reader.read_exact(&mut [0]).await.unwrap();
        if is_interrupted {
            let id = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
            rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
        } else {
            drop(reader);
        }
        let ended = timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
        assert_eq!(code(&ended), expected, "{}", stderr(&ended));
        assert_eq!(stderr(&ended).contains("it is not whole"), !is_interrupted, "{}", stderr(&ended));
    }
}

#[tokio::test]
async fn a_key_is_made_shown_by_its_id_alone_and_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vault.key");
    let path = file.to_str().unwrap();
    let made = run(&["keygen", "--out", path]).await;
    assert_eq!(code(&made), 0, "{}", stderr(&made));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    let key = text.lines().find(|line| line.starts_with("swk1_")).unwrap();
    assert!(text.starts_with("# Key "), "{text}");
    let shown = run(&["key", "show", "--key-file", path]).await;
    let id = stdout(&shown).trim().to_owned();
    assert_eq!((code(&shown), id.len()), (0, 16));
    assert!(stdout(&made).contains(&id) && text.contains(&id), "{}", stdout(&made));
    for ended in [&made, &shown] {
        assert!(![stdout(ended), stderr(ended)].concat().contains(key));
    }
    let again = run(&["keygen", "--out", path]).await;
    assert_eq!(code(&again), 2);
    assert!(stderr(&again).contains("--force replaces it"), "{}", stderr(&again));
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    assert_eq!(code(&run(&["keygen", "--out", path, "--force"]).await), 0);
    assert_ne!(fs::read_to_string(&file).unwrap(), text);
    let printed = run(&["keygen"]).await;
    assert!(stdout(&printed).starts_with("swk1_") && stdout(&printed).lines().count() == 1);
    assert!(!stderr(&printed).contains(stdout(&printed).trim()));
    let json: Value = serde_json::from_slice(&run(&["keygen", "-o", "json"]).await.stdout).unwrap();
    assert!(json["key"].as_str().unwrap().starts_with("swk1_"));
}

/// A full disk or a mount that is read only, as anybody can have it who runs tests: no session can be made.
#[tokio::test]
async fn a_vault_that_takes_no_writes_is_restored_with_a_warning() {
    let home = Home::new().await;
    let bytes = noise(200_000);
    home.back_up("orders", &[("database", "i-1", &bytes)]).await;
    let sessions = home.file("vault/sessions");
    fs::remove_dir_all(&sessions).unwrap();
    fs::write(&sessions, "no folder").unwrap();
    let to = home.path("orders.db");
    let ended = home.run(&["restore", "orders", "latest", "database", "--to", &to]).await;
    assert_eq!(code(&ended), 0, "{}", stderr(&ended));
    assert!(stderr(&ended).contains("warning: the vault takes no writes"), "{}", stderr(&ended));
    assert!(fs::read(&to).unwrap() == bytes);
    let told = home.done(&["verify"]).await;
    assert!(told.contains("sound") && told.contains("besides: nobody who prunes knows"), "{told}");
}
