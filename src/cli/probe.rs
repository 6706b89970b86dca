//! `seaworthy probe`: asks any gRPC server for its health, as grpc-health-probe does.
//!
//! Flags, messages and exit codes are those of that program, so that it can be replaced in place; it
//! writes to the standard error alone, as that one does. `-watch` and `-wait-for` go beyond it.

pub(crate) mod args;
mod ask;
mod tls;
mod wait;

use self::args::Probe;
use super::{exit::Exit, failure::Failure, follow::until_interrupted, output::note};

/// The arguments are wrong.
const INVALID: Exit = Exit::Probe(1);
/// No connection, or not in time.
const NO_CONNECTION: Exit = Exit::Probe(2);
/// The call failed, or was not answered in time.
const NO_ANSWER: Exit = Exit::Probe(3);
/// The answer is not SERVING, or not the one that was waited for.
const UNHEALTHY: Exit = Exit::Probe(4);

/// Runs it.
pub(crate) async fn run(flags: Probe) -> Exit {
    if flags.version {
        note(concat!("seaworthy ", env!("CARGO_PKG_VERSION")));
        return Exit::Done;
    }
    let question = match ask::Question::new(&flags) {
        Ok(question) => question,
        Err(wrong) => {
            note(format_args!("error: {wrong}"));
            return INVALID;
        }
    };
    if !question.verified {
        note("warning: -tls-no-verify: the certificate is not verified, so anybody on the way can answer");
    }
    let asked = async {
        Ok::<_, Failure>(if flags.watch || flags.wait_for.is_some() {
            wait::run(&question, &flags).await
        } else {
            ask::once(&question).await
        })
    };
    until_interrupted(asked).await.unwrap_or(Exit::Interrupted)
}
