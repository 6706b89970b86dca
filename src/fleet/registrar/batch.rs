//! From commands to one commit: each is checked against the registry, and answered at once if it may
//! not be. Changes nothing itself.

use std::{ops::ControlFlow, sync::Arc};

use tokio::task::yield_now;
use tracing::warn;

use super::{Answer, Command, Deleted, Registered, RemoveCommand, Step, Underway, reply};
use crate::{
    error::Result,
    fleet::{
        Shared,
        circles::Search,
        member::Birth,
        names::{InstanceKey, ServiceName},
        record,
        refusal::Refusal,
        registration::Registration,
        snapshot::{Removal, Tombstone},
        spec::Spec,
        state::{Claim, Grave, closes},
    },
    store::Commit,
};

/// Bytes of records after which a batch is full; one more record still fits into what the store takes.
const BATCH_BYTES: usize = 512 * 1024;
/// Steps of a search for a circle under one hold of the fleet's lock; between two of them others have their turn.
const SEARCHED_AT_ONCE: usize = 256;
/// Steps of a search in all: some ten milliseconds of work, in which the registrar begins nothing else.
const SEARCHED: usize = 65_536;

/// Commands that become durable together.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) commit: Commit,
    pub(super) steps: Vec<Step>,
    bytes: usize,
}

impl Batch {
    /// Whether it takes no more.
    pub(super) fn is_full(&self) -> bool {
        self.steps.len() >= super::BATCH || self.bytes > BATCH_BYTES
    }

    /// Checks a command and adds what it writes, or answers it at once. Yields while it looks for a circle.
    ///
    /// Not cancel safe: the command would be lost, and its caller hear nothing.
    pub(super) async fn add(&mut self, shared: &Shared, underway: &mut Underway, command: Command) {
        let step = match command {
            Command::Register { registration, claim, peer, answer } => {
                self.register(shared, underway, registration, claim, peer, answer)
            }
            Command::Remove { removal, answer } => {
                let lost_since = removal.lost_since;
                match self.remove(shared, removal) {
                    Ok(grave) => Some(Step::Bury { grave, lost_since, answer }),
                    Err(error) => refuse(answer, error),
                }
            }
            Command::PutSpec { name, spec, if_revision, answer } => {
                self.put_spec(shared, underway, name, spec, if_revision, answer).await
            }
            Command::DeleteSpec { name, if_revision, answer } => {
                self.delete_spec(shared, name, if_revision, answer)
            }
        };
        if let Some(step) = step {
            underway.begin(&step);
            self.steps.push(step);
        }
    }

    fn register(
        &mut self,
        shared: &Shared,
        underway: &Underway,
        registration: Arc<Registration>,
        claim: Claim,
        peer: Arc<str>,
        answer: Answer<Registered>,
    ) -> Option<Step> {
        let now = shared.clock.now();
        let pending = underway.pending(&registration.key.service);
        let admission = shared.state.read().check_register(now, &registration, claim, pending);
        let made = admission.and_then(|admission| {
            let token = shared.entropy.session_token()?;
            let birth = Birth {
                registration,
                incarnation: admission.incarnation,
                token: token.hash(),
                request: claim.request,
                peer,
                registered: now.wall,
                confirmed: true,
            };
            let value = record::encode_instance(&birth)?;
            Ok((birth, token, admission, value))
        });
        match made {
            Ok((birth, token, admission, value)) => {
                let key = &birth.registration.key;
                self.put(record::instance_key(key), value);
                // Also where the registry knows of none: an old one may have been forgotten there first.
                self.delete(record::tombstone_key(key));
                Some(Step::Admit { birth, token, claim, admission, answer })
            }
            Err(error) => refuse(answer, error),
        }
    }

    fn remove(&mut self, shared: &Shared, command: RemoveCommand) -> Result<Grave> {
        let RemoveCommand { service, id, incarnation, token, lost_since, removal, message } = command;
        let (incarnation, token) = {
            let state = shared.state.read();
            let member = match token {
                Some(token) => {
                    let incarnation = incarnation.unwrap_or_default();
                    let member = state.authenticate(service.as_str(), id.as_str(), incarnation, &token);
                    member.map_err(|refusal| refusal.about(service.as_str(), id.as_str()))?
                }
                None => state.check_remove(&service, &id, incarnation, removal == Removal::Operator)?,
            };
            // It may have been heard since somebody decided that it was lost for too long.
            if removal == Removal::Lost && !member.may_be_removed_for(lost_since) {
                return Err(Refusal::NotFound.about(service.as_str(), id.as_str()));
            }
            (member.incarnation, member.token)
        };
        let key = InstanceKey { service, id };
        let tombstone = Tombstone { key, incarnation, removal, message, removed: shared.clock.now().wall };
        let grave = Grave { tombstone: Arc::new(tombstone), token };
        let value = record::encode_grave(&grave)?;
        self.delete(record::instance_key(&grave.tombstone.key));
        self.put(record::tombstone_key(&grave.tombstone.key), value);
        Ok(grave)
    }

    async fn put_spec(
        &mut self,
        shared: &Shared,
        underway: &Underway,
        name: ServiceName,
        spec: Arc<Spec>,
        if_revision: Option<u64>,
        answer: Answer<crate::fleet::snapshot::Service>,
    ) -> Option<Step> {
        let pending = underway.pending(&name).services;
        let checked = shared.state.read().check_put(&name, if_revision, pending);
        let checked = match checked {
            Ok(new_service) => check_circle(shared, &name, &spec, SEARCHED).await.map(|()| new_service),
            Err(error) => Err(error),
        };
        let updated = shared.clock.now().wall;
        let made =
            checked.and_then(|new_service| Ok((new_service, record::encode_operator_spec(&spec, updated)?)));
        match made {
            Ok((new_service, value)) => {
                self.put(record::service_key(&name), value);
                Some(Step::SetSpec { name, spec, updated, new_service, answer })
            }
            Err(error) => refuse(answer, error),
        }
    }

