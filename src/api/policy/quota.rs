//! Slices of limits that all instances of a service share.

use super::PolicyApi;
use crate::{
    api::{
        convert::policy as convert,
        parse::{self, Fields},
        proto::v1 as pb,
        reach,
    },
    error::Result,
    guard::caller::Caller,
    policy::quotas::Want,
};

impl PolicyApi {
    pub(super) fn acquire(
        &self,
        caller: &Caller,
        wire: pb::AcquireQuotaRequest,
    ) -> Result<pb::AcquireQuotaResponse> {
        let pb::AcquireQuotaRequest { instance: named, session_token, wants } = wire;
        let mut fields = Fields::default();
        let named = parse::incarnation(&mut fields, "instance", named);
        let token = parse::session_token(&mut fields, "session_token", &session_token, caller);
        parse::policy::wants(&mut fields, &wants);
        let ((key, incarnation), token) = fields.finish(named.zip(token))?;
        reach::acts_for(&caller.identity, key.service.as_str())?;
        self.fleet.prove(&key, incarnation, &token)?;
        let (book, now) = (self.policies.book(), self.policies.clock().mono());
        let expected = self.policies.observed().count_of(&key.service);
        let slice = |pb::QuotaWant { policy, limit, operation, demand }: &pb::QuotaWant| {
            let limit = usize::try_from(*limit).unwrap_or(usize::MAX);
            let want = Want { policy, limit, operation, demand: *demand };
            convert::slice(self.policies.quotas().acquire(&book, &key, want, expected, now))
        };
        Ok(pb::AcquireQuotaResponse { slices: wants.iter().map(slice).collect() })
    }
}
