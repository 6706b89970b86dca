//! Every RPC and every page, as everybody who could ask: no cell of the table unlisted.

use std::collections::BTreeMap;

use prost::Message as _;
use seaworthy::{api::proto::DESCRIPTORS, guard::rpc::RPCS, identity::Permission};
use seaworthy_client::proto::{
    grpc::health::v1::{HealthCheckRequest, HealthListRequest},
    seaworthy::v1 as pb,
};

use crate::{
    credentials::{Guarded, Outcome, get_with, outcome},
    harness::registration,
};

/// Who asks, in the order of the columns.
const CALLERS: [&str; 7] = ["nobody", "viewer", "operator", "narrowed", "admin", "own", "other"];

/// What becomes of each: `+` it may, `u` it has to prove who it is, `-` it may not. The service that is asked about is
/// `orders`: `own` is bound to it, `other` to another one, and `narrowed` is an operator of another one alone.
const TABLE: &[(&str, &str)] = &[
    ("/grpc.health.v1.Health/Check", "+++++++"),
    ("/grpc.health.v1.Health/List", "+++++++"),
    ("/grpc.health.v1.Health/Watch", "+++++++"),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "u++++++"),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "u++++++"),
    ("/seaworthy.v1.BackupService/CreateBackup", "u-+-+--"),
    ("/seaworthy.v1.BackupService/Upload", "u----+-"),
    ("/seaworthy.v1.BackupService/GetBackup", "u++-+--"),
    ("/seaworthy.v1.BackupService/ListBackups", "u++-+--"),
    ("/seaworthy.v1.BackupService/VerifyBackup", "u-+-+--"),
    ("/seaworthy.v1.BackupService/DeleteBackup", "u---+--"),
    ("/seaworthy.v1.BackupService/UndeleteBackup", "u-+-+--"),
    ("/seaworthy.v1.BackupService/ConfirmKey", "u-+-+--"),
    ("/seaworthy.v1.FleetService/Register", "u----+-"),
    // Each heartbeat has an outcome of its own; the call itself passes.
    ("/seaworthy.v1.FleetService/Heartbeat", "u----++"),
    ("/seaworthy.v1.FleetService/Deregister", "u----+-"),
    ("/seaworthy.v1.FleetService/Attach", "u----+-"),
    ("/seaworthy.v1.FleetService/GetInstance", "u++-+--"),
    ("/seaworthy.v1.FleetService/ListInstances", "u++-+--"),
    ("/seaworthy.v1.FleetService/RemoveInstance", "u-+-+--"),
    ("/seaworthy.v1.FleetService/WatchFleet", "u++-+--"),
    ("/seaworthy.v1.FleetService/PutService", "u-+-+--"),
    ("/seaworthy.v1.FleetService/GetService", "u++-+--"),
    ("/seaworthy.v1.FleetService/ListServices", "u++++--"),
    ("/seaworthy.v1.FleetService/DeleteService", "u-+-+--"),
    ("/seaworthy.v1.HealthService/ReportHealth", "u----+-"),
    ("/seaworthy.v1.HealthService/GetHealth", "u++-+--"),
    ("/seaworthy.v1.HealthService/WatchHealth", "u++-+--"),
    ("/seaworthy.v1.HealthService/ListTransitions", "u++-+--"),
    ("/seaworthy.v1.HealthService/CheckNow", "u-+-+--"),
    ("/seaworthy.v1.HealthService/Explain", "u++-+--"),
    // Of a service that is not seen there is no operation: that is not for the guard to know.
    ("/seaworthy.v1.OperationService/GetOperation", "u++++--"),
    ("/seaworthy.v1.OperationService/ListOperations", "u++-+--"),
    ("/seaworthy.v1.OperationService/WatchOperation", "u++++--"),
    ("/seaworthy.v1.OperationService/CancelOperation", "u-+++--"),
    ("/seaworthy.v1.PolicyService/PutPolicy", "u-+-+--"),
    ("/seaworthy.v1.PolicyService/GetPolicy", "u++-+--"),
    ("/seaworthy.v1.PolicyService/ListPolicies", "u++++--"),
    ("/seaworthy.v1.PolicyService/DeletePolicy", "u-+-+--"),
    ("/seaworthy.v1.PolicyService/WatchPolicies", "u++-+--"),
    ("/seaworthy.v1.PolicyService/ExplainPolicy", "u++-+--"),
    ("/seaworthy.v1.PolicyService/GetBreakers", "u++-+--"),
    ("/seaworthy.v1.PolicyService/OverrideBreaker", "u-+-+--"),
    ("/seaworthy.v1.PolicyService/AcquireQuota", "u----+-"),
    ("/seaworthy.v1.PolicyService/GetUsage", "u++-+--"),
    ("/seaworthy.v1.PolicyService/PutFlag", "u-+-+--"),
    ("/seaworthy.v1.PolicyService/GetFlag", "u++-+--"),
    ("/seaworthy.v1.PolicyService/ListFlags", "u++-+--"),
    ("/seaworthy.v1.PolicyService/DeleteFlag", "u-+-+--"),
    ("/seaworthy.v1.RestoreService/PlanRestore", "u-+-+--"),
    ("/seaworthy.v1.RestoreService/StartRestore", "u-+-+--"),
    ("/seaworthy.v1.RestoreService/Download", "u----+-"),
    ("/seaworthy.v1.SystemService/GetStatus", "u++-+--"),
    ("/seaworthy.v1.SystemService/GetReadiness", "u++-+--"),
    ("/seaworthy.v1.SystemService/GetConfig", "u-+-+--"),
    ("/seaworthy.v1.SystemService/SetLogLevel", "u-+-+--"),
    ("/seaworthy.v1.SystemService/GetIdentity", "u++++++"),
    ("/seaworthy.v1.SystemService/CreateToken", "u---+--"),
    ("/seaworthy.v1.SystemService/ListTokens", "u---+--"),
    ("/seaworthy.v1.SystemService/RevokeToken", "u---+--"),
    ("/seaworthy.v1.SystemService/ListAuditEntries", "u---+--"),
    ("/seaworthy.v1.SystemService/NoSuchMethod", "u++++++"),
];

