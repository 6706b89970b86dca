//! Lines on their way to whoever reads the log: a bounded queue, and one thread that writes.
//!
//! Whoever logs never waits. A reader that stalls (a full pipe) stops the thread that writes to it and
//! nothing else; what then no longer fits is dropped and counted.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::task::{self, OnEnd};

/// Bytes of lines that may wait: some ten thousand lines.
const WAITING: usize = 8 * 1024 * 1024;

/// The way to the log. Cheap to clone; the thread ends with the last of it.
#[derive(Clone)]
pub(super) struct Lines(Arc<Owner>);

struct Owner(Arc<Inner>);

#[derive(Default)]
struct Inner {
    queue: Mutex<Queue>,
    filled: Condvar,
    written: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    // Of lines that wait, and of those that are being written.
    bytes: usize,
    over: bool,
}

impl Lines {
    /// Writes to `out` on a thread of its own.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(super) fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let inner = Arc::new(Inner::default());
        let work = Arc::clone(&inner);
        // The process ends when it is done, and does not wait for this thread.
        drop(task::thread("log", OnEnd::Fine, move || work.write(out))?);
        Ok(Self(Arc::new(Owner(inner))))
    }

    /// What the layers write to: each write is taken as a whole, or dropped as a whole.
    pub(super) fn writer(&self) -> BoxMakeWriter {
        let lines = self.clone();
        BoxMakeWriter::new(move || lines.clone())
    }

    /// Lines that were dropped, because nobody took them.
    pub(super) fn dropped(&self) -> u64 {
        self.0.0.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all is written, or as long as it is given.
    pub(super) fn flush(&self, longest: Duration) {
        let inner = &self.0.0;
        let mut queue = inner.queue.lock();
        inner.written.wait_while_for(&mut queue, |queue| queue.bytes > 0, longest);
    }
}

impl Inner {
    fn write(&self, mut out: impl Write) {
        loop {
            let mut queue = self.queue.lock();
            self.filled.wait_while(&mut queue, |queue| queue.lines.is_empty() && !queue.over);
            let lines = std::mem::take(&mut queue.lines);
            drop(queue);
            if lines.is_empty() {
                return;
            }
            for line in lines {
                // A log that cannot be written has nobody to tell.
                out.write_all(&line).ok();
                let mut queue = self.queue.lock();
                queue.bytes -= line.len();
                if queue.bytes == 0 {
                    self.written.notify_all();
                }
            }
        }
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let inner = &self.0.0;
        let mut queue = inner.queue.lock();
        if queue.bytes + bytes.len() > WAITING {
            inner.dropped.fetch_add(1, Ordering::Relaxed);
        } else if !bytes.is_empty() {
            queue.bytes += bytes.len();
            queue.lines.push_back(bytes.to_vec());
            inner.filled.notify_one();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.queue.lock().over = true;
        self.0.filled.notify_one();
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_reader_that_stalls_costs_lines_and_not_time() {
        let (near, far) = UnixStream::pair().unwrap();
        let mut lines = Lines::to(near).unwrap();
        let line = vec![b'x'; 1024 * 1024];
        // More than the socket and the queue take together.
        for _ in 0..16 {
            lines.write_all(&line).unwrap();
        }
        assert!((1..16).contains(&lines.dropped()), "{lines:?}");
        lines.flush(Duration::from_millis(1));
        // Once the reader is back, all that was kept comes.
        let kept = 16 - lines.dropped();
        let reads = task::thread("reader", OnEnd::Fine, move || {
            let read = io::copy(&mut &far, &mut io::sink()).unwrap();
            assert_eq!(read, kept * 1024 * 1024);
        });
        lines.flush(Duration::from_secs(20));
        drop(lines);
        reads.unwrap().join().unwrap();
    }
}
