//! Futures that belong together, run in turns by one task: a connection and its streams.
//!
//! Spawned each by itself, the streams of a connection run beside each other and wait for the one lock that their
//! connection has; and each one that has something to send wakes the connection for a write of its own. Here whoever
//! was woken first has the first turn: a connection that its streams woke writes at once what all of them said. What
//! one connection asks is therefore worked out by one thread at a time; other connections have other threads.

use std::{
    collections::VecDeque,
    fmt, mem,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_util::{FutureExt as _, task::AtomicWaker};
use parking_lot::Mutex;
use slab::Slab;
use tokio::task::coop::unconstrained;
use tracing::error;

use crate::time::Clock;

/// Rounds after which other tasks have their turn: a connection reads, its streams answer, it writes.
const ROUNDS: usize = 4;
/// Time after which other tasks have their turn, in the midst of a round too. With a longer one a flood of calls that are
/// refused at once is felt by all others (`benches/guard.rs`); with half of it heartbeats of many sessions cost a quarter
/// more (`benches/heartbeat_session.rs`).
const SLICE: Duration = Duration::from_micros(500);
/// Turns until somebody looks at the time.
const LOOK_EVERY: usize = 4;

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes what is to run beside a connection. Cheap to clone.
///
/// For those who run there themselves: what others hand over waits until somebody there is woken.
#[derive(Clone, Default)]
pub struct Spawner(Arc<Mutex<Spawned>>);

/// What was handed over and has not had a turn.
#[derive(Default)]
struct Spawned {
    futures: Vec<BoxFuture>,
    /// The connection has ended: nothing is taken any more.
    ended: bool,
}

impl Spawner {
    /// Runs a future until it or the connection has ended. One that panics is logged and ends alone.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        // Outside of the runtime's budget for a task, which a connection with many streams would use up in the midst
        // of them: the time that they take together is bounded.
        let future = unconstrained(AssertUnwindSafe(future).catch_unwind()).map(|ended| {
            if ended.is_err() {
                error!(task = "stream", "task panicked");
            }
        });
        let mut spawned = self.0.lock();
        if !spawned.ended {
            spawned.futures.push(Box::pin(future));
        }
    }
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawner").finish_non_exhaustive()
    }
}

/// Who is woken, in order, and the task that runs them.
#[derive(Debug, Default)]
struct ReadyQueue {
    woken: Mutex<VecDeque<usize>>,
    /// Taken while they have their turns: those who are woken by one another need no waking of the task.
    task: AtomicWaker,
}

/// Puts one of them into the queue.
#[derive(Debug)]
struct TaskWaker {
    slot: usize,
    queued: AtomicBool,
    queue: Arc<ReadyQueue>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.queue.woken.lock().push_back(self.slot);
            self.queue.task.wake();
        }
    }
}

/// One that runs.
struct Slot {
    future: BoxFuture,
    wakes: Arc<TaskWaker>,
    /// The same, as futures know it.
    waker: Waker,
}

/// Runs a connection and all that was spawned beside it. Ends with the connection, and ends what is left.
pub struct LocalTasks {
    slots: Slab<Slot>,
    /// That of the connection.
    connection: usize,
    queue: Arc<ReadyQueue>,
    /// Whose turn it is in this round.
    round: VecDeque<usize>,
    spawner: Spawner,
    /// What is taken from it, with room for the next.
    spawned: Vec<BoxFuture>,
    clock: Clock,
}

/// How a round ended.
enum Round {
    /// All had their turn.
    Over,
    /// It took too long, and goes on later.
    Left,
    /// The connection has ended.
    ConnectionEnded,
}

impl LocalTasks {
    /// `connection` hands to `spawner` what is to run beside it.
    pub fn new(
        clock: Clock,
        spawner: Spawner,
        connection: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let mut tasks = Self {
            slots: Slab::new(),
            connection: 0,
            queue: Arc::default(),
            round: VecDeque::new(),
            spawner,
            spawned: Vec::new(),
            clock,
        };
        tasks.connection = tasks.seat(Box::pin(connection));
        tasks
    }

    /// Gives it a slot, and its first place in the queue.
    fn seat(&mut self, future: BoxFuture) -> usize {
        let entry = self.slots.vacant_entry();
        let slot = entry.key();
        let wakes =
            Arc::new(TaskWaker { slot, queued: AtomicBool::new(false), queue: Arc::clone(&self.queue) });
        let waker = Waker::from(Arc::clone(&wakes));
        waker.wake_by_ref();
        entry.insert(Slot { future, wakes, waker });
        slot
    }

