//! The floor of the library: the one place that spawns tasks, reads the clock and draws random
//! bytes. Everything above it is written against these few functions, and later modules (limiters,
//! breakers, retries) stand on the same floor. It knows nothing of sessions or health.

pub(crate) mod backoff;

use std::{error::Error, fmt::Write as _, future::Future, time::Duration};

use tokio::{
    task::{JoinError, JoinHandle},
    time::Instant,
};

/// A running task. Dropping it stops the task at its next await.
#[derive(Debug)]
#[must_use = "a task stops when its owner drops it"]
pub(crate) struct Task<T>(JoinHandle<T>);

impl<T> Task<T> {
    /// Whether it has ended.
    pub(crate) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Asks it to stop at its next await.
    pub(crate) fn abort(&self) {
        self.0.abort();
    }

    /// Asks it to stop, and waits until it has. Dropped alone, it may still be at work until its next await.
    pub(crate) async fn stopped(mut self) {
        self.0.abort();
        // How it ended is no matter any more.
        (&mut self.0).await.ok();
    }

    /// Waits for its end. Cancel safe; must not be called again once it answered.
    pub(crate) async fn join(&mut self) -> Result<T, JoinError> {
        (&mut self.0).await
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs a future on the current runtime, owned by what is answered.
#[allow(clippy::disallowed_methods)] // the one place that spawns
pub(crate) fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Task<T> {
    Task(tokio::spawn(future))
}

/// Runs a future that ends by itself: whoever calls says why it is bounded.
#[allow(clippy::disallowed_methods)] // the one place that spawns
pub(crate) fn spawn_detached(
    runtime: &tokio::runtime::Handle,
    future: impl Future<Output = ()> + Send + 'static,
) {
    drop(runtime.spawn(future));
}

/// Runs a closure that blocks on the runtime's pool for that.
#[allow(clippy::disallowed_methods)] // the one place that spawns
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    tokio::task::spawn_blocking(work).await
}

/// Monotonic time: tokio's, so that tests can pause it.
#[allow(clippy::disallowed_methods)] // the one place that reads the clock
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A random number from 0 up to 1, for jitter. 0.5 on a system that has no randomness to give.
pub fn random() -> f64 {
    let mut bytes = [0; 4];
    match fill(&mut bytes) {
        true => f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        false => 0.5,
    }
}

/// A pause changed by up to `share` of itself either way.
pub(crate) fn jittered(pause: Duration, share: f64) -> Duration {
    pause.mul_f64(1.0 + share * (2.0 * random() - 1.0))
}

/// `N` random bytes in hexadecimal, fit to be a secret. `None` on a system that has none to give.
pub(crate) fn random_hex<const N: usize>() -> Option<String> {
    let mut bytes = [0; N];
    fill(&mut bytes).then(|| {
        bytes.iter().fold(String::with_capacity(2 * N), |mut text, byte| {
            // Writing to a string cannot fail.
            write!(text, "{byte:02x}").ok();
            text
        })
    })
}

/// Why a task that runs somebody else's code ended without an answer, in words.
pub(crate) fn why_ended(what: &str, ended: JoinError) -> String {
    if !ended.is_panic() {
        return format!("the {what} was stopped: the runtime ends");
    }
    let panic = ended.into_panic();
    let words = panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message");
    format!("the {what} panicked: {words}")
}

/// An error with its causes, in one line: `what failed: because of this: because of that`.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many errors already repeat their source in their own text.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// The cause at the root of an error: what people can do something about.
pub(crate) fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[allow(clippy::disallowed_methods)] // the one place that draws random bytes
fn fill(bytes: &mut [u8]) -> bool {
    getrandom::fill(bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_its_share() {
        let pause = Duration::from_secs(10);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let jittered = jittered(pause, 0.2);
            assert!(jittered >= Duration::from_secs(8) && jittered <= Duration::from_secs(12));
            seen.insert(jittered);
        }
        assert!(seen.len() > 100, "jitter must differ from draw to draw");
    }

    #[test]
    fn secrets_differ() {
        let first = random_hex::<16>().expect("the system has randomness");
        assert_eq!(first.len(), 32);
        assert_ne!(Some(first), random_hex::<16>());
    }

    #[tokio::test]
    async fn dropping_the_owner_stops_the_task() {
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        let task = spawn(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        drop(task);
        assert!(ended.await.is_err());
    }
}
