//! Opening: reads the log from its beginning, tells a torn end from damage, and never guesses.
//!
//! A power cut leaves at most one frame torn, the last one, which nobody was told of. It is cut off.
//! Whatever else does not fit (a frame that does not hold its checksum with others after it, less than
//! the mark promises, no log where there was one) is damage: the store does not open, and says where.

use std::{io, sync::Arc};

use tracing::{info, warn};

use super::{
    disk::{Folder, Medium},
    frame::{self, HEADER, Header},
    frames::{Frames, Tail},
    index::Index,
    log::{self, Log},
    mark::{self, Mark},
};

/// A store that was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) log: Log,
    pub(super) index: Index,
    /// Why it takes no writes yet, if it does not.
    pub(super) trouble: Option<io::Error>,
}

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the file has format {found}")]
    TooNew { found: u32 },
    #[error("{file} {how}")]
    Damaged { file: &'static str, how: String },
}

/// Opens the store of a folder; makes it if the folder has never held one.
pub(super) fn open(folder: &Arc<dyn Folder>) -> Result<Opened, OpenError> {
    let mark = mark::read(folder.as_ref())?;
    let found = folder.open(log::FILE)?;
    match (found, mark) {
        (_, Some(None)) => Err(damaged(mark::FILE, "does not say what it should".to_owned())),
        (None, Some(Some(_))) => {
            Err(damaged(log::FILE, "is missing, and the folder has held a store".to_owned()))
        }
        (None, None) => make(folder),
        (Some(file), mark) => {
            // What a crash left of a log that was being written anew.
            folder.remove(log::NEW_FILE)?;
            recover(folder, file, mark.flatten())
        }
    }
}

fn make(folder: &Arc<dyn Folder>) -> Result<Opened, OpenError> {
    let mut log = Log::create(folder, 1)?;
    log.publish()?;
    // Only once the log is there for good: a mark without a log means that one was lost.
    mark::write(folder.as_ref(), log.mark())?;
    Ok(Opened { log, index: Index::default(), trouble: None })
}

fn recover(folder: &Arc<dyn Folder>, file: Arc<dyn Medium>, mark: Option<Mark>) -> Result<Opened, OpenError> {
    let generation = read_header(file.as_ref())?;
    let promised = match mark {
        Some(mark) if mark.generation > generation => {
            let how = format!("is number {generation} and {} says number {}", mark::FILE, mark.generation);
            return Err(damaged(log::FILE, how));
        }
        Some(mark) if mark.generation == generation => mark.end,
        // It was written anew, and the mark was not any more.
        _ => HEADER as u64,
    };
    file.settle(promised)?;
    let len = file.len()?;
    let mut index = Index::default();
    let mut frames = Frames::new(file.as_ref(), HEADER as u64, len, Some(1));
    if let Err(malformed) = frames.apply_to(&mut index)? {
        return Err(damaged(log::FILE, format!("is damaged before byte {}: {malformed}", frames.at())));
    }
    let (end, sequence) = (frames.at(), frames.sequence().unwrap_or(1));
    let tail = frames.tail()?;
    if let Tail::Frames { at } = tail {
        return Err(damaged(
            log::FILE,
            format!("is damaged at byte {end}, before more commits at byte {at}"),
        ));
    }
    if end < promised {
        let how = format!("is damaged or cut short at byte {end} of at least {promised}");
        return Err(damaged(log::FILE, how));
    }
    if mark.is_none() && end > HEADER as u64 {
        let file = mark::FILE;
        warn!(
            component = "store",
            file,
            at = end,
            "is missing: whether the end of the log is as well cannot be told"
        );
    }
    let mut log = Log::of(folder, file, generation, end, len, sequence);
    let mut trouble = None;
    if tail == Tail::Torn {
        info!(component = "store", at = end, "cut off a commit that was never finished");
        log.cut()?;
        trouble = log.mend().err();
    }
    if trouble.is_none()
        && mark != Some(log.mark())
        && let Err(cause) = mark::write(folder.as_ref(), log.mark())
    {
        warn!(component = "store", %cause, "could not write the store's mark");
    }
    Ok(Opened { log, index, trouble })
}

fn read_header(file: &dyn Medium) -> Result<u64, OpenError> {
    let len = file.len()?;
    if len < HEADER as u64 {
        return Err(damaged(log::FILE, format!("has {len} bytes, less than its header")));
    }
    let mut header = [0; HEADER];
    file.read_at(&mut header, 0)?;
    match frame::read_header(&header) {
        Header::Generation(generation) => Ok(generation),
        Header::TooNew { format } => Err(OpenError::TooNew { found: format }),
        Header::Damaged => Err(damaged(log::FILE, "does not begin like a store".to_owned())),
    }
}

fn damaged(file: &'static str, how: String) -> OpenError {
    OpenError::Damaged { file, how }
}
