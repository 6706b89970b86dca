//! Judges by what was delivered, never by what the fleet says of itself: the reference model.
//!
//! It knows which letters arrived when, and what was acknowledged; from that follow the bounds within
//! which every instance must be shown. Time here is the world's; a run of the control plane began at
//! `booted`, and its own time counts from there.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use super::{Known, letter::Credentials, tolerated};
use crate::{
    fleet::{
        Handle,
        names::InstanceKey,
        reconciler::TICK,
        snapshot::Instance,
        state::{Claim, Limits},
        waves::PROTECTION_LIMIT,
    },
    health::component::SILENT_INTERVALS,
    id::TokenHash,
    time::Mono,
};

mod letters;
mod look;

/// What is rounded away.
const GRAIN: Duration = Duration::from_millis(2);
/// A stall that is shorter may go unnoticed, and never takes more of anybody's time than this.
const UNNOTICED: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Judge {
    limits: Limits,
    records: BTreeMap<InstanceKey, Record>,
    stalls: Vec<Stall>,
    booted: Mono,
    /// Leases are judged: it neither is down nor drains.
    judging: bool,
    revision: u64,
    /// Newest change of health that was ever seen, and that of earlier runs.
    newest_transition: u64,
    floor: u64,
    booted_wall: SystemTime,
    looks: u64,
    /// Since when registry and store differ although nothing is on its way.
    differ: Option<Mono>,
    /// What happened, counted: what never happens was never judged.
    pub(super) seen: BTreeMap<&'static str, u64>,
}

#[derive(Debug)]
struct Stall {
    ended: Mono,
    least: Duration,
    most: Duration,
}

/// What is known of an id.
#[derive(Debug, Default)]
struct Record {
    lives: BTreeMap<u64, Life>,
    /// The incarnation that was shown last; None: gone.
    present: Option<u64>,
    highest: u64,
    /// Commands that nobody has answered yet.
    open: u32,
    /// The outcome of one may be anything.
    doubtful: bool,
    removal_asked: bool,
    /// Its tombstone is gone as well: it may begin anew.
    may_begin_anew: bool,
    looked: u64,
}

#[derive(Debug)]
struct Life {
    /// None: nobody was told.
    token: Option<TokenHash>,
    request: Option<TokenHash>,
    ttl: Duration,
    /// In this run of the control plane.
    heard: Option<Mono>,
    reported: Vec<Option<Mono>>,
    report_interval: Duration,
    ended: bool,
    /// When it was last seen to be lost.
    lost: Option<Mono>,
    lost_now: bool,
    /// Since when it was seen to be lost under protection.
    protected: Option<Mono>,
}

