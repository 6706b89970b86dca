//! Flags: put, asked for, listed and deleted, by who is not narrowed.

use std::sync::Arc;

use super::PolicyApi;
use crate::{
    api::{
        audited::{self, AuditedCall},
        convert::policy as convert,
        page,
        parse::{self, Fields},
        proto::v1 as pb,
    },
    error::{Kind, Result},
    policy::{self, book::PlacedFlag},
};

impl PolicyApi {
    pub(super) async fn put_one_flag(
        &self,
        call: &AuditedCall,
        wire: pb::PutFlagRequest,
    ) -> Result<pb::PutFlagResponse> {
        let pb::PutFlagRequest { flag: wanted, if_revision } = wire;
        let mut fields = Fields::default();
        let wanted = parse::policy::flag(&mut fields, wanted);
        let wanted = fields.finish(wanted)?;
        let (policies, object) = (self.policies.clone(), audited::flag(wanted.name()));
        let by = call.identity().principal.to_string();
        let change = async move { policies.put_flag(wanted, if_revision, by).await };
        let put = call.change(object, change, |_: &Arc<PlacedFlag>| "flag put".to_owned()).await?;
        Ok(pb::PutFlagResponse { flag: Some(convert::flag(&put)) })
    }

    pub(super) fn get_one_flag(&self, wire: pb::GetFlagRequest) -> Result<pb::GetFlagResponse> {
        let pb::GetFlagRequest { name } = wire;
        let mut fields = Fields::default();
        let name = parse::policy::flag_name(&mut fields, "name", name);
        let name = fields.finish(name)?;
        let book = self.policies.book();
        let found = book.flag(&name).ok_or_else(|| policy::no_flag(&name))?;
        Ok(pb::GetFlagResponse { flag: Some(convert::flag(found)) })
    }

    pub(super) fn list_all_flags(&self, wire: pb::ListFlagsRequest) -> Result<pb::ListFlagsResponse> {
        let pb::ListFlagsRequest { page_size, page_token } = wire;
        let mut fields = Fields::default();
        let size = page::size(&mut fields, page_size);
        let after = page::after(&mut fields, &page_token);
        fields.check()?;
        let (found, more) = self.policies.book().flags_after(after.as_deref(), size);
        let (flags, cut) = page::fill(size, found.iter().map(|placed| convert::flag(placed)));
        let last = flags.last().filter(|_| more || cut).map(|last| page::token(&last.name));
        Ok(pb::ListFlagsResponse { flags, next_page_token: last.unwrap_or_default() })
    }

    pub(super) async fn delete_one_flag(
        &self,
        call: &AuditedCall,
        wire: pb::DeleteFlagRequest,
    ) -> Result<pb::DeleteFlagResponse> {
        let pb::DeleteFlagRequest { name, if_revision, allow_missing } = wire;
        let mut fields = Fields::default();
        let name = parse::policy::flag_name(&mut fields, "name", name);
        let name = fields.finish(name)?;
        let (policies, object, named) = (self.policies.clone(), audited::flag(&name), name.clone());
        let change = async move { policies.take_back_flag(named, if_revision).await };
        let done = |left: &Option<Arc<PlacedFlag>>| match left {
            Some(_) => "flag is as it was at first".to_owned(),
            None => "flag deleted".to_owned(),
        };
        let left = match call.change(object, change, done).await {
            Ok(left) => left,
            // One of the control plane's own that was never put counts all the same.
            Err(error) if allow_missing && error.kind() == Kind::NotFound => {
                self.policies.book().flag(&name).cloned()
            }
            Err(error) => return Err(error),
        };
        Ok(pb::DeleteFlagResponse { flag: left.as_deref().map(convert::flag) })
    }
}
