//! `seaworthy context`: what is stored, and which of it counts. Secrets are never shown.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{
    Context,
    contexts::{self, Contexts, Stored},
    exit::Exit,
    failure::Failure,
    output::{Text, note, table::Table},
    render::instance::dash,
};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List contexts
    List,
    /// Make a context the current one
    Use(Use),
    /// Show a context; the token itself is never shown
    Show(Show),
    /// Delete a context
    Delete(Delete),
}

/// Flags of `use`.
#[derive(Args, Debug)]
pub(crate) struct Use {
    /// Name of the context
    #[arg(value_name = "CONTEXT", value_parser = contexts::name)]
    name: String,
}

/// Flags of `show`.
#[derive(Args, Debug)]
pub(crate) struct Show {
    /// Name of the context [default: that of --context, else the current one]
    #[arg(value_name = "CONTEXT", value_parser = contexts::name)]
    name: Option<String>,
}

/// Flags of `delete`.
#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// Name of the context
    #[arg(value_name = "CONTEXT", value_parser = contexts::name)]
    name: String,
}

/// A context as programs read it.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    current: bool,
    server: &'a str,
    ca_cert: String,
    server_name: &'a str,
    client_cert: String,
    client_key: String,
    has_token: bool,
}

/// Runs one.
pub(crate) fn run(command: Command, context: &mut Context) -> Result<Exit, Failure> {
    let place = context.flags.place()?;
    let mut contexts = contexts::read(&place)?;
    match command {
        Command::List => list(&contexts, context)?,
        Command::Show(Show { name }) => {
            let name = name.or_else(|| context.flags.context.clone()).or_else(|| contexts.current.clone());
            let Some(name) = name else {
                return Err(Failure::Usage("there is no current context; name one".to_owned()));
            };
            show(&contexts, &name, context)?;
        }
        Command::Use(Use { name }) => {
            let server = contexts.named(&name)?.server.clone();
            contexts.current = Some(name.clone());
            contexts::write(&place, &contexts)?;
            context.output.line(format_args!("context {name} is the current one: {server}"))?;
        }
        Command::Delete(Delete { name }) => {
            let stored = contexts.stored.remove(&name).ok_or_else(|| contexts.unknown(&name))?;
            contexts.current = contexts.current.take().filter(|current| *current != name);
            contexts::write(&place, &contexts)?;
            context.output.line(format_args!("deleted context {name}"))?;
            if stored.token.is_some() {
                note("the token itself goes on to count: `seaworthy token revoke` ends it");
            }
        }
    }
    Ok(Exit::Done)
}

fn list(contexts: &Contexts, context: &mut Context) -> Result<(), Failure> {
    if context.output.is_json() {
        let all: Vec<Shown> = contexts.stored.iter().map(|(name, it)| shown(contexts, name, it)).collect();
        return context.output.document(&all);
    }
    if contexts.stored.is_empty() {
        note("no contexts; `seaworthy login NAME --server URL` makes one");
        return Ok(());
    }
    let mut table = Table::new(["CONTEXT", "CURRENT", "SERVER", "PROOF"]);
    for (name, stored) in &contexts.stored {
        let current = contexts.current.as_ref() == Some(name);
        let current = if current { "yes" } else { "" };
        table.row([name.as_str(), current, &stored.server, stored.proof()].map(Text::new));
    }
    context.output.table(&table)
}

fn show(contexts: &Contexts, name: &str, context: &mut Context) -> Result<(), Failure> {
    let shown = shown(contexts, name, contexts.named(name)?);
    if context.output.is_json() {
        return context.output.document(&shown);
    }
    let mut table = Table::new([]);
    let yes = |truth: bool| if truth { "yes" } else { "no" };
    for (fact, value) in [
        ("context", shown.name),
        ("current", yes(shown.current)),
        ("server", shown.server),
        ("authorities", &shown.ca_cert),
        ("server name", shown.server_name),
        ("certificate", &shown.client_cert),
        ("key", &shown.client_key),
        ("token", if shown.has_token { "stored" } else { "" }),
    ] {
        table.row([fact, dash(value)].map(Text::new));
    }
    context.output.table(&table)
}

fn shown<'a>(contexts: &Contexts, name: &'a str, stored: &'a Stored) -> Shown<'a> {
    let Stored { server, ca_cert, server_name, client_cert, client_key, token } = stored;
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_ref().map_or_else(String::new, |path| path.display().to_string())
    };
    Shown {
        name,
        current: contexts.current.as_deref() == Some(name),
        server,
        ca_cert: path(ca_cert),
        server_name: server_name.as_deref().unwrap_or_default(),
        client_cert: path(client_cert),
        client_key: path(client_key),
        has_token: token.is_some(),
    }
}
