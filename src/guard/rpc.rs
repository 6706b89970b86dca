//! The table of RPCs: what applies to each. Total: a test compares it with the descriptor set, and
//! "none" is written out.

use std::{collections::HashMap, sync::LazyLock};

use crate::{error::Reason, identity::Permission};

/// How messages flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shape {
    /// One request, one answer. Bounded by the request timeout.
    Unary,
    /// At least one side is a stream. Bounded by idle timeouts of its own.
    Stream,
}

/// Whether an RPC is answered while the server drains.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WhileDraining {
    /// Refused with UNAVAILABLE, so that the caller goes elsewhere.
    Refused,
    /// Answered: without it nobody could be told that the server drains, or a drain would look like
    /// a mass death.
    Answered,
}

/// Whether an RPC is answered while a start loads the fleet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WhileLoading {
    /// Refused with UNAVAILABLE, to be asked again soon: without the fleet every answer would be wrong.
    Refused,
    /// Answered: it needs no fleet, or says itself that there is none yet.
    Answered,
}

/// Whether an RPC is answered where as many bytes of answers wait to be taken as may.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WhileFull {
    /// What fits nowhere is refused with RESOURCE_EXHAUSTED.
    Refused,
    /// From the reserve of its connection: a sign of life or a question for health, without which a load would look like
    /// a mass death.
    Answered,
}

/// What becomes of an RPC that is under way when its connection has to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AtTheEnd {
    /// It finishes, within its deadline.
    Finishes,
    /// It is ended, unless its handler ends it first.
    IsEnded,
    /// Its handler ends it with a last message, and is left alone: what it has begun it finishes.
    SaysGoodbye,
}

/// Whether an RPC is in the audit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Audited {
    /// It changes nothing that an operator answers for, and reads no secret.
    Never,
    /// Before it is done, and before its outcome is told.
    Always,
    /// The same, where the configuration wants enrolments in the audit.
    AsEnrolment,
}

/// Whether policies hold of an RPC: limits, permits, and the breaker of what it depends on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protected {
    /// They do.
    ByPolicies,
    /// They do not: otherwise an overload would look like a mass death, and whoever has to lift a limit could not, nor look at
    /// what he changes; and what the fleet shares would be held together no more just then.
    Exempt,
}

/// What an RPC cannot do its work without, beside this process.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DependsOn {
    /// Nothing.
    Nothing,
    /// The store, which it writes.
    Store,
    /// The vault, which it reads or writes before it answers.
    Vault,
}

impl DependsOn {
    /// What its breaker is called. None: it has none.
    pub fn name(self) -> Option<&'static str> {
        match self {
            DependsOn::Nothing => None,
            DependsOn::Store => Some("store"),
            DependsOn::Vault => Some("vault"),
        }
    }

    /// The reason of an error that is its fault.
    pub fn failure(self) -> Option<Reason> {
        match self {
            DependsOn::Nothing => None,
            DependsOn::Store => Some(Reason::StoreUnavailable),
            DependsOn::Vault => Some(Reason::VaultUnavailable),
        }
    }
}

/// One RPC and what applies to it.
#[derive(Clone, Copy, Debug)]
pub struct Rpc {
    /// `/package.Service/Method`.
    pub path: &'static str,
    /// How messages flow.
    pub shape: Shape,
    /// Whether it is answered while the server drains.
    pub draining: WhileDraining,
    /// Whether it is answered while a start loads the fleet.
    pub loading: WhileLoading,
    /// Whether it is answered where as many bytes of answers wait to be taken as may.
    pub full: WhileFull,
    /// What becomes of it when its connection has to end.
    pub at_the_end: AtTheEnd,
    /// What its caller must be allowed to do.
    pub needs: Permission,
    /// Whether it is in the audit.
    pub audited: Audited,
    /// Whether policies hold of it.
    pub protected: Protected,
    /// What it cannot do its work without.
    pub depends_on: DependsOn,
}

const fn rpc(path: &'static str, shape: Shape, draining: WhileDraining, needs: Permission) -> Rpc {
    let at_the_end = match shape {
        Unary => AtTheEnd::Finishes,
        Stream => AtTheEnd::IsEnded,
    };
    let (loading, full, audited) = (WhileLoading::Refused, WhileFull::Refused, Audited::Never);
    let (protected, depends_on) = (Protected::ByPolicies, DependsOn::Nothing);
    Rpc { path, shape, draining, loading, full, at_the_end, needs, audited, protected, depends_on }
}

impl Rpc {
    /// The same, answered while a start loads the fleet.
    const fn early(self) -> Self {
        Self { loading: WhileLoading::Answered, ..self }
    }

    /// The same, answered from a reserve where there is no other room for it.
    const fn vital(self) -> Self {
        Self { full: WhileFull::Answered, ..self }
    }

    /// The same, of which no policy holds.
    const fn exempt(self) -> Self {
        Self { protected: Protected::Exempt, ..self }
    }

