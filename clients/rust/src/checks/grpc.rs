//! A dependency that speaks `grpc.health.v1`. The one call is made by hand over one HTTP/2 connection that
//! is driven here, by no task of its own: whoever stops waiting has closed it, whatever the other end does.

use std::pin::pin;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::{Builder, SendRequest};
use http::{HeaderMap, Method, Request, StatusCode, header};
use prost::Message as _;
use tokio::net::TcpStream;
use tonic::{Code, Status};

use super::http::Target;
use crate::{
    Check, Report,
    proto::grpc::health::v1::{
        HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    },
};

/// Largest headers and largest message that are taken of an answer, which needs a few bytes of each.
const MAX_HEADERS: u32 = 16 << 10;
const MAX_MESSAGE: usize = 4 << 10;
/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Checks a gRPC server by its standard health service. `service` is the name that is asked for; an
/// empty one asks for the server as a whole. SERVING is healthy, anything else is unhealthy. How long
/// to wait is the component's timeout.
///
/// Details: `status`.
pub fn grpc(endpoint: impl Into<String>, service: impl Into<String>) -> Check {
    let (address, service) = (endpoint.into(), service.into());
    match Target::parse(&address) {
        Some(target) => Check::new(move || {
            let (target, service) = (target.clone(), service.clone());
            async move {
                match TcpStream::connect(&target.address).await {
                    Ok(connection) => ask(connection, &target.authority, service).await,
                    Err(error) => {
                        Report::unhealthy(format!("cannot connect to {}: {error}", target.authority))
                    }
                }
            }
        }),
        None => Check::invalid(format!("is for `{address}`; it must be like http://host:port")),
    }
}

/// Asks once over a connection. `authority` is what the server is told that it was called by. Dropping it
/// closes the connection.
pub(super) async fn ask(connection: TcpStream, authority: &str, service: String) -> Report {
    match exchange(connection, authority, service).await {
        Ok(status) => judge(status),
        Err(why) => Report::unhealthy(why),
    }
}

async fn exchange(connection: TcpStream, authority: &str, service: String) -> Result<ServingStatus, String> {
    let broken = |error: h2::Error| format!("cannot ask {authority}: {error}");
    let mut settings = Builder::new();
    settings.max_header_list_size(MAX_HEADERS).enable_push(false);
    let (sender, connection) = settings.handshake::<_, Bytes>(connection).await.map_err(broken)?;
    let mut call = pin!(call(sender, authority, service));
    tokio::select! {
        biased;
        answer = &mut call => return answer,
        ended = connection => ended.map_err(broken)?,
    }
    // What came before it was closed is an answer still.
    call.await
}

async fn call(sender: SendRequest<Bytes>, authority: &str, service: String) -> Result<ServingStatus, String> {
    let broken = |error: h2::Error| format!("cannot ask {authority}: {error}");
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://{authority}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, "seaworthy-client")
        .body(())
        .map_err(|_| format!("`{authority}` cannot be asked: it is not an address"))?;
    let mut sender = sender.ready().await.map_err(broken)?;
    let (answer, mut question) = sender.send_request(request, false).map_err(broken)?;
    question.send_data(framed(&HealthCheckRequest { service }), true).map_err(broken)?;
    let (head, mut body) = answer.await.map_err(broken)?.into_parts();
    if head.status != StatusCode::OK {
        return Err(format!("{authority} answered {}, which is not gRPC", head.status));
    }
    if let Some(status) = status(head.headers).filter(|status| status.code() != Code::Ok) {
        return Err(shown(&status));
    }
    let mut message = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(broken)?;
        if message.len() + chunk.len() > PREFIX + MAX_MESSAGE {
            return Err(format!("{authority} answered more than {MAX_MESSAGE} bytes"));
        }
        body.flow_control().release_capacity(chunk.len()).map_err(broken)?;
        message.extend_from_slice(&chunk);
    }
    match body.trailers().await.map_err(broken)?.and_then(status) {
        Some(ended) if ended.code() != Code::Ok => return Err(shown(&ended)),
        Some(_) => {}
        None => return Err(format!("{authority} answered without a gRPC status")),
    }
    let answer = unframed(&message).and_then(|message| HealthCheckResponse::decode(message).ok());
    answer.map(|answer| answer.status()).ok_or_else(|| format!("{authority} answered what is not a health"))
}

/// The status that headers carry. Details of it are nothing that is looked at.
fn status(mut headers: HeaderMap) -> Option<Status> {
    headers.remove("grpc-status-details-bin");
    Status::from_header_map(&headers)
}

fn shown(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

fn framed(request: &HealthCheckRequest) -> Bytes {
    let length = request.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX + length);
    frame.put_u8(0);
    // A name is far shorter than 4 GiB.
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    frame.extend_from_slice(&request.encode_to_vec());
    frame.freeze()
}

/// The one message that is not compressed: nothing else was asked for.
fn unframed(frame: &[u8]) -> Option<&[u8]> {
    let (prefix, message) = frame.split_at_checked(PREFIX)?;
    let length = u32::from_be_bytes(prefix[1..].try_into().ok()?);
    (prefix[0] == 0 && usize::try_from(length) == Ok(message.len())).then_some(message)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed_as_grpc_frames_them() {
        let question = framed(&HealthCheckRequest { service: "orders".to_owned() });
        assert_eq!(&question[..PREFIX], [0, 0, 0, 0, 8]);
        let decoded =
            unframed(&question).map(|message| HealthCheckRequest::decode(message).expect("decoded"));
        assert_eq!(decoded.expect("whole").service, "orders");
        for wrong in [&[][..], &[0, 0, 0], &[1, 0, 0, 0, 0], &[0, 0, 0, 0, 9, 1]] {
            assert_eq!(unframed(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn details_that_are_no_base64_are_nothing_to_fall_over() {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", "5".parse().expect("a value"));
        headers.insert("grpc-message", "no%20such".parse().expect("a value"));
        headers.insert("grpc-status-details-bin", "?".parse().expect("a value"));
        assert_eq!(status(headers).map(|status| shown(&status)).as_deref(), Some("NotFound: no such"));
    }
}
