//! What was asked for durably is answered: the judge hears of it, then whoever waits.

use std::sync::Arc;

use super::{
    letter::{Answer, Credentials},
    plane::{Asked, Outcome, refused},
    world::World,
};
use crate::{
    error::{Error, Reason, Result},
    fleet::{names::InstanceKey, record, session::Opening, snapshot::Tombstone},
    store::outcome_is_open,
};

impl World {
    /// Something durable was answered.
    pub(super) fn done(&mut self, asked: Asked, outcome: Outcome) -> Result<(), String> {
        let now = self.clock.mono();
        match (asked, outcome) {
            (Asked::Register { from, slot, request, claim, stream }, Outcome::Registered(registered)) => {
                let key = self.slots[slot].registration.key.clone();
                let answer = match registered {
                    Ok((instance, token)) => {
                        let incarnation = instance.incarnation;
                        let credentials = Credentials { incarnation, token: token.hash() };
                        self.judge.admitted(now, &instance, credentials, request, claim)?;
                        self.check_medium(&key, incarnation)?;
                        let failed = match stream {
                            Some(stream) => {
                                self.open_stream(slot, stream, from, credentials, Opening::Registered)?
                            }
                            None => None,
                        };
                        failed.map_or(Answer::Registered(credentials), |error| refused(&error))
                    }
                    Err(error) => {
                        self.judge.not_done(&key, is_open(&error));
                        if error.reason() == Reason::InstanceAlive {
                            self.judge.not_taken_over(&key, request);
                        }
                        Answer::Unregistered(error.reason(), error.retry_pause())
                    }
                };
                self.answer(from, stream, answer);
            }
            (Asked::Leave { from, slot, stream, by }, Outcome::Removed(removed)) => {
                let key = self.slots[slot].registration.key.clone();
                let answer = self.removed(&key, removed, by)?;
                self.answer(from, stream, answer);
            }
            (Asked::Remove { slot }, Outcome::Removed(removed)) => {
                let key = self.slots[slot].registration.key.clone();
                self.removed(&key, removed, None)?;
            }
            (Asked::Spec, Outcome::Spec(Ok(()))) => self.judge.count("specification"),
            _ => {}
        }
        Ok(())
    }

    /// An acknowledged registration is on the medium.
    fn check_medium(&self, key: &InstanceKey, incarnation: u64) -> Result<(), String> {
        let stored = self.medium.entries(&record::instance_key(key));
        let stored = stored.first().map(record::decode_instance).transpose().map_err(|e| e.to_string())?;
        let stored = stored.map(|birth| birth.incarnation);
        if stored.is_none_or(|stored| stored < incarnation) && !self.judge.is_moving(key) {
            return Err(format!("{key}: {incarnation} was acknowledged, and the store holds {stored:?}"));
        }
        Ok(())
    }

    fn removed(
        &mut self,
        key: &InstanceKey,
        removed: Result<Arc<Tombstone>>,
        by: Option<Credentials>,
    ) -> Result<Answer, String> {
        Ok(match removed {
            Ok(tombstone) => {
                self.judge.buried(key, tombstone.incarnation, by)?;
                Answer::Left
            }
            Err(error) => {
                self.judge.not_done(key, is_open(&error));
                refused(&error)
            }
        })
    }
}

fn is_open(error: &Error) -> bool {
    error.reason() == Reason::StoreUnavailable && outcome_is_open(error)
}
