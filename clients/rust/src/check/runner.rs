//! Runs one component: calls its check at the interval, or repeats what was pushed last. Whatever the
//! check does (panics, hangs, blocks its thread), it becomes a report and nothing else.

use std::{future::Future, time::Duration};

use tokio::{
    task::JoinError,
    time::{Instant, Interval, MissedTickBehavior, interval_at, timeout},
};
use tracing::warn;

use super::Check;
use crate::{Report, health::board::Board, rt};

/// When a component is due: at once, then at a phase that differs from process to process but is the
/// same for all components of one, then at the interval. So reports of one process travel together and
/// those of a fleet that was started at once spread out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    /// Where in the interval the second run is, from 0 to 1.
    pub(crate) phase: f64,
}

impl Pace {
    fn ticks(self) -> Interval {
        // At least half an interval after the first run, so that the first two are not one.
        let second = self.interval.mul_f64(0.5 + self.phase.clamp(0.0, 1.0) / 2.0);
        let mut ticks = interval_at(rt::now() + second, self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticks
    }
}

/// Runs a check for as long as its owner lets it.
pub(crate) async fn run_check(board: Board, position: usize, check: Check, pace: Pace) {
    let mut ticks = pace.ticks();
    loop {
        run_once(&board, position, &check, pace).await;
        ticks.tick().await;
    }
}

/// Repeats the last pushed report for as long as its owner lets it.
pub(crate) async fn repeat_pushed(
    board: Board,
    position: usize,
    expires_after: Option<Duration>,
    pace: Pace,
) {
    let mut ticks = pace.ticks();
    loop {
        ticks.tick().await;
        board.repeat(position, expires_after);
    }
}

async fn run_once(board: &Board, position: usize, check: &Check, pace: Pace) {
    let started = rt::now();
    // In a task of its own: a panic ends that task, and a check that blocks its thread cannot stop the
    // clock that bounds it.
    let mut run = rt::spawn({
        let check = check.clone();
        async move { check.run().await }
    });
    match measured(started, pace.timeout, run.join()).await {
        Some(Ok(report)) => board.report(position, report.or_response_time(started.elapsed())),
        Some(Err(ended)) => {
            let why = why_ended(ended);
            warn!(component = position, "{why}");
            board.report(position, Report::unhealthy(why).response_time(started.elapsed()));
        }
        None => {
            let unanswered = format!("check did not answer within {:?}", pace.timeout);
            board.report(position, Report::unhealthy(&*unanswered).response_time(started.elapsed()));
            run.abort();
            // Never two at a time: one that ignores its cancellation is waited for, and said to be late.
            while timeout(pace.interval, run.join()).await.is_err() {
                let stuck = Report::unhealthy(format!("{unanswered} and still runs"));
                board.report(position, stuck.response_time(started.elapsed()));
            }
        }
    }
}

async fn measured<T>(started: Instant, limit: Duration, run: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout_at(started + limit, run).await.ok()
}

/// Why a check ended without an answer, in words.
pub(crate) fn why_ended(ended: JoinError) -> String {
    rt::why_ended("check", ended)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        time::Duration,
    };

    use tokio::sync::watch;

    use super::*;
    use crate::{Component, HealthState, IntoCheck as _, Lifecycle, health::Identity};

    const PACE: Pace = Pace { interval: Duration::from_secs(1), timeout: Duration::from_secs(1), phase: 1.0 };

    fn board() -> Board {
        let (service, instance_id, version) = ("orders".to_owned(), "i-1".to_owned(), String::new());
        let identity = Arc::new(Identity { service, instance_id, version });
        Board::new(identity, Lifecycle::Ready, &[Component::new("database").fail_threshold(1)])
    }

