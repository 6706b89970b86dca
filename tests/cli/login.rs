//! Who somebody is to a control plane: `login`, `logout`, `context`, `whoami`, and what of it is never seen.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Stdio};

use rustix::process::Signal;
use seaworthy_client::proto::seaworthy::v1::{AuthenticationMethod, Identity, Role};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, time::timeout};

use super::{
    PATIENCE, code,
    encrypted::{Authority, For, server},
    live::Terminal,
    nobody,
    peer::Peer,
    run, seaworthy, stderr, stdout,
};

pub(crate) fn identity(name: &str, role: Role) -> Identity {
    Identity {
        name: format!("token:{name}"),
        role: role.into(),
        method: AuthenticationMethod::Token.into(),
        ..Identity::default()
    }
}

/// Knows an admin and a viewer by their tokens.
async fn peer() -> Peer {
    let callers = vec![
        ("swt_hidden-alice", identity("alice", Role::Admin)),
        ("swt_hidden-bob", identity("bob", Role::Viewer)),
    ];
    Peer::knowing(callers, Vec::new()).await
}

/// A folder with a contexts file that is not there yet, and tokens.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        fs::write(home.path("alice"), "swt_hidden-alice\n").unwrap();
        fs::write(home.path("bob"), "swt_hidden-bob").unwrap();
        home
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn contexts(&self) -> String {
        self.path("config/contexts.toml")
    }

    fn stored(&self) -> String {
        fs::read_to_string(self.contexts()).unwrap()
    }

    async fn run(&self, args: &[&str]) -> std::process::Output {
        run(&[&["--contexts-file", &self.contexts()], args].concat()).await
    }
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn logging_in_keeps_what_counts_and_logging_out_forgets_it() {
    let (peer, home) = (peer().await, Home::new());
    let ended = home.run(&["login", "lab", "--server", &peer.url, "--token-file", &home.path("alice")]).await;
    assert_eq!(code(&ended), 0, "{}", stderr(&ended));
    assert_eq!(stdout(&ended), format!("logged in to {} as token:alice (admin)\n", peer.url));
    assert!(stderr(&ended).contains("context lab is the current one"), "{}", stderr(&ended));
    assert_eq!((mode(home.contexts()), mode(home.path("config"))), (0o600, 0o700));
    assert!(home.stored().contains("token = \"swt_hidden-alice\""));

    // Nothing has to be said any more.
    let who = home.run(&["whoami", "-o", "json"]).await;
    let document: Value = serde_json::from_slice(&who.stdout).unwrap();
    assert_eq!(document["identity"]["name"], "token:alice");
    let who = stdout(&home.run(&["whoami"]).await);
    assert!(who.contains("who          token:alice") && who.contains("context      lab"), "{who}");

    for args in [&["context", "list"][..], &["context", "show"], &["context", "show", "lab", "-o", "json"]] {
        let shown = home.run(args).await;
        assert_eq!(code(&shown), 0, "{}", stderr(&shown));
        let text = stdout(&shown) + &stderr(&shown);
        assert!(text.contains("lab") && text.contains(&peer.url) && !text.contains("hidden"), "{text}");
    }

    let ended = home.run(&["logout"]).await;
    assert_eq!((code(&ended), stdout(&ended).as_str()), (0, "forgot who you are in context lab\n"));
    assert!(stderr(&ended).contains("goes on to count") && !home.stored().contains("hidden"));
    assert_eq!(mode(home.contexts()), 0o600);
    let refused = home.run(&["whoami"]).await;
    assert_eq!(code(&refused), 5);
    let told = stderr(&refused);
    assert!(told.contains("[UNAUTHENTICATED]\nhint: ") && told.contains("`seaworthy login`"), "{told}");
}

