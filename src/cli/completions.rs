//! `seaworthy completions`.

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

use super::{Context, Line, exit::Exit, failure::Failure};

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// The shell that is to complete
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Runs it.
pub(crate) fn run(flags: &Completions, context: &mut Context) -> Result<Exit, Failure> {
    // The generator panics where it cannot write, so it writes where that cannot happen.
    let mut script = Vec::new();
    generate(flags.shell, &mut Line::command(), "seaworthy", &mut script);
    context.output.line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Done)
}
