//! A dependency that speaks `grpc.health.v1`.

use tonic::transport::{Endpoint, Uri};

use crate::{
    Check, Report,
    proto::grpc::health::v1::{
        HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
    },
    rt,
};

/// Checks a gRPC server by its standard health service. `service` is the name that is asked for; an
/// empty one asks for the server as a whole. SERVING is healthy, anything else is unhealthy. How long
/// to wait is the component's timeout.
///
/// Details: `status`.
pub fn grpc(endpoint: impl Into<String>, service: impl Into<String>) -> Check {
    let (address, service) = (endpoint.into(), service.into());
    let shaped = Endpoint::from_shared(address.clone()).ok();
    match shaped.filter(|endpoint| endpoint.uri().scheme_str() == Some("http")) {
        Some(endpoint) => Check::new(move || ask(endpoint.clone(), service.clone())),
        None => Check::invalid(format!("is for `{address}`; it must be like http://host:port")),
    }
}

/// Largest headers and largest message that are taken of an answer, which needs a few bytes of each.
const MAX_HEADERS: u32 = 16 << 10;
const MAX_MESSAGE: usize = 4 << 10;

/// Asks once. `origin` is what the server is told that it was called by.
pub(super) async fn ask_as(endpoint: Endpoint, origin: Uri, service: String) -> Report {
    ask(endpoint.origin(origin), service).await
}

async fn ask(endpoint: Endpoint, service: String) -> Report {
    let endpoint = endpoint.http2_max_header_list_size(MAX_HEADERS);
    let channel = match endpoint.connect().await {
        Ok(channel) => channel,
        Err(error) => {
            return Report::unhealthy(format!("cannot connect to {}: {}", endpoint.uri(), rt::chain(&error)));
        }
    };
    let mut client = HealthClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
    match client.check(HealthCheckRequest { service }).await {
        Ok(answer) => judge(answer.into_inner().status()),
        Err(status) => Report::unhealthy(format!("{:?}: {}", status.code(), status.message())),
    }
}

fn judge(status: ServingStatus) -> Report {
    let name = status.as_str_name();
    let report = match status {
        ServingStatus::Serving => Report::healthy(),
        ServingStatus::NotServing | ServingStatus::Unknown | ServingStatus::ServiceUnknown => {
            Report::unhealthy(format!("it says {name}"))
        }
    };
    report.detail("status", name)
}