#[tokio::test]
async fn a_token_comes_from_a_file_the_input_or_the_environment() {
    let (peer, home) = (peer().await, Home::new());
    let login = ["--contexts-file", &home.contexts(), "login", "lab", "--server", &peer.url];
    let mut child = seaworthy(&[&login[..], &["--token-file", "-"]].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"  swt_hidden-bob\n").await.unwrap();
    let ended = timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    assert!(stdout(&ended).ends_with("as token:bob (viewer)\n"), "{}", stderr(&ended));
    assert!(home.stored().contains("swt_hidden-bob"));

    let mut command = seaworthy(&login);
    command.env("SEAWORTHY_TOKEN", "swt_hidden-alice");
    let ended = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    assert!(stdout(&ended).ends_with("as token:alice (admin)\n"), "{}", stderr(&ended));
    assert!(home.stored().contains("swt_hidden-alice") && !home.stored().contains("swt_hidden-bob"));

    // What does not count is not kept, and what was kept stays.
    fs::write(home.path("wrong"), "swt_hidden-nobody").unwrap();
    let wrong = home.run(&["login", "lab", "--token-file", &home.path("wrong")]).await;
    assert_eq!(code(&wrong), 5, "{}", stderr(&wrong));
    assert!(home.stored().contains("swt_hidden-alice"));
    let missing = home.run(&["login", "lab", "--token-file", &home.path("nowhere")]).await;
    assert_eq!(code(&missing), 2);
    fs::write(home.path("odd"), "two hidden words").unwrap();
    let odd = home.run(&["login", "lab", "--token-file", &home.path("odd")]).await;
    assert_eq!(code(&odd), 2);
    // Nobody is there to be asked.
    let silent = home.run(&["login", "lab"]).await;
    assert_eq!(code(&silent), 2);
    assert!(
        stderr(&silent).contains("--token-file FILE, or - for the standard input"),
        "{}",
        stderr(&silent)
    );
    for ended in [wrong, missing, odd, silent] {
        assert!(!stderr(&ended).contains("hidden"), "{}", stderr(&ended));
    }
}

