//! What is chosen of flags, environment and contexts, as tables.

use std::{collections::BTreeMap, path::Path};

use super::*;

fn contexts() -> Contexts {
    let prod = Stored {
        server: "https://prod.example:50051".into(),
        ca_cert: Some("/prod/ca.pem".into()),
        token: Some(Secret::new("swt_prod")),
        ..Stored::default()
    };
    let lab = Stored { server: "http://127.0.0.1:6000".into(), ..Stored::default() };
    let stored = BTreeMap::from([("prod".to_owned(), prod), ("lab".to_owned(), lab)]);
    Contexts { current: Some("prod".into()), stored }
}

/// Nothing but a token in it.
fn of(token: Option<Token>) -> Environment {
    Environment { token, ..Environment::default() }
}

fn secret(access: &Access) -> Option<String> {
    let transport = access.transport(|endpoint| endpoint).unwrap();
    transport.secret().unwrap().map(|secret| secret.reveal().to_owned())
}

/// Flags, token of the environment, contexts; server, context and token that follow.
type Row<'a> = (Flags, Option<Token>, Contexts, &'a str, Option<&'a str>, Option<&'a str>);

#[test]
fn flag_then_environment_then_context_then_default() {
    let some = |text: &str| Some(text.to_owned());
    let variable = || Some(Token::new("swt_variable"));
    // Flags and variables of one name are told apart by clap, which prefers the flag.
    let table: [Row<'_>; 8] = [
        (Flags::default(), None, Contexts::default(), USUAL, None, None),
        (Flags::default(), None, contexts(), "https://prod.example:50051", Some("prod"), Some("swt_prod")),
        (
            Flags::default(),
            variable(),
            contexts(),
            "https://prod.example:50051",
            Some("prod"),
            Some("swt_variable"),
        ),
        (
            Flags { context: some("lab"), ..Flags::default() },
            None,
            contexts(),
            "http://127.0.0.1:6000",
            Some("lab"),
            None,
        ),
        // Another control plane than that of the current context gets nothing of it.
        (
            Flags { server: some("http://127.0.0.1:7"), ..Flags::default() },
            None,
            contexts(),
            "http://127.0.0.1:7",
            None,
            None,
        ),
        (
            Flags { server: some("http://127.0.0.1:7"), ..Flags::default() },
            variable(),
            contexts(),
            "http://127.0.0.1:7",
            None,
            Some("swt_variable"),
        ),
        // The same one does.
        (
            Flags { server: some("https://prod.example:50051/"), ..Flags::default() },
            None,
            contexts(),
            "https://prod.example:50051/",
            Some("prod"),
            Some("swt_prod"),
        ),
        (
            Flags { server: some("127.0.0.1:6000"), context: some("lab"), ..Flags::default() },
            None,
            contexts(),
            "127.0.0.1:6000",
            Some("lab"),
            None,
        ),
    ];
    for (flags, variable, contexts, server, context, token) in table {
        let access = choose(&flags, &of(variable), &contexts).unwrap();
        assert_eq!((&*access.server, access.context.as_deref()), (server, context), "{flags:?}");
        assert_eq!(secret(&access).as_deref(), token, "{flags:?}");
    }
}

#[test]
fn a_token_file_comes_before_the_variable_and_a_flag_before_the_context() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "swt_file\n").unwrap();
    let flags = Flags {
        token_file: Some(file),
        ca_cert: Some("/mine/ca.pem".into()),
        server_name: Some("other.example".into()),
        client_cert: Some("/mine/c.pem".into()),
        client_key: Some("/mine/c.key".into()),
        ..Flags::default()
    };
    let access = choose(&flags, &of(Some(Token::new("swt_variable"))), &contexts()).unwrap();
    assert_eq!(secret(&access).as_deref(), Some("swt_file"));
    let stored = access.stored();
    assert_eq!(stored.ca_cert.as_deref(), Some(Path::new("/mine/ca.pem")));
    assert_eq!((stored.server_name.as_deref(), access.name("h")), (Some("other.example"), "other.example"));
    assert_eq!(stored.client_key.as_deref(), Some(Path::new("/mine/c.key")));
    assert!(stored.token.is_none(), "a token is stored by `login` alone");
}

#[test]
fn a_token_from_further_away_does_not_overrule_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "swt_file\n").unwrap();
    let certificate = |token_file: Option<&Path>| Flags {
        client_cert: Some("/mine/c.pem".into()),
        client_key: Some("/mine/c.key".into()),
        token_file: token_file.map(Path::to_owned),
        ..Flags::default()
    };
    let environment = |token_file: Option<&Path>, client_cert: Option<&str>| Environment {
        token: Some(Token::new("swt_variable")),
        token_file: token_file.map(Path::to_owned),
        client_cert: client_cert.map(PathBuf::from),
    };
    for (flags, environment, expected) in [
        (certificate(None), Environment::default(), None),
        (certificate(None), environment(None, None), None),
        (certificate(Some(&file)), environment(Some(&file), None), None),
        // Given together they go together.
        (certificate(Some(&file)), environment(None, None), Some("swt_file")),
        (certificate(None), environment(None, Some("/mine/c.pem")), Some("swt_variable")),
        (certificate(None), environment(None, Some("/other/c.pem")), None),
        (Flags::default(), Environment::default(), Some("swt_prod")),
    ] {
        let access = choose(&flags, &environment, &contexts()).unwrap();
        assert_eq!(secret(&access).as_deref(), expected, "{flags:?} {environment:?}");
    }
}

#[test]
fn a_look_at_a_stranger_shows_nothing() {
    let flags = Flags {
        server_name: Some("other.example".into()),
        client_cert: Some("/mine/c.pem".into()),
        client_key: Some("/mine/c.key".into()),
        ..Flags::default()
    };
    let access = choose(&flags, &Environment::default(), &contexts()).unwrap();
    assert!(format!("{:?}", access.tls()).contains("/mine/c.pem"));
    let look = format!("{:?}", access.tls_to_look());
    assert!(look.contains("other.example") && !look.contains("/mine/"), "{look}");
}

#[test]
fn what_contradicts_itself_is_refused() {
    let server = |server: &str| Flags { server: Some(server.into()), ..Flags::default() };
    let refused = |flags: &Flags, token: Option<Token>| {
        let access = choose(flags, &of(token), &contexts());
        access.and_then(|access| access.transport(|it| it).map(drop)).unwrap_err().to_string()
    };
    let token = || Some(Token::new("swt_hidden"));
    for (flags, token, expected) in [
        (
            Flags { context: Some("lab".into()), ..server("http://h:1") },
            None,
            "is not the control plane of context lab",
        ),
        (Flags { context: Some("nowhere".into()), ..Flags::default() }, None, "there are lab, prod"),
        (Flags { client_cert: Some("c".into()), ..server("https://h:1") }, None, "two halves"),
        (server("https://h:1"), None, "--ca-cert names no authority"),
        (Flags { ca_cert: Some("c".into()), ..server("http://h:1") }, None, "proves nothing over http://"),
        (server("http://10.0.0.7:1"), token(), "would go over plain http://"),
        (server("http://127.0.0.1:1"), Some(Token::new("two words")), "is no token"),
        (server("ftp://h:1"), None, "write https://HOST:PORT"),
    ] {
        let told = refused(&flags, token);
        assert!(told.contains(expected) && !told.contains("hidden"), "{flags:?}: {told}");
    }
}
