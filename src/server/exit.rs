//! The exit is bounded, whatever happens: once the end has begun, for whatever cause, the process ends
//! within a time that no task can hold up, because it is counted outside of the runtime.

use std::time::Duration;

use tracing::error;

use super::signals::Stop;
use crate::task::{self, Fatal, OnEnd, Task};

/// How the process ends when it did not end by itself: as by any internal error.
const STUCK: i32 = 70;

/// Ends the process if it still runs so long after it was told to stop, or after a task that it cannot
/// do without has ended. The process that ends in time takes this with it.
pub(super) fn bounded(mut stop: Stop, fatal: Fatal, bound: Duration) -> Task<()> {
    task::spawn("exit bound", OnEnd::Fine, async move {
        tokio::select! {
            _ = stop.asked() => {}
            _ = fatal.raised() => {}
        }
        within(bound);
    })
}

fn within(bound: Duration) {
    #[allow(clippy::disallowed_methods)] // the runtime may be what is stuck, so this cannot use it
    let watch = move || {
        std::thread::sleep(bound);
        error!(
            component = "server",
            operation = "shutdown",
            "still running after the last deadline; ending the process"
        );
        std::process::exit(STUCK);
    };
    if let Err(cause) = task::thread("exit bound", OnEnd::Fine, watch) {
        error!(component = "server", %cause, "no thread to bound the exit");
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A task that is needed ends, and then nothing lets go of the main thread any more.
    #[test]
    #[ignore = "ends its process; the test below runs it in one of its own"]
    #[allow(clippy::disallowed_methods)]
    fn stuck() {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
            let (fatal, (_stopper, stop)) = (Fatal::new(), Stop::by_hand());
            let _bounded = bounded(stop, fatal.clone(), Duration::from_millis(100));
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
