//! Bad input for every RPC of the descriptor set: a typed error that names the field, and a server
//! that goes on.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use seaworthy::{
    api::proto::DESCRIPTORS,
    guard::rpc::{RPCS, Shape},
};
use seaworthy_client::proto::{
    grpc::health::v1::{HealthCheckRequest, health_check_response::ServingStatus},
    seaworthy::v1 as pb,
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::{PATIENCE, TestServer, http2, registration};

/// Every RPC that the descriptors describe, as a path.
fn described() -> Vec<String> {
    let set = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let mut paths = Vec::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                paths.push(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
            }
        }
    }
    paths.sort();
    paths
}

#[test]
fn the_table_of_rpcs_is_total() {
    let mut table: Vec<String> = RPCS.iter().map(|rpc| rpc.path.to_owned()).collect();
    table.sort();
    let served: Vec<_> = table.iter().filter(|path| !path.starts_with("/grpc.reflection")).cloned().collect();
    assert_eq!(served, described());
    assert_eq!(table.len() - served.len(), 2, "both versions of reflection");
    let set = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                let streams = method.client_streaming() || method.server_streaming();
                let row = RPCS.iter().find(|rpc| rpc.path == path).unwrap();
                assert_eq!(row.shape == Shape::Stream, streams, "{path}");
            }
        }
    }
}

/// Sends one message of raw bytes and answers the status.
async fn call(server: &TestServer, path: &str, message: &[u8]) -> tonic::Status {
    call_at(server.addresses.grpc, path, message).await
}

