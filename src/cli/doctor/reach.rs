//! The way to the control plane, step by step: name, port, encryption, what is spoken there. Where a step fails, what is
//! there instead is found out.

use std::{io, net::SocketAddr, path::Path, time::Duration};

use seaworthy_client::{
    proto::seaworthy::v1::{GetStatusRequest, GetStatusResponse},
    rules::port,
};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tonic::Code;

use super::{
    caller,
    finding::Finding,
    judge,
    sniff::{self, Speaks, why},
    tls,
};
use crate::{
    cli::{
        Context,
        access::Access,
        failure::Failure,
        remote::{Remote, place},
    },
    time::Now,
};

/// How long an unknown program may take to say what it is.
const SNIFF: Duration = Duration::from_secs(2);

/// What is looked at once the port is open.
const CONTROL_PLANE: &str = "a control plane is there";

/// Where the way leads.
pub(super) enum Way {
    /// To no control plane.
    Nowhere,
    /// To one that tells this caller nothing.
    Closed,
    /// To one that has answered.
    Open(Box<Reached>),
}

/// A control plane that has answered.
pub(super) struct Reached {
    pub(super) access: Access,
    pub(super) remote: Remote,
    pub(super) host: String,
    pub(super) status: GetStatusResponse,
    /// When its status was asked for.
    pub(super) asked: Now,
    /// How long the answer took.
    pub(super) took: Duration,
}

/// Goes the whole way. What was found on it is added to `found`.
///
/// # Errors
/// The address is no address.
pub(super) async fn reach(
    context: &Context,
    access: Access,
    ready_file: Option<&Path>,
    found: &mut Vec<Finding>,
) -> Result<Way, Failure> {
    let (host, port) = place(&access.server)?;
    // What cannot be right is told before anything is looked at.
    access.transport(|endpoint| endpoint)?;
    let wait = context.timeout;
    let Some(addresses) = resolve(&host, port, wait, found).await else { return Ok(Way::Nowhere) };
    if !open(&addresses, wait, ready_file, found).await {
        return Ok(Way::Nowhere);
    }
    let now = context.clock.now().wall;
    if access.is_encrypted() && !tls::look(&access, (&host, port), wait, now, found).await {
        return Ok(Way::Nowhere);
    }
    let failure = match Remote::connect(&access, wait).await {
        Err(failure) => failure,
        Ok(remote) => {
            let (asked, before) = (context.clock.now(), context.clock.elapsed());
            let mut system = remote.system();
            match remote.call("get the status", system.get_status(GetStatusRequest {})).await {
                Ok(status) => {
                    let took = context.clock.elapsed() - before;
                    let spoken = "seaworthy.v1 is spoken over HTTP/2";
                    found.push(Finding::pass("reach.grpc", CONTROL_PLANE, spoken));
                    found.push(judge::answer(took));
                    return Ok(Way::Open(Box::new(Reached { access, remote, host, status, asked, took })));
                }
                Err(Failure::Refused { status, .. })
                    if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied) =>
                {
                    found.push(Finding::pass("reach.grpc", CONTROL_PLANE, "it answers over HTTP/2"));
                    found.push(caller::refused(&status));
                    return Ok(Way::Closed);
                }
                Err(failure) => failure,
            }
        }
    };
    found.push(unanswered(&failure, &host, port, wait).await);
    Ok(Way::Nowhere)
}

async fn resolve(host: &str, port: u16, wait: Duration, found: &mut Vec<Finding>) -> Option<Vec<SocketAddr>> {
    let (id, title) = ("reach.name", "name resolves");
    let remedy = "correct the name, or give an address: --server http://ADDRESS:PORT";
    let failed = match timeout(wait, lookup_host((host, port))).await {
        Err(_) => format!("{host}: no answer within {wait:?}"),
        Ok(Err(cause)) => format!("{host}: {cause}"),
        Ok(Ok(addresses)) => {
            let addresses: Vec<SocketAddr> = addresses.collect();
            let shown: Vec<String> = addresses.iter().map(|at| at.ip().to_string()).collect();
            if !shown.is_empty() {
                found.push(Finding::pass(id, title, format!("{host} is {}", shown.join(", "))));
                return Some(addresses);
            }
            format!("{host}: it has no address")
        }
    };
    found.push(Finding::fail(id, title, failed, remedy));
    None
}

