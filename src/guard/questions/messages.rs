//! Where in a row of messages a body is: each has its length before it.

/// What gRPC puts before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Where in a row of messages a body is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Messages {
    prefix: [u8; PREFIX],
    // Bytes of the prefix that have come.
    begun: usize,
    // Bytes of the message that have not.
    left: usize,
}

impl Messages {
    /// Goes on by these bytes; true if a message ended in them.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> bool {
        let mut ended = false;
        while !bytes.is_empty() {
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
            bytes = &bytes[taken..];
            if self.begun == PREFIX && self.left == 0 {
                (self.begun, ended) = (0, true);
            }
        }
        ended
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

    fn length(&self) -> usize {
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
}
