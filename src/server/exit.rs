//! The exit is bounded, whatever happens: once the end has begun, for whatever cause, the process ends
//! within a time that no task can hold up, because it is counted outside of the runtime.

use std::time::Duration;

use tokio::time::sleep;
use tracing::error;

use super::signals::Stop;
use crate::{
    error::{Error, Result},
    task::{self, Fatal, OnEnd},
    telemetry::log::LogHandle,
};

/// How the process ends when it did not end by itself: as by any internal error.
const STUCK: i32 = 70;

/// How long the last line may take to be written.
const LAST_LINE: Duration = Duration::from_millis(500);

/// Ends the process if it still runs so long after it was told to stop, or after a task that it cannot
/// do without has ended. The process that ends in time takes this with it.
///
/// Waits on a thread of its own, with a runtime of its own: the other one may be what is stuck.
///
/// # Errors
/// The operating system gives no thread, or nothing to wait with.
pub(super) fn bounded(mut stop: Stop, fatal: Fatal, bound: Duration, log: LogHandle) -> Result<()> {
    let runtime = task::small_runtime().map_err(Error::internal)?;
    #[allow(clippy::disallowed_methods)] // whatever should have ended this in order did not
    let watch = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = stop.asked() => {}
                _ = fatal.raised() => {}
            }
            sleep(bound).await;
        });
        error!(
            component = "server",
            operation = "shutdown",
            "still running after the last deadline; ending the process"
        );
        log.flush(LAST_LINE);
        std::process::exit(STUCK);
    };
    // It lasts as long as the process.
    drop(task::thread("exit bound", OnEnd::Fine, watch).map_err(Error::internal)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use tracing_subscriber::fmt::writer::BoxMakeWriter;

    use super::*;
    use crate::telemetry::log;

    /// A task that is needed ends, and then nothing lets go of the main thread any more.
    #[test]
    #[ignore = "ends its process; the test below runs it in one of its own"]
    #[allow(clippy::disallowed_methods)]
    fn stuck() {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
            let (fatal, (_stopper, stop)) = (Fatal::new(), Stop::by_hand());
            let sink = BoxMakeWriter::new(std::io::sink);
            let (_dispatch, log) = log::build("info", log::Shape::Json, sink).unwrap();
            bounded(stop, fatal.clone(), Duration::from_millis(100), log).unwrap();
            let _dead = task::spawn("fleet", OnEnd::Fatal(fatal), async {});
            std::thread::sleep(Duration::from_secs(60));
        });
    }

    #[test]
    fn a_dead_task_bounds_the_exit_of_a_process_that_is_stuck() {
        let this = std::env::current_exe().unwrap();
        let child = Command::new(this).args(["--exact", "server::exit::tests::stuck", "--ignored"]).output();
        let child = child.unwrap();
        assert_eq!(child.status.code(), Some(STUCK), "{child:?}");
    }
}