/// Whether any of the addresses takes a connection.
async fn open(
    addresses: &[SocketAddr],
    wait: Duration,
    ready_file: Option<&Path>,
    found: &mut Vec<Finding>,
) -> bool {
    let (id, title) = ("reach.port", "port is open");
    let mut failed = Vec::new();
    let mut refused = true;
    for at in addresses {
        match timeout(wait, TcpStream::connect(at)).await {
            Ok(Ok(_)) => {
                found.push(Finding::pass(id, title, format!("{at} takes connections")));
                return true;
            }
            Ok(Err(cause)) => {
                refused &= cause.kind() == io::ErrorKind::ConnectionRefused;
                failed.push(format!("{at}: {}", why(&cause)));
            }
            Err(_) => {
                refused = false;
                failed.push(format!("{at}: no connection within {wait:?}"));
            }
        }
    }
    let mut remedy = elsewhere(addresses, ready_file).unwrap_or_default();
    if remedy.is_empty() {
        remedy = match refused {
            true => "nobody listens there: start it with `seaworthy serve`, or name the port it listens on with --server",
            false => "look at firewalls and routes between, and whether that machine runs",
        }
        .to_owned();
    }
    found.push(Finding::fail(id, title, failed.join("; "), remedy));
    false
}

/// What the ready file says, where it names another address.
fn elsewhere(addresses: &[SocketAddr], ready_file: Option<&Path>) -> Option<String> {
    let file = ready_file?;
    let shown = file.display();
    let content = match std::fs::read(file) {
        Ok(content) => content,
        Err(cause) => {
            return Some(format!(
                "there is no ready file {shown} ({}): no control plane that writes it serves; start it with \
                 `seaworthy serve`",
                why(&cause)
            ));
        }
    };
    let ready: serde_json::Value = serde_json::from_slice(&content).ok()?;
    let (grpc, pid) = (ready["grpc"].as_str()?, &ready["pid"]);
    let same = grpc.parse().is_ok_and(|at: SocketAddr| addresses.contains(&at));
    Some(match same {
        true => format!("{shown} says that process {pid} serves there: it has died; start it again"),
        false => format!("{shown} says that process {pid} serves elsewhere: --server http://{grpc}"),
    })
}

/// What is there instead of a control plane.
async fn unanswered(failure: &Failure, host: &str, port: u16, wait: Duration) -> Finding {
    let fail = |what: String, remedy: String| Finding::fail("reach.grpc", CONTROL_PLANE, what, remedy);
    let other = || "name the gRPC port of the control plane with --server".to_owned();
    match failure {
        Failure::WrongPort { says, .. } if !says.is_empty() => {
            // It tells its own other port: `…; gRPC is on port 50051`.
            let grpc = says.rsplit(' ').next().and_then(port::number);
            let remedy = grpc.map_or_else(other, |grpc| format!("--server http://{}", at(host, grpc)));
            return fail("this is its HTTP port, not the gRPC one".to_owned(), remedy);
        }
        Failure::Refused { status, .. } if status.code() == Code::Unimplemented => {
            let what = "a gRPC server, but none that has seaworthy.v1.SystemService".to_owned();
            return fail(what, other());
        }
        Failure::Refused { status, .. } => {
            let what = format!("it refuses ({:?}): {}", status.code(), status.message());
            return fail(what, "do what it says, and look at its log".to_owned());
        }
        Failure::Distrusted { server, cause } => {
            let remedy = match server.starts_with("https://") {
                true => "do what it says, and look at its log".to_owned(),
                false => format!("write it so: --server https://{}", at(host, port)),
            };
            return fail(cause.clone(), remedy);
        }
        _ => {}
    }
    match sniff::sniff(host, port, wait.min(SNIFF)).await {
        Speaks::Http(line) if line.contains(" 400 ") => {
            // That is also how a control plane answers HTTP/1 on its gRPC port.
            fail(failure.to_string(), "look at its log; a proxy between must let HTTP/2 pass".to_owned())
        }
        Speaks::Tls => fail(
            Speaks::Tls.in_words(),
            format!("write it so: --server https://{}", at(host, port)),
        ),
        heard @ (Speaks::Nothing | Speaks::Hangup) => fail(
            heard.in_words(),
            "if it is the control plane, it hangs: look at its log and load; else name the right port with --server"
                .to_owned(),
        ),
        heard @ (Speaks::Http(_) | Speaks::Other(_)) => fail(heard.in_words(), other()),
    }
}

/// Host and port in one, as a URL has them.
pub(super) fn at(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
