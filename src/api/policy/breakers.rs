//! Breakers: how they are, and forced by hand.

use std::sync::Arc;

use seaworthy_client::protect::{
    policy::{
        self,
        choose::{Call, Part, candidates},
    },
    stats::BreakerStats,
    wire,
};
use tonic::Request;

use super::{PolicyApi, place::Place, reports::Asked};
use crate::{
    api::{
        audited::{self, AuditedCall},
        caller::caller,
        convert::policy as convert,
        page::{self, Room},
        parse::{self, Fields, policy::Overriding},
        proto::v1 as pb,
        reach,
    },
    error::Result,
    fleet::names::InstanceKey,
    identity::Scope,
    policy::{
        book::{Override, OverrideKey},
        observed::Seen,
    },
};

/// A page that is being filled.
struct Page {
    room: Room,
    breakers: Vec<pb::Breaker>,
    last: Option<Place>,
}

impl Page {
    /// Takes a breaker. False: it does not fit any more.
    fn take(&mut self, breaker: pb::Breaker, place: Place) -> bool {
        if self.room.is_full() {
            return false;
        }
        self.room.take(&breaker);
        self.breakers.push(breaker);
        self.last = Some(place);
        true
    }
}

impl PolicyApi {
    pub(super) async fn breakers(
        &self,
        request: Request<pb::GetBreakersRequest>,
    ) -> Result<pb::GetBreakersResponse> {
        let (_, extensions, wire) = request.into_parts();
        let identity = &caller(&extensions)?.identity;
        let pb::GetBreakersRequest { service, instance_id, operation, page_size, page_token } = wire;
        let mut fields = Fields::default();
        let asked = Asked::parse(&mut fields, &service, &instance_id);
        if !operation.is_empty() {
            fields.take("operation", policy::operation(&operation));
        }
        let size = page::size(&mut fields, page_size);
        let begin = Place::parse(&mut fields, &page_token);
        fields.check()?;
        asked.service().map_or(Ok(()), |service| reach::sees_service(identity, service))?;
        let scope = reach::seen(identity)?;
        let is_asked_for = |stats: &&BreakerStats| operation.is_empty() || stats.operation == operation;

        let mut page = Page { room: Room::new(size), breakers: Vec::new(), last: None };
        // How the control plane as a whole is is for who is not narrowed.
        let own = if asked.service().is_none() && scope.is_everything() {
            self.rules.breaker_stats()
        } else {
            Vec::new()
        };
        let mut all = own
            .iter()
            .filter(is_asked_for)
            .filter(|stats| begin.as_ref().is_none_or(|place| place.is_before_own(&stats.operation)))
            .all(|stats| {
                page.take(wire::breaker_to_wire(stats, "", ""), Place::Own(stats.operation.clone()))
            });
        let take = |key: &InstanceKey, seen: &Seen| {
            let mut breakers: Vec<_> = seen.report.breakers.iter().filter(is_asked_for).collect();
            breakers.sort_by(|a, b| a.operation.cmp(&b.operation));
            let is_new = |stats: &&&BreakerStats| match &begin {
                Some(Place::Of(last, operation)) if last == key => stats.operation > *operation,
                _ => true,
            };
            breakers.iter().filter(is_new).all(|stats| {
                let wire = wire::breaker_to_wire(stats, key.service.as_str(), key.id.as_str());
                page.take(wire, Place::Of(key.clone(), stats.operation.clone()))
            })
        };
        all = all && self.each_report(scope, &asked, begin.as_ref().and_then(Place::instance), take).await;
        let Page { breakers, last, .. } = page;
        let next = last.filter(|_| !all).map(|last| last.token());
        Ok(pb::GetBreakersResponse { breakers, next_page_token: next.unwrap_or_default() })
    }

    pub(super) async fn override_breakers(
        &self,
        call: &AuditedCall,
        wire: pb::OverrideBreakerRequest,
    ) -> Result<pb::OverrideBreakerResponse> {
        let mut fields = Fields::default();
        let wanted = parse::policy::overriding(&mut fields, wire);
        let (key, overriding) = fields.finish(wanted)?;
        let object = audited::breaker(&key);
        call.permitted(&object, reach::changes_service(call.identity(), &key.service))?;
        let asked = Asked::of(key.service.clone(), key.instance.clone());
        let (service, operation) = (key.service.clone(), key.operation.clone());
        let held = match overriding {
            Overriding::Force { force, ttl, message } => {
                let (expires, by) = (self.policies.wall() + ttl, call.identity().principal.to_string());
                let forced = Override { key, force, expires, by, message };
                Some(self.force(call, object, forced).await?)
            }
            Overriding::Release => {
                self.release(call, object, key).await?;
                None
            }
        };
        let mut instances = 0;
        // Where no policy asks for a breaker there is none to force, but for those that the code of a service asks for.
        let has_one = {
            let book = self.policies.book();
            let of = Call::Operation { service: service.as_str(), operation: &operation };
            candidates(&book.ordered(), of, Part::Breaker, false).next().is_some()
        };
        let count = |_: &InstanceKey, seen: &Seen| {
            let has_its_own = || seen.report.breakers.iter().any(|it| it.operation == operation);
            instances += u32::from(has_one || has_its_own());
            true
        };
        self.each_report(Scope::everything(), &asked, None, count).await;
        let now = self.policies.wall();
        let held = held.as_deref().map(|held| convert::forced(held, now));
        Ok(pb::OverrideBreakerResponse { r#override: held, instances })
    }

    async fn force(&self, call: &AuditedCall, object: String, forced: Override) -> Result<Arc<Override>> {
        let policies = self.policies.clone();
        let change = async move { policies.force(forced).await };
        call.change(object, change, |forced: &Arc<Override>| format!("forced {:?}", forced.force)).await
    }

    async fn release(&self, call: &AuditedCall, object: String, key: OverrideKey) -> Result<bool> {
        let policies = self.policies.clone();
        let change = async move { policies.release(key).await };
        let done = |was_forced: &bool| match was_forced {
            true => "override taken back".to_owned(),
            false => "there was none".to_owned(),
        };
        call.change(object, change, done).await
    }
}