    /// Waits until the component's last report satisfies the condition.
    async fn wait_for(board: &Board, condition: impl Fn(&Report) -> bool) -> Report {
        let mut health = board.watch();
        let seen = health.wait_for(|health| health.components()[0].last_report().is_some_and(&condition));
        let seen = timeout(Duration::from_secs(60), seen).await.expect("in time").expect("open");
        seen.components()[0].last_report().expect("just seen").clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_a_report_and_the_next_run_comes() {
        let board = board();
        let runs = Arc::new(AtomicU32::new(0));
        let check = {
            let runs = Arc::clone(&runs);
            move || {
                let run = runs.fetch_add(1, Ordering::Relaxed);
                async move { assert!(run > 0, "first run fails") }
            }
        };
        let _runner = rt::spawn(run_check(board.clone(), 0, check.into_check(), PACE));
        let bad = wait_for(&board, |report| report.state() == HealthState::Unhealthy).await;
        assert_eq!(bad.message(), "the check panicked: first run fails");
        let good = wait_for(&board, |report| report.state() == HealthState::Healthy).await;
        assert_eq!(good.message(), "");
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_of_the_closure_itself_is_a_report_too() {
        let board = board();
        let check = || -> std::future::Ready<()> { panic!("no future") };
        let _runner = rt::spawn(run_check(board.clone(), 0, check.into_check(), PACE));
        let bad = wait_for(&board, |report| report.state() == HealthState::Unhealthy).await;
        assert_eq!(bad.message(), "the check panicked: no future");
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_is_reported_cancelled_and_never_run_twice_at_a_time() {
        struct Running(Arc<AtomicU32>);
        impl Drop for Running {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let board = board();
        let running = Arc::new(AtomicU32::new(0));
        let most = Arc::new(AtomicU32::new(0));
        let check = {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            move || {
                most.fetch_max(running.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                let running = Running(Arc::clone(&running));
                async move {
                    let _running = running;
                    std::future::pending::<()>().await;
                }
            }
        };
        let runner = rt::spawn(run_check(board.clone(), 0, check.into_check(), PACE));
        let mut health = board.watch();
        let three = |health: &crate::Health| health.components()[0].consecutive_failures() >= 3;
        health.wait_for(three).await.expect("open");
        let late = wait_for(&board, |_| true).await;
        assert_eq!(late.message(), "check did not answer within 1s");
        assert_eq!(most.load(Ordering::Relaxed), 1);
        drop(runner);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_check_that_blocks_its_thread_is_reported_and_waited_for() {
        let board = board();
        let (release, held) = watch::channel(false);
        let runs = Arc::new(AtomicU32::new(0));
        let check = {
            let runs = Arc::clone(&runs);
            move || {
                runs.fetch_add(1, Ordering::Relaxed);
                let held = held.clone();
                // Spins without an await: cancelling it has no effect. A test that has failed lets go of it too.
                async move {
                    while !*held.borrow() && held.has_changed().is_ok() {
                        std::hint::spin_loop();
                    }
                }
            }
        };
        let pace = Pace { interval: PACE.interval / 50, timeout: PACE.timeout / 50, phase: 1.0 };
        let _runner = rt::spawn(run_check(board.clone(), 0, check.into_check(), pace));
        let stuck =
            wait_for(&board, |report| report.message() == "check did not answer within 20ms and still runs")
                .await;
        assert_eq!(stuck.state(), HealthState::Unhealthy);
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        release.send(true).expect("the check waits");
        let good = wait_for(&board, |report| report.state() == HealthState::Healthy).await;
        assert_eq!(good.message(), "");
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_is_measured() {
        let board = board();
        let check = || tokio::time::sleep(Duration::from_millis(250));
        let _runner = rt::spawn(run_check(board.clone(), 0, check.into_check(), PACE));
        let report = wait_for(&board, |_| true).await;
        assert_eq!(report.measured().map(|taken| taken.as_millis() / 10), Some(25));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pushed_report_is_repeated_until_it_expires() {
        let board = board();
        let expires = Some(Duration::from_secs(5));
        let _runner = rt::spawn(repeat_pushed(board.clone(), 0, expires, PACE));
        board.push(0, Report::healthy());
        let pushed = rt::now();
        let late = wait_for(&board, |report| report.state() == HealthState::Unhealthy).await;
        assert_eq!(late.message(), "nothing was pushed for more than 5s");
        assert!(pushed.elapsed() >= Duration::from_secs(5));
        board.push(0, Report::healthy());
        let pushed = board.now().components()[0].revision();
        let mut health = board.watch();
        let repeated = health.wait_for(|health| health.components()[0].revision() > pushed);
        assert_eq!(repeated.await.expect("open").components()[0].state(), HealthState::Healthy);
    }
}