/// Why those fail that are let through: their messages are made to change little. All others succeed.
const FAILS: &[(&str, &str)] = &[
    ("/seaworthy.v1.FleetService/Deregister", "SESSION_TOKEN_INVALID"),
    ("/seaworthy.v1.FleetService/RemoveInstance", "INSTANCE_NOT_FOUND"),
    ("/seaworthy.v1.HealthService/ReportHealth", "SESSION_TOKEN_INVALID"),
    ("/seaworthy.v1.HealthService/CheckNow", "NO_ACTIVE_CHECK"),
    ("/seaworthy.v1.BackupService/CreateBackup", "NOTHING_TO_CAPTURE"),
    ("/seaworthy.v1.BackupService/Upload", "TICKET_INVALID"),
    ("/seaworthy.v1.BackupService/GetBackup", "BACKUP_NOT_FOUND"),
    ("/seaworthy.v1.BackupService/VerifyBackup", "BACKUP_NOT_FOUND"),
    ("/seaworthy.v1.BackupService/DeleteBackup", "BACKUP_NOT_FOUND"),
    ("/seaworthy.v1.BackupService/UndeleteBackup", "BACKUP_NOT_FOUND"),
    ("/seaworthy.v1.BackupService/ConfirmKey", "INVALID_FIELD"),
    ("/seaworthy.v1.RestoreService/PlanRestore", "BACKUP_NOT_FOUND"),
    ("/seaworthy.v1.RestoreService/StartRestore", "BACKUP_NOT_FOUND"),
    ("/seaworthy.v1.RestoreService/Download", "TICKET_INVALID"),
    ("/seaworthy.v1.OperationService/GetOperation", "OPERATION_NOT_FOUND"),
    ("/seaworthy.v1.OperationService/WatchOperation", "OPERATION_NOT_FOUND"),
    ("/seaworthy.v1.OperationService/CancelOperation", "OPERATION_NOT_FOUND"),
    ("/seaworthy.v1.PolicyService/DeletePolicy", "POLICY_NOT_PUT"),
    ("/seaworthy.v1.PolicyService/AcquireQuota", "SESSION_TOKEN_INVALID"),
    ("/seaworthy.v1.SystemService/NoSuchMethod", "Unimplemented"),
];

