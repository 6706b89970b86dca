//! The `seaworthy` binary: parses the command line, builds the runtime that the command needs, runs
//! it, and ends with its exit code.

use std::{io::Write as _, process::ExitCode, time::Duration};

use seaworthy::cli::{self, Exit, Threads};
use tokio::runtime::Builder;

/// How long work that blocks may hold up the end of the process.
const LAST_WORDS: Duration = Duration::from_secs(1);

// What a large fleet reports is kept in pieces that are replaced one by one, in an order of their own.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Names a file: when it holds the name of a step of a backup's commit, the process ends there as if it had been killed. For
/// tests, and in builds with debug assertions alone.
#[cfg(debug_assertions)]
const ABORT_AT: &str = "TEST_ABORT_AT_STEP_IN";

/// Ends the process at the step that the file names.
#[cfg(debug_assertions)]
#[allow(clippy::disallowed_methods)] // of tests alone, which configure nothing
fn abort_at(step: seaworthy::vault::step::Step) {
    let file = std::env::var_os(ABORT_AT);
    let wanted = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    if wanted.trim() == step.as_str() {
        std::process::abort();
    }
}

fn main() -> ExitCode {
    #[cfg(debug_assertions)]
    if std::env::var_os(ABORT_AT).is_some() {
        seaworthy::vault::step::watch(abort_at);
    }
    let invocation = match cli::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(exit) => return exit.into(),
    };
    let mut builder = match invocation.threads() {
        Threads::One => Builder::new_current_thread(),
        Threads::Many => Builder::new_multi_thread(),
    };
    match builder.enable_all().build() {
        Ok(runtime) => {
            let exit = runtime.block_on(invocation.run());
            runtime.shutdown_timeout(LAST_WORDS);
            exit.into()
        }
        Err(cause) => {
            // Where even this cannot be written, the exit code alone has to say it.
            drop(writeln!(std::io::stderr(), "error: cannot start the runtime: {cause}"));
            Exit::Internal.into()
        }
    }
}