impl Judge {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            records: BTreeMap::new(),
            stalls: Vec::new(),
            booted: Mono::default(),
            judging: false,
            revision: 0,
            newest_transition: 0,
            floor: 0,
            booted_wall: SystemTime::UNIX_EPOCH,
            looks: 0,
            differ: None,
            seen: BTreeMap::new(),
        }
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn let_pass(&mut self, known: Known, what: &str) -> Result<(), String> {
        let name = tolerated(known, what)?;
        self.count(name);
        Ok(())
    }

    // === runs of the control plane ===

    /// It has read what the store holds: that is what was shown before, but for what was on its way.
    pub(super) fn booted(&mut self, now: Mono, wall: SystemTime, handle: &Handle) -> Result<(), String> {
        self.count("boot");
        self.booted = now;
        self.booted_wall = wall;
        self.stalls.clear();
        self.judging = true;
        self.revision = 0;
        self.floor = self.newest_transition;
        self.differ = None;
        for (key, record) in &mut self.records {
            let found = handle.instance(key).ok().map(|instance| instance.incarnation);
            let in_doubt = record.open > 0 || record.doubtful || record.is_due(now, &self.limits);
            if !in_doubt && found != record.present {
                let before = record.present;
                return Err(format!("{key}: incarnation {before:?} was shown, after the restart {found:?}"));
            }
            for life in record.lives.values_mut() {
                life.heard = None;
                life.reported.fill(None);
                life.lost_now = false;
                life.protected = None;
            }
            record.removal_asked |= in_doubt;
            record.doubtful = in_doubt;
            record.open = 0;
        }
        Ok(())
    }

    /// Who has been lost for so long that it must be gone, however long the disk was in trouble.
    pub(super) fn overdue(&self, now: Mono) -> Result<(), String> {
        for (key, record) in &self.records {
            let life = record.present.and_then(|incarnation| record.lives.get(&incarnation));
            let Some(life) = life.filter(|life| life.lost_now && life.protected.is_none()) else { continue };
            let heard = life.heard.unwrap_or(self.booted);
            // What was protected for a while may have to go by a later date.
            let patience = life.ttl + self.limits.lost_removal.max(PROTECTION_LIMIT) + self.credit(heard).1;
            if now.since(heard) > patience + super::HEALING {
                return Err(format!("{key}: still there after {:?} of silence", now.since(heard)));
            }
        }
        Ok(())
    }

    pub(super) fn draining(&mut self) {
        self.judging = false;
    }

    pub(super) fn died(&mut self) {
        self.judging = false;
    }

    pub(super) fn stalled(&mut self, now: Mono, lasts: Duration) {
        let least = if lasts > UNNOTICED { lasts - TICK } else { Duration::ZERO };
        self.stalls.push(Stall { ended: now, least, most: lasts + TICK });
    }

    fn credit(&self, since: Mono) -> (Duration, Duration) {
        credit(&self.stalls, since)
    }

    // === what is asked for, and what is answered ===

    pub(super) fn asked(&mut self, key: &InstanceKey) {
        self.record(key).open += 1;
    }

    pub(super) fn removing(&mut self, key: &InstanceKey) {
        let record = self.record(key);
        record.open += 1;
        record.removal_asked = true;
    }

    /// It was not done, or nobody can tell.
    pub(super) fn not_done(&mut self, key: &InstanceKey, open: bool) {
        if open {
            self.count("open outcome");
        }
        let record = self.record(key);
        record.open = record.open.saturating_sub(1);
        record.doubtful |= open;
    }

    pub(super) fn admitted(
        &mut self,
        now: Mono,
        instance: &Instance,
        credentials: Credentials,
        request: TokenHash,
        claim: Claim,
        since: Mono,
    ) -> Result<(), String> {
        let key = &instance.registration.key;
        let Credentials { incarnation, token } = credentials;
        let least = |life: &Life, judge: &Self| {
            let heard = life.heard.unwrap_or(judge.booted);
            now.since(heard) < life.ttl + judge.credit(heard).0
        };
        self.record(key).begin_anew(incarnation);
        let before = self.records.get(key).and_then(|record| record.lives.get(&(incarnation - 1)));
        if let Some(before) = before.filter(|before| !before.ended && least(before, self)) {
            let proved = claim.token.is_some() && claim.token == before.token
                || claim.request.is_some() && claim.request == before.request
                || before.token.is_none();
            if !proved {
                let was_lost = before.lost.is_some_and(|lost| lost >= since);
                let what = format!("{key}: incarnation {incarnation} took over from one that lives");
                if !was_lost {
                    return Err(what);
                }
                self.let_pass(Known::HeardWhileOnItsWayOut, &what)?;
            }
        }
        let record = self.record(key);
        record.open = record.open.saturating_sub(1);
        if incarnation > 1 {
            self.count("taken over");
        }
        let record = self.record(key);
        let known = record.lives.get(&incarnation);
        if known.is_some_and(|life| life.token.is_some()) {
            return Err(format!("{key}: incarnation {incarnation} was given to two"));
        }
        let heard = known.and_then(|life| life.heard).unwrap_or(now);
        let mut life = Life::new(instance, Some(token), Some(heard));
        life.request = Some(request);
        life.ended = record.lives.keys().any(|other| *other > incarnation);
        record.lives.insert(incarnation, life);
        record.end_before(incarnation);
        Ok(())
    }

    /// A removal was acknowledged.
    pub(super) fn buried(
        &mut self,
        key: &InstanceKey,
        incarnation: u64,
        by: Option<Credentials>,
    ) -> Result<(), String> {
        let record = self.record(key);
        record.open = record.open.saturating_sub(1);
        let life = record.lives.get_mut(&incarnation);
        let life =
            life.ok_or_else(|| format!("{key}: incarnation {incarnation} never was, and was removed"))?;
        if by.is_some_and(|by| by.incarnation != incarnation || life.token != Some(by.token)) {
            return Err(format!(
                "{key}: incarnation {incarnation} was removed by a token that is not its own"
            ));
        }
        life.ended = true;
        Ok(())
    }

    /// Whether something else is on its way for it.
    pub(super) fn is_moving(&self, key: &InstanceKey) -> bool {
        self.records.get(key).is_some_and(|record| record.open > 0 || record.doubtful)
    }

    fn record(&mut self, key: &InstanceKey) -> &mut Record {
        if !self.records.contains_key(key) {
            self.records.insert(key.clone(), Record::default());
        }
        self.records.get_mut(key).expect("it was just put there")
    }
}

/// What silence since then is certainly, and at the most, not held against anybody.
fn credit(stalls: &[Stall], since: Mono) -> (Duration, Duration) {
    let least = stalls.iter().filter(|stall| stall.ended > since).map(|stall| stall.least).sum();
    let waited = |stall: &&Stall| stall.ended + TICK >= since;
    let most = stalls.iter().filter(waited).map(|stall| stall.most).sum();
    (least, most)
}

impl Record {
    /// The first incarnation after everything was forgotten.
    fn begin_anew(&mut self, incarnation: u64) {
        if incarnation == 1 && self.may_begin_anew {
            self.highest = 0;
            self.lives.clear();
        }
        self.may_begin_anew = false;
    }

    fn end_before(&mut self, incarnation: u64) {
        self.lives.range_mut(..incarnation).for_each(|(_, life)| life.ended = true);
    }

    /// Whether the reconciler may be about to remove it.
    fn is_due(&self, now: Mono, limits: &Limits) -> bool {
        let life = self.present.and_then(|incarnation| self.lives.get(&incarnation));
        life.is_some_and(|life| {
            life.lost_now && life.heard.is_none_or(|heard| now.since(heard) >= limits.lost_removal)
        })
    }
}

impl Life {
    fn new(instance: &Instance, token: Option<TokenHash>, heard: Option<Mono>) -> Self {
        let registration = &instance.registration;
        let components = &registration.components;
        Self {
            token,
            request: None,
            ttl: registration.lease_ttl,
            heard,
            reported: vec![None; components.len()],
            report_interval: components.first().map_or(Duration::MAX, |first| first.report_interval),
            ended: false,
            lost: None,
            lost_now: false,
            protected: None,
        }
    }

    fn take(&mut self, now: Mono, parts: &[usize]) {
        self.heard = Some(now);
        parts.iter().for_each(|part| self.reported[*part] = Some(now));
    }

    fn touched(&mut self, now: Mono) {
        self.heard = Some(now);
    }
}
