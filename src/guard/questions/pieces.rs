//! What has come of messages, in the pieces in which whoever reads them lets them go again: tonic.
//!
//! It collects what comes in one buffer for as long as a stream lives, and a buffer in which there is room is used on,
//! however large it is. So a long message is handed on apart from its prefix and from what comes after it: its buffer
//! is as long as it is, and the next message needs another. What it unpacks it keeps until it unpacks again: so it is
//! given nothing to unpack on a stream. A unary RPC has its buffers for as long as it lives, which is short.

use std::{io::Read as _, mem};

use bytes::Bytes;
use flate2::bufread::GzDecoder;
use tonic::Status;

use super::{
    full,
    messages::{Messages, PREFIX},
    room_for,
};
use crate::{
    error::{Error, Kind, Reason},
    guard::{
        bounds::{COUNTED_QUESTION, SMALL_QUESTION},
        shares::{Room, Share},
        status::status,
    },
};

/// What the prefix of a packed message begins with.
const PACKED: u8 = 1;

/// How what has come is handed on.
#[derive(Debug)]
pub(super) enum Pieces {
    /// As it comes.
    AsTheyCome,
    /// Long messages apart from others.
    Apart(Messages),
    /// The same, and unpacked.
    Unpacked(Box<Unpacker>),
}

impl Pieces {
    /// The next piece of what has come. None: more has to come first.
    ///
    /// # Errors
    /// A message cannot be unpacked, is too long, or does not fit.
    pub(super) fn next(&mut self, come: &mut Bytes) -> Result<Option<Bytes>, Status> {
        let piece = match self {
            Self::AsTheyCome => mem::take(come),
            Self::Apart(messages) => come.split_to(messages.pass_together(come)),
            Self::Unpacked(unpacker) => return unpacker.next(come),
        };
        Ok(Some(piece).filter(|piece| !piece.is_empty()))
    }

    /// Whether messages are unpacked here.
    pub(super) fn unpacks(&self) -> bool {
        matches!(self, Self::Unpacked(_))
    }

    /// Whether a long message was unpacked since this was asked last, and has been handed on.
    pub(super) fn has_worked_long(&mut self) -> bool {
        let Self::Unpacked(unpacker) = self else { return false };
        unpacker.message.is_none() && mem::take(&mut unpacker.worked_long)
    }

    /// Whether there is a next piece, or may be, if nothing more comes.
    pub(super) fn has_more(&self, come: &Bytes) -> bool {
        !come.is_empty() || matches!(self, Self::Unpacked(unpacker) if unpacker.message.is_some())
    }
}

/// Unpacks the messages of one stream.
#[derive(Debug)]
pub(super) struct Unpacker {
    share: Share,
    largest: usize,
    messages: Messages,
    /// What has come of a packed message.
    packed: Vec<u8>,
    /// A message whose prefix was handed on.
    message: Option<Bytes>,
    /// Of what was unpacked last: whoever reads holds it until the next.
    room: Option<Room>,
    worked_long: bool,
}

impl Unpacker {
    /// Unpacks to so many bytes at the most, for which there is room in this share.
    pub(super) fn new(share: Share, largest: usize) -> Self {
        let messages = Messages::default();
        Self { share, largest, messages, packed: Vec::new(), message: None, room: None, worked_long: false }
    }

    fn next(&mut self, come: &mut Bytes) -> Result<Option<Bytes>, Status> {
        if let Some(message) = self.message.take() {
            return Ok(Some(message));
        }
        while !come.is_empty() {
            let of_message = self.messages.in_part().is_some();
            let step = self.messages.step(come);
            let piece = come.split_to(step.bytes);
            let is_whole = step.ended || self.messages.in_part().is_some();
            match (of_message, self.messages.flag()) {
                (false, _) if !is_whole => continue,
                (false, PACKED) if self.messages.length() > self.largest => return Err(self.too_long()),
                // Addresses alone, until it comes.
                (false, PACKED) => self.packed.reserve_exact(self.messages.length()),
                (true, PACKED) => self.packed.extend_from_slice(&piece),
                // What is packed in no way that is known is left to whoever reads it.
                (false, flag) => {
                    // Whoever reads refuses what is longer than a length can say.
                    let length = u32::try_from(self.messages.length()).unwrap_or(u32::MAX);
                    let prefix = [&[flag], length.to_be_bytes().as_slice()].concat();
                    return Ok(Some(prefix.into()));
                }
                (true, _) => {
                    if step.ended {
                        self.room = None;
                    }
                    return Ok(Some(piece));
                }
            }
            if step.ended {
                return self.unpack().map(Some);
            }
        }
        Ok(None)
    }

