//! The HTTP side: whether it answers, and whether it is that of the control plane that was reached.
//!
//! Where a control plane listens by its own account is not always where it is found: ports are published,
//! forwarded and balanced. What is found there is believed to be it only where it shows the same run; anything
//! else there, or nothing, is no failure, unless the user says that this is the place. Whoever it is, no token is sent
//! there: where the pages are closed, that is all there is to know.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    pin::pin,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

use super::{
    finding::Finding,
    reach::{self, Reached},
    sniff::{self, why},
};
use crate::cli::{access::Access, remote::place};

/// Longest page that is read, in bytes.
const LONGEST: usize = 64 << 10;

const ID: &str = "http.reachable";
const TITLE: &str = "HTTP side answers";

/// Where an HTTP side may be.
#[derive(Clone, Debug)]
pub(super) struct Site {
    host: String,
    port: u16,
    encrypted: bool,
}

impl Site {
    /// Reads `https://HOST:PORT`, `http://HOST:PORT`, or `HOST:PORT`.
    ///
    /// # Errors
    /// It is neither; the words say what would be right.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match place(text) {
            Ok((host, port)) => Ok(Self { host, port, encrypted: text.starts_with("https://") }),
            Err(_) => {
                Err("write https://HOST:PORT or http://HOST:PORT, for example http://127.0.0.1:8080"
                    .to_owned())
            }
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.encrypted { "https" } else { "http" };
        write!(f, "{scheme}://{}", reach::at(&self.host, self.port))
    }
}

/// Who says where the HTTP side is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Named {
    /// The control plane itself, which does not know how it is reached from here.
    ByItself,
    /// The user.
    ByUser,
}

/// What is heard at a place.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Heard {
    /// A control plane: its run, and what is wrong with its liveness page.
    ControlPlane { boot_epoch: String, trouble: Option<String> },
    /// Something that is alive, and tells who it is to nobody without a proof.
    Closed(StatusCode),
    /// Something else, or nothing: why, in words.
    Else(String),
}

/// Looks where the user says that it is, or where it listens by its own account. Each page may take `wait`.
pub(super) async fn look(reached: &Reached, named: Option<&Site>, wait: Duration) -> Finding {
    let run = &reached.status.boot_epoch;
    let access = &reached.access;
    if let Some(site) = named {
        return judge(&listen(site, access, &site.host, wait).await, run, site, Named::ByUser);
    }
    let Ok(listens) = reached.status.http_address.parse::<SocketAddr>() else {
        let found = "the control plane does not tell where it listens";
        return Finding::warn(ID, TITLE, found, "update it: this program is newer");
    };
    let loopback = |host: &str| host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if listens.ip().is_loopback() && !loopback(&reached.host) {
        let found = format!("{listens} of its own machine alone; it is not asked from here");
        return Finding::pass(ID, TITLE, found);
    }
    let host = if listens.ip().is_unspecified() { reached.host.clone() } else { listens.ip().to_string() };
    // One certificate is for both sides, and for the name by which it was reached.
    let site = Site { host, port: listens.port(), encrypted: access.is_encrypted() };
    judge(&listen(&site, access, &reached.host, wait).await, run, &site, Named::ByItself)
}

/// What follows from what was heard; `run` is the boot epoch of the control plane that was reached.
fn judge(heard: &Heard, run: &str, site: &Site, named: Named) -> Finding {
    let found = match heard {
        Heard::ControlPlane { boot_epoch, trouble } if boot_epoch == run => {
            return match trouble {
                None => Finding::pass(ID, TITLE, format!("{site}/")),
                Some(trouble) => {
                    let remedy = "look at http.max_connections and at its log: platforms take it for dead";
                    Finding::fail(ID, TITLE, format!("{site}/health/live: {trouble}"), remedy)
                }
            };
        }
        Heard::Closed(code) => {
            let found =
                format!("{site}/ is alive, and does not tell everybody whose it is ({code} for /status)");
            return Finding::pass(ID, TITLE, found);
        }
        Heard::ControlPlane { .. } => format!("{site}/ is another control plane, or another run of it"),
        Heard::Else(why) => format!("{site}/: {why}"),
    };
    match named {
        Named::ByItself => {
            let remedy = "where its HTTP port is published elsewhere, name it: --http http://HOST:PORT; else look at \
                          firewalls between, and at http.max_connections and its log";
            Finding::warn(
                ID,
                TITLE,
                format!("not found where it listens by its own account: {found}"),
                remedy,
            )
        }
        Named::ByUser => {
            let remedy = "name its HTTP port with --http; look at firewalls between, and at http.max_connections \
                          and its log";
            Finding::fail(ID, TITLE, found, remedy)
        }
    }
}

