//! `seaworthy logout`: forgets what proves who calls. The control plane is not told: who had a copy has it still.

use clap::Args;

use super::{Context, contexts, exit::Exit, failure::Failure, output::note};

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct Logout {
    /// Name of the context [default: that of --context, else the current one]
    #[arg(value_name = "CONTEXT", value_parser = contexts::name)]
    name: Option<String>,
}

/// Runs it.
pub(crate) fn run(flags: Logout, context: &mut Context) -> Result<Exit, Failure> {
    let place = context.flags.place()?;
    let mut contexts = contexts::read(&place)?;
    let name = flags.name.or_else(|| context.flags.context.clone()).or_else(|| contexts.current.clone());
    let Some(name) = name else {
        return Err(Failure::Usage("there is no current context; name one".to_owned()));
    };
    contexts.named(&name)?;
    let mut had_token = false;
    if let Some(stored) = contexts.stored.get_mut(&name) {
        (stored.client_cert, stored.client_key) = (None, None);
        had_token = stored.token.take().is_some();
    }
    contexts::write(&place, &contexts)?;
    context.output.line(format_args!("forgot who you are in context {name}"))?;
    if had_token {
        note("the token itself goes on to count: `seaworthy token revoke` ends it");
    }
    Ok(Exit::Done)
}