/// The same wherever it listens.
pub(crate) async fn call_at(at: std::net::SocketAddr, path: &str, message: &[u8]) -> tonic::Status {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message);
    let (send, connection) = http2(at, &h2::client::Builder::new()).await;
    let mut send = send.ready().await.unwrap();
    let request = http::Request::post(format!("http://server{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (answer, mut body) = send.send_request(request, false).unwrap();
    body.send_data(frame.freeze(), true).unwrap();
    let status = tokio::time::timeout(PATIENCE, async {
        let (head, mut body) = answer.await.unwrap().into_parts();
        if let Some(status) = tonic::Status::from_header_map(&head.headers) {
            return status;
        }
        while let Some(data) = body.data().await {
            let data: Bytes = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
        }
        let trailers = body.trailers().await.unwrap().unwrap_or_default();
        tonic::Status::from_header_map(&trailers).unwrap_or_else(|| tonic::Status::ok(""))
    })
    .await
    .unwrap_or_else(|_| panic!("{path} never answered"));
    connection.abort();
    status
}

#[tokio::test]
async fn bytes_that_are_no_message_are_refused_by_every_rpc() {
    let server = TestServer::start().await;
    for rpc in RPCS {
        // A length-delimited field that promises more than there is.
        let status = call(&server, rpc.path, &[0x0a, 0xff, 0x01]).await;
        // Requests without fields skip what they do not know, but not what they cannot read.
        assert!(
            matches!(status.code(), Code::Internal | Code::InvalidArgument | Code::Ok),
            "{}: {status:?}",
            rpc.path
        );
        assert!(
            status.code() != Code::Ok || rpc.shape == Shape::Stream,
            "{} took bytes that are no message",
            rpc.path
        );
    }
    let unknown = call(&server, "/seaworthy.v1.FleetService/Explode", &[]).await;
    assert_eq!(unknown.code(), Code::Unimplemented);
    let unknown = call(&server, "/nobody.Here/Explode", &[]).await;
    assert_eq!(unknown.code(), Code::Unimplemented);
    assert_eq!(server.check("").await.unwrap(), ServingStatus::Serving);
    server.stop().await;
}

/// A request that is wrong, and the field that has to be named.
struct Wrong {
    path: &'static str,
    request: Vec<u8>,
    field: &'static str,
}

fn wrong(path: &'static str, request: &impl prost::Message, field: &'static str) -> Wrong {
    Wrong { path, request: request.encode_to_vec(), field }
}

fn registering(change: impl FnOnce(&mut pb::Registration)) -> pb::RegisterRequest {
    let mut registration = registration("orders", "i-1");
    change(&mut registration);
    pb::RegisterRequest { registration: Some(registration), ..pb::RegisterRequest::default() }
}

fn grpc_check(service: String) -> pb::active_check::Ask {
    pb::active_check::Ask::Grpc(pb::GrpcCheck { service })
}

fn http_check(path: &str, expected_statuses: Vec<u32>) -> pb::active_check::Ask {
    pb::active_check::Ask::Http(pb::HttpCheck { path: path.into(), expected_statuses })
}

/// A check that there is nothing wrong with.
fn good_check() -> pb::ActiveCheck {
    pb::ActiveCheck { ask: Some(http_check("/", vec![])), port: 7001, ..pb::ActiveCheck::default() }
}

fn checking(change: impl FnOnce(&mut pb::ActiveCheck)) -> pb::RegisterRequest {
    let mut check = good_check();
    change(&mut check);
    registering(|r| r.components[0].check = Some(check))
}

fn capturing(change: impl FnOnce(&mut pb::CaptureSettings)) -> pb::RegisterRequest {
    let mut capture = pb::CaptureSettings::default();
    change(&mut capture);
    registering(|r| {
        r.components[0].capabilities = vec![pb::Capability::Backup.into()];
        r.components[0].capture = Some(capture);
    })
}

fn named() -> Option<pb::InstanceRef> {
    Some(pb::InstanceRef { service: "orders".into(), instance_id: "i-1".into(), incarnation: 1 })
}

fn putting(spec: pb::ServiceSpec) -> pb::PutServiceRequest {
    pb::PutServiceRequest { name: "orders".into(), spec: Some(spec), if_revision: None }
}

fn table() -> Vec<Wrong> {
    const REGISTER: &str = "/seaworthy.v1.FleetService/Register";
    const PUT: &str = "/seaworthy.v1.FleetService/PutService";
    const LIST: &str = "/seaworthy.v1.FleetService/ListInstances";
    const REPORT: &str = "/seaworthy.v1.HealthService/ReportHealth";
    const CREATE: &str = "/seaworthy.v1.BackupService/CreateBackup";
    const OPERATIONS: &str = "/seaworthy.v1.OperationService/ListOperations";
    const CANCEL: &str = "/seaworthy.v1.OperationService/CancelOperation";
    const TOKEN: &str = "/seaworthy.v1.SystemService/CreateToken";
    const PAST: &str = "/seaworthy.v1.HealthService/ListTransitions";
    const AUDIT: &str = "/seaworthy.v1.SystemService/ListAuditEntries";
    const EXPLAIN: &str = "/seaworthy.v1.HealthService/Explain";
    let timestamp = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let component = |name: &str| pb::Component { name: name.into(), ..pb::Component::default() };
    vec![
        wrong(CREATE, &pb::CreateBackupRequest { service: "Orders".into(), ..Default::default() }, "service"),
        wrong(
            CREATE,
            &pb::CreateBackupRequest {
                service: "orders".into(),
                components: vec!["Database".into()],
                ..Default::default()
            },
            "components[0]",
        ),
        wrong(
            CREATE,
            &pb::CreateBackupRequest {
                service: "orders".into(),
                max_quiesce: seconds(3600),
                ..Default::default()
            },
            "max_quiesce",
        ),
        wrong("/seaworthy.v1.BackupService/Upload", &pb::UploadRequest::default(), "open"),
        wrong("/seaworthy.v1.BackupService/GetBackup", &pb::GetBackupRequest::default(), "id"),
        wrong(
            "/seaworthy.v1.BackupService/ListBackups",
            &pb::ListBackupsRequest { page_size: -1, ..Default::default() },
            "page_size",
        ),
        wrong(
            "/seaworthy.v1.BackupService/VerifyBackup",
            &pb::VerifyBackupRequest {
                service: "orders".into(),
                id: "latest".into(),
                depth: 9,
                ..Default::default()
            },
            "depth",
        ),
        wrong(
            "/seaworthy.v1.BackupService/DeleteBackup",
            &pb::DeleteBackupRequest { service: "orders".into(), id: "0".repeat(26), ..Default::default() },
            "confirm_id",
        ),
        wrong(
            "/seaworthy.v1.BackupService/UndeleteBackup",
            &pb::UndeleteBackupRequest { service: "orders".into(), id: "latest".into() },
            "id",
        ),
        wrong("/seaworthy.v1.BackupService/ConfirmKey", &pb::ConfirmKeyRequest::default(), "key_id"),
        wrong(
            "/seaworthy.v1.RestoreService/PlanRestore",
            &pb::PlanRestoreRequest { service: "orders".into(), ..Default::default() },
            "backup_id",
        ),
        wrong(
            "/seaworthy.v1.RestoreService/StartRestore",
            &pb::StartRestoreRequest {
                service: "orders".into(),
                backup_id: "latest".into(),
                force: vec![9],
                ..Default::default()
            },
            "force[0]",
        ),
        wrong("/seaworthy.v1.RestoreService/Download", &pb::DownloadRequest::default(), "instance"),
        wrong("/grpc.health.v1.Health/Check", &HealthCheckRequest { service: "Orders".into() }, "service"),
        wrong("/grpc.health.v1.Health/Watch", &HealthCheckRequest { service: "a/b/c/d".into() }, "service"),
        wrong(REGISTER, &pb::RegisterRequest::default(), "registration"),
        wrong(REGISTER, &registering(|r| r.service = "Orders".into()), "registration.service"),
        wrong(REGISTER, &registering(|r| r.instance_id = "a/b".into()), "registration.instance_id"),
        wrong(REGISTER, &registering(|r| r.version = "v".repeat(129)), "registration.version"),
        wrong(REGISTER, &registering(|r| r.zone = "z\u{7}".into()), "registration.zone"),
        wrong(REGISTER, &registering(|r| r.address = "nowhere".into()), "registration.address"),
        wrong(REGISTER, &registering(|r| r.lease_ttl = seconds(1)), "registration.lease_ttl"),
        wrong(REGISTER, &registering(|r| r.lease_ttl = seconds(-1)), "registration.lease_ttl"),
        wrong(REGISTER, &registering(|r| r.lifecycle = pb::Lifecycle::Lost.into()), "registration.lifecycle"),
        wrong(
            REGISTER,
            &registering(|r| r.labels = (0..33).map(|n| (format!("l{n}"), String::new())).collect()),
            "registration.labels",
        ),
        wrong(
            REGISTER,
            &registering(|r| r.labels = [("team".into(), "t".repeat(257))].into()),
            "registration.labels[\"team\"]",
        ),
        wrong(
            REGISTER,
            &registering(|r| r.components.push(component("database"))),
            "registration.components[1].name",
        ),
        wrong(
            REGISTER,
            &registering(|r| r.components[0].name = "Data".into()),
            "registration.components[0].name",
        ),
        wrong(
            REGISTER,
            &registering(|r| r.components[0].depends_on = vec!["cache".into()]),
            "registration.components[0].depends_on[0]",
        ),
        wrong(
            REGISTER,
            &registering(|r| r.components[0].depends_on = vec!["database".into()]),
            "registration.components[0].depends_on",
        ),
        wrong(
            REGISTER,
            &registering(|r| {
                r.components.push(component("api"));
                r.components[1].depends_on = vec!["database".into(), "database".into()];
            }),
            "registration.components[1].depends_on[1]",
        ),
        wrong(
            REGISTER,
            &registering(|r| r.components[0].capabilities = vec![99]),
            "registration.components[0].capabilities[0]",
        ),
        wrong(
            REGISTER,
            &registering(|r| r.components[0].fail_threshold = 101),
            "registration.components[0].fail_threshold",
        ),
        wrong(
            REGISTER,
            &registering(|r| r.components[0].report_interval = seconds(0)),
            "registration.components[0].report_interval",
        ),
        wrong(
            REGISTER,
            &registering(|r| r.components = (0..65).map(|n| component(&format!("c{n}"))).collect()),
            "registration.components",
        ),
        wrong(REGISTER, &capturing(|c| c.page_bytes = 6144), "registration.components[0].capture.page_bytes"),
        wrong(REGISTER, &capturing(|c| c.page_bytes = 2048), "registration.components[0].capture.page_bytes"),
        wrong(
            REGISTER,
            &capturing(|c| c.page_bytes = 2 << 20),
            "registration.components[0].capture.page_bytes",
        ),
        wrong(REGISTER, &capturing(|c| c.scope = 3), "registration.components[0].capture.scope"),
        wrong(
            REGISTER,
            &registering(|r| r.components[0].capture = Some(pb::CaptureSettings::default())),
            "registration.components[0].capabilities",
        ),
        wrong(REGISTER, &checking(|c| c.ask = None), "registration.components[0].check.ask"),
        wrong(REGISTER, &checking(|c| c.port = 0), "registration.components[0].check.port"),
        wrong(REGISTER, &checking(|c| c.port = 65_536), "registration.components[0].check.port"),
        wrong(REGISTER, &checking(|c| c.host = "a b".into()), "registration.components[0].check.host"),
        wrong(
            REGISTER,
            &checking(|c| c.host = "db.internal".into()),
            "registration.components[0].check.host",
        ),
        wrong(REGISTER, &checking(|c| c.host = "10.0.0.9".into()), "registration.components[0].check.host"),
        wrong(REGISTER, &checking(|c| c.host = "224.0.0.1".into()), "registration.components[0].check.host"),
        wrong(REGISTER, &checking(|c| c.interval = seconds(0)), "registration.components[0].check.interval"),
        wrong(
            REGISTER,
            &checking(|c| c.interval = seconds(3601)),
            "registration.components[0].check.interval",
        ),
        wrong(REGISTER, &checking(|c| c.timeout = seconds(10)), "registration.components[0].check.timeout"),
        wrong(REGISTER, &checking(|c| c.timeout = seconds(-1)), "registration.components[0].check.timeout"),
        wrong(
            REGISTER,
            &checking(|c| {
                c.interval = seconds(60);
                c.timeout = seconds(31);
            }),
            "registration.components[0].check.timeout",
        ),
        wrong(
            REGISTER,
            &checking(|c| c.ask = Some(grpc_check("s".repeat(257)))),
            "registration.components[0].check.grpc.service",
        ),
        wrong(
            REGISTER,
            &checking(|c| c.ask = Some(http_check("health", vec![]))),
            "registration.components[0].check.http.path",
        ),
        wrong(
            REGISTER,
            &checking(|c| c.ask = Some(http_check("/\r\nhost: other", vec![]))),
            "registration.components[0].check.http.path",
        ),
        wrong(
            REGISTER,
            &checking(|c| c.ask = Some(http_check(&format!("/{}", "p".repeat(1024)), vec![]))),
            "registration.components[0].check.http.path",
        ),
        wrong(
            REGISTER,
            &checking(|c| c.ask = Some(http_check("/", vec![200, 600]))),
            "registration.components[0].check.http.expected_statuses[1]",
        ),
        wrong(
            REGISTER,
            &checking(|c| c.ask = Some(http_check("/", vec![200; 17]))),
            "registration.components[0].check.http.expected_statuses",
        ),
        wrong(
            REGISTER,
            &registering(|r| {
                r.components[0].check = Some(good_check());
                r.components[0].capabilities = vec![pb::Capability::Backup.into()];
            }),
            "registration.components[0].capabilities",
        ),
        wrong(
            REGISTER,
            &registering(|r| {
                r.components[0].check = Some(good_check());
                r.components[0].report_interval = seconds(5);
            }),
            "registration.components[0].report_interval",
        ),
        wrong("/seaworthy.v1.HealthService/CheckNow", &pb::CheckNowRequest::default(), "instance_id"),
        wrong(
            "/seaworthy.v1.HealthService/CheckNow",
            &pb::CheckNowRequest {
                service: "orders".into(),
                instance_id: "i-1".into(),
                component: "Data".into(),
            },
            "component",
        ),
        wrong("/seaworthy.v1.FleetService/Heartbeat", &pb::HeartbeatRequest::default(), "heartbeats"),
        wrong(
            "/seaworthy.v1.FleetService/Heartbeat",
            &pb::HeartbeatRequest { heartbeats: vec![pb::InstanceHeartbeat::default(); 1001] },
            "heartbeats",
        ),
        wrong("/seaworthy.v1.FleetService/Deregister", &pb::DeregisterRequest::default(), "instance"),
        wrong(
            "/seaworthy.v1.FleetService/Deregister",
            &pb::DeregisterRequest { instance: named(), ..pb::DeregisterRequest::default() },
            "session_token",
        ),
        wrong("/seaworthy.v1.FleetService/Attach", &pb::AttachRequest { message: None }, "open"),
        wrong("/seaworthy.v1.FleetService/GetInstance", &pb::GetInstanceRequest::default(), "service"),
        wrong(LIST, &pb::ListInstancesRequest { page_size: -1, ..Default::default() }, "page_size"),
        wrong(LIST, &pb::ListInstancesRequest { page_token: "x".into(), ..Default::default() }, "page_token"),
        wrong(LIST, &pb::ListInstancesRequest { lifecycle: 99, ..Default::default() }, "lifecycle"),
        wrong(LIST, &pb::ListInstancesRequest { health: -3, ..Default::default() }, "health"),
        wrong(
            "/seaworthy.v1.FleetService/RemoveInstance",
            &pb::RemoveInstanceRequest {
                service: "orders".into(),
                instance_id: "i-1".into(),
                message: "m".repeat(1025),
                ..Default::default()
            },
            "message",
        ),
        wrong(
            "/seaworthy.v1.FleetService/WatchFleet",
            &pb::WatchFleetRequest { service: "-".into(), resume_after: None },
            "service",
        ),
        wrong(PUT, &pb::PutServiceRequest { name: "orders".into(), ..Default::default() }, "spec"),
        wrong(
            PUT,
            &putting(pb::ServiceSpec {
                depends_on: vec![pb::Dependency { service: "orders".into(), kind: 0 }],
                ..Default::default()
            }),
            "spec.depends_on[0].service",
        ),
        wrong(
            PUT,
            &putting(pb::ServiceSpec {
                depends_on: vec![pb::Dependency { service: "payments".into(), kind: 9 }],
                ..Default::default()
            }),
            "spec.depends_on[0].kind",
        ),
        wrong(
            PUT,
            &putting(pb::ServiceSpec {
                budget: Some(pb::Budget {
                    limit: Some(pb::budget::Limit::MinAvailable(pb::Quantity {
                        value: Some(pb::quantity::Value::Percent(101)),
                    })),
                    quorum_size: 0,
                }),
                ..Default::default()
            }),
            "spec.budget.min_available.percent",
        ),
        wrong(
            PUT,
            &putting(pb::ServiceSpec {
                objectives: Some(pb::Objectives { availability_percent: f64::NAN, ..Default::default() }),
                ..Default::default()
            }),
            "spec.objectives.availability_percent",
        ),
        wrong("/seaworthy.v1.FleetService/GetService", &pb::GetServiceRequest::default(), "name"),
        wrong(
            "/seaworthy.v1.FleetService/ListServices",
            &pb::ListServicesRequest { page_size: -5, ..Default::default() },
            "page_size",
        ),
        wrong(
            "/seaworthy.v1.FleetService/DeleteService",
            &pb::DeleteServiceRequest { name: "orders".into(), ..Default::default() },
            "confirm_name",
        ),
        wrong(REPORT, &pb::ReportHealthRequest::default(), "instance"),
        wrong(
            REPORT,
            &pb::ReportHealthRequest {
                instance: named(),
                session_token: "x".into(),
                lifecycle: 6,
                ..Default::default()
            },
            "lifecycle",
        ),
        wrong(
            "/seaworthy.v1.HealthService/GetHealth",
            &pb::GetHealthRequest {
                service: "orders".into(),
                component: "database".into(),
                ..Default::default()
            },
            "instance_id",
        ),
        wrong("/seaworthy.v1.HealthService/WatchHealth", &pb::WatchHealthRequest::default(), "service"),
        wrong(EXPLAIN, &pb::ExplainRequest { component: "database".into(), ..Default::default() }, "service"),
        wrong(
            EXPLAIN,
            &pb::ExplainRequest {
                service: "orders".into(),
                component: "database".into(),
                ..Default::default()
            },
            "instance_id",
        ),
        wrong(
            EXPLAIN,
            &pb::ExplainRequest { service: "orders".into(), instance_id: "a/b".into(), ..Default::default() },
            "instance_id",
        ),
        wrong(
            PAST,
            &pb::ListTransitionsRequest { instance_id: "i-1".into(), ..Default::default() },
            "service",
        ),
        wrong(
            PAST,
            &pb::ListTransitionsRequest { component: "disk".into(), ..Default::default() },
            "service",
        ),
        wrong(
            PAST,
            &pb::ListTransitionsRequest { component: "Disk".into(), ..Default::default() },
            "component",
        ),
        wrong(
            PAST,
            &pb::ListTransitionsRequest { start_time: timestamp(1, -1), ..Default::default() },
            "start_time",
        ),
        wrong(
            PAST,
            &pb::ListTransitionsRequest { end_time: timestamp(i64::MAX, 0), ..Default::default() },
            "end_time",
        ),
        wrong(
            PAST,
            &pb::ListTransitionsRequest {
                start_time: timestamp(9, 0),
                end_time: timestamp(9, 0),
                ..Default::default()
            },
            "end_time",
        ),
        wrong(AUDIT, &pb::ListAuditEntriesRequest { page_size: -1, ..Default::default() }, "page_size"),
        wrong(
            AUDIT,
            &pb::ListAuditEntriesRequest { page_token: "x".into(), ..Default::default() },
            "page_token",
        ),
        wrong(
            AUDIT,
            &pb::ListAuditEntriesRequest { principal: "p".repeat(1025), ..Default::default() },
            "principal",
        ),
        wrong(
            AUDIT,
            &pb::ListAuditEntriesRequest { operation: "o".repeat(1025), ..Default::default() },
            "operation",
        ),
        wrong(
            AUDIT,
            &pb::ListAuditEntriesRequest { object: "o".repeat(1025), ..Default::default() },
            "object",
        ),
        wrong(
            AUDIT,
            &pb::ListAuditEntriesRequest { start_time: timestamp(1, -1), ..Default::default() },
            "start_time",
        ),
        wrong(
            AUDIT,
            &pb::ListAuditEntriesRequest {
                start_time: timestamp(9, 0),
                end_time: timestamp(9, 0),
                ..Default::default()
            },
            "end_time",
        ),
        wrong(
            "/seaworthy.v1.SystemService/SetLogLevel",
            &pb::SetLogLevelRequest { log_level: "loud=very=".into() },
            "log_level",
        ),
        wrong("/seaworthy.v1.PolicyService/PutPolicy", &pb::PutPolicyRequest::default(), "policy"),
        wrong(
            "/seaworthy.v1.PolicyService/GetPolicy",
            &pb::GetPolicyRequest { name: "Charges".into() },
            "name",
        ),
        wrong(
            "/seaworthy.v1.PolicyService/ListPolicies",
            &pb::ListPoliciesRequest { page_size: -1, ..Default::default() },
            "page_size",
        ),
        wrong(
            "/seaworthy.v1.PolicyService/ListPolicies",
            &pb::ListPoliciesRequest { page_token: "x".into(), ..Default::default() },
            "page_token",
        ),
        wrong("/seaworthy.v1.PolicyService/DeletePolicy", &pb::DeletePolicyRequest::default(), "name"),
        wrong("/seaworthy.v1.PolicyService/ExplainPolicy", &pb::ExplainPolicyRequest::default(), "call"),
        wrong(
            "/seaworthy.v1.PolicyService/ExplainPolicy",
            &pb::ExplainPolicyRequest { caller: "c".repeat(257), ..Default::default() },
            "caller",
        ),
        wrong(
            "/seaworthy.v1.PolicyService/GetBreakers",
            &pb::GetBreakersRequest { instance_id: "i-1".into(), ..Default::default() },
            "service",
        ),
        wrong("/seaworthy.v1.PolicyService/OverrideBreaker", &pb::OverrideBreakerRequest::default(), "state"),
        wrong("/seaworthy.v1.PolicyService/AcquireQuota", &pb::AcquireQuotaRequest::default(), "wants"),
        wrong(
            "/seaworthy.v1.PolicyService/GetUsage",
            &pb::GetUsageRequest { service: "Orders".into(), ..Default::default() },
            "service",
        ),
        wrong("/seaworthy.v1.PolicyService/PutFlag", &pb::PutFlagRequest::default(), "flag"),
        wrong("/seaworthy.v1.PolicyService/GetFlag", &pb::GetFlagRequest { name: "A".into() }, "name"),
        wrong(
            "/seaworthy.v1.PolicyService/ListFlags",
            &pb::ListFlagsRequest { page_size: -1, ..Default::default() },
            "page_size",
        ),
        wrong("/seaworthy.v1.PolicyService/DeleteFlag", &pb::DeleteFlagRequest::default(), "name"),
        wrong(
            "/seaworthy.v1.OperationService/GetOperation",
            &pb::GetOperationRequest { id: "01KC2X7M9Q4T8V0000000000AB".into() },
            "id",
        ),
        wrong("/seaworthy.v1.OperationService/WatchOperation", &pb::WatchOperationRequest::default(), "id"),
        wrong(
            OPERATIONS,
            &pb::ListOperationsRequest { service: "Orders".into(), ..Default::default() },
            "service",
        ),
        wrong(OPERATIONS, &pb::ListOperationsRequest { kind: 99, ..Default::default() }, "kind"),
        wrong(OPERATIONS, &pb::ListOperationsRequest { state: 99, ..Default::default() }, "state"),
        wrong(OPERATIONS, &pb::ListOperationsRequest { page_size: -1, ..Default::default() }, "page_size"),
        wrong(
            OPERATIONS,
            &pb::ListOperationsRequest { page_token: "x".into(), ..Default::default() },
            "page_token",
        ),
        wrong(CANCEL, &pb::CancelOperationRequest { id: "x".into(), message: String::new() }, "id"),
        wrong(
            CANCEL,
            &pb::CancelOperationRequest { id: "0".repeat(26), message: "m".repeat(1025) },
            "message",
        ),
        wrong(TOKEN, &pb::CreateTokenRequest { role: 1, ..Default::default() }, "name"),
        wrong(TOKEN, &pb::CreateTokenRequest { name: "Alice".into(), role: 1, ..Default::default() }, "name"),
        wrong(TOKEN, &pb::CreateTokenRequest { name: "alice".into(), ..Default::default() }, "role"),
        wrong(TOKEN, &pb::CreateTokenRequest { name: "alice".into(), role: 9, ..Default::default() }, "role"),
        wrong(
            TOKEN,
            &pb::CreateTokenRequest {
                name: "alice".into(),
                role: pb::Role::Viewer.into(),
                service: "orders".into(),
                ..Default::default()
            },
            "service",
        ),
        wrong(
            TOKEN,
            &pb::CreateTokenRequest {
                name: "orders".into(),
                role: pb::Role::Service.into(),
                service: "Orders".into(),
                ..Default::default()
            },
            "service",
        ),
        wrong(
            TOKEN,
            &pb::CreateTokenRequest {
                name: "alice".into(),
                role: 1,
                lifetime: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
                ..Default::default()
            },
            "lifetime",
        ),
        wrong(
            "/seaworthy.v1.SystemService/ListTokens",
            &pb::ListTokensRequest { page_size: -1, ..Default::default() },
            "page_size",
        ),
        wrong(
            "/seaworthy.v1.SystemService/ListTokens",
            &pb::ListTokensRequest { page_token: "x".into(), ..Default::default() },
            "page_token",
        ),
        wrong(
            "/seaworthy.v1.SystemService/RevokeToken",
            &pb::RevokeTokenRequest { token_id: String::new(), allow_missing: true },
            "token_id",
        ),
        wrong(
            "/seaworthy.v1.SystemService/RevokeToken",
            &pb::RevokeTokenRequest { token_id: "a b".into(), allow_missing: false },
            "token_id",
        ),
    ]
}

/// RPCs whose requests have nothing that could be wrong.
const WITHOUT_FIELDS: [&str; 6] = [
    "/seaworthy.v1.PolicyService/WatchPolicies",
    "/seaworthy.v1.SystemService/GetIdentity",
    "/grpc.health.v1.Health/List",
    "/seaworthy.v1.SystemService/GetStatus",
    "/seaworthy.v1.SystemService/GetReadiness",
    "/seaworthy.v1.SystemService/GetConfig",
];

#[tokio::test]
async fn every_wrong_field_is_named() {
    let server = TestServer::start().await;
    let table = table();
    for path in described() {
        let covered = table.iter().any(|row| row.path == path) || WITHOUT_FIELDS.contains(&path.as_str());
        assert!(covered, "{path} has no row");
    }
    for Wrong { path, request, field } in table {
        let status = call(&server, path, &request).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{path} {field}: {status:?}");
        let details = status.get_error_details();
        let violations = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
        let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert!(fields.contains(&field), "{path} names {fields:?}, not {field}");
        assert_eq!(details.error_info().unwrap().domain, "seaworthy.dev");
    }
    let listed = server.fleet().await.list_instances(pb::ListInstancesRequest::default()).await.unwrap();
    assert!(listed.into_inner().instances.is_empty(), "nothing of it was taken");
    server.stop().await;
}

#[tokio::test]
async fn all_wrong_fields_are_named_at_once() {
    let server = TestServer::start().await;
    let request = registering(|r| {
        r.service = "Orders".into();
        r.address = "nowhere".into();
        r.components[0].name = String::new();
    });
    let status = server.fleet().await.register(request).await.unwrap_err();
    let details = status.get_error_details();
    let mut fields: Vec<_> = details
        .bad_request()
        .unwrap()
        .field_violations
        .iter()
        .map(|violation| violation.field.clone())
        .collect();
    fields.sort();
    assert_eq!(fields, ["registration.address", "registration.components[0].name", "registration.service"]);
    server.stop().await;
}
