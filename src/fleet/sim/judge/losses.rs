//! Who is lost, for how long, and whether under protection: nobody goes too early, and nobody too late.

use std::time::Duration;

use super::{GRAIN, Judge, Life, Stall, Stand, TICK, credit};
use crate::{
    fleet::{lifecycle::Lifecycle, names::InstanceKey, sim::HEALING, waves::PROTECTION_LIMIT},
    time::Mono,
};

/// A disk that has been busy for as long holds removals up.
const BUSY: Duration = Duration::from_secs(1);
/// How long a removal takes at the most that nothing holds up: one try may be refused without being seen.
const REMOVAL: Duration = Duration::from_secs(15);

impl Judge {
    /// Takes note of how the disk is.
    pub(super) fn watch_disk(&mut self, now: Mono, is_quiet: bool) {
        if is_quiet {
            self.busy = None;
        } else if now.since(*self.busy.get_or_insert(now)) > BUSY {
            self.held_up = now;
        }
    }

    /// What an instance is shown as now: lost since then, and under protection.
    pub(super) fn lost_or_not(
        &mut self,
        now: Mono,
        key: &InstanceKey,
        lost: Option<Mono>,
        is_protected: bool,
    ) -> Result<(), String> {
        if is_protected && lost.is_none() {
            return Err("protected although it is not lost".into());
        }
        let before = self.last_look;
        let life = self.records.get_mut(key).and_then(|record| {
            let incarnation = record.present?;
            record.lives.get_mut(&incarnation)
        });
        let Some(life) = life else { return Ok(()) };
        life.stood = std::mem::replace(&mut life.stands, stand(life.lifecycle, lost));
        let is_fresh = matches!(life.stands, Stand::Lost(_)) && life.stands != life.stood;
        let was_lost = std::mem::replace(&mut life.lost_now, lost.is_some());
        let was_protected = life.protected.is_some();
        let ends = was_protected && !is_protected && lost.is_some();
        if ends {
            protection_ends(&self.stalls, now, life)?;
        }
        life.protected = is_protected.then(|| life.protected.unwrap_or((now, before)));
        life.unprotected = lost.and(if ends { Some(now) } else { life.unprotected });
        if self.judging {
            protection_lasts(&self.stalls, now, life)?;
            let heard = life.heard.unwrap_or(self.booted);
            let by = goes_by(&self.stalls, heard, life, self.limits.lost_removal);
            if by.is_some_and(|by| now > by.max(self.held_up) + REMOVAL) {
                return Err(format!("still there {:?} after it was heard", now.since(heard)));
            }
        }
        if is_fresh {
            self.losses.push(key.clone());
        }
        if is_protected && (!was_protected || is_fresh) {
            self.protections.push(key.clone());
        }
        let happened = [
            ("lost", !was_lost && lost.is_some()),
            ("found again", was_lost && lost.is_none()),
            ("protected", !was_protected && is_protected),
            ("protection ended by itself", ends),
        ];
        happened.into_iter().filter(|(_, has)| *has).for_each(|(what, _)| self.count(what));
        Ok(())
    }

    /// Who has been lost for so long that it must be gone, however long the disk was in trouble.
    pub(in crate::fleet::sim) fn overdue(&self, now: Mono) -> Result<(), String> {
        for (key, record) in &self.records {
            let life = record.present.and_then(|incarnation| record.lives.get(&incarnation));
            let Some(life) = life else { continue };
            let heard = life.heard.unwrap_or(self.booted);
            let by = goes_by(&self.stalls, heard, life, self.limits.lost_removal);
            if by.is_some_and(|by| now > by + HEALING) {
                return Err(format!("{key}: still there after {:?} of silence", now.since(heard)));
            }
        }
        Ok(())
    }
}

/// A protection ends now by itself: not before its time.
pub(super) fn protection_ends(stalls: &[Stall], now: Mono, life: &Life) -> Result<(), String> {
    let Some((seen, before)) = life.protected else { return Ok(()) };
    let lasted = now.since(before);
    if lasted < PROTECTION_LIMIT + credit(stalls, seen).0 {
        return Err(format!("protected for {lasted:?} at the most"));
    }
    Ok(())
}

/// A protection does not last any longer than it may.
fn protection_lasts(stalls: &[Stall], now: Mono, life: &Life) -> Result<(), String> {
    let Some((seen, _)) = life.protected else { return Ok(()) };
    let lasts = now.since(seen);
    if lasts > PROTECTION_LIMIT + TICK + credit(stalls, seen).1 + GRAIN {
        return Err(format!("protected for {lasts:?}"));
    }
    Ok(())
}

/// By when somebody who is lost, and not under protection, is to be removed.
fn goes_by(stalls: &[Stall], heard: Mono, life: &Life, removal: Duration) -> Option<Mono> {
    if !life.lost_now || life.protected.is_some() {
        return None;
    }
    let ordinary = heard + life.ttl + removal + TICK + credit(stalls, heard).1 + TICK + GRAIN;
    Some(ordinary.max(life.unprotected.unwrap_or_default()))
}

fn stand(said: Lifecycle, lost: Option<Mono>) -> Stand {
    match (said, lost) {
        (Lifecycle::Starting | Lifecycle::Ready, None) => Stand::Present,
        (Lifecycle::Starting | Lifecycle::Ready, Some(since)) => Stand::Lost(since),
        _ => Stand::Unexpected,
    }
}
