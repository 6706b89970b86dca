//! Backups: how a component gives its state away, and takes it back.
//!
//! A component that can be backed up is a [`Backup`], or two async functions
//! ([`Component::backup_with`](crate::Component::backup_with)), or a ready-made [`File`]. The control plane asks when it is
//! time; the component writes its state into a [`CaptureWriter`], and reads it from a [`RestoreReader`]. Everything else is the
//! library's: connections of their own, pieces, a digest at the end, going on after a lost connection, how long to try, and that a hold
//! ends. It knows nothing of vaults, keys or schedules, and keeps nothing on a disk.
//!
//! ```
//! use seaworthy_client::{
//!     Component,
//!     backup::{self, Backup, CaptureWriter, Evidence, RestoreReader, Restored},
//! };
//! use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
//!
//! struct Prices; // what holds the state
//!
//! impl Backup for Prices {
//!     async fn capture(&self, into: &mut CaptureWriter) -> Result<Evidence, backup::Error> {
//!         into.write_all(b"anchor 12\n").await?; // waits where the control plane is slower
//!         Ok(Evidence::new().with("rows", 1))
//!     }
//!
//!     async fn restore(&self, from: &mut RestoreReader, _: &Restored) -> Result<(), backup::Error> {
//!         let mut prices = String::new();
//!         from.read_to_string(&mut prices).await?; // an error, unless all of it came as it was
//!         println!("{prices}"); // only now put in place
//!         Ok(())
//!     }
//! }
//!
//! let prices = Component::new("prices").backup(Prices);
//! ```

pub(crate) mod carry;
mod download;
mod error;
mod evidence;
mod file;
mod functions;
mod moved;
mod patience;
mod pipe;
mod reader;
mod source;
pub(crate) mod sum;
mod upload;
mod window;
mod writer;

use std::{future::Future, sync::Arc};

pub(crate) use self::{
    carry::{ByConnection, Carrier},
    download::download,
    functions::Functions,
    moved::Moved,
    pipe::Pipe,
    reader::incoming,
    source::{Call, Part, STALLS_AFTER, Settings, Source},
    upload::upload,
};
pub use self::{
    error::TransferError,
    evidence::{Evidence, Inspection, Restored},
    file::File,
    reader::RestoreReader,
    writer::CaptureWriter,
};

/// Why a capture or a restore failed. Any error becomes one by `?`, and so does a text by `.into()`; its words go to the control
/// plane, with those of its causes.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// How many bytes travel in a message: 1 MiB. The control plane takes 2 MiB at the most.
pub const PIECE_BYTES: usize = 1 << 20;
/// How much of a capture is kept until the control plane has it, to be sent again after a lost connection: 16 MiB. Where that
/// much is kept, the capture waits.
pub const KEPT_BYTES: usize = 16 << 20;

/// What can be captured and restored. Its functions are called when the control plane asks, at most one capture or restore of
/// a component at a time, in tasks of their own: a panic is an error like any other. When the operation is cancelled or the
/// agent is dropped, they are dropped at their next await; and so they are when they hang: when a capture or a restore has neither
/// moved a byte nor answered for an hour ([`Component::stalls_after`](crate::Component::stalls_after)). What they have begun on
/// other threads goes on, so it must not harm what comes after.
///
/// Only [`capture`](Backup::capture) and [`restore`](Backup::restore) have to be written.
pub trait Backup: Send + Sync + 'static {
    /// Writes the whole state, and answers what it is, to be compared after a restore. What is written counts only when this
    /// answers `Ok`.
    ///
    /// # Errors
    /// Whatever went wrong. The capture then counts as failed, with these words.
    fn capture(&self, into: &mut CaptureWriter) -> impl Future<Output = Result<Evidence, Error>> + Send;

    /// Reads the whole state and puts it in place of what is there, at once: beside it first, and over it only when the reader
    /// has come to its end. The reader ends only where everything has come; anything else is an error of the read. What it has compared
    /// until then says [`RestoreReader`].
    ///
    /// # Errors
    /// Whatever went wrong. What was there before should then still be there.
    fn restore(
        &self,
        from: &mut RestoreReader,
        what: &Restored,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Holds still, so that this component and others are captured as of one moment. Called where the component
    /// [`quiesces`](crate::Component::quiesces). By default nothing.
    ///
    /// # Errors
    /// Whatever went wrong; everything that holds still already goes on then.
    fn quiesce(&self) -> impl Future<Output = Result<(), Error>> + Send {
        async { Ok(()) }
    }

    /// Goes on. Always called after [`quiesce`](Backup::quiesce), also where that failed or was cut off in the middle, at the latest
    /// when the time of the hold is over. By default nothing.
    ///
    /// # Errors
    /// Whatever went wrong.
    fn resume(&self) -> impl Future<Output = Result<(), Error>> + Send {
        async { Ok(()) }
    }

    /// Says what a restore would overwrite. Default: that it does not know, so that a restore is no secret loss.
    ///
    /// # Errors
    /// Whatever went wrong.
    fn inspect(&self) -> impl Future<Output = Result<Inspection, Error>> + Send {
        async { Ok(Inspection::unknown()) }
    }

    /// Looks, after a restore, whether it works, and answers what it found, for people. Default: looks at nothing, and finds
    /// nothing.
    ///
    /// # Errors
    /// It does not work; the restore then counts as failed.
    fn verify(&self) -> impl Future<Output = Result<String, Error>> + Send {
        async { Ok(String::new()) }
    }
}

/// For a store that the rest of the service holds as well.
impl<B: Backup> Backup for Arc<B> {
    fn capture(&self, into: &mut CaptureWriter) -> impl Future<Output = Result<Evidence, Error>> + Send {
        B::capture(self, into)
    }

    fn restore(
        &self,
        from: &mut RestoreReader,
        what: &Restored,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        B::restore(self, from, what)
    }

    fn quiesce(&self) -> impl Future<Output = Result<(), Error>> + Send {
        B::quiesce(self)
    }

    fn resume(&self) -> impl Future<Output = Result<(), Error>> + Send {
        B::resume(self)
    }

    fn inspect(&self) -> impl Future<Output = Result<Inspection, Error>> + Send {
        B::inspect(self)
    }

    fn verify(&self) -> impl Future<Output = Result<String, Error>> + Send {
        B::verify(self)
    }
}