/// The same for the pages of the HTTP side.
const PAGES: &[(&str, &str)] = &[
    ("/", "+++++++"),
    ("/health", "+++++++"),
    ("/health/details", "+++++++"),
    ("/health/live", "+++++++"),
    ("/health/ready", "+++++++"),
    ("/ready", "+++++++"),
    ("/health/services/orders", "+++++++"),
    ("/health/services/orders/i-1", "+++++++"),
    ("/health/services/orders/i-1/database", "+++++++"),
    ("/status", "u++-+--"),
    ("/production-readiness", "u++-+--"),
    ("/metrics", "u++-+--"),
    ("/sd/prometheus", "u++++--"),
    ("/nowhere", "u++++++"),
];

fn operation_of_orders() -> Option<pb::PolicyTarget> {
    let (service, operation) = ("orders".to_owned(), "charge-card".to_owned());
    let what = pb::policy_target::What::Operations(pb::OperationTarget { service, operation });
    Some(pb::PolicyTarget { what: Some(what) })
}

fn policy_of_orders() -> pb::Policy {
    pb::Policy { name: "charges".to_owned(), target: operation_of_orders(), ..pb::Policy::default() }
}

/// A message about `orders` that the RPC takes.
fn message(path: &str, n: usize) -> Vec<u8> {
    let (service, instance_id) = ("orders".to_owned(), "i-1".to_owned());
    let instance =
        Some(pb::InstanceRef { service: service.clone(), instance_id: instance_id.clone(), incarnation: 1 });
    let session_token = "sws_none".to_owned();
    let register = pb::RegisterRequest {
        registration: Some(registration("orders", &format!("new-{n}"))),
        ..pb::RegisterRequest::default()
    };
    match path.rsplit_once('/').unwrap().1 {
        "Check" | "Watch" => HealthCheckRequest { service }.encode_to_vec(),
        "List" => HealthListRequest {}.encode_to_vec(),
        "Register" => register.encode_to_vec(),
        "Heartbeat" => {
            let beat = pb::InstanceHeartbeat { instance, session_token };
            pb::HeartbeatRequest { heartbeats: vec![beat] }.encode_to_vec()
        }
        "Deregister" => pb::DeregisterRequest { instance, session_token, ..pb::DeregisterRequest::default() }
            .encode_to_vec(),
        "Attach" => {
            let how = Some(pb::open_session::How::Register(register));
            let message = Some(pb::attach_request::Message::Open(pb::OpenSession {
                how,
                takes_policies: false,
                takes_directives: false,
            }));
            pb::AttachRequest { message }.encode_to_vec()
        }
        "GetInstance" => pb::GetInstanceRequest { service, instance_id }.encode_to_vec(),
        "ListInstances" => {
            pb::ListInstancesRequest { service, ..pb::ListInstancesRequest::default() }.encode_to_vec()
        }
        "RemoveInstance" => pb::RemoveInstanceRequest {
            service,
            instance_id: "nobody".to_owned(),
            ..pb::RemoveInstanceRequest::default()
        }
        .encode_to_vec(),
        "WatchFleet" => pb::WatchFleetRequest { service, resume_after: None }.encode_to_vec(),
        "PutService" => {
            pb::PutServiceRequest { name: service, spec: Some(pb::ServiceSpec::default()), if_revision: None }
                .encode_to_vec()
        }
        "GetService" => pb::GetServiceRequest { name: service }.encode_to_vec(),
        "DeleteService" => pb::DeleteServiceRequest {
            name: service.clone(),
            confirm_name: service,
            allow_missing: true,
            ..pb::DeleteServiceRequest::default()
        }
        .encode_to_vec(),
        "ReportHealth" => {
            pb::ReportHealthRequest { instance, session_token, ..pb::ReportHealthRequest::default() }
                .encode_to_vec()
        }
        "GetHealth" => {
            pb::GetHealthRequest { service, instance_id, component: String::new() }.encode_to_vec()
        }
        "WatchHealth" => {
            pb::WatchHealthRequest { service, instance_id, component: String::new() }.encode_to_vec()
        }
        "ListTransitions" => {
            pb::ListTransitionsRequest { service, ..pb::ListTransitionsRequest::default() }.encode_to_vec()
        }
        "CheckNow" => pb::CheckNowRequest { service, instance_id, component: String::new() }.encode_to_vec(),
        "Explain" => pb::ExplainRequest { service, instance_id, component: String::new() }.encode_to_vec(),
        "CreateBackup" => pb::CreateBackupRequest { service, ..Default::default() }.encode_to_vec(),
        "Upload" => {
            let open = pb::UploadOpen { ticket: "swx_none".to_owned(), instance, ..Default::default() };
            let message = Some(pb::upload_request::Message::Open(open));
            pb::UploadRequest { message }.encode_to_vec()
        }
        "GetBackup" | "UndeleteBackup" => {
            pb::GetBackupRequest { service, id: "0".repeat(26) }.encode_to_vec()
        }
        "ListBackups" => pb::ListBackupsRequest { service, ..Default::default() }.encode_to_vec(),
        "VerifyBackup" => {
            pb::VerifyBackupRequest { service, id: "0".repeat(26), ..Default::default() }.encode_to_vec()
        }
        "DeleteBackup" => {
            let (id, confirm_id) = ("0".repeat(26), "0".repeat(26));
            pb::DeleteBackupRequest { service, id, confirm_id, message: String::new() }.encode_to_vec()
        }
        // The id of another key: who may say so is told that.
        "ConfirmKey" => pb::ConfirmKeyRequest { key_id: "0".repeat(16) }.encode_to_vec(),
        "PlanRestore" | "StartRestore" => {
            let backup_id = "latest".to_owned();
            pb::PlanRestoreRequest { service, backup_id, ..Default::default() }.encode_to_vec()
        }
        "Download" => {
            let ticket = "swx_none".to_owned();
            pb::DownloadRequest { ticket, instance, ..Default::default() }.encode_to_vec()
        }
        "GetOperation" | "WatchOperation" => pb::GetOperationRequest { id: "0".repeat(26) }.encode_to_vec(),
        "ListOperations" => {
            pb::ListOperationsRequest { service, ..pb::ListOperationsRequest::default() }.encode_to_vec()
        }
        "CancelOperation" => {
            pb::CancelOperationRequest { id: "0".repeat(26), message: String::new() }.encode_to_vec()
        }
        "PutPolicy" => {
            let policy = Some(policy_of_orders());
            pb::PutPolicyRequest { policy, if_revision: None }.encode_to_vec()
        }
        // Of everybody: a name alone says nothing of who may see it.
        "GetPolicy" => pb::GetPolicyRequest { name: "control-plane".to_owned() }.encode_to_vec(),
        "DeletePolicy" => {
            let name = "control-plane".to_owned();
            pb::DeletePolicyRequest { name, ..pb::DeletePolicyRequest::default() }.encode_to_vec()
        }
        "ExplainPolicy" => {
            let call = operation_of_orders();
            pb::ExplainPolicyRequest { call, caller: String::new() }.encode_to_vec()
        }
        "GetBreakers" => {
            pb::GetBreakersRequest { service, ..pb::GetBreakersRequest::default() }.encode_to_vec()
        }
        "OverrideBreaker" => pb::OverrideBreakerRequest {
            service,
            operation: "charge-card".to_owned(),
            state: pb::BreakerState::Closed.into(),
            ..pb::OverrideBreakerRequest::default()
        }
        .encode_to_vec(),
        "AcquireQuota" => {
            let want = pb::QuotaWant { policy: "charges".to_owned(), ..pb::QuotaWant::default() };
            pb::AcquireQuotaRequest { instance, session_token, wants: vec![want] }.encode_to_vec()
        }
        "GetUsage" => pb::GetUsageRequest { service, ..pb::GetUsageRequest::default() }.encode_to_vec(),
        "PutFlag" => {
            let value = Some(pb::FlagValue { kind: Some(pb::flag_value::Kind::BoolValue(true)) });
            let flag = pb::Flag {
                name: "new-checkout".to_owned(),
                variants: vec![pb::FlagVariant { name: "on".to_owned(), value }],
                default_variant: "on".to_owned(),
                ..pb::Flag::default()
            };
            pb::PutFlagRequest { flag: Some(flag), if_revision: None }.encode_to_vec()
        }
        "GetFlag" => pb::GetFlagRequest { name: "control-plane.permits".to_owned() }.encode_to_vec(),
        "DeleteFlag" => {
            let (name, allow_missing) = ("nothing".to_owned(), true);
            pb::DeleteFlagRequest { name, if_revision: None, allow_missing }.encode_to_vec()
        }
        "SetLogLevel" => pb::SetLogLevelRequest { log_level: "info".to_owned() }.encode_to_vec(),
        "CreateToken" => pb::CreateTokenRequest {
            name: format!("made-{n}"),
            role: pb::Role::Viewer.into(),
            ..pb::CreateTokenRequest::default()
        }
        .encode_to_vec(),
        "RevokeToken" => {
            pb::RevokeTokenRequest { token_id: "nobody".to_owned(), allow_missing: true }.encode_to_vec()
        }
        // `list_services`, the seventh field, with nothing in it.
        "ServerReflectionInfo" => vec![7 << 3 | 2, 0],
        // An empty message is one of each of the others.
        _ => Vec::new(),
    }
}

