//! The most that may be used.

use std::{fmt, num::NonZeroU64};

/// The most that the process may use for an operation to begin, and what that is likely to need. By default there
/// is no ceiling, and nothing is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ceiling {
    memory: Option<NonZeroU64>,
    cpu: Option<CpuShare>,
    operation: Option<NonZeroU64>,
}

/// An operation that could never begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "operation {operation} bytes: more than the {memory} bytes of memory that the whole process may have; make it \
     smaller"
)]
pub struct InvalidCeiling {
    /// What one operation needs.
    pub operation: NonZeroU64,
    /// What the process may have.
    pub memory: NonZeroU64,
}

impl Ceiling {
    /// `memory`: the most memory of the process in bytes, what is reserved included. `cpu`: the most CPU of the
    /// process, over about the last second. `operation`: bytes that one operation is likely to need, which must
    /// be free. `None`: any, or nothing is known.
    ///
    /// # Errors
    ///
    /// Where one operation needs more than the process may have.
    pub fn new(
        memory: Option<NonZeroU64>,
        cpu: Option<CpuShare>,
        operation: Option<NonZeroU64>,
    ) -> Result<Self, InvalidCeiling> {
        match (operation, memory) {
            (Some(operation), Some(memory)) if operation > memory => {
                Err(InvalidCeiling { operation, memory })
            }
            _ => Ok(Self { memory, cpu, operation }),
        }
    }

    /// The most memory of the process, in bytes.
    pub fn memory(&self) -> Option<NonZeroU64> {
        self.memory
    }

    /// The most CPU of the process.
    pub fn cpu(&self) -> Option<CpuShare> {
        self.cpu
    }

    /// What one operation is likely to need, in bytes.
    pub fn operation(&self) -> Option<NonZeroU64> {
        self.operation
    }

    /// The same, or nothing.
    pub(super) fn asked(&self) -> u64 {
        self.operation.map_or(0, NonZeroU64::get)
    }
}

/// For people: `memory up to 2 GiB, cpu up to 80%, 16 MiB for each`.
impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory, cpu, operation } = self;
        let parts = [
            memory.map(|bytes| format!("memory up to {}", Bytes(bytes.get()))),
            cpu.map(|share| format!("cpu up to {}%", share.percent())),
            operation.map(|bytes| format!("{} for each", Bytes(bytes.get()))),
        ];
        match parts.into_iter().flatten().collect::<Vec<_>>() {
            parts if parts.is_empty() => f.write_str("any"),
            parts => f.write_str(&parts.join(", ")),
        }
    }
}

/// Bytes in the largest unit that says exactly how many there are.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.iter().find(|(bits, _)| self.0.trailing_zeros() >= *bits) {
            Some((bits, unit)) => write!(f, "{} {unit}", self.0 >> bits),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

/// A share of the CPU that the process may use: above 0, up to 1 for all of it.
///
/// What it may use is the quota of its control groups, or else the CPUs that it may run on.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct CpuShare(f64);

/// A number that is no share of the CPU.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("cpu share {0}: use a number above 0 and up to 1, as 0.8")]
pub struct InvalidCpuShare(pub f64);

impl CpuShare {
    /// Takes a number above 0, up to 1.
    ///
    /// # Errors
    ///
    /// Any other number.
    pub fn new(share: f64) -> Result<Self, InvalidCpuShare> {
        match share > 0.0 && share <= 1.0 {
            true => Ok(Self(share)),
            false => Err(InvalidCpuShare(share)),
        }
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }

    /// In percent, without the noise of what a binary fraction cannot say.
    fn percent(self) -> f64 {
        (self.0 * 1e6).round() / 1e4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_as_a_table() {
        for (share, right) in [
            (0.01, true),
            (0.8, true),
            (1.0, true),
            (0.0, false),
            (-0.5, false),
            (1.01, false),
            (80.0, false),
            (f64::NAN, false),
            (f64::INFINITY, false),
        ] {
            assert_eq!(CpuShare::new(share).is_ok(), right, "{share}");
        }
    }

    #[test]
    fn what_could_never_begin_is_refused() {
        let ceiling =
            |memory, operation| Ceiling::new(NonZeroU64::new(memory), None, NonZeroU64::new(operation));
        for (memory, operation, right) in
            [(0, 0, true), (0, 5, true), (5, 0, true), (5, 5, true), (5, 6, false)]
        {
            assert_eq!(ceiling(memory, operation).is_ok(), right, "{memory} {operation}");
        }
        assert_eq!(ceiling(5, 6).expect_err("too much").operation.get(), 6);
    }

    #[test]
    fn it_is_said_in_a_line() {
        for (memory, cpu, operation, expected) in [
            (0, 0.0, 0, "any"),
            (2 << 30, 0.8, 16 << 20, "memory up to 2 GiB, cpu up to 80%, 16 MiB for each"),
            (1_500, 0.0, 0, "memory up to 1500 bytes"),
            (0, 0.29, 0, "cpu up to 29%"),
            (0, 0.125, 3 << 10, "cpu up to 12.5%, 3 KiB for each"),
        ] {
            let cpu = CpuShare::new(cpu).ok();
            let ceiling = Ceiling::new(NonZeroU64::new(memory), cpu, NonZeroU64::new(operation));
            assert_eq!(ceiling.expect("it can begin").to_string(), expected);
        }
    }
}
