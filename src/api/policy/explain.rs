//! Which policies decide of a call.

use seaworthy_client::protect::policy::{self, choose::Call};

use super::PolicyApi;
use crate::{
    api::{
        convert::policy as convert,
        parse::{self, Fields, policy::Called},
        proto::v1 as pb,
        reach,
    },
    error::Result,
    guard::rpc::{DependsOn, Protected},
    identity::Identity,
    policy::explain::explain,
};

/// Why no policy holds of an RPC.
const EXEMPT: &str = "no policy holds of it: it has to be heard in an overload too";

impl PolicyApi {
    pub(super) fn explain(
        &self,
        identity: &Identity,
        wire: pb::ExplainPolicyRequest,
    ) -> Result<pb::ExplainPolicyResponse> {
        let pb::ExplainPolicyRequest { call, caller } = wire;
        let mut fields = Fields::default();
        let called = parse::policy::call(&mut fields, call);
        fields.take("caller", policy::caller(&caller));
        let called = fields.finish(called)?;
        let call = match &called {
            Called::Rpc(rpc) => {
                reach::sees_all(identity)?;
                if rpc.protected == Protected::Exempt {
                    return Ok(pb::ExplainPolicyResponse { parts: Vec::new(), exempt: EXEMPT.to_owned() });
                }
                Call::Rpc(rpc.method())
            }
            Called::Operation(service, operation) => {
                reach::follows_service(identity, service)?;
                Call::Operation { service: service.as_str(), operation }
            }
        };
        let breaks = match &called {
            Called::Rpc(rpc) => rpc.depends_on != DependsOn::Nothing,
            Called::Operation(..) => true,
        };
        let parts = explain(&self.policies.book(), call, &caller, breaks);
        let parts = parts.into_iter().map(convert::part).collect();
        Ok(pb::ExplainPolicyResponse { parts, exempt: String::new() })
    }
}
