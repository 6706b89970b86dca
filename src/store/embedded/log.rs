//! The log: one file that grows by frames, each durable before anybody is told of it.
//!
//! It always has room beyond its last frame, filled with zeros: a write into a hole would make the sync
//! after it write the file system's journal too, and a disk that is full fails where room is made, before
//! anything of a commit was written.

use std::{io, sync::Arc};

use super::{
    disk::{Folder, Medium},
    frame::{self, BODY_MOST, Frame, HEADER},
    mark::Mark,
};

/// Name of the log in the data folder.
pub(super) const FILE: &str = "store.log";
/// Name of a log that is not finished.
pub(super) const NEW_FILE: &str = "store.log.new";
/// Room that a new log has, and that there must be before writing is tried again, in bytes.
const ROOM_LEAST: u64 = 256 << 10;
/// Most room that is made at once, in bytes: what one commit can wait for.
const ROOM_MOST: u64 = 4 << 20;

/// A log that is being written.
#[derive(Debug)]
pub(super) struct Log {
    folder: Arc<dyn Folder>,
    file: Arc<dyn Medium>,
    generation: u64,
    /// Where the next frame goes. What is before it is durable.
    end: u64,
    /// Length of the file.
    len: u64,
    /// Number of the next frame.
    sequence: u64,
    /// Something was written beyond `end` and failed.
    torn: bool,
    /// The folder's names could not be made durable.
    unnamed: bool,
}

/// Why a frame is not in the log.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no room for it, and nothing of it was written.
    NoRoom(io::Error),
    /// Writing it failed in the middle: whether it is there is unknown until [`Log::mend`] succeeds.
    Torn(io::Error),
}

impl Log {
    /// Makes a log that has no frames yet, under the name of an unfinished one.
    pub(super) fn create(folder: &Arc<dyn Folder>, generation: u64) -> io::Result<Self> {
        let file = folder.create(NEW_FILE)?;
        file.write_at(&frame::header(generation), 0)?;
        let end = HEADER as u64;
        Ok(Self::of(folder, file, generation, end, end, 1))
    }

    /// A log whose frames end at `end`.
    pub(super) fn of(
        folder: &Arc<dyn Folder>,
        file: Arc<dyn Medium>,
        generation: u64,
        end: u64,
        len: u64,
        sequence: u64,
    ) -> Self {
        let folder = Arc::clone(folder);
        Self { folder, file, generation, end, len, sequence, torn: false, unnamed: false }
    }

    pub(super) fn file(&self) -> &Arc<dyn Medium> {
        &self.file
    }

    /// Where the last frame ends.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Length of the file in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// What is durable now.
    pub(super) fn mark(&self) -> Mark {
        Mark { generation: self.generation, end: self.end }
    }

    /// Writes a frame and makes it durable; answers where it begins.
    pub(super) fn append(&mut self, frame: &mut Frame) -> Result<u64, Failure> {
        self.make_room(frame_length(frame).map_err(Failure::NoRoom)?).map_err(Failure::NoRoom)?;
        let written = self.file.write_at(frame.seal(self.sequence), self.end).and_then(|()| self.file.sync());
        if let Err(cause) = written {
            self.torn = true;
            return Err(Failure::Torn(cause));
        }
        Ok(self.advance(frame))
    }

    /// Writes a frame of a log that is not finished, and does not wait for the disk.
    pub(super) fn draft(&mut self, frame: &mut Frame) -> io::Result<u64> {
        let length = frame_length(frame)?;
        self.file.write_at(frame.seal(self.sequence), self.end)?;
        self.len = self.len.max(self.end + length);
        Ok(self.advance(frame))
    }

    /// Finishes a log: from here on it is the one that is opened, and everything in it is durable.
    pub(super) fn publish(&mut self) -> io::Result<()> {
        self.make_room(ROOM_LEAST)?;
        self.file.sync()?;
        self.folder.rename(NEW_FILE, FILE)?;
        // Under its name it is the store's log, whatever becomes of the sync.
        self.unnamed = true;
        self.name()
    }

    /// Whether [`Log::publish`] has given it its name.
    pub(super) fn is_published(&self) -> bool {
        self.unnamed
    }

    /// Makes the log fit for writing again: what failed is cut off, and there is room.
    pub(super) fn mend(&mut self) -> io::Result<()> {
        self.name()?;
        if self.torn {
            self.cut()?;
        }
        self.make_room(ROOM_LEAST)?;
        self.file.sync()?;
        self.torn = false;
        Ok(())
    }

    /// Cuts off everything beyond the last frame.
    pub(super) fn cut(&mut self) -> io::Result<()> {
        self.torn = true;
        self.file.set_len(self.end)?;
        self.len = self.end;
        Ok(())
    }

    fn name(&mut self) -> io::Result<()> {
        if self.unnamed {
            self.folder.sync()?;
            self.unnamed = false;
        }
        Ok(())
    }

    fn advance(&mut self, frame: &Frame) -> u64 {
        let offset = self.end;
        self.end += frame.len() as u64;
        self.sequence += 1;
        offset
    }

    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        if self.end + bytes <= self.len {
            return Ok(());
        }
        let more = (self.end / 4).clamp(ROOM_LEAST, ROOM_MOST);
        let len = (self.end + bytes.max(more)).next_multiple_of(ROOM_LEAST);
        self.fill(len).inspect_err(|_| {
            // What was made of it goes back, if that is still possible; zeros do no harm.
            if let Err(cause) = self.file.set_len(self.len) {
                tracing::debug!(%cause, "room that was made in part stays");
            }
        })?;
        self.len = len;
        Ok(())
    }

    fn fill(&self, len: u64) -> io::Result<()> {
        const ZEROS: &[u8] = &[0; 256 << 10];
        let mut at = self.len;
        while at < len {
            let part = usize::try_from(len - at).unwrap_or(usize::MAX).min(ZEROS.len());
            self.file.write_at(&ZEROS[..part], at)?;
            at += part as u64;
        }
        Ok(())
    }
}

/// The length of a frame, if it is one that can be read again.
fn frame_length(frame: &Frame) -> io::Result<u64> {
    if frame.body().len() > BODY_MOST {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "one step would be larger than can be read back",
        ));
    }
    Ok(frame.len() as u64)
}