    fn delete_spec(
        &mut self,
        shared: &Shared,
        name: ServiceName,
        if_revision: Option<u64>,
        answer: Answer<Deleted>,
    ) -> Option<Step> {
        let checked = shared.state.read().check_delete(&name, if_revision);
        match checked {
            Ok(true) => {
                self.delete(record::service_key(&name));
                Some(Step::ClearSpec { name, answer })
            }
            Ok(false) => {
                reply(answer, Ok(Deleted::Missing));
                None
            }
            Err(error) => refuse(answer, error),
        }
    }

    /// Adds what puts the record of an instance back that lives after all.
    ///
    /// # Errors
    /// It cannot be encoded, which it was before.
    pub(super) fn restore(&mut self, underway: &mut Underway, step: Step) -> Result<()> {
        if let Step::Restore { birth } = &step {
            let key = &birth.registration.key;
            let value = record::encode_instance(birth)?;
            self.put(record::instance_key(key), value);
            self.delete(record::tombstone_key(key));
            underway.begin(&step);
            self.steps.push(step);
        }
        Ok(())
    }

    fn put(&mut self, key: String, value: bytes::Bytes) {
        self.bytes += key.len() + value.len();
        self.commit = std::mem::take(&mut self.commit).put(key, value);
    }

    fn delete(&mut self, key: String) {
        self.bytes += key.len();
        self.commit = std::mem::take(&mut self.commit).delete(key);
    }
}

/// Whether the hard dependencies of a specification close a circle, as far as that can be seen in `most`
/// steps: each dependency that is followed is one, and each way back. One that is farther away is shown on
/// the services in it, as those that versions declare.
///
/// # Errors
/// They do.
async fn check_circle(shared: &Shared, name: &ServiceName, spec: &Spec, most: usize) -> Result<()> {
    let mut search = Search::new(name, spec.hard().cloned().collect());
    let mut left = most;
    while left > 0 {
        let steps = left.min(SEARCHED_AT_ONCE);
        let found = {
            let state = shared.state.read();
            search.go_on(steps, |service| state.hard_needs(service).cloned().collect())
        };
        match found {
            ControlFlow::Continue(()) => left -= steps,
            ControlFlow::Break(None) => return Ok(()),
            ControlFlow::Break(Some(circle)) => return Err(closes(&circle)),
        }
        // The reconciler, the journal and the copy of who needs whom run on the same task.
        yield_now().await;
    }
    warn!(
        component = "fleet",
        operation = "put",
        service = %name,
        steps = most,
        "too many dependencies to see a circle at once; if there is one, it is shown a moment later"
    );
    Ok(())
}

/// Answers that it may not be.
fn refuse<T>(answer: Answer<T>, error: crate::error::Error) -> Option<Step> {
    reply(answer, Err(error));
    None
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;
    use crate::{
        error::Reason,
        fleet::{
            spec::Need,
            testing::{Fleet, handle, key, register_as, registration},
        },
    };

    /// Services of a chain that takes several pieces to walk, the last of them a part of one.
    const CHAIN: usize = 5 * SEARCHED_AT_ONCE / 2;

    fn name(number: usize) -> ServiceName {
        ServiceName::parse(&format!("s{number:05}")).unwrap()
    }

    fn needing(number: usize) -> Spec {
        Spec { depends_on: [(name(number), Need::Hard)].into(), ..Spec::default() }
    }

    /// A fleet in which each service but the last needs the next one.
    fn chain() -> Arc<Shared> {
        let mut fleet = Fleet::default();
        for number in 0..CHAIN - 1 {
            let mut registration = registration(&key(name(number).as_str(), "i-1"));
            registration.declared_spec = Some(Arc::new(needing(number + 1)));
            register_as(&mut fleet.state, fleet.now, registration);
        }
        handle(fleet.state).shared
    }

    #[tokio::test]
    async fn a_long_search_gives_others_their_turn() {
        let shared = chain();
        let (answer, answered) = oneshot::channel();
        let (name, spec) = (name(CHAIN - 1), Arc::new(needing(0)));
        let command = Command::PutSpec { name, spec, if_revision: None, answer };
        let (mut batch, mut underway) = (Batch::default(), Underway::default());
        {
            let mut adding = std::pin::pin!(batch.add(&shared, &mut underway, command));
            for piece in 0..CHAIN / SEARCHED_AT_ONCE {
                assert!(adding.as_mut().now_or_never().is_none(), "after piece {piece}");
                assert!(shared.state.try_write().is_some(), "nobody waits for the lock after piece {piece}");
            }
            adding.await;
        }
        let refused = answered.now_or_never().unwrap().unwrap().unwrap_err();
        assert_eq!(refused.reason(), Reason::DependencyCycle);
        assert!(batch.steps.is_empty() && !batch.is_full(), "what is refused fills nothing");
    }

    #[tokio::test]
    async fn a_circle_is_refused_within_the_bound_and_put_beyond_it() {
        let shared = chain();
        let (last, spec) = (name(CHAIN - 1), needing(0));
        let check = async |most| check_circle(&shared, &last, &spec, most).await;
        check(CHAIN - 1).await.unwrap();
        assert_eq!(check(CHAIN).await.unwrap_err().reason(), Reason::DependencyCycle);
    }
}
