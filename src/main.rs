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

fn main() -> ExitCode {
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
