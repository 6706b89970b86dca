//! One connection, one question, one answer.

use std::time::Duration;

use http::Uri;
use seaworthy_client::{
    proto::grpc::health::v1::{
        HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
    },
    rules::port,
    transport::{Authorized, Transport, Trouble},
};
use tokio::time::timeout;
use tonic::{
    Code, Request, Status,
    codec::CompressionEncoding,
    metadata::{Ascii, MetadataKey, MetadataValue},
    transport::Endpoint,
};

use super::{NO_ANSWER, NO_CONNECTION, UNHEALTHY, args::Probe, tls};
use crate::{
    cli::{
        exit::Exit,
        failure::{innermost, is_transport},
        output::{clean, note},
    },
    time::Clock,
};

/// What to ask, of whom, and how long to wait: the flags, checked.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) addr: String,
    pub(super) service: String,
    transport: Transport,
    pub(super) verified: bool,
    connect_timeout: Duration,
    rpc_timeout: Duration,
    headers: Vec<(MetadataKey<Ascii>, MetadataValue<Ascii>)>,
    gzip: bool,
    verbose: bool,
}

impl Question {
    /// Checks the flags.
    pub(super) fn new(flags: &Probe) -> Result<Self, String> {
        if flags.addr.is_empty() {
            return Err("-addr not specified".to_owned());
        }
        let tls = tls::chosen(&flags.tls)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{}", flags.addr))
            .ok()
            .filter(|endpoint| is_host_and_port(endpoint.uri()))
            .ok_or_else(|| format!("-addr {:?}: write host:port, for example localhost:50051", flags.addr))?
            .user_agent(flags.user_agent.clone())
            .map_err(|_| format!("-user-agent {:?} cannot be sent as a header", flags.user_agent))?
            .connect_timeout(flags.connect_timeout);
        let mut transport = Transport::new(endpoint);
        if let Some(tls) = tls {
            transport = transport.tls(tls);
        }
        if let Some((_, problem)) = transport.problems().into_iter().next() {
            return Err(format!("-tls {problem}"));
        }
        Ok(Self {
            addr: flags.addr.clone(),
            service: flags.service.clone(),
            transport,
            verified: !flags.tls.tls_no_verify,
            connect_timeout: flags.connect_timeout,
            rpc_timeout: flags.rpc_timeout,
            headers: flags.rpc_header.iter().map(|text| header(text)).collect::<Result<_, _>>()?,
            gzip: flags.gzip,
            verbose: flags.verbose,
        })
    }

    /// Connects, or says why not in the words of grpc-health-probe.
    pub(super) async fn connect(&self) -> Result<Asked, String> {
        let connection = match timeout(self.connect_timeout, self.transport.connect()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(cause)) => return Err(self.no_connection(&innermost(&cause))),
            Err(_) => {
                return Err(format!(
                    "timeout: failed to connect service {:?} within {:?}",
                    self.addr, self.connect_timeout
                ));
            }
        };
        let (client, trouble) = (HealthClient::new(connection.channel()), connection.trouble().clone());
        let client = match self.gzip {
            true => {
                client.send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip)
            }
            false => client,
        };
        Ok(Asked { client, trouble })
    }

    fn no_connection(&self, cause: &str) -> String {
        format!("error: failed to connect service at {:?}: {cause}", self.addr)
    }

    /// Why there was no connection after all, where the other end did not take this one: in TLS 1.3 that shows only
    /// once something is asked.
    pub(super) fn was_refused(&self, trouble: &Trouble) -> Option<String> {
        let cause = trouble.words().filter(|_| trouble.is_unheard())?;
        Some(self.no_connection(&cause))
    }

    /// The request with its headers.
    pub(super) fn request(&self) -> Request<HealthCheckRequest> {
        let mut request = Request::new(HealthCheckRequest { service: self.service.clone() });
        for (name, value) in &self.headers {
            request.metadata_mut().append(name.clone(), value.clone());
        }
        request
    }

    /// Why a call failed, in the words of grpc-health-probe.
    pub(super) fn failed(&self, status: &Status) -> String {
        let message = clean(status.message());
        match status.code() {
            Code::Unimplemented => format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
            ),
            // Tonic watches the deadline that it sends as well, and calls it a cancellation.
            Code::Cancelled if is_transport(status) => self.late(),
            Code::DeadlineExceeded => self.late(),
            code => format!("error: health rpc failed: rpc error: code = {code:?} desc = {message}"),
        }
    }

    fn late(&self) -> String {
        format!("timeout: health rpc did not complete within {:?}", self.rpc_timeout)
    }
}

