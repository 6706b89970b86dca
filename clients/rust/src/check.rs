//! A check: an async function that answers how a component is. The library calls it at the
//! component's interval, never twice at a time, measures it and bounds it.

pub(crate) mod runner;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{IntoReport, Report, rt};

/// One run of a check.
type Run = Pin<Box<dyn Future<Output = Report> + Send>>;

/// A check that is ready to be given to a component: made by [`checks`](crate::checks), or out of a
/// closure by [`IntoCheck`].
#[derive(Clone)]
pub struct Check(Inner);

#[derive(Clone)]
enum Inner {
    Ready(Arc<dyn Fn() -> Run + Send + Sync>),
    /// It was made with an argument that cannot be right: `attach` says so.
    Invalid(String),
}

impl Check {
    /// A check that blocks, such as a query by a synchronous database driver. It runs on the runtime's
    /// pool for blocking work. Where it does not come back it holds one thread of that pool, and no
    /// more: until then the component is unhealthy, and it is not called again.
    pub fn blocking<R: IntoReport>(check: impl Fn() -> R + Send + Sync + 'static) -> Self {
        let check = Arc::new(check);
        let busy = Arc::new(AtomicBool::new(false));
        Self::new(move || {
            let check = Arc::clone(&check);
            let taken = Busy::take(&busy);
            async move {
                let Some(taken) = taken else {
                    return Report::unhealthy("the check before has not come back yet");
                };
                let answered = rt::blocking(move || {
                    let _taken = taken;
                    check().into_report()
                });
                answered.await.unwrap_or_else(|ended| Report::unhealthy(runner::why_ended(ended)))
            }
        })
    }

    pub(crate) fn new<F>(check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output: IntoReport> + Send + 'static,
    {
        Self(Inner::Ready(Arc::new(move || {
            let run = check();
            Box::pin(async move { run.await.into_report() })
        })))
    }

    pub(crate) fn invalid(problem: impl Into<String>) -> Self {
        Self(Inner::Invalid(problem.into()))
    }

    pub(crate) fn problem(&self) -> Option<&str> {
        match &self.0 {
            Inner::Ready(_) => None,
            Inner::Invalid(problem) => Some(problem),
        }
    }

    /// Runs it once.
    pub(crate) async fn run(&self) -> Report {
        match &self.0 {
            Inner::Ready(check) => check().await,
            Inner::Invalid(problem) => Report::unhealthy(problem.clone()),
        }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("problem", &self.problem()).finish_non_exhaustive()
    }
}

/// What can be a check: a [`Check`], or any `Fn() -> Future` that answers an [`IntoReport`].
pub trait IntoCheck {
    /// The check it stands for.
    fn into_check(self) -> Check;
}

impl IntoCheck for Check {
    fn into_check(self) -> Check {
        self
    }
}

impl<C, F> IntoCheck for C
where
    C: Fn() -> F + Send + Sync + 'static,
    F: Future<Output: IntoReport> + Send + 'static,
{
    fn into_check(self) -> Check {
        Check::new(self)
    }
}

/// Held while a blocking check runs; given back by whoever ends last.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn take(busy: &Arc<AtomicBool>) -> Option<Self> {
        (!busy.swap(true, Ordering::AcqRel)).then(|| Self(Arc::clone(busy)))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn closures_of_all_kinds_are_checks() {
        let healthy = (|| async {}).into_check();
        let failing = (|| async { Err::<(), _>("no route") }).into_check();
        let blocking = Check::blocking(|| Report::degraded("slow"));
        assert_eq!(healthy.run().await, Report::healthy());
        assert_eq!(failing.into_check().run().await, Report::unhealthy("no route"));
        assert_eq!(blocking.run().await, Report::degraded("slow"));
    }

    #[tokio::test]
    async fn a_blocking_check_that_hangs_is_not_called_again() {
        let (release, held) = tokio::sync::watch::channel(false);
        let check = Check::blocking(move || {
            let mut held = held.clone();
            let released = tokio::runtime::Handle::current()
                .block_on(async move { held.wait_for(|on| *on).await.is_ok() });
            assert!(released);
        });
        let mut first = rt::spawn({
            let check = check.clone();
            async move { check.run().await }
        });
        // The first run takes its turn when it is first polled.
        let refused = Report::unhealthy("the check before has not come back yet");
        tokio::task::yield_now().await;
        let second = tokio::time::timeout(Duration::from_secs(20), check.run()).await;
        // Released first, so that a failure does not leave a thread behind that holds up the end.
        release.send(true).expect("the first run waits");
        assert_eq!(second.expect("it does not wait"), refused);
        assert_eq!(first.join().await.expect("it ends"), Report::healthy());
        assert_eq!(check.run().await, Report::healthy());
    }

    #[tokio::test]
    async fn a_panic_in_a_blocking_check_is_a_report_and_gives_the_turn_back() {
        let check = Check::blocking(|| -> Report { panic!("out of cheese") });
        for _ in 0..2 {
            assert_eq!(check.run().await, Report::unhealthy("the check panicked: out of cheese"));
        }
    }
}