/// The server, and what each caller brings.
async fn everybody() -> (Guarded, BTreeMap<&'static str, String>) {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.toml");
    std::fs::write(&rules, "[[narrow]]\nwho = \"token:narrowed\"\nservices = [\"payments\"]\n").unwrap();
    let guarded = Guarded::start_with(|config| config.auth.rules_file = Some(rules)).await;
    let mut secrets = BTreeMap::new();
    for (name, role, service) in [
        ("viewer", pb::Role::Viewer, ""),
        ("operator", pb::Role::Operator, ""),
        ("narrowed", pb::Role::Operator, ""),
        ("own", pb::Role::Service, "orders"),
        ("other", pb::Role::Service, "payments"),
    ] {
        secrets.insert(name, guarded.token(name, role, service).await);
    }
    secrets.insert("admin", guarded.admin.clone());
    let mut fleet = guarded.fleet(&secrets["own"]).await;
    let registration = Some(registration("orders", "i-1"));
    fleet.register(pb::RegisterRequest { registration, ..pb::RegisterRequest::default() }).await.unwrap();
    (guarded, secrets)
}

/// How the comment of an RPC begins that says who may call it.
fn words(needed: Permission) -> &'static str {
    match needed {
        Permission::Open => "anyone",
        Permission::Known => "everybody who has proved who they are",
        Permission::Enrol => "instances of the service",
        Permission::View => "viewers",
        Permission::Oversee => "viewers who are not narrowed",
        Permission::Operate => "operators",
        Permission::Destroy => "admins",
        Permission::Run => "operators who are not narrowed",
        Permission::Administer => "admins who are not narrowed",
    }
}

