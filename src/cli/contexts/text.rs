//! Contexts as TOML. What is wrong with it is told by its line, never by what stands there: that could be a token.

use std::{collections::BTreeMap, path::PathBuf};

use seaworthy_client::transport::Secret;
use serde::Deserialize;

use super::{Contexts, Stored, name};

const HEAD: &str = "# Written by `seaworthy login`, `logout` and `context`. It holds tokens: mode 0600.\n";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    current: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    server: String,
    ca_cert: Option<PathBuf>,
    server_name: Option<String>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
    token: Option<String>,
}

pub(super) fn parse(text: &str) -> Result<Contexts, String> {
    let document: Document = toml::from_str(text).map_err(|cause| {
        let line =
            cause.span().map_or(0, |span| text.get(..span.start).unwrap_or(text).matches('\n').count());
        format!("is not right in line {}{}", line + 1, reason(cause.message()))
    })?;
    let Document { current, contexts } = document;
    for called in contexts.keys() {
        name(called).map_err(|problem| format!("has a context {called:?}: {problem}"))?;
    }
    if let Some(current) = current.as_ref().filter(|current| !contexts.contains_key(*current)) {
        return Err(format!("says that {current:?} is current, which it does not have"));
    }
    let stored = contexts.into_iter().map(|(name, entry)| {
        let Entry { server, ca_cert, server_name, client_cert, client_key, token } = entry;
        let token = token.map(Secret::new);
        (name, Stored { server, ca_cert, server_name, client_cert, client_key, token })
    });
    Ok(Contexts { current, stored: stored.collect() })
}

/// What is wrong, where the message names nothing but a key. Others show the value.
fn reason(message: &str) -> String {
    let names_a_key = ["unknown field", "missing field"].iter().any(|start| message.starts_with(start));
    if names_a_key { format!(": {message}") } else { String::new() }
}

pub(super) fn show(contexts: &Contexts) -> String {
    let Contexts { current, stored } = contexts;
    let mut text = HEAD.to_owned();
    say(&mut text, "current", current.as_deref());
    for (name, context) in stored {
        let Stored { server, ca_cert, server_name, client_cert, client_key, token } = context;
        // Paths came in as text, on the command line or here.
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
        text.push_str(&format!("\n[contexts.{}]\n", quoted(name)));
        say(&mut text, "server", Some(server));
        say(&mut text, "ca_cert", path(ca_cert).as_deref());
        say(&mut text, "server_name", server_name.as_deref());
        say(&mut text, "client_cert", path(client_cert).as_deref());
        say(&mut text, "client_key", path(client_key).as_deref());
        say(&mut text, "token", token.as_ref().map(Secret::reveal));
    }
    text
}

fn say(text: &mut String, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        text.push_str(&format!("{key} = {}\n", quoted(value)));
    }
}

/// A basic string of TOML 1.0.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mistakes_are_told_by_their_line_and_show_no_token() {
        let entry = "[contexts.a]\nserver = \"http://h:1\"\n";
        for (text, expected) in [
            (format!("{entry}token = swt_hidden\n"), "line 3"),
            (format!("{entry}tokn = \"swt_hidden\"\n"), "tokn"),
            (format!("{entry}token = [\"swt_hidden\"]\n"), "line 3"),
            ("[contexts]\na = \"swt_hidden\"\n".to_owned(), "line 2"),
            ("contexts = \"swt_hidden\"\n".to_owned(), "line 1"),
            ("[contexts.a]\ntoken = \"swt_hidden\"\n".to_owned(), "server"),
            (format!("current = \"b\"\n{entry}"), "\"b\" is current"),
            ("[contexts.\"a b\"]\nserver = \"\"\n".to_owned(), "\"a b\""),
        ] {
            let refused = parse(&text).unwrap_err();
            assert!(refused.contains(expected) && !refused.contains("hidden"), "{refused}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_stored_is_read_again(server in ".*", path in "[^\0]{1,40}", token in ".*") {
            let stored = Stored {
                server: server.clone(),
                ca_cert: Some(PathBuf::from(&path)),
                client_key: Some(PathBuf::from(&path)),
                token: Some(Secret::new(token.clone())),
                ..Stored::default()
            };
            let stored = BTreeMap::from([("a".to_owned(), stored), ("b.c".to_owned(), Stored::default())]);
            let again = parse(&show(&Contexts { current: Some("b.c".into()), stored })).unwrap();
            let a = &again.stored["a"];
            prop_assert_eq!((&a.server, a.token.as_ref().unwrap().reveal()), (&server, token.as_str()));
            prop_assert_eq!(a.ca_cert.as_deref(), Some(std::path::Path::new(&path)));
            prop_assert_eq!(a.client_key.as_ref(), a.ca_cert.as_ref());
            prop_assert_eq!(again.current.as_deref(), Some("b.c"));
        }
    }
}
