//! Judges by what was delivered, never by what the fleet says of itself: the reference model.
//!
//! It knows which letters arrived when, and what was acknowledged; from that follow the bounds within
//! which every instance must be shown. Time here is the world's; a run of the control plane began at
//! `booted`, and its own time counts from there.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use super::letter::Credentials;
use crate::{
    fleet::{
        Handle,
        lifecycle::Lifecycle,
        names::InstanceKey,
        reconciler::TICK,
        snapshot::Instance,
        state::{Claim, Limits},
    },
    health::component::SILENT_INTERVALS,
    id::TokenHash,
    time::Mono,
};

mod letters;
mod look;
mod losses;
mod waves;

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
    /// Since when the disk has been busy, and when it last was for long.
    busy: Option<Mono>,
    held_up: Mono,
    last_look: Mono,
    /// Since the last look: who was lost, who came under protection, and how many went or were replaced.
    losses: Vec<InstanceKey>,
    protections: Vec<InstanceKey>,
    replaced: usize,
    /// What happened, counted: what never happens was never judged.
    pub(super) seen: BTreeMap<&'static str, u64>,
}

#[derive(Debug)]
struct Stall {
    ended: Mono,
    least: Duration,
    most: Duration,
}

/// What arrived, as far as it is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Letter<'a> {
    /// Components that it tells of.
    pub(super) parts: &'a [usize],
    pub(super) lifecycle: Option<Lifecycle>,
    /// Whoever sent it has the token.
    pub(super) proves: bool,
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
    lost_now: bool,
    /// Under protection: when that was seen first, and the look before. When it was seen to have ended.
    protected: Option<(Mono, Mono)>,
    unprotected: Option<Mono>,
    /// What it said last of its lifecycle, or what is assumed.
    lifecycle: Lifecycle,
    word: Word,
    /// When its token was first used, in this run of the control plane.
    used: Option<Mono>,
    /// How it counts for waves, and how it did at the look before.
    stands: Stand,
    stood: Stand,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Word {
    Assumed,
    Given,
}

/// How somebody counts for waves of losses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stand {
    /// Not there.
    Absent,
    /// Nobody expects it to be heard: it leaves.
    Unexpected,
    Present,
    /// It was lost then.
    Lost(Mono),
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
            busy: None,
            held_up: Mono::default(),
            last_look: Mono::default(),
            losses: Vec::new(),
            protections: Vec::new(),
            replaced: 0,
            seen: BTreeMap::new(),
        }
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    // === runs of the control plane ===

    /// It has read what the store holds: that is what was shown before, but for what was on its way.
    /// `began`: when its time began; until now nobody could be heard.
    pub(super) fn booted(
        &mut self,
        began: Mono,
        now: Mono,
        wall: SystemTime,
        handle: &Handle,
    ) -> Result<(), String> {
        self.count("boot");
        self.booted = began;
        self.booted_wall = wall;
        self.stalls.clear();
        let took = now.since(began);
        self.stalls.push(Stall { ended: now, least: took, most: took + TICK });
        self.judging = true;
        self.revision = 0;
        self.floor = self.newest_transition;
        self.differ = None;
        self.busy = None;
        self.held_up = now;
        self.last_look = now;
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
                life.unprotected = None;
                life.lifecycle = Lifecycle::Ready;
                life.word = Word::Assumed;
                life.used = None;
                life.stands = Stand::Absent;
            }
            record.removal_asked |= in_doubt;
            record.doubtful = in_doubt;
            record.open = 0;
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
                || claim.request.is_some()
                    && claim.request == before.request
                    && before.used.is_none_or(|used| used >= now)
                || before.token.is_none();
            if !proved {
                return Err(format!("{key}: incarnation {incarnation} took over from one that lives"));
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

    /// A registration was refused because the one that holds the id lives.
    pub(super) fn not_taken_over(&mut self, key: &InstanceKey, request: TokenHash) {
        let holds = self.record(key).lives.last_key_value();
        if holds.is_some_and(|(_, life)| life.request == Some(request) && life.used.is_some()) {
            self.count("late copy refused");
        }
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

/// The same of what was certainly not held against somebody by then: a stall that began later was not known of.
fn credit_by(stalls: &[Stall], since: Mono, then: Mono) -> Duration {
    stalls.iter().filter(|stall| stall.ended > since && stall.ended <= then).map(|stall| stall.least).sum()
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
        let (lifecycle, word) = if instance.confirmed {
            (registration.lifecycle, Word::Given)
        } else {
            (Lifecycle::Ready, Word::Assumed)
        };
        Self {
            token,
            request: None,
            ttl: registration.lease_ttl,
            heard,
            reported: vec![None; components.len()],
            report_interval: components.first().map_or(Duration::MAX, |first| first.report_interval),
            ended: false,
            lost_now: false,
            protected: None,
            unprotected: None,
            lifecycle,
            word,
            used: None,
            stands: Stand::Absent,
            stood: Stand::Absent,
        }
    }

    /// What it said was taken. True: that was the first word about its lifecycle since a restart.
    fn take(&mut self, now: Mono, letter: Letter<'_>) -> Result<bool, String> {
        let may_be_lost = self.heard.is_none_or(|heard| now.since(heard) >= self.ttl);
        let was_assumed = self.word == Word::Assumed;
        if let Some(next) = letter.lifecycle {
            if !was_assumed && !may_be_lost && !self.lifecycle.allows(next) {
                return Err(format!("{:?} was taken after {:?}", next, self.lifecycle));
            }
            self.lifecycle = next;
            self.word = Word::Given;
        }
        self.heard(now, letter.proves);
        letter.parts.iter().for_each(|part| self.reported[*part] = Some(now));
        Ok(was_assumed && letter.lifecycle.is_some())
    }

    /// It was heard, and what it said of its lifecycle was refused.
    fn touched(&mut self, now: Mono, lifecycle: Option<Lifecycle>) -> Result<(), String> {
        let allowed = lifecycle.is_none_or(|next| self.lifecycle.allows(next));
        if self.word == Word::Assumed || allowed {
            return Err(format!("{lifecycle:?} was refused after {:?}, {:?}", self.lifecycle, self.word));
        }
        self.heard(now, true);
        Ok(())
    }

    fn heard(&mut self, now: Mono, proves: bool) {
        self.heard = Some(now);
        if proves {
            self.used = self.used.or(Some(now));
        }
    }
}