#[test]
fn the_contract_says_who_may_call() {
    let set = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let mut said = 0;
    for file in set.file.iter().filter(|file| file.package() == "seaworthy.v1") {
        let comments = &file.source_code_info.as_ref().unwrap().location;
        for (at, service) in file.service.iter().enumerate() {
            for (method_at, method) in service.method.iter().enumerate() {
                let path = format!("/seaworthy.v1.{}/{}", service.name(), method.name());
                let place = [6, i32::try_from(at).unwrap(), 2, i32::try_from(method_at).unwrap()];
                let comment = comments.iter().find(|location| location.path == place).unwrap();
                let needed = RPCS.iter().find(|rpc| rpc.path == path).unwrap().needs;
                let who = comment.leading_comments().split("Who may call: ").nth(1).unwrap_or_default();
                let rest = who.strip_prefix(words(needed)).unwrap_or_else(|| panic!("{path}: {who}"));
                // Or to what is theirs: then they may call, and the adapter looks what it is about.
                let narrowed = rest.starts_with(" who are not narrowed")
                    && !rest.starts_with(" who are not narrowed, or to the service");
                assert!(!narrowed && !rest.starts_with(char::is_alphanumeric), "{path}: {who}");
                said += 1;
            }
        }
    }
    assert!(said >= 25, "{said}");
}