    fn seat_spawned(&mut self) {
        mem::swap(&mut self.spawned, &mut self.spawner.0.lock().futures);
        let mut spawned = mem::take(&mut self.spawned);
        spawned.drain(..).for_each(|future| {
            self.seat(future);
        });
        self.spawned = spawned;
    }

    /// Gives a turn to each who is woken now, in order, for as long as there is time.
    fn go_round(&mut self, began: Duration) -> Round {
        let mut turns = 0;
        while let Some(at) = self.round.pop_front() {
            // It may have ended since it was woken.
            let Some(slot) = self.slots.get_mut(at) else { continue };
            // Whoever wakes it from here on wants another turn. No mere store: in this turn it has to see what those wrote
            // who found it in the queue.
            slot.wakes.queued.swap(false, Ordering::AcqRel);
            if slot.future.as_mut().poll(&mut Context::from_waker(&slot.waker)).is_ready() {
                let ended = self.slots.remove(at);
                // Whoever still holds its waker has nobody to wake.
                ended.wakes.queued.store(true, Ordering::Release);
                if at == self.connection {
                    return Round::ConnectionEnded;
                }
            }
            turns += 1;
            if turns % LOOK_EVERY == 0 && self.clock.elapsed() - began >= SLICE {
                return Round::Left;
            }
        }
        Round::Over
    }
}

impl fmt::Debug for LocalTasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalTasks").field("slots", &self.slots.len()).finish_non_exhaustive()
    }
}

impl Drop for LocalTasks {
    /// What has not had a turn may hold what holds it: the streams know their connection.
    fn drop(&mut self) {
        let futures = {
            let mut spawned = self.spawner.0.lock();
            spawned.ended = true;
            mem::take(&mut spawned.futures)
        };
        drop(futures);
    }
}

impl Future for LocalTasks {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // Nobody has to wake a task that runs.
        drop(this.queue.task.take());
        let began = this.clock.elapsed();
        for _ in 0..ROUNDS {
            this.seat_spawned();
            if this.round.is_empty() {
                mem::swap(&mut this.round, &mut *this.queue.woken.lock());
            }
            if this.round.is_empty() {
                this.queue.task.register(cx.waker());
                // Somebody may have been woken before that.
                if this.queue.woken.lock().is_empty() {
                    return Poll::Pending;
                }
                drop(this.queue.task.take());
                continue;
            }
            match this.go_round(began) {
                Round::Over => {}
                Round::Left => break,
                Round::ConnectionEnded => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, poll_fn},
        sync::{
            OnceLock,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
    };

    use tokio::sync::{Notify, oneshot, watch};
    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;
    use crate::task::OnEnd;

    #[test]
    fn a_connection_has_its_turn_after_all_streams_that_are_woken() {
        let spawner = Spawner::default();
        let (change, changed) = watch::channel(0);
        let said = Arc::new((AtomicUsize::new(0), Notify::new()));
        let written = Arc::new(Mutex::new(Vec::new()));
        let connection = {
            let (spawner, said, written) = (spawner.clone(), Arc::clone(&said), Arc::clone(&written));
            async move {
                for _ in 0..100 {
                    let (mut changed, said) = (changed.clone(), Arc::clone(&said));
                    spawner.spawn(async move {
                        while changed.changed().await.is_ok() {
                            said.0.fetch_add(1, Relaxed);
                            said.1.notify_one();
                        }
                    });
                }
                drop(changed);
                loop {
                    said.1.notified().await;
                    // It is notified once more by those after the first.
                    let all = said.0.swap(0, Relaxed);
                    if all > 0 {
                        written.lock().push(all);
                    }
                }
            }
        };
        let mut tasks = task::spawn(LocalTasks::new(Clock::start(), spawner, connection));
        assert_pending!(tasks.poll());
        for _ in 0..3 {
            change.send_modify(|number| *number += 1);
            while tasks.is_woken() {
                assert_pending!(tasks.poll());
            }
        }
        assert_eq!(*written.lock(), [100, 100, 100]);
    }

    #[test]
    fn a_stream_that_panics_ends_alone() {
        let spawner = Spawner::default();
        let (end, ends) = oneshot::channel::<()>();
        let (other, mut alive) = oneshot::channel::<()>();
        spawner.spawn(async { panic!("a stream") });
        spawner.spawn(async move {
            let _other = other;
            pending::<()>().await;
        });
        let mut tasks = task::spawn(LocalTasks::new(Clock::start(), spawner, ends.map(drop)));
        assert_pending!(tasks.poll());
        assert_pending!(tasks.poll());
        assert!(alive.try_recv().is_err_and(|why| why == oneshot::error::TryRecvError::Empty));
        end.send(()).unwrap();
        assert_ready!(tasks.poll());
        drop(tasks);
        assert!(
            alive.try_recv().is_err_and(|why| why == oneshot::error::TryRecvError::Closed),
            "ends with it"
        );
    }

    #[test]
    fn what_never_had_a_turn_goes_with_the_connection() {
        let spawner = Spawner::default();
        let held = Arc::new(());
        let connection = {
            let (spawner, held) = (spawner.clone(), Arc::clone(&held));
            async move {
                let within = spawner.clone();
                spawner.spawn(async move {
                    let _held = (held, within);
                    pending::<()>().await;
                });
            }
        };
        let mut tasks = task::spawn(LocalTasks::new(Clock::start(), spawner.clone(), connection));
        assert_ready!(tasks.poll());
        drop(tasks);
        let late = Arc::clone(&held);
        spawner.spawn(async move { drop(late) });
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn streams_may_begin_others_and_nobody_keeps_the_thread() {
        let spawner = Spawner::default();
        let (deep, mut reached) = oneshot::channel();
        let within = spawner.clone();
        spawner.spawn(async move {
            let further = within.clone();
            within.spawn(async move { further.spawn(async move { deep.send(()).unwrap() }) });
        });
        spawner.spawn(poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::Pending
        }));
        let mut tasks = task::spawn(LocalTasks::new(Clock::start(), spawner, pending()));
        for _ in 0..10 {
            assert_pending!(tasks.poll());
        }
        assert!(reached.try_recv().is_ok());
    }

