//! A server that asks for proofs, and the proofs of everybody who could call it.

use std::path::PathBuf;

use bytes::{BufMut as _, BytesMut};
use seaworthy_client::proto::seaworthy::v1::{
    self as pb, fleet_service_client::FleetServiceClient, health_service_client::HealthServiceClient,
    system_service_client::SystemServiceClient,
};
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use crate::harness::{PATIENCE, TestServer, http2, reason};

/// Says a token with every call.
#[derive(Clone, Debug)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Bearer {
    pub(crate) fn of(secret: &str) -> Self {
        Self(format!("Bearer {secret}").parse().expect("a header"))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

pub(crate) type Proved = InterceptedService<Channel, Bearer>;

/// A server where everybody has to prove who they are, and its first admin.
pub(crate) struct Guarded {
    pub(crate) server: TestServer,
    pub(crate) admin: String,
}

impl Guarded {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut seaworthy::config::Config)) -> Self {
        let server = TestServer::start_with(|config| {
            config.auth.required = true;
            change(config);
        });
        let server = server.await;
        let file: PathBuf = server.config.data_dir.join("bootstrap-token");
        let admin = std::fs::read_to_string(file).expect("the first admin's token").trim().to_owned();
        Self { server, admin }
    }

    pub(crate) async fn system(&self, secret: &str) -> SystemServiceClient<Proved> {
        SystemServiceClient::with_interceptor(self.server.channel().await, Bearer::of(secret))
    }

    pub(crate) async fn fleet(&self, secret: &str) -> FleetServiceClient<Proved> {
        FleetServiceClient::with_interceptor(self.server.channel().await, Bearer::of(secret))
    }

    pub(crate) async fn health(&self, secret: &str) -> HealthServiceClient<Proved> {
        HealthServiceClient::with_interceptor(self.server.channel().await, Bearer::of(secret))
    }

    /// Makes a token, and answers its secret.
    pub(crate) async fn token(&self, name: &str, role: pb::Role, service: &str) -> String {
        let request = pb::CreateTokenRequest {
            name: name.to_owned(),
            role: role.into(),
            service: service.to_owned(),
            lifetime: None,
        };
        let made = self.system(&self.admin).await.create_token(request).await.expect("a token");
        made.into_inner().secret
    }

    pub(crate) async fn revoke(&self, name: &str) {
        let request = pb::RevokeTokenRequest { token_id: name.to_owned(), allow_missing: false };
        self.system(&self.admin).await.revoke_token(request).await.expect("revoked");
    }
}

/// What became of a call, as far as permissions go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    Passed,
    Unauthenticated,
    Denied,
    /// Let through, and refused for this reason; by this code where it says none.
    Failed(String),
}

/// Sends one message of raw bytes with these values of `authorization`, and answers how it was received: by the first
/// that comes back, so that streams need not end.
pub(crate) async fn outcome(
    server: &TestServer,
    path: &str,
    message: &[u8],
    authorization: &[&[u8]],
) -> Outcome {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("short"));
    frame.put_slice(message);
    let (send, connection) = http2(server.addresses.grpc, &h2::client::Builder::new()).await;
    let mut send = send.ready().await.expect("ready");
    let mut request = http::Request::post(format!("http://server{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for value in authorization {
        request = request.header("authorization", http::HeaderValue::from_bytes(value).expect("a header"));
    }
    let (answer, mut body) = send.send_request(request.body(()).expect("a request"), false).expect("sent");
    body.send_data(frame.freeze(), true).expect("sent");
    let first = async {
        let (head, mut body) = answer.await.expect("a head").into_parts();
        if let Some(status) = Status::from_header_map(&head.headers) {
            return Some(status);
        }
        match body.data().await {
            Some(_) => None,
            None => {
                let trailers = body.trailers().await.expect("an end").expect("trailers");
                Some(Status::from_header_map(&trailers).expect("a status"))
            }
        }
    };
    let status = tokio::time::timeout(PATIENCE, first).await.expect("in time");
    connection.abort();
    let Some(status) = status.filter(|status| status.code() != Code::Ok) else { return Outcome::Passed };
    match &*reason(&status) {
        "UNAUTHENTICATED" => Outcome::Unauthenticated,
        "PERMISSION_DENIED" => Outcome::Denied,
        "" => Outcome::Failed(format!("{:?}", status.code())),
        // A session token that does not count is no question of roles.
        why => Outcome::Failed(why.to_owned()),
    }
}

/// A GET with these headers: the code, the head in lower case, and the body.
pub(crate) async fn get_with(
    at: std::net::SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> (u16, String, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(at).await.expect("http port");
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\n{more}connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time").expect("read");
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (code, head.to_lowercase(), body.to_owned())
}