    fn unpack(&mut self) -> Result<Bytes, Status> {
        let packed = mem::take(&mut self.packed);
        // One byte more than may be shows that there is more.
        let most = u64::try_from(self.largest).unwrap_or(u64::MAX).saturating_add(1);
        let mut framed = vec![0; PREFIX];
        GzDecoder::new(packed.as_slice()).take(most).read_to_end(&mut framed).map_err(|wrong| {
            status(&Error::field("message", format!("could not be read: it cannot be unpacked: {wrong}")))
        })?;
        let length = framed.len() - PREFIX;
        if length > self.largest {
            return Err(self.too_long());
        }
        // The largest that is allowed fits into four bytes.
        framed[1..PREFIX].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        self.room = None;
        if length >= COUNTED_QUESTION {
            self.worked_long = true;
            self.room = Some(room_for(&self.share, length).ok_or_else(full)?);
        }
        let mut framed = Bytes::from(framed);
        if length < SMALL_QUESTION {
            return Ok(framed);
        }
        let prefix = framed.split_to(PREFIX);
        self.message = Some(framed);
        Ok(prefix)
    }

    fn too_long(&self) -> Status {
        let message = format!("message could not be read: it has more than {} bytes", self.largest);
        status(&Error::new(Kind::ResourceExhausted, Reason::MessageTooLarge, message))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};
    use tonic::Code;

    use super::*;
    use crate::guard::{bounds::QUESTIONS, shares::Shares};

    const LARGEST: usize = 64 * 1024;

    fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
        [&[flag], u32::try_from(message.len()).unwrap().to_be_bytes().as_slice(), message].concat()
    }

    pub(in crate::guard::questions) fn packed(message: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(message).unwrap();
        framed(PACKED, &encoder.finish().unwrap())
    }

    fn unpacker() -> Pieces {
        let share = Shares::new(QUESTIONS).connection([10, 0, 0, 1].into());
        Pieces::Unpacked(Box::new(Unpacker::new(share, LARGEST)))
    }

    /// What is handed on of bytes that come in pieces of this size.
    fn handed_on(bytes: &[u8], size: usize) -> Result<Vec<Bytes>, Status> {
        let (mut pieces, mut all) = (unpacker(), Vec::new());
        for come in bytes.chunks(size) {
            let mut come = Bytes::copy_from_slice(come);
            while let Some(piece) = pieces.next(&mut come)? {
                all.push(piece);
            }
            assert!(!pieces.has_more(&come));
        }
        Ok(all)
    }

    #[test]
    fn packed_or_not_a_message_is_handed_on_unpacked_however_it_comes() {
        let (small, long) = (vec![7; 20], vec![7; LARGEST]);
        let come =
            [packed(&small), framed(0, &small), packed(&[]), packed(&long), framed(0, &[]), packed(&small)];
        let unpacked = [
            framed(0, &small),
            framed(0, &small),
            framed(0, &[]),
            framed(0, &long),
            framed(0, &[]),
            framed(0, &small),
        ];
        for size in [1, 2, 7, 64, 1 << 20] {
            let handed = handed_on(&come.concat(), size).unwrap();
            assert_eq!(handed.concat(), unpacked.concat(), "in pieces of {size}");
            assert!(handed.iter().any(|piece| piece.len() == LARGEST), "the long one alone");
        }
    }

    #[test]
    fn what_cannot_be_unpacked_is_the_callers_error() {
        let mut torn = packed(&[7; 2000]);
        let last = torn.len() - 1;
        torn[last] ^= 1;
        for (come, code) in [
            (packed(&vec![0; LARGEST + 1]), Code::ResourceExhausted),
            (framed(PACKED, &vec![0; LARGEST + 1])[..PREFIX].to_vec(), Code::ResourceExhausted),
            (torn, Code::InvalidArgument),
            (framed(PACKED, b"no gzip"), Code::InvalidArgument),
            (framed(PACKED, &[]), Code::InvalidArgument),
        ] {
            assert_eq!(handed_on(&come, 1 << 20).unwrap_err().code(), code);
        }
        // What is packed in another way is for whoever reads it to refuse.
        assert_eq!(handed_on(&framed(7, b"what"), 1 << 20).unwrap().concat(), framed(7, b"what"));
    }
}