/// What a cell of the table says; `passed` is what becomes of those who may.
fn expected(cell: char, passed: &Outcome) -> Outcome {
    match cell {
        '+' => passed.clone(),
        'u' => Outcome::Unauthenticated,
        '-' => Outcome::Denied,
        other => panic!("{other:?} is no outcome"),
    }
}

#[tokio::test]
async fn every_rpc_as_everybody() {
    let listed: Vec<&str> = TABLE.iter().map(|(path, _)| *path).collect();
    let unlisted: Vec<_> = RPCS.iter().filter(|rpc| !listed.contains(&rpc.path)).collect();
    assert!(unlisted.is_empty(), "{unlisted:?}");
    let (guarded, secrets) = everybody().await;
    let (mut wrong, mut n) = (Vec::new(), 0);
    for (path, cells) in TABLE {
        assert_eq!(cells.chars().count(), CALLERS.len(), "{path}");
        let fails = FAILS.iter().find(|(failing, _)| failing == path);
        let passed = fails.map_or(Outcome::Passed, |(_, why)| Outcome::Failed((*why).to_owned()));
        for (caller, cell) in CALLERS.iter().zip(cells.chars()) {
            n += 1;
            let bearer = secrets.get(caller).map(|secret| format!("Bearer {secret}").into_bytes());
            let headers: Vec<&[u8]> = bearer.as_deref().into_iter().collect();
            let found = outcome(&guarded.server, path, &message(path, n), &headers).await;
            if found != expected(cell, &passed) {
                wrong.push(format!("{path} as {caller}: {found:?} instead of {cell}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn every_page_as_everybody() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/http.rs");
    let router = std::fs::read_to_string(source).unwrap();
    let routes = router.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let filled = |route: &str| {
        route.replace("{service}", "orders").replace("{instance}", "i-1").replace("{component}", "database")
    };
    for route in routes {
        assert!(PAGES.iter().any(|(page, _)| *page == filled(route)), "{route} is not listed");
    }
    let (guarded, secrets) = everybody().await;
    let mut wrong = Vec::new();
    for (page, cells) in PAGES {
        assert_eq!(cells.chars().count(), CALLERS.len(), "{page}");
        // Nothing is known of the health of an instance that has not said anything.
        let passed = match *page {
            "/nowhere" => Outcome::Failed("404".to_owned()),
            page if page.starts_with("/health/services/") => Outcome::Failed("503".to_owned()),
            _ => Outcome::Passed,
        };
        for (caller, cell) in CALLERS.iter().zip(cells.chars()) {
            let bearer = secrets.get(caller).map(|secret| format!("Bearer {secret}"));
            let headers: Vec<_> = bearer.iter().map(|value| ("authorization", value.as_str())).collect();
            let (code, head, _) = get_with(guarded.server.addresses.http, "GET", page, &headers).await;
            let found = match code {
                401 => Outcome::Unauthenticated,
                403 => Outcome::Denied,
                200 => Outcome::Passed,
                other => Outcome::Failed(other.to_string()),
            };
            if found != expected(cell, &passed) {
                wrong.push(format!("{page} as {caller}: {code} instead of {cell}"));
            }
            assert_eq!(code == 401, head.contains("www-authenticate: bearer"), "{page} as {caller}");
            assert!(head.contains("x-content-type-options: nosniff"), "{page} as {caller}: {head}");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn pages_that_are_opened_need_no_proof() {
    let guarded = Guarded::start_with(|config| {
        config.auth.open_pages.metrics = true;
        config.auth.open_pages.discovery = true;
    });
    let guarded = guarded.await;
    for (page, code) in [("/metrics", 200), ("/sd/prometheus", 200), ("/status", 401)] {
        assert_eq!(guarded.server.get(page).await.0, code, "{page}");
    }
}
