//! The refusal of an operation that cannot be afforded.

use std::{fmt, time::Duration};

use crate::rules::errors::try_again_in;

/// What there is not enough of.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Resource {
    /// Memory that the process may have.
    Memory,
    /// CPU time that the process may have.
    Cpu,
    /// Memory that is free on the machine, or in a control group.
    Free,
}

impl Resource {
    /// The word for it: `memory`.
    pub fn as_str(self) -> &'static str {
        match self {
            Resource::Memory => "memory",
            Resource::Cpu => "cpu",
            Resource::Free => "free",
        }
    }

    /// What its figures are counted in: bytes, but for the CPU's, which are percent of what the process may use.
    pub fn unit(self) -> &'static str {
        match self {
            Resource::Memory | Resource::Free => "bytes",
            Resource::Cpu => "percent",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An operation cannot be afforded: what is used `now` and what was `asked` for is more than the `limit`. All
/// three are counted in [`Resource::unit`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Exhausted {
    /// What there is not enough of.
    pub which: Resource,
    /// The ceiling; for free memory, what is free.
    pub limit: u64,
    /// What is used or reserved already.
    pub now: u64,
    /// What was asked for. Zero for the CPU, of which one operation is taken to need a little.
    pub asked: u64,
    /// When to try again: before that nothing new is known.
    pub retry_after: Duration,
}

impl std::error::Error for Exhausted {}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { which, limit, now, asked, retry_after } = self;
        match which {
            Resource::Memory => {
                write!(f, "{asked} bytes of memory: the process has or reserved {now} of the {limit} it may")
            }
            Resource::Cpu => {
                write!(f, "cpu: the process uses {now} percent of what it may, and {limit} is enough")
            }
            Resource::Free => {
                write!(f, "{asked} bytes of memory: {limit} are free, and {now} of these are reserved")
            }
        }?;
        write!(f, "; {}", try_again_in(*retry_after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_says_what_was_tried_and_what_to_do() {
        let of = |which, limit, now, asked| {
            Exhausted { which, limit, now, asked, retry_after: Duration::from_secs(1) }.to_string()
        };
        assert_eq!(
            of(Resource::Memory, 100, 90, 20),
            "20 bytes of memory: the process has or reserved 90 of the 100 it may; try again in 1s"
        );
        assert_eq!(
            of(Resource::Cpu, 80, 93, 0),
            "cpu: the process uses 93 percent of what it may, and 80 is enough; try again in 1s"
        );
        assert_eq!(
            of(Resource::Free, 100, 90, 20),
            "20 bytes of memory: 100 are free, and 90 of these are reserved; try again in 1s"
        );
    }
}
