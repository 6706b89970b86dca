//! Whether an operation can be afforded: pure.

use std::{num::NonZeroU64, time::Duration};

use super::{Ceiling, CpuShare, Exhausted, Resource};

/// About as long as a sample and the smoothing of the CPU look back: before that nothing new is known.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What was found at one moment. What cannot be measured here is `None`, and refuses nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Resident memory of the process, in bytes.
    pub memory: Option<u64>,
    /// Share of the CPU that the process may use, over about the last second: 1 is all of it.
    pub cpu: Option<f64>,
    /// Memory that the process can still get, of the machine and its control groups, in bytes.
    pub free: Option<u64>,
}

/// Whether one operation more can be afforded where `reserved` bytes are promised already. The first that is
/// exhausted is answered, the CPU last.
pub(super) fn decide(ceiling: &Ceiling, sample: &Sample, reserved: u64) -> Result<(), Exhausted> {
    memory(ceiling, sample.memory, reserved)?;
    free(ceiling, sample.free, reserved)?;
    cpu(ceiling, sample.cpu)
}

fn memory(ceiling: &Ceiling, used: Option<u64>, reserved: u64) -> Result<(), Exhausted> {
    let Some((limit, used)) = ceiling.memory().map(NonZeroU64::get).zip(used) else { return Ok(()) };
    let (now, asked) = (used.saturating_add(reserved), ceiling.asked());
    match now.saturating_add(asked) > limit {
        true => Err(exhausted(Resource::Memory, limit, now, asked)),
        false => Ok(()),
    }
}

fn free(ceiling: &Ceiling, free: Option<u64>, reserved: u64) -> Result<(), Exhausted> {
    // What asks for nothing takes nothing away.
    let Some((free, asked)) = free.zip(ceiling.operation().map(NonZeroU64::get)) else { return Ok(()) };
    match reserved.saturating_add(asked) > free {
        true => Err(exhausted(Resource::Free, free, reserved, asked)),
        false => Ok(()),
    }
}

fn cpu(ceiling: &Ceiling, used: Option<f64>) -> Result<(), Exhausted> {
    let Some((limit, now)) = ceiling.cpu().map(CpuShare::get).zip(used) else { return Ok(()) };
    // At the ceiling there is nothing left for one more, little as it needs.
    match now >= limit {
        true => {
            let (limit, now) = (whole((limit * 100.0).round()), whole((now * 100.0).ceil()));
            Err(exhausted(Resource::Cpu, limit, now, 0))
        }
        false => Ok(()),
    }
}

fn exhausted(which: Resource, limit: u64, now: u64, asked: u64) -> Exhausted {
    Exhausted { which, limit, now, asked, retry_after: RETRY_AFTER }
}

/// Percent are not negative, and few: a cast of what is not would be cut.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(percent: f64) -> u64 {
    percent as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn ceiling(memory: u64, cpu: f64, operation: u64) -> Ceiling {
        let (memory, operation) = (NonZeroU64::new(memory), NonZeroU64::new(operation));
        Ceiling::new(memory, CpuShare::new(cpu).ok(), operation).expect("it can begin")
    }

    #[test]
    fn decisions_as_a_table() {
        use Resource::{Cpu, Free, Memory};
        let used = Sample { memory: Some(60 * MIB), cpu: Some(0.5), free: Some(30 * MIB) };
        let roomy = Sample { free: Some(u64::MAX), ..used };
        let full = Sample { memory: Some(100 * MIB), ..roomy };
        let at = |cpu| Sample { cpu: Some(cpu), ..roomy };
        let nothing = Sample::default();
        let all = |operation| ceiling(100 * MIB, 0.8, operation);
        let only = |operation| ceiling(0, 0.0, operation);
        for (ceiling, sample, reserved, expected) in [
            // Up to the limit, and one more.
            (all(30 * MIB), roomy, 10 * MIB, None),
            (all(30 * MIB + 1), roomy, 10 * MIB, Some((Memory, 100 * MIB, 70 * MIB))),
            (all(0), full, 0, None),
            (all(0), full, 1, Some((Memory, 100 * MIB, 100 * MIB + 1))),
            (all(20 * MIB), used, 10 * MIB, None),
            (all(20 * MIB + 1), used, 10 * MIB, Some((Free, 30 * MIB, 10 * MIB))),
            (only(0), used, 40 * MIB, None),
            (only(1), used, 30 * MIB, Some((Free, 30 * MIB, 30 * MIB))),
            // The CPU, at and below its ceiling.
            (all(MIB), at(0.79), 0, None),
            (all(MIB), at(0.8), 0, Some((Cpu, 80, 80))),
            (all(0), at(1.301), 0, Some((Cpu, 80, 131))),
            (only(MIB), at(2.0), 0, None),
            // Nothing is measured: nothing is refused.
            (all(35 * MIB), nothing, u64::MAX, None),
            // Sums that do not fit are too much.
            (only(1), used, u64::MAX, Some((Free, 30 * MIB, u64::MAX))),
            // The CPU last, the process' own memory first.
            (all(50 * MIB), Sample { cpu: Some(1.0), ..used }, 0, Some((Memory, 100 * MIB, 60 * MIB))),
            (all(35 * MIB), Sample { cpu: Some(1.0), ..used }, 0, Some((Free, 30 * MIB, 0))),
        ] {
            let found = decide(&ceiling, &sample, reserved).err();
            let told = found.map(|it| (it.which, it.limit, it.now));
            assert_eq!(told, expected, "{ceiling} {sample:?} {reserved}");
            if let Some(refused) = found {
                let sum = refused.now.saturating_add(refused.asked);
                assert!(sum > refused.limit || refused.which == Cpu, "{refused}");
            }
        }
    }
}
