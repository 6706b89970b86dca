//! One checked command on its way: what it changes in the registry once it is durable, how the store
//! shows that it happened, and whom to tell.
//!
//! What takes away one who is lost is checked again then: signs of life wait for no disk. Whoever was heard
//! meanwhile stays, and what was written is put back by a step of its own.

use std::{sync::Arc, time::SystemTime};

use tracing::{debug, info};

use super::{About, Answer, Deleted, Registered, reply};
use crate::{
    error::{Error, Result},
    fleet::{
        group::OperatorSpec,
        member::Birth,
        names::ServiceName,
        record,
        refusal::Refusal,
        snapshot::{Service, Tombstone},
        spec::Spec,
        state::{Admission, Claim, Grave, State},
    },
    id::SessionToken,
    store::{Revision, Store},
    time::{Mono, Now},
};

/// What to change once it is durable, and whom to tell.
pub(super) enum Step {
    Admit {
        birth: Birth,
        token: SessionToken,
        claim: Claim,
        admission: Admission,
        answer: Answer<Registered>,
    },
    Bury {
        grave: Grave,
        /// Since when it has been lost, where it is removed for that.
        lost_since: Option<Mono>,
        answer: Answer<Arc<Tombstone>>,
    },
    SetSpec {
        name: ServiceName,
        spec: Arc<Spec>,
        updated: SystemTime,
        new_service: bool,
        answer: Answer<Service>,
    },
    ClearSpec {
        name: ServiceName,
        answer: Answer<Deleted>,
    },
    /// Puts the record of an instance back that lives after all. Nobody waits for it.
    Restore {
        birth: Birth,
    },
}

/// What became of a step that is durable.
pub(super) enum Applied {
    /// It is in the registry too.
    Done(Told),
    /// It has to be taken back in the store.
    TakeBack { restore: Box<Step>, told: Told },
}

/// What was done, and who waits to hear of it.
pub(super) enum Told {
    Admitted { registered: Registered, answer: Answer<Registered> },
    NotAdmitted { error: Error, answer: Answer<Registered> },
    Buried { tombstone: Arc<Tombstone>, answer: Answer<Arc<Tombstone>> },
    NotBuried { tombstone: Arc<Tombstone>, answer: Answer<Arc<Tombstone>> },
    Restored { birth: Birth },
    SpecSet { name: ServiceName, revision: Revision, service: Option<Box<Service>>, answer: Answer<Service> },
    SpecCleared { name: ServiceName, left: Option<Box<Service>>, answer: Answer<Deleted> },
}

impl Step {
    pub(super) fn about(&self) -> About {
        match self {
            Step::Admit { birth, .. } | Step::Restore { birth } => {
                About::Instance(birth.registration.key.clone())
            }
            Step::Bury { grave, .. } => About::Instance(grave.tombstone.key.clone()),
            Step::SetSpec { .. } | Step::ClearSpec { .. } => About::Specs,
        }
    }

    /// Whether it brings one more instance.
    pub(super) fn new_instance(&self) -> bool {
        matches!(self, Step::Admit { admission: Admission { new_instance: true, .. }, .. })
    }

    /// The service that nothing was known of before it.
    pub(super) fn new_service(&self) -> Option<&ServiceName> {
        match self {
            Step::Admit { birth, admission, .. } => {
                admission.new_service.then_some(&birth.registration.key.service)
            }
            Step::SetSpec { name, new_service, .. } => new_service.then_some(name),
            Step::Bury { .. } | Step::ClearSpec { .. } | Step::Restore { .. } => None,
        }
    }

    /// Changes the registry. `revision`: the store's, at which it became durable.
    pub(super) fn apply(self, state: &mut State, now: Now, revision: Revision) -> Applied {
        let told = match self {
            Step::Admit { birth, token, claim, admission: _, answer } => {
                if let Err(refused) = state.recheck_admission(now, &birth, claim) {
                    let (birth, error) = *refused;
                    let restore = Box::new(Step::Restore { birth });
                    return Applied::TakeBack { restore, told: Told::NotAdmitted { error, answer } };
                }
                Told::Admitted { registered: (state.admit(now, birth), token), answer }
            }
            Step::Bury { grave, lost_since, answer } => {
                let tombstone = Arc::clone(&grave.tombstone);
                if let Err(birth) = state.recheck_removal(now, &tombstone, lost_since) {
                    let restore = Box::new(Step::Restore { birth });
                    return Applied::TakeBack { restore, told: Told::NotBuried { tombstone, answer } };
                }
                state.bury(now, grave);
                Told::Buried { tombstone, answer }
            }
            // It never went from the registry.
            Step::Restore { birth } => Told::Restored { birth },
            Step::SetSpec { name, spec, updated, new_service: _, answer } => {
                let service = state.set_spec(now, &name, Some(OperatorSpec { spec, revision, updated }));
                Told::SpecSet { name, revision, service: service.map(Box::new), answer }
            }
            Step::ClearSpec { name, answer } => {
                let left = state.set_spec(now, &name, None).map(Box::new);
                Told::SpecCleared { name, left, answer }
            }
        };
        Applied::Done(told)
    }

