//! A copy-on-write view of a medium that takes no writes: what is written stays in memory.
//!
//! redb must write before it can read a file whose last writer did not close it. Over this view it can,
//! and the medium is left as it is. Nothing written here is ever acknowledged to anybody.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    sync::Arc,
};

use parking_lot::RwLock;
use redb::StorageBackend;

/// Unit of copying; redb's page size, so that most writes copy nothing.
const BLOCK: usize = 4096;

/// The view. Its memory holds only what was written: the header and a few pages of a repair.
#[derive(Debug)]
pub(super) struct Shadow {
    below: Arc<dyn StorageBackend>,
    above: RwLock<Above>,
}

#[derive(Debug)]
struct Above {
    blocks: HashMap<u64, Box<[u8; BLOCK]>>,
    len: u64,
    /// Of the medium below, only this much still shows through.
    below_len: u64,
}

impl Shadow {
    pub(super) fn over(below: Arc<dyn StorageBackend>) -> io::Result<Self> {
        let len = below.len()?;
        Ok(Self { below, above: RwLock::new(Above { blocks: HashMap::new(), len, below_len: len }) })
    }

    /// The medium's bytes of a block, zero beyond its end.
    fn block_below(&self, block: u64, below_len: u64) -> io::Result<Box<[u8; BLOCK]>> {
        let mut bytes = Box::new([0; BLOCK]);
        let start = block * BLOCK as u64;
        let shown = below_len.saturating_sub(start).min(BLOCK as u64);
        if let Some(part) = usize::try_from(shown).ok().and_then(|shown| bytes.get_mut(..shown))
            && !part.is_empty()
        {
            self.below.read(start, part)?;
        }
        Ok(bytes)
    }
}

/// Cuts a range into its parts within blocks: block, offset in the block, position in the range, length.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        // The remainder is less than a block, so it fits.
        let within = usize::try_from(at % BLOCK as u64).unwrap_or(0);
        let part = (length - done).min(BLOCK - within);
        let position = done;
        done += part;
        (part > 0).then_some((at / BLOCK as u64, within, position, part))
    })
}

impl StorageBackend for Shadow {
    fn len(&self) -> io::Result<u64> {
        Ok(self.above.read().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let above = self.above.read();
        if offset + out.len() as u64 > above.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (block, within, position, length) in parts(offset, out.len()) {
            let part = &mut out[position..position + length];
            match above.blocks.get(&block) {
                Some(bytes) => part.copy_from_slice(&bytes[within..within + length]),
                None => {
                    let bytes = self.block_below(block, above.below_len)?;
                    part.copy_from_slice(&bytes[within..within + length]);
                }
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut above = self.above.write();
        if len < above.len {
            // What grows back must be zero: cut blocks are forgotten, the last one is cleared.
            above.below_len = above.below_len.min(len);
            above.blocks.retain(|block, _| block * (BLOCK as u64) < len);
            let tail = usize::try_from(len % BLOCK as u64).unwrap_or(0);
            if let Some(bytes) = above.blocks.get_mut(&(len / BLOCK as u64)) {
                bytes[tail..].fill(0);
            }
        }
        above.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut above = self.above.write();
        let below_len = above.below_len;
        for (block, within, position, length) in parts(offset, data.len()) {
            let bytes = match above.blocks.entry(block) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(self.block_below(block, below_len)?),
            };
            bytes[within..within + length].copy_from_slice(&data[position..position + length]);
        }
        above.len = above.len.max(offset + data.len() as u64);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.below.close()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redb::backends::InMemoryBackend;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, Vec<u8>),
        Resize(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..20_000_u64, proptest::collection::vec(any::<u8>(), 1..6000))
                .prop_map(|(offset, data)| Step::Write(offset, data)),
            (0..30_000_u64).prop_map(Step::Resize),
        ]
    }

    proptest! {
        /// The view reads like a medium that took the writes, and the medium stays as it was.
        #[test]
        fn reads_what_was_written_and_leaves_the_medium_alone(
            content in proptest::collection::vec(any::<u8>(), 0..20_000),
            steps in proptest::collection::vec(step(), 0..8),
        ) {
            let below: Arc<dyn StorageBackend> = Arc::new(InMemoryBackend::new());
            below.set_len(content.len() as u64).unwrap();
            below.write(0, &content).unwrap();
            let shadow = Shadow::over(Arc::clone(&below)).unwrap();
            let mut model = content.clone();
            for step in steps {
                match step {
                    Step::Write(offset, data) => {
                        let start = usize::try_from(offset).unwrap();
                        model.resize(model.len().max(start + data.len()), 0);
                        model[start..start + data.len()].copy_from_slice(&data);
                        shadow.write(offset, &data).unwrap();
                    }
                    Step::Resize(len) => {
                        model.resize(usize::try_from(len).unwrap(), 0);
                        shadow.set_len(len).unwrap();
                    }
                }
                let mut read = vec![0; model.len()];
                shadow.read(0, &mut read).unwrap();
                prop_assert!(read == model);
            }
            let mut untouched = vec![0; content.len()];
            below.read(0, &mut untouched).unwrap();
            prop_assert!(untouched == content);
        }
    }
}