async fn listen(site: &Site, access: &Access, name: &str, wait: Duration) -> Heard {
    let asked = Asked { site, access, name, wait };
    let (code, body) = match asked.page("/status").await {
        Ok(answer) => answer,
        Err(why) => return Heard::Else(why),
    };
    if matches!(code, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return match asked.page("/health/live").await {
            Ok((StatusCode::OK, _)) => Heard::Closed(code),
            Ok((other, _)) => Heard::Else(format!("something else, which answers /health/live by {other}")),
            Err(why) => Heard::Else(why),
        };
    }
    let status: Value = serde_json::from_slice(&body).unwrap_or_default();
    let Some(boot_epoch) = status.get("boot_epoch").and_then(Value::as_str) else {
        return Heard::Else(format!("something else, which answers /status by {code}"));
    };
    let trouble = match asked.page("/health/live").await {
        Ok((StatusCode::OK, _)) => None,
        Ok((code, _)) => Some(code.to_string()),
        Err(why) => Some(why),
    };
    Heard::ControlPlane { boot_epoch: boot_epoch.to_owned(), trouble }
}

/// What is asked.
struct Asked<'a> {
    site: &'a Site,
    access: &'a Access,
    /// Whose certificate it has to be.
    name: &'a str,
    wait: Duration,
}

impl Asked<'_> {
    /// Asks for a page: its status, and what it says; nothing where that is too long or breaks off.
    async fn page(&self, path: &str) -> Result<(StatusCode, Bytes), String> {
        let Site { host, port, encrypted } = self.site;
        let wait = self.wait;
        let stream = match timeout(wait, TcpStream::connect((host.as_str(), *port))).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(cause)) => return Err(why(&cause)),
            Err(_) => return Err(format!("no connection within {wait:?}")),
        };
        if *encrypted {
            let tls = self.access.tls();
            let shaken = tls.handshake(stream, self.name, "http/1.1");
            let stream =
                timeout(wait, shaken).await.map_err(|_| format!("no TLS handshake within {wait:?}"))??;
            let answer = timeout(wait, get(stream, self.site, path)).await;
            return answer
                .map_err(|_| format!("no answer within {wait:?}"))?
                .ok_or_else(|| "it does not speak HTTP/1 there".to_owned());
        }
        match timeout(wait, get(stream, self.site, path)).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => {
                let heard = sniff::sniff(host, *port, wait).await;
                Err(format!("it does not speak HTTP/1 there: {}", heard.in_words()))
            }
            Err(_) => Err(format!("no answer within {wait:?}")),
        }
    }
}

/// None where what comes is no HTTP/1.
async fn get<S>(stream: S, site: &Site, path: &str) -> Option<(StatusCode, Bytes)>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let request = Request::get(path)
        .header(header::HOST, reach::at(&site.host, site.port))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .ok()?;
    let mut answer = pin!(async move {
        let (head, body) = sender.send_request(request).await.ok()?.into_parts();
        let body = Limited::new(body, LONGEST).collect().await;
        Some((head.status, body.map(|body| body.to_bytes()).unwrap_or_default()))
    });
    tokio::select! {
        answer = &mut answer => answer,
        // What has come by then is still there to be taken.
        _ = connection => answer.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::readiness::Outcome::{self, Fail, Pass, Warn};

    #[test]
    fn sites_are_http_with_or_without_encryption() {
        for (text, site) in [
            ("http://127.0.0.1:9090", "http://127.0.0.1:9090"),
            ("http://seaworthy.internal/", "http://seaworthy.internal:80"),
            ("localhost:1", "http://localhost:1"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("https://seaworthy.internal", "https://seaworthy.internal:443"),
        ] {
            assert_eq!(Site::parse(text).unwrap().to_string(), site);
        }
        for (text, why) in [
            ("ftp://h:1", "http://HOST:PORT"),
            ("http://h:1/status", "http://HOST:PORT"),
            ("", "http://HOST:PORT"),
        ] {
            assert!(Site::parse(text).unwrap_err().contains(why), "{text}");
        }
    }

    #[test]
    fn only_what_shows_the_same_run_is_it() {
        let site = Site::parse("http://h:8080").unwrap();
        let of = |run: &str, trouble: Option<&str>| Heard::ControlPlane {
            boot_epoch: run.to_owned(),
            trouble: trouble.map(str::to_owned),
        };
        let other = || Heard::Else("connection refused".to_owned());
        let table: [(Heard, Outcome, Outcome); 5] = [
            (Heard::Closed(StatusCode::UNAUTHORIZED), Pass, Pass),
            (of("a", None), Pass, Pass),
            (of("a", Some("no answer")), Fail, Fail),
            (of("b", None), Warn, Fail),
            (other(), Warn, Fail),
        ];
        for (heard, by_itself, by_user) in table {
            assert_eq!(judge(&heard, "a", &site, Named::ByItself).outcome, by_itself, "{heard:?}");
            assert_eq!(judge(&heard, "a", &site, Named::ByUser).outcome, by_user, "{heard:?}");
        }
    }
}
