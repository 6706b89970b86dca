//! How bad it is: what the network, the store, the control plane and the processes do, by seed.

use std::time::Duration;

use super::dice::Dice;
use crate::store::simulated::Fate;

/// Chances, in thousandths: of a letter, of a commit, or of a turn of the weather (about every second).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    pub(super) name: &'static str,
    /// A letter is lost, and breaks the stream that it was on.
    pub(super) lost: u32,
    /// A letter arrives twice.
    pub(super) twice: u32,
    /// A letter takes seconds.
    pub(super) late: u32,
    pub(super) partition: u32,
    /// How long one lasts, in milliseconds.
    pub(super) cut: (u64, u64),
    /// How long a storm lasts, in milliseconds.
    pub(super) storm: (u64, u64),
    pub(super) stall: u32,
    pub(super) crash: u32,
    pub(super) restart: u32,
    /// A commit takes long, is refused, or has an open outcome.
    pub(super) slow_disk: u32,
    pub(super) refused: u32,
    pub(super) open: u32,
    /// Something happens to a process: it is killed, leaves, hangs, or gets a twin.
    pub(super) mishap: u32,
    /// An operator does something, or somebody tries an old token.
    pub(super) operator: u32,
    pub(super) forged: u32,
}

const MILD: Weather = Weather {
    name: "mild",
    lost: 0,
    twice: 0,
    late: 0,
    partition: 0,
    cut: (1_000, 60_000),
    storm: (30_000, 400_000),
    stall: 0,
    crash: 0,
    restart: 0,
    slow_disk: 5,
    refused: 0,
    open: 0,
    mishap: 60,
    operator: 30,
    forged: 50,
};

/// One for each seed, in turn.
pub(super) const KINDS: [Weather; 8] = [
    MILD,
    Weather { name: "lossy", lost: 30, twice: 50, late: 50, ..MILD },
    Weather { name: "partitions", lost: 2, partition: 40, ..MILD },
    Weather { name: "stalls", stall: 60, late: 10, ..MILD },
    Weather { name: "crashes", crash: 20, restart: 15, slow_disk: 100, ..MILD },
    Weather { name: "bad disk", slow_disk: 150, refused: 20, open: 40, mishap: 120, operator: 60, ..MILD },
    Weather {
        name: "everything",
        lost: 15,
        twice: 25,
        late: 25,
        partition: 20,
        stall: 20,
        crash: 8,
        restart: 5,
        slow_disk: 50,
        refused: 10,
        open: 15,
        mishap: 60,
        operator: 30,
        forged: 50,
        ..MILD
    },
    // Longer than any protection.
    Weather {
        name: "long cuts",
        partition: 15,
        cut: (610_000, 900_000),
        storm: (900_000, 1_600_000),
        stall: 2,
        mishap: 10,
        operator: 5,
        ..MILD
    },
];

/// No faults, and nothing new happens: what was broken has time to heal.
pub(super) const CALM: Weather = Weather { name: "calm", mishap: 0, operator: 0, forged: 0, ..MILD };

impl Weather {
    /// How long the next storm lasts.
    pub(super) fn storm(self, dice: &mut Dice) -> Duration {
        dice.millis(self.storm.0..self.storm.1)
    }

    /// How long a letter is on its way.
    pub(super) fn delay(self, dice: &mut Dice) -> Duration {
        if dice.chance(self.late) { dice.millis(500..12_000) } else { dice.millis(1..60) }
    }

    /// What becomes of a commit.
    pub(super) fn fate(self, dice: &mut Dice) -> Fate {
        let slow = dice.chance(self.slow_disk);
        let after = if slow { dice.millis(200..14_000) } else { dice.millis(1..20) };
        let lasts = dice.millis(10..9_000);
        if dice.chance(self.refused) {
            return Fate::Refused { after, lasts };
        }
        if dice.chance(self.open) {
            let (shown, written) = (dice.chance(500), dice.chance(500));
            return Fate::Open { after, lasts, shown, written };
        }
        Fate::Written(after)
    }
}
