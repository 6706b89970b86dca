//! Closed loops: workers that each wait for an answer before the next request, counted while a
//! window is open.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{task::JoinSet, time};

use super::{Result, process::Server, report::quantile, settings::Settings};

const WIND_DOWN: Duration = Duration::from_secs(20);

/// What one round saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Answered per second.
    pub(crate) rate: f64,
    /// CPU time of the server for each, in microseconds.
    pub(crate) cpu_us: f64,
    /// Cores that the server kept busy: well below its threads, something else was the limit.
    pub(crate) busy: f64,
    /// Median latency in microseconds; 0 where latencies are not taken.
    pub(crate) p50_us: f64,
    /// Latency that 1 in 100 exceeds, in microseconds; 0 where latencies are not taken.
    pub(crate) p99_us: f64,
}

/// Counts what workers did. Clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    done: AtomicU64,
    open: AtomicBool,
    stopped: AtomicBool,
    latencies_us: Mutex<Vec<f64>>,
}

impl Meter {
    /// Whether workers should go on.
    pub(crate) fn running(&self) -> bool {
        !self.0.stopped.load(Relaxed)
    }

    /// Counts `n` that were answered.
    pub(crate) fn answered(&self, n: u64) {
        self.0.done.fetch_add(n, Relaxed);
    }

    /// Counts one that was sent at `start` and answered now.
    pub(crate) fn answered_since(&self, start: Instant) {
        self.answered(1);
        if self.0.open.load(Relaxed) {
            self.0.latencies_us.lock().push(start.elapsed().as_secs_f64() * 1e6);
        }
    }

    /// How many were answered so far, warm-up included.
    pub(crate) fn total(&self) -> u64 {
        self.0.done.load(Relaxed)
    }
}

/// Runs the workers for the warm-up and one window, and answers what the window saw.
///
/// # Errors
/// A worker failed, or ended before its time.
pub(crate) async fn measure(
    server: &Server,
    settings: &Settings,
    meter: &Meter,
    mut workers: JoinSet<Result<()>>,
) -> Result<Sample> {
    let sample = tokio::select! {
        sample = window(server, settings, meter) => sample?,
        Some(ended) = workers.join_next() => {
            ended??;
            return Err("a worker ended before its time".into());
        }
    };
    meter.0.stopped.store(true, Relaxed);
    time::timeout(WIND_DOWN, async {
        while let Some(ended) = workers.join_next().await {
            ended??;
        }
        Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    })
    .await
    .map_err(|_| "workers did not end within 20 s of the window")??;
    Ok(sample)
}

#[allow(clippy::cast_precision_loss, reason = "counts of a few seconds are far below 2^52")]
async fn window(server: &Server, settings: &Settings, meter: &Meter) -> Result<Sample> {
    time::sleep(settings.warm_up).await;
    meter.0.open.store(true, Relaxed);
    let (start, done, cpu) = (Instant::now(), meter.total(), server.cpu_seconds()?);
    time::sleep(settings.window).await;
    // The elapsed time is read, not assumed: this task waits its turn on a busy thread.
    let seconds = start.elapsed().as_secs_f64();
    let answered = (meter.total() - done) as f64;
    let cpu = server.cpu_seconds()? - cpu;
    meter.0.open.store(false, Relaxed);
    if answered == 0.0 {
        return Err("nothing was answered within the window".into());
    }
    let latencies = std::mem::take(&mut *meter.0.latencies_us.lock());
    Ok(Sample {
        rate: answered / seconds,
        cpu_us: cpu * 1e6 / answered,
        busy: cpu / seconds,
        p50_us: quantile(&latencies, 0.5),
        p99_us: quantile(&latencies, 0.99),
    })
}
