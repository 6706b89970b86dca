//! What arrives: whose it may be, and whether it was taken as it must be.

use super::{Judge, Letter, Life};
use crate::{
    error::{Error, Reason},
    fleet::{
        lifecycle::Lifecycle,
        names::InstanceKey,
        session::Session,
        sim::{dice::Dice, letter::Credentials},
    },
    time::Mono,
};

impl Judge {
    /// A letter arrived that proves itself by a token; `refused`: how it was taken.
    pub(in crate::fleet::sim) fn heard(
        &mut self,
        now: Mono,
        key: &InstanceKey,
        by: Credentials,
        letter: Letter<'_>,
        refused: Option<&Error>,
    ) -> Result<(), String> {
        let record = self.record(key);
        let in_doubt = record.open > 0 || record.doubtful;
        let newest = record.lives.last_key_value().map(|(incarnation, _)| *incarnation);
        let life = record.lives.get_mut(&by.incarnation);
        let Some(life) = life.filter(|life| life.token == Some(by.token)) else {
            return match refused {
                Some(_) => {
                    self.count("wrong token refused");
                    Ok(())
                }
                None => {
                    Err(format!("{key}: a token that is not of incarnation {} was taken", by.incarnation))
                }
            };
        };
        let current = !life.ended && newest == Some(by.incarnation);
        match refused.map(Error::reason) {
            None | Some(Reason::LifecycleOrder) if !current => {
                Err(format!("{key}: the token of a dead incarnation, {}, was taken", by.incarnation))
            }
            None => {
                let first = life.take(now, letter).map_err(|what| format!("{key}: {what}"))?;
                self.first_word(first);
                Ok(())
            }
            Some(Reason::LifecycleOrder) => {
                life.touched(now, letter.lifecycle).map_err(|what| format!("{key}: {what}"))
            }
            Some(reason) if current && !in_doubt => {
                Err(format!("{key}: incarnation {} lives, and was refused: {reason:?}", by.incarnation))
            }
            Some(_) => {
                self.count("dead incarnation refused");
                Ok(())
            }
        }
    }

    /// A letter arrived on a stream that is open.
    pub(in crate::fleet::sim) fn heard_on_stream(
        &mut self,
        now: Mono,
        session: &Session,
        parts: &[usize],
        lifecycle: Option<Lifecycle>,
    ) -> Result<(), String> {
        let (key, incarnation) = (&session.instance.registration.key, session.instance.incarnation);
        let life = self.records.get_mut(key).and_then(|record| record.lives.get_mut(&incarnation));
        match life.filter(|life| !life.ended) {
            Some(life) => {
                let letter = Letter { parts, lifecycle, proves: true };
                let first = life.take(now, letter).map_err(|what| format!("{key}: {what}"))?;
                self.first_word(first);
                Ok(())
            }
            None => Err(format!("{key}: a stream of incarnation {incarnation} outlived it")),
        }
    }

    /// As above, but what it said was refused.
    pub(in crate::fleet::sim) fn touched_on_stream(
        &mut self,
        now: Mono,
        session: &Session,
        lifecycle: Option<Lifecycle>,
    ) -> Result<(), String> {
        let (key, incarnation) = (&session.instance.registration.key, session.instance.incarnation);
        match self.record(key).lives.get_mut(&incarnation) {
            Some(life) => life.touched(now, lifecycle).map_err(|what| format!("{key}: {what}")),
            None => Ok(()),
        }
    }

    fn first_word(&mut self, first: bool) {
        if first {
            self.count("first word taken");
        }
    }

    /// Something that an earlier life of an id knew, alone or mixed with what a later one is.
    pub(in crate::fleet::sim) fn old_credentials(
        &self,
        key: &InstanceKey,
        dice: &mut Dice,
    ) -> Option<Credentials> {
        let record = self.records.get(key)?;
        let dead: Vec<(&u64, &Life)> = record.lives.iter().filter(|(_, life)| life.ended).collect();
        if dead.is_empty() {
            return None;
        }
        let (incarnation, life) = dead[dice.below(dead.len())];
        let incarnation = if dice.chance(500) { *incarnation } else { record.highest };
        Some(Credentials { incarnation, token: life.token? })
    }
}