    #[test]
    fn a_round_that_takes_long_lets_others_have_their_turn_and_goes_on() {
        let spawner = Spawner::default();
        let (clock, ran) = (Clock::start(), Arc::new(AtomicUsize::new(0)));
        for _ in 0..100 {
            let ran = Arc::clone(&ran);
            spawner.spawn(async move {
                let until = clock.elapsed() + SLICE;
                while clock.elapsed() < until {}
                ran.fetch_add(1, Relaxed);
            });
        }
        let mut tasks = task::spawn(LocalTasks::new(clock, spawner, pending()));
        let mut polls = 0;
        while tasks.is_woken() || polls == 0 {
            let before = ran.load(Relaxed);
            assert_pending!(tasks.poll());
            polls += 1;
            assert!(ran.load(Relaxed) - before <= LOOK_EVERY);
        }
        assert_eq!(ran.load(Relaxed), 100);
    }

    #[test]
    fn nobody_is_forgotten_who_is_woken_by_another_thread() {
        const WORDS: usize = 100_000;
        // What was said last, what was heard last, and whom to wake.
        let said = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0), OnceLock::<Waker>::new()));
        let spawner = Spawner::default();
        let (end, ends) = oneshot::channel::<()>();
        let heard = Arc::clone(&said);
        let mut end = Some(end);
        spawner.spawn(poll_fn(move |cx| {
            heard.2.get_or_init(|| cx.waker().clone());
            let word = heard.0.load(Relaxed);
            heard.1.store(word, Relaxed);
            if word < WORDS {
                return Poll::Pending;
            }
            drop(end.take());
            Poll::Ready(())
        }));
        let speaker = crate::task::thread("speaker", OnEnd::Fine, move || {
            let waker = said.2.wait();
            for word in 1..=WORDS {
                said.0.store(word, Relaxed);
                waker.wake_by_ref();
                // The last one for a while, said while it may be in queue for the one before, has to be heard by itself.
                while word % 2 == 0 && said.1.load(Relaxed) < word {
                    std::hint::spin_loop();
                }
            }
        });
        let tasks = LocalTasks::new(Clock::start(), spawner, ends.map(drop));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let all = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), tasks).await });
        assert!(all.is_ok(), "a word was not heard");
        speaker.unwrap().join().unwrap();
    }
}