/// A connection to ask over.
pub(super) struct Asked {
    pub(super) client: HealthClient<Authorized>,
    pub(super) trouble: Trouble,
}

/// Asks once, and says how it went.
pub(super) async fn once(question: &Question) -> Exit {
    let clock = Clock::start();
    if question.verbose {
        note("establishing connection");
    }
    let Asked { mut client, trouble } = match question.connect().await {
        Ok(asked) => asked,
        Err(why) => {
            note(why);
            return NO_CONNECTION;
        }
    };
    let connected = clock.elapsed();
    if question.verbose {
        note(format_args!("connection established (took {connected:?})"));
    }
    let mut request = question.request();
    request.set_timeout(question.rpc_timeout);
    let status = match timeout(question.rpc_timeout, client.check(request)).await {
        Ok(Ok(response)) => response.into_inner().status,
        Ok(Err(status)) => {
            if let Some(why) = question.was_refused(&trouble) {
                note(why);
                return NO_CONNECTION;
            }
            note(question.failed(&status));
            return NO_ANSWER;
        }
        Err(_) => {
            note(question.late());
            return NO_ANSWER;
        }
    };
    let name = name(status);
    if status != i32::from(ServingStatus::Serving) {
        note(format_args!("service unhealthy (responded with {name:?})"));
        return UNHEALTHY;
    }
    if question.verbose {
        note(format_args!("time elapsed: connect={connected:?} rpc={:?}", clock.elapsed() - connected));
    }
    note(format_args!("status: {name}"));
    Exit::Done
}

/// Name of a status, or its number where a newer server has more of them.
pub(super) fn name(status: i32) -> String {
    match ServingStatus::try_from(status) {
        Ok(status) => status.as_str_name().to_owned(),
        Err(_) => status.to_string(),
    }
}

fn header(text: &str) -> Result<(MetadataKey<Ascii>, MetadataValue<Ascii>), String> {
    let wrong = || format!("-rpc-header {text:?}: write 'name: value'");
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let name = name.trim().to_ascii_lowercase().parse().map_err(|_| wrong())?;
    let value = value.trim().parse().map_err(|_| wrong())?;
    Ok((name, value))
}

/// Whether it names a host and a port, and nothing else.
fn is_host_and_port(uri: &Uri) -> bool {
    let port = uri.authority().and_then(|authority| port::of(authority.as_str()));
    uri.port().is_some() && port.is_some() && uri.path() == "/"
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::probe::args::parse;

    fn question(args: &[&str]) -> Result<Question, String> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        Question::new(&parse(&args).unwrap())
    }

    #[test]
    fn what_cannot_be_asked_is_refused_before_connecting() {
        let table: [(&[&str], &str); 15] = [
            (&[], "-addr not specified"),
            (&["-addr=localhost"], "write host:port"),
            (&["-addr=h:1/path"], "write host:port"),
            (&["-addr=h:99999"], "write host:port"),
            (&["-addr=h:+80"], "write host:port"),
            (&["-addr=h:0"], "write host:port"),
            (&["-addr=h:1", "-alts"], "-alts and -spiffe are not supported"),
            (&["-addr=h:1", "-tls-no-verify"], "specified -tls-no-verify without specifying -tls"),
            (&["-addr=h:1", "-tls-ca-cert=f"], "specified -tls-ca-cert without specifying -tls"),
            (&["-addr=h:1", "-tls-server-name=n"], "specified -tls-server-name without specifying -tls"),
            (&["-addr=h:1", "-tls", "-tls-no-verify", "-tls-ca-cert=f"], "CA cert would not be used"),
            (&["-addr=h:1", "-tls", "-tls-no-verify", "-tls-server-name=n"], "server name would not be used"),
            (
                &["-addr=h:1", "-tls", "-tls-no-verify", "-tls-client-cert=f"],
                "without specifying -tls-client-key",
            ),
            (
                &["-addr=h:1", "-tls", "-tls-no-verify", "-tls-client-key=f"],
                "without specifying -tls-client-cert",
            ),
            (&["-addr=h:1", "-rpc-header=nocolon"], "write 'name: value'"),
        ];
        for (args, expected) in table {
            let refused = question(args).unwrap_err();
            assert!(refused.contains(expected), "{args:?}: {refused}");
        }
    }

    #[test]
    fn headers_are_sent_in_lower_case_and_as_often_as_given() {
        let question = question(&["-addr=h:1", "-rpc-header=X-Team: a", "-rpc-header=x-team:b:c"]).unwrap();
        let request = question.request();
        let values: Vec<_> = request.metadata().get_all("x-team").iter().collect();
        assert_eq!(values, ["a", "b:c"]);
    }
}
