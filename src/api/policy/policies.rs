//! Policies: put, asked for, listed and deleted.
//!
//! Whoever is narrowed has those that name a service of which it has all. Under a name of somebody else's it puts none: that
//! would hide a policy that it may not change.

use std::sync::Arc;

use super::PolicyApi;
use crate::{
    api::{
        audited::{self, AuditedCall},
        convert::policy as convert,
        page,
        parse::{self, Fields},
        proto::v1 as pb,
        reach,
    },
    error::{Kind, Result},
    identity::Identity,
    policy::{self, book::Placed},
};

impl PolicyApi {
    pub(super) async fn put(
        &self,
        call: &AuditedCall,
        wire: pb::PutPolicyRequest,
    ) -> Result<pb::PutPolicyResponse> {
        let pb::PutPolicyRequest { policy: wanted, if_revision } = wire;
        let mut fields = Fields::default();
        let wanted = parse::policy::policy(&mut fields, wanted);
        let wanted = fields.finish(wanted)?;
        let (policies, object) = (self.policies.clone(), audited::policy(&wanted.name));
        let judged = reach::changes_policy(call.identity(), &wanted)
            .and_then(|()| self.may_change(call.identity(), &wanted.name));
        let if_revision = if_revision.or(call.permitted(&object, judged)?);
        let by = call.identity().principal.to_string();
        let change = async move { policies.put(wanted, if_revision, by).await };
        let put = call.change(object, change, |_: &Arc<Placed>| "policy put".to_owned()).await?;
        Ok(pb::PutPolicyResponse { policy: Some(convert::policy(&put)) })
    }

    pub(super) fn get(
        &self,
        identity: &Identity,
        wire: pb::GetPolicyRequest,
    ) -> Result<pb::GetPolicyResponse> {
        let pb::GetPolicyRequest { name } = wire;
        let mut fields = Fields::default();
        let name = parse::policy::policy_name(&mut fields, "name", &name);
        let name = fields.finish(name)?;
        let book = self.policies.book();
        let found = book.policy(&name).ok_or_else(|| policy::no_policy(&name))?;
        reach::sees_policy(identity, &found.policy)?;
        Ok(pb::GetPolicyResponse { policy: Some(convert::policy(found)) })
    }

    pub(super) fn list(
        &self,
        identity: &Identity,
        wire: pb::ListPoliciesRequest,
    ) -> Result<pb::ListPoliciesResponse> {
        let pb::ListPoliciesRequest { page_size, page_token } = wire;
        let mut fields = Fields::default();
        let size = page::size(&mut fields, page_size);
        let after = page::after(&mut fields, &page_token);
        fields.check()?;
        let scope = reach::seen(identity)?;
        let (found, _) = self.policies.book().policies_after(after.as_deref(), usize::MAX);
        let seen = found.iter().filter(|placed| reach::has_policy(scope, &placed.policy));
        let (policies, more) = page::fill(size, seen.map(|placed| convert::policy(placed)));
        let last = policies.last().filter(|_| more).map(|last| page::token(&last.name));
        Ok(pb::ListPoliciesResponse { policies, next_page_token: last.unwrap_or_default() })
    }

    pub(super) async fn delete(
        &self,
        call: &AuditedCall,
        wire: pb::DeletePolicyRequest,
    ) -> Result<pb::DeletePolicyResponse> {
        let pb::DeletePolicyRequest { name, if_revision, allow_missing } = wire;
        let mut fields = Fields::default();
        let name = parse::policy::policy_name(&mut fields, "name", &name);
        let name = fields.finish(name)?;
        let (policies, object) = (self.policies.clone(), audited::policy(&name));
        let judged = self.may_change(call.identity(), &name);
        let if_revision = if_revision.or(call.permitted(&object, judged)?);
        let change = async move { policies.take_back(name, if_revision).await };
        let done = |left: &Option<Arc<Placed>>| match left {
            Some(_) => "policy deleted, another of its name counts".to_owned(),
            None => "policy deleted".to_owned(),
        };
        match call.change(object, change, done).await {
            Ok(left) => {
                let seen = left.filter(|left| reach::sees_policy(call.identity(), &left.policy).is_ok());
                Ok(pb::DeletePolicyResponse { policy: seen.as_deref().map(convert::policy) })
            }
            Err(error) if allow_missing && error.kind() == Kind::NotFound => {
                Ok(pb::DeletePolicyResponse { policy: None })
            }
            Err(error) => Err(error),
        }
    }

    /// Judges who changes what counts under a name. Of whoever is narrowed the revision is answered that was judged: it
    /// may change that one alone, and another may be somebody else's.
    fn may_change(&self, identity: &Identity, name: &str) -> Result<Option<u64>> {
        if reach::sees_all(identity).is_ok() {
            return Ok(None);
        }
        let book = self.policies.book();
        book.policy(name).map_or(Ok(()), |there| reach::changes_policy(identity, &there.policy))?;
        let put = book.put_policy(name).and_then(|placed| placed.put.as_ref());
        Ok(Some(put.map_or(0, |put| put.revision)))
    }
}