    /// Tells that it did not happen. Answers a step that has to happen all the same.
    pub(super) fn refuse(self, error: &Error) -> Option<Step> {
        match self {
            Step::Restore { .. } => return Some(self),
            Step::Admit { answer, .. } => reply(answer, Err(error.again())),
            Step::Bury { answer, .. } => reply(answer, Err(error.again())),
            Step::SetSpec { answer, .. } => reply(answer, Err(error.again())),
            Step::ClearSpec { answer, .. } => reply(answer, Err(error.again())),
        }
        None
    }

    /// The store's revision at which it became durable, or none if the store does not have it.
    ///
    /// What is stored is compared with what was written: each registration has a token of its own, and
    /// whatever is deleted was there before, because nobody else writes these keys.
    pub(super) async fn happened(&self, store: &Store) -> Result<Option<Revision>> {
        let (key, written) = match self {
            Step::Admit { birth, .. } | Step::Restore { birth } => {
                (record::instance_key(&birth.registration.key), Some(record::encode_instance(birth)?))
            }
            Step::Bury { grave, .. } => (record::instance_key(&grave.tombstone.key), None),
            Step::SetSpec { name, spec, updated, .. } => {
                (record::service_key(name), Some(record::encode_operator_spec(spec, *updated)?))
            }
            Step::ClearSpec { name, .. } => (record::service_key(name), None),
        };
        let found = store.get(&key).await?;
        Ok(match (found, written) {
            (Some(found), Some(written)) => (found.value == written).then_some(found.revision),
            (None, None) => Some(store.status().revision),
            (Some(_), None) | (None, Some(_)) => None,
        })
    }
}

impl Told {
    /// Writes to the log what was done, and answers.
    pub(super) fn tell(self) {
        match self {
            Told::Admitted { registered, answer } => {
                let (instance, peer) = (&registered.0.registration.key, &registered.0.peer);
                let incarnation = registered.0.incarnation;
                debug!(component = "fleet", operation = "register", %instance, incarnation, %peer, "registered");
                reply(answer, Ok(registered));
            }
            Told::Buried { tombstone, answer } => {
                let Tombstone { key: instance, incarnation, removal, message, removed: _ } = &*tombstone;
                let why = removal.as_str();
                info!(component = "fleet", operation = "remove", %instance, incarnation, why, said = message, "removed");
                reply(answer, Ok(tombstone));
            }
            Told::NotAdmitted { error, answer } => reply(answer, Err(error)),
            Told::NotBuried { tombstone, answer } => {
                let Tombstone { key: instance, incarnation, .. } = &*tombstone;
                info!(component = "fleet", operation = "remove", %instance, incarnation, "not removed: it was heard meanwhile");
                let refused = Refusal::NotFound.about(instance.service.as_str(), instance.id.as_str());
                reply(answer, Err(refused));
            }
            Told::Restored { birth } => {
                let instance = &birth.registration.key;
                debug!(component = "fleet", operation = "restore", %instance, "its record was put back");
            }
            Told::SpecSet { name, revision, service, answer } => {
                info!(component = "fleet", operation = "put", service = %name, revision, "specification put");
                let missing = || Error::internal("the service that was put is not there");
                reply(answer, service.map(|service| *service).ok_or_else(missing));
            }
            Told::SpecCleared { name, left, answer } => {
                info!(component = "fleet", operation = "delete", service = %name, "specification deleted");
                reply(answer, Ok(Deleted::Gone(left)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::{super::apply_some, *};
    use crate::{
        fleet::{
            spec::Need,
            testing::{Fleet, birth, key, registration},
        },
        id::Entropy,
    };

    #[test]
    fn there_is_one_walk_along_dependencies_under_one_hold() {
        let Fleet { mut state, now } = Fleet::default();
        let entropy = Entropy::seeded(1);
        let admit = |number: usize, needs: bool| {
            let mut registration = registration(&key(&format!("s-{number}"), "i-1"));
            let needed = needs.then(|| (ServiceName::parse("needed").unwrap(), Need::Hard));
            let depends_on = needed.into_iter().collect();
            registration.declared_spec = Some(Arc::new(Spec { depends_on, ..Spec::default() }));
            let (answer, _) = oneshot::channel();
            let step = Step::Admit {
                birth: birth(registration, 1, now.wall),
                token: entropy.session_token().unwrap(),
                claim: Claim::default(),
                admission: Admission { incarnation: 1, new_instance: true, new_service: true },
                answer,
            };
            (step, 1)
        };
        let mut needing = (0..5).map(|number| admit(number, true));
        for _ in 0..5 {
            assert_eq!(apply_some(&mut state, now, needing.by_ref()).len(), 1);
        }
        let mut others = (5..10).map(|number| admit(number, false));
        assert_eq!(apply_some(&mut state, now, others.by_ref()).len(), 5);
    }
}
