//! `backup` and `restore`: their help, and what is refused before anything is asked.

use super::{code, nobody, run, stderr, stdout};

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