    /// The same, which writes the store.
    const fn writes(self) -> Self {
        Self { depends_on: DependsOn::Store, ..self }
    }

    /// The same, which asks the vault.
    const fn asks_the_vault(self) -> Self {
        Self { depends_on: DependsOn::Vault, ..self }
    }

    /// The name by which policies call it: `seaworthy.v1.FleetService/Register`.
    pub fn method(&self) -> &'static str {
        self.path.trim_start_matches('/')
    }

    /// The same, in the audit.
    const fn audited(self) -> Self {
        Self { audited: Audited::Always, ..self }
    }

    /// The same, in the audit where enrolments are wanted there.
    const fn enrols(self) -> Self {
        Self { audited: Audited::AsEnrolment, ..self }
    }

    /// The same, of which the handler says goodbye.
    const fn says_goodbye(self) -> Self {
        Self { at_the_end: AtTheEnd::SaysGoodbye, ..self }
    }
}

use Permission::{Administer, Destroy, Enrol, Known, Open, Operate, Oversee, Run, View};
use Shape::{Stream, Unary};
use WhileDraining::{Answered, Refused};

/// Every RPC that is served.
pub const RPCS: &[Rpc] = &[
    rpc("/grpc.health.v1.Health/Check", Unary, Answered, Open).early().vital().exempt(),
    rpc("/grpc.health.v1.Health/List", Unary, Answered, Open).early().vital().exempt(),
    rpc("/grpc.health.v1.Health/Watch", Stream, Answered, Open).early().vital().exempt(),
    rpc("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Stream, Refused, Known).early(),
    rpc("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Stream, Refused, Known).early(),
    rpc("/seaworthy.v1.BackupService/CreateBackup", Unary, Refused, Operate).audited().writes(),
    rpc("/seaworthy.v1.BackupService/Upload", Stream, Refused, Enrol),
    rpc("/seaworthy.v1.BackupService/GetBackup", Unary, Refused, View).asks_the_vault(),
    rpc("/seaworthy.v1.BackupService/ListBackups", Unary, Refused, View).asks_the_vault(),
    rpc("/seaworthy.v1.BackupService/VerifyBackup", Unary, Refused, Operate).audited().writes(),
    rpc("/seaworthy.v1.BackupService/DeleteBackup", Unary, Refused, Destroy).audited().asks_the_vault(),
    rpc("/seaworthy.v1.BackupService/UndeleteBackup", Unary, Refused, Operate).audited().asks_the_vault(),
    rpc("/seaworthy.v1.BackupService/ConfirmKey", Unary, Refused, Run).audited().writes(),
    rpc("/seaworthy.v1.FleetService/Register", Unary, Refused, Enrol).enrols().writes(),
    rpc("/seaworthy.v1.FleetService/Heartbeat", Unary, Answered, Enrol).vital().exempt(),
    rpc("/seaworthy.v1.FleetService/Deregister", Unary, Answered, Enrol).enrols().vital().writes(),
    rpc("/seaworthy.v1.FleetService/Attach", Stream, Answered, Enrol)
        .enrols()
        .vital()
        .says_goodbye()
        .exempt(),
    rpc("/seaworthy.v1.FleetService/GetInstance", Unary, Refused, View),
    rpc("/seaworthy.v1.FleetService/ListInstances", Unary, Refused, View),
    rpc("/seaworthy.v1.FleetService/RemoveInstance", Unary, Refused, Operate).audited().writes(),
    rpc("/seaworthy.v1.FleetService/WatchFleet", Stream, Refused, View),
    rpc("/seaworthy.v1.FleetService/PutService", Unary, Refused, Operate).audited().writes(),
    rpc("/seaworthy.v1.FleetService/GetService", Unary, Refused, View),
    rpc("/seaworthy.v1.FleetService/ListServices", Unary, Refused, View),
    rpc("/seaworthy.v1.FleetService/DeleteService", Unary, Refused, Operate).audited().writes(),
    rpc("/seaworthy.v1.HealthService/ReportHealth", Unary, Answered, Enrol).vital(),
    rpc("/seaworthy.v1.HealthService/GetHealth", Unary, Refused, View),
    rpc("/seaworthy.v1.HealthService/WatchHealth", Stream, Refused, View),
    rpc("/seaworthy.v1.HealthService/ListTransitions", Unary, Refused, View),
    rpc("/seaworthy.v1.HealthService/CheckNow", Unary, Refused, Operate),
    rpc("/seaworthy.v1.HealthService/Explain", Unary, Refused, View),
    rpc("/seaworthy.v1.OperationService/GetOperation", Unary, Refused, View),
    rpc("/seaworthy.v1.OperationService/ListOperations", Unary, Refused, View),
    rpc("/seaworthy.v1.OperationService/WatchOperation", Stream, Refused, View),
    rpc("/seaworthy.v1.OperationService/CancelOperation", Unary, Refused, Operate).audited().writes(),
    rpc("/seaworthy.v1.PolicyService/PutPolicy", Unary, Refused, Operate).audited().writes().exempt(),
    rpc("/seaworthy.v1.PolicyService/GetPolicy", Unary, Refused, View).exempt(),
    rpc("/seaworthy.v1.PolicyService/ListPolicies", Unary, Refused, View).exempt(),
    rpc("/seaworthy.v1.PolicyService/DeletePolicy", Unary, Refused, Operate).audited().writes().exempt(),
    rpc("/seaworthy.v1.PolicyService/WatchPolicies", Stream, Refused, Oversee),
    rpc("/seaworthy.v1.PolicyService/ExplainPolicy", Unary, Refused, View).exempt(),
    rpc("/seaworthy.v1.PolicyService/GetBreakers", Unary, Refused, View),
    rpc("/seaworthy.v1.PolicyService/OverrideBreaker", Unary, Refused, Operate).audited().writes().exempt(),
    rpc("/seaworthy.v1.PolicyService/AcquireQuota", Unary, Answered, Enrol).vital().exempt(),
    rpc("/seaworthy.v1.PolicyService/GetUsage", Unary, Refused, View),
    rpc("/seaworthy.v1.PolicyService/PutFlag", Unary, Refused, Run).audited().writes().exempt(),
    rpc("/seaworthy.v1.PolicyService/GetFlag", Unary, Refused, Oversee).exempt(),
    rpc("/seaworthy.v1.PolicyService/ListFlags", Unary, Refused, Oversee).exempt(),
    rpc("/seaworthy.v1.PolicyService/DeleteFlag", Unary, Refused, Run).audited().writes().exempt(),
    rpc("/seaworthy.v1.RestoreService/PlanRestore", Unary, Refused, Operate).asks_the_vault(),
    rpc("/seaworthy.v1.RestoreService/StartRestore", Unary, Refused, Operate).audited().writes(),
    rpc("/seaworthy.v1.RestoreService/Download", Stream, Refused, Enrol),
    rpc("/seaworthy.v1.SystemService/GetStatus", Unary, Answered, Oversee),
    rpc("/seaworthy.v1.SystemService/GetReadiness", Unary, Answered, Oversee),
    rpc("/seaworthy.v1.SystemService/GetConfig", Unary, Refused, Run),
    rpc("/seaworthy.v1.SystemService/SetLogLevel", Unary, Answered, Run).audited(),
    rpc("/seaworthy.v1.SystemService/GetIdentity", Unary, Answered, Known),
    rpc("/seaworthy.v1.SystemService/CreateToken", Unary, Refused, Administer).audited().writes(),
    rpc("/seaworthy.v1.SystemService/ListTokens", Unary, Refused, Administer),
    rpc("/seaworthy.v1.SystemService/RevokeToken", Unary, Refused, Administer).audited().writes(),
    rpc("/seaworthy.v1.SystemService/ListAuditEntries", Unary, Refused, Administer),
];

/// What applies to a path that is not served: it is refused by the router, and counted together.
pub const OTHER: Rpc = rpc("_OTHER", Unary, Refused, Known);

/// Position of an RPC in the table; the one past the end stands for every unknown path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RpcId(pub(crate) usize);

impl RpcId {
    /// The RPC of a path.
    pub fn of(path: &str) -> RpcId {
        static BY_PATH: LazyLock<HashMap<&'static str, usize>> =
            LazyLock::new(|| RPCS.iter().enumerate().map(|(at, rpc)| (rpc.path, at)).collect());
        RpcId(BY_PATH.get(path).copied().unwrap_or(RPCS.len()))
    }

    /// What applies to it.
    pub fn rpc(self) -> &'static Rpc {
        RPCS.get(self.0).unwrap_or(&OTHER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is heard in any overload, and nothing else: signs of life, what changes or shows policies and flags, and slices of
    /// limits that the fleet shares.
    #[test]
    fn these_are_exempt_from_policies() {
        let exempt: Vec<_> =
            RPCS.iter().filter(|rpc| rpc.protected == Protected::Exempt).map(Rpc::method).collect();
        assert_eq!(
            exempt,
            [
                "grpc.health.v1.Health/Check",
                "grpc.health.v1.Health/List",
                "grpc.health.v1.Health/Watch",
                "seaworthy.v1.FleetService/Heartbeat",
                "seaworthy.v1.FleetService/Attach",
                "seaworthy.v1.PolicyService/PutPolicy",
                "seaworthy.v1.PolicyService/GetPolicy",
                "seaworthy.v1.PolicyService/ListPolicies",
                "seaworthy.v1.PolicyService/DeletePolicy",
                "seaworthy.v1.PolicyService/ExplainPolicy",
                "seaworthy.v1.PolicyService/OverrideBreaker",
                "seaworthy.v1.PolicyService/AcquireQuota",
                "seaworthy.v1.PolicyService/PutFlag",
                "seaworthy.v1.PolicyService/GetFlag",
                "seaworthy.v1.PolicyService/ListFlags",
                "seaworthy.v1.PolicyService/DeleteFlag",
            ]
        );
    }
}