#[tokio::test]
async fn who_asks_for_nothing_is_logged_in_to_without_a_token() {
    let (peer, home) = (Peer::with(Vec::new()).await, Home::new());
    let ended = home.run(&["login", "--server", &peer.url]).await;
    assert_eq!(stdout(&ended), format!("logged in to {} as local (everything)\n", peer.url));
    assert!(home.stored().contains("[contexts.\"default\"]"), "{}", home.stored());
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_terminal_a_token_is_asked_for_and_not_shown() {
    let (peer, home) = (peer().await, Home::new());
    let args = ["--contexts-file", &home.contexts(), "login", "lab", "--server", &peer.url];
    let mut terminal = Terminal::start(120, 24, &args);
    terminal.until("it asks", |picture| picture.contains(&format!("token for {}:", peer.url)));
    assert!(!terminal.echoes());
    terminal.type_in("swt_hidden-alice\n");
    terminal.until("it is known", |picture| picture.contains("as token:alice (admin)"));
    assert_eq!(terminal.ended(), 0);
    assert!(terminal.echoes(), "it shows what is typed again");
    assert!(!terminal.shown().contains("hidden"), "{}", terminal.shown());
    assert!(home.stored().contains("swt_hidden-alice"));

    // Who goes away leaves the terminal as it was, and nothing else.
    let args = ["--contexts-file", &home.contexts(), "login", "other", "--server", &peer.url];
    let mut terminal = Terminal::start(120, 24, &args);
    terminal.until("it asks", |picture| picture.contains("token for"));
    terminal.signal(Signal::INT);
    assert_eq!(terminal.ended(), 130);
    assert!(terminal.echoes() && !home.stored().contains("other"));

    // What is forgotten while it asks stays forgotten.
    let mut terminal = Terminal::start(120, 24, &args);
    terminal.until("it asks", |picture| picture.contains("token for"));
    assert_eq!(code(&home.run(&["logout", "lab"]).await), 0);
    terminal.type_in("swt_hidden-bob\n");
    terminal.until("it is known", |picture| picture.contains("as token:bob (viewer)"));
    assert_eq!(terminal.ended(), 0);
    let stored = home.stored();
    assert!(stored.contains("swt_hidden-bob") && !stored.contains("swt_hidden-alice"), "{stored}");
}

#[tokio::test]
async fn contexts_that_others_can_read_are_refused_with_what_to_run() {
    let (peer, home) = (peer().await, Home::new());
    home.run(&["login", "lab", "--server", &peer.url, "--token-file", &home.path("alice")]).await;
    fs::set_permissions(home.contexts(), fs::Permissions::from_mode(0o644)).unwrap();
    for args in [&["whoami"][..], &["context", "list"], &["logout"], &["--server", &peer.url, "status"]] {
        let refused = home.run(args).await;
        assert_eq!(code(&refused), 64, "{args:?}");
        let told = stderr(&refused);
        assert!(told.contains("mode 0644") && told.contains("run: chmod 600 '"), "{told}");
        assert!(!told.contains("hidden"), "{told}");
    }
}

/// Flags, variables; server, and who one is there.
type Row<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str, &'a str);

#[tokio::test]
async fn flag_then_environment_then_context_then_default() {
    let (one, two, home) = (peer().await, peer().await, Home::new());
    for (name, server, token) in [("one", &one.url, "alice"), ("two", &two.url, "bob")] {
        let ended = home.run(&["login", name, "--server", server, "--token-file", &home.path(token)]).await;
        assert_eq!(code(&ended), 0, "{}", stderr(&ended));
    }
    let (alice, bob) = (home.path("alice"), home.path("bob"));
    let contexts = home.contexts();
    let table: [Row<'_>; 9] = [
        (&[], &[], &two.url, "token:bob"),
        (&["--context", "one"], &[], &one.url, "token:alice"),
        (&[], &[("SEAWORTHY_CONTEXT", "one")], &one.url, "token:alice"),
        (&["--context", "two"], &[("SEAWORTHY_CONTEXT", "one")], &two.url, "token:bob"),
        // Of a context for another control plane nothing is shown to this one.
        (&["--server", &one.url], &[], &one.url, ""),
        (&["--server", &one.url, "--token-file", &bob], &[], &one.url, "token:bob"),
        (&[], &[("SEAWORTHY_SERVER", &one.url), ("SEAWORTHY_TOKEN_FILE", &alice)], &one.url, "token:alice"),
        (&["--token-file", &alice], &[("SEAWORTHY_TOKEN_FILE", &bob)], &two.url, "token:alice"),
        (&[], &[("SEAWORTHY_TOKEN", "swt_hidden-alice")], &two.url, "token:alice"),
    ];
    for (flags, environment, server, who) in table {
        let mut command = seaworthy(&[flags, &["whoami"]].concat());
        command.env("SEAWORTHY_CONTEXTS_FILE", &contexts).envs(environment.iter().copied());
        let ended = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
        let (text, told) = (stdout(&ended), stderr(&ended));
        if who.is_empty() {
            assert_eq!(code(&ended), 5, "{flags:?} {environment:?}: {text}{told}");
            continue;
        }
        assert!(text.contains(&format!("who          {who}\n")), "{flags:?} {environment:?}: {text}{told}");
        assert!(text.contains(server), "{flags:?} {environment:?}: {text}");
    }
    // The usual places.
    for variables in [&[("XDG_CONFIG_HOME", "config")][..], &[("HOME", "home")]] {
        let mut command = seaworthy(&["login", "--server", &one.url, "--token-file", &alice]);
        command.envs(variables.iter().map(|(name, folder)| (name, home.path(folder))));
        let ended = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
        assert_eq!(code(&ended), 0, "{}", stderr(&ended));
    }
    assert_eq!(mode(home.path("config/seaworthy/contexts.toml")), 0o600);
    assert_eq!(mode(home.path("home/.config/seaworthy/contexts.toml")), 0o600);
}

#[tokio::test]
async fn contexts_are_chosen_and_deleted() {
    let (peer, home) = (peer().await, Home::new());
    for name in ["one", "two"] {
        home.run(&["login", name, "--server", &peer.url, "--token-file", &home.path("alice")]).await;
    }
    let list = stdout(&home.run(&["context", "list"]).await);
    assert!(list.lines().any(|line| line.starts_with("two      yes")), "{list}");
    assert_eq!(code(&home.run(&["context", "use", "one"]).await), 0);
    let list = stdout(&home.run(&["context", "list"]).await);
    assert!(list.lines().any(|line| line.starts_with("one      yes")), "{list}");
    let unknown = home.run(&["context", "use", "three"]).await;
    assert_eq!(code(&unknown), 2);
    assert!(stderr(&unknown).contains("there are one, two"), "{}", stderr(&unknown));
    assert_eq!(code(&home.run(&["context", "delete", "one"]).await), 0);
    assert!(!home.stored().contains("\"one\""), "{}", home.stored());
    assert_eq!(code(&home.run(&["context", "show"]).await), 2, "none is current any more");
}

#[tokio::test]
async fn over_tls_each_knows_whom_it_talks_to() {
    let (authority, home) = (Authority::new("a test's"), Home::new());
    let pair = authority.issue(For::Server, &["127.0.0.1"]);
    let own = authority.issue(For::Client, &["alice"]);
    for (name, text) in [
        ("ca.pem", &authority.pem),
        ("stranger.pem", &Authority::new("a stranger's").pem),
        ("own.pem", &own.certificate),
        ("own.key", &own.key),
    ] {
        fs::write(home.path(name), text).unwrap();
    }
    let callers = || vec![("swt_hidden-alice", identity("alice", Role::Admin))];
    let peer = Peer::knowing_over(server(&pair.certificate, &pair.key, None), callers()).await;
    let (ca, token) = (home.path("ca.pem"), home.path("alice"));
    let login = ["login", "lab", "--server", &peer.url, "--ca-cert", &ca, "--token-file", &token];
    let ended = home.run(&login).await;
    assert_eq!(code(&ended), 0, "{}", stderr(&ended));
    assert_eq!(code(&home.run(&["status"]).await), 0);

    for (more, expected) in [
        (&["--ca-cert", &home.path("stranger.pem")][..], "is not issued by the given authority"),
        (&["--server-name", "seaworthy.internal"], "the certificate of seaworthy.internal is for 127.0.0.1"),
        (&["--ca-cert", &home.path("nowhere.pem")], "cannot read the authorities"),
        (&["--client-cert", &ca, "--client-key", &ca], "has no private key"),
    ] {
        let refused = home.run(&[more, &["status"]].concat()).await;
        assert_eq!(code(&refused), 4, "{more:?}");
        let told = stderr(&refused);
        assert!(told.contains(expected) && told.contains("--ca-cert says whom to trust"), "{told}");
    }

    let demanding =
        Peer::knowing_over(server(&pair.certificate, &pair.key, Some(&authority.pem)), callers()).await;
    let status = ["--server", &demanding.url, "--ca-cert", &ca, "--token-file", &token, "status"];
    let refused = home.run(&status).await;
    assert_eq!(code(&refused), 4);
    assert!(stderr(&refused).contains("client certificate"), "{}", stderr(&refused));
    let (certificate, key) = (home.path("own.pem"), home.path("own.key"));
    let shown =
        home.run(&[&["--client-cert", &certificate, "--client-key", &key], &status[..]].concat()).await;
    assert_eq!(code(&shown), 0, "{}", stderr(&shown));
}

#[tokio::test]
async fn a_token_is_in_no_help_and_no_argument() {
    let home = Home::new();
    for args in [&["--help"][..], &["login", "--help"], &["token", "create", "--help"]] {
        let mut command = seaworthy(args);
        command.env("SEAWORTHY_TOKEN", "swt_hidden-alice");
        let ended = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
        let help = stdout(&ended);
        assert!(help.contains("--token-file") && !help.contains("hidden"), "{help}");
    }
    // What everybody on the machine can see of one that runs.
    let (nobody, _held) = nobody();
    let server = format!("http://{nobody}");
    let args = ["--server", &server, "--token-file", &home.path("alice"), "doctor", "--wait", "10m"];
    let child = seaworthy(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let file = format!("/proc/{}/cmdline", child.id().unwrap());
    let seen = timeout(PATIENCE, async {
        loop {
            let seen = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
            if seen.contains("--wait") {
                return seen;
            }
            tokio::task::yield_now().await;
        }
    });
    let seen = seen.await.unwrap();
    assert!(seen.contains("--token-file") && !seen.contains("hidden"), "{seen}");
    // No flag takes one.
    for flag in ["--token", "--bearer", "--password"] {
        assert_eq!(code(&run(&[flag, "swt_hidden-alice", "status"]).await), 2, "{flag}");
    }
}
