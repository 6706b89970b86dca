//! Where in a row of messages a body is: each has its length before it.

use crate::guard::bounds::{SMALL_QUESTION, SMALL_QUESTIONS};

/// What gRPC puts before each message: whether it is compressed, and its length.
pub(super) const PREFIX: usize = 5;

/// Where in a row of messages a body is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Messages {
    prefix: [u8; PREFIX],
    // Bytes of the prefix that have come.
    begun: usize,
    // Bytes of the message that have not.
    left: usize,
}

/// How far it went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) bytes: usize,
    /// A message ended there.
    pub(super) ended: bool,
}

impl Messages {
    /// Goes on by these bytes; true if a message ended in them.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> bool {
        let mut ended = false;
        while !bytes.is_empty() {
            let step = self.step(bytes);
            bytes = &bytes[step.bytes..];
            ended |= step.ended;
        }
        ended
    }

    /// Goes on by those of these bytes that are handed on together, and answers how many they are: small messages, or
    /// what has come of a longer one. What comes behind its prefix, and behind itself, is apart from it.
    pub(super) fn pass_together(&mut self, bytes: &[u8]) -> usize {
        let mut together = 0;
        while together < bytes.len().min(SMALL_QUESTIONS) {
            let step = self.step(&bytes[together..]);
            together += step.bytes;
            let begins = self.in_part().is_some_and(|(come, _)| come == 0);
            if (begins || step.ended) && self.length() >= SMALL_QUESTION {
                break;
            }
        }
        together
    }

    /// Goes on to the end of these bytes, of a prefix or of a message, whatever comes first.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Step {
        let taken = if self.begun < PREFIX {
            let taken = bytes.len().min(PREFIX - self.begun);
            self.prefix[self.begun..self.begun + taken].copy_from_slice(&bytes[..taken]);
            self.begun += taken;
            self.left = if self.begun == PREFIX { self.length() } else { 0 };
            taken
        } else {
            let taken = bytes.len().min(self.left);
            self.left -= taken;
            taken
        };
        let ended = self.begun == PREFIX && self.left == 0;
        if ended {
            self.begun = 0;
        }
        Step { bytes: taken, ended }
    }

    /// Whether a message has begun and not ended, if only its prefix.
    pub(super) fn has_begun(&self) -> bool {
        self.begun > 0
    }

    /// Bytes that have come of the message that has begun and not ended, and its length, where it is known.
    pub(super) fn in_part(&self) -> Option<(usize, usize)> {
        let length = self.length();
        (self.begun == PREFIX).then(|| (length - self.left, length))
    }

    /// What is said of the last message whose prefix is whole: whether it is packed.
    pub(super) fn flag(&self) -> u8 {
        self.prefix[0]
    }

    /// The same, of its length.
    pub(super) fn length(&self) -> usize {
        let [_, length @ ..] = self.prefix;
        usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixed(length: u32, bytes: usize) -> Vec<u8> {
        [&[0], length.to_be_bytes().as_slice(), &vec![0; bytes]].concat()
    }

    #[test]
    fn messages_as_a_table() {
        let two = [prefixed(3, 3), prefixed(7, 7)].concat();
        for (bytes, ends, begun, in_part) in [
            (Vec::new(), 0, false, None),
            (prefixed(3, 3), 1, false, None),
            (prefixed(3, 2), 0, true, Some((2, 3))),
            (prefixed(3, 0)[..4].to_vec(), 0, true, None),
            (prefixed(0, 0), 1, false, None),
            (two.clone(), 2, false, None),
            (two[..two.len() - 1].to_vec(), 1, true, Some((6, 7))),
            (two[..12].to_vec(), 1, true, None),
            (prefixed(u32::MAX, 0), 0, true, Some((0, usize::try_from(u32::MAX).unwrap()))),
        ] {
            let mut together = Messages::default();
            assert_eq!(together.pass(&bytes), ends > 0, "{bytes:?}");
            assert_eq!((together.has_begun(), together.in_part()), (begun, in_part), "{bytes:?}");
            let mut one_by_one = Messages::default();
            let counted = bytes.iter().filter(|byte| one_by_one.pass(&[**byte])).count();
            assert_eq!(counted, ends, "{bytes:?}, byte by byte");
            assert_eq!((one_by_one.has_begun(), one_by_one.in_part()), (begun, in_part), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_handed_on_together_as_a_table() {
        let (small, long) = (prefixed(20, 20), prefixed(3000, 3000));
        for (bytes, pieces) in [
            (small.repeat(3), vec![75]),
            (small.repeat(100), vec![1025, 1025, 450]),
            (long.clone(), vec![5, 3000]),
            (long[..700].to_vec(), vec![5, 695]),
            ([small.clone(), long.clone(), small.clone()].concat(), vec![30, 3000, 25]),
            ([long.clone(), long.clone()].concat(), vec![5, 3000, 5, 3000]),
            ([prefixed(0, 0), long.clone(), prefixed(0, 0)].concat(), vec![10, 3000, 5]),
            (prefixed(256, 256), vec![5, 256]),
            (prefixed(255, 255), vec![260]),
        ] {
            let (mut messages, mut rest) = (Messages::default(), bytes.as_slice());
            let pieces_are: Vec<_> = std::iter::from_fn(|| {
                let together = messages.pass_together(rest);
                rest = &rest[together..];
                (together > 0).then_some(together)
            })
            .collect();
            assert_eq!(pieces_are, pieces);
        }
    }
}
