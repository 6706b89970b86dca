//! One check over the network: gRPC health, HTTP or TCP, of an address that is settled, with a time limit.
//!
//! A port to the outside: it knows neither instances nor schedules. Whom may be asked is `permit`, which asks
//! `machine` for the addresses of this machine; names become addresses in `resolve`, once, so that what was permitted
//! is what is connected to. How the questions are asked is the client library's: it asks the same ones from within a
//! service.

pub mod machine;
pub mod permit;
pub mod resolve;

use std::{collections::BTreeMap, io, net::SocketAddr, time::Duration};

use rustix::io::Errno;
pub use seaworthy_client::rules::checks::Host;
use seaworthy_client::{HealthState, Report, checks::once, rules::Reported};
use tokio::{net::TcpStream, time::timeout};

use crate::text::printable;

/// What is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ask {
    /// The standard gRPC health service.
    Grpc {
        /// The name that is asked for; empty for the server as a whole.
        service: String,
    },
    /// A GET by plain HTTP.
    Http {
        /// Path and query: printable ASCII that begins with a slash.
        path: String,
        /// The statuses that are healthy; none for 200 to 299.
        expected: Vec<u16>,
    },
    /// A TCP connection.
    Tcp,
}

/// The kinds of questions, as they are counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// The standard gRPC health service.
    Grpc,
    /// HTTP.
    Http,
    /// TCP.
    Tcp,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::Grpc, Kind::Http, Kind::Tcp];

    /// The word for it, wherever it is read.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Grpc => "grpc",
            Kind::Http => "http",
            Kind::Tcp => "tcp",
        }
    }
}

impl Ask {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Ask::Grpc { .. } => Kind::Grpc,
            Ask::Http { .. } => Kind::Http,
            Ask::Tcp => Kind::Tcp,
        }
    }

    /// Bytes that it holds on the heap.
    pub fn weight(&self) -> usize {
        match self {
            Ask::Grpc { service } => service.len(),
            Ask::Http { path, expected } => path.len() + expected.len() * size_of::<u16>(),
            Ask::Tcp => 0,
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// How it is.
    pub state: Reported,
    /// Why, for people: at most 4 KiB, without control characters. Empty where it is healthy.
    pub message: String,
    /// Figures and facts, bounded like those of a report.
    pub details: BTreeMap<String, String>,
}

impl Outcome {
    /// It is not healthy, for a reason that no answer gave.
    pub fn unhealthy(message: impl Into<String>) -> Self {
        Report::unhealthy(message).into()
    }
}

impl From<Report> for Outcome {
    fn from(report: Report) -> Self {
        let state = match report.state() {
            HealthState::Healthy => Reported::Healthy,
            HealthState::Degraded => Reported::Degraded,
            HealthState::Unhealthy | HealthState::Unknown => Reported::Unhealthy,
        };
        let details = report.details().iter().map(|(key, value)| (key.clone(), printable(value)));
        Self { state, message: printable(report.message()), details: details.collect() }
    }
}

/// What came of asking.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Asked {
    /// It answered, or would not be reached.
    Found(Outcome),
    /// No answer in time.
    Silent,
    /// It was not asked: this machine could not.
    NotAsked(String),
}

/// Asks once, for `limit` at the most. `authority` is the name that the other end is called by:
/// `10.0.0.7:8080`. Nothing is left behind, whatever the other end does. Cancel safe.
pub async fn ask(ask: &Ask, address: SocketAddr, authority: &str, limit: Duration) -> Asked {
    let asked = async {
        let connection = match TcpStream::connect(address).await {
            Ok(connection) => connection,
            Err(error) if is_ours(&error) => {
                return Asked::NotAsked(format!("the control plane cannot connect to {authority}: {error}"));
            }
            Err(error) => {
                return Asked::Found(Outcome::unhealthy(format!("cannot connect to {authority}: {error}")));
            }
        };
        let report = match ask {
            Ask::Grpc { service } => once::grpc(connection, authority, service).await,
            Ask::Http { path, expected } => once::http(connection, authority, path, expected).await,
            Ask::Tcp => Report::healthy(),
        };
        Asked::Found(report.into())
    };
    timeout(limit, asked).await.unwrap_or(Asked::Silent)
}

/// Whether a connection failed for a lack of this machine's own: files, ports, memory, a route, or leave of
/// its own firewall. That says nothing of the other end.
fn is_ours(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(
            Errno::MFILE
                | Errno::NFILE
                | Errno::NOBUFS
                | Errno::NOMEM
                | Errno::ADDRNOTAVAIL
                | Errno::AFNOSUPPORT
                | Errno::NETUNREACH
                | Errno::NETDOWN
                | Errno::PERM
                | Errno::ACCESS
        )
    )
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::task::{self, OnEnd};

    /// A listener that answers every connection with these bytes, and then says nothing more.
    async fn says(answer: Vec<u8>) -> (SocketAddr, task::Task<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = task::spawn("peer", OnEnd::Fine, async move {
            let mut kept = Vec::new();
            while let Ok((mut peer, _)) = listener.accept().await {
                let mut request = [0; 256];
                if peer.read(&mut request).await.is_ok() {
                    peer.write_all(&answer).await.ok();
                }
                kept.push(peer);
            }
        });
        (address, task)
    }

    fn http(expected: &[u16]) -> Ask {
        Ask::Http { path: "/".into(), expected: expected.to_vec() }
    }

    async fn found(question: &Ask, address: SocketAddr) -> Outcome {
        match ask(question, address, "peer:1", Duration::from_secs(20)).await {
            Asked::Found(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn answers_are_judged_and_made_printable() {
        for (answer, expected, state) in [
            ("HTTP/1.1 200 OK\r\n", vec![], Reported::Healthy),
            ("HTTP/1.1 429 Slow\r\n", vec![], Reported::Degraded),
            ("HTTP/1.1 429 Slow\r\n", vec![429], Reported::Healthy),
            ("HTTP/1.1 302 Found\r\n", vec![], Reported::Unhealthy),
            ("HTTP/1.1 302 Found\r\n", vec![301, 302], Reported::Healthy),
            ("HTTP/1.1 200 OK\r\n", vec![204], Reported::Unhealthy),
            ("\u{1b}[2J\n", vec![], Reported::Unhealthy),
        ] {
            let (address, _task) = says(answer.into()).await;
            let found = found(&http(&expected), address).await;
            assert_eq!(found.state, state, "{answer:?} {expected:?}: {}", found.message);
            assert!(!found.message.contains(char::is_control));
        }
    }

    #[tokio::test]
    async fn what_grpc_answers_is_bounded_and_garbage_is_an_outcome() {
        let (address, _task) = says(vec![b'x'; 1 << 16]).await;
        let grpc = Ask::Grpc { service: String::new() };
        let found = found(&grpc, address).await;
        assert_eq!(found.state, Reported::Unhealthy);
        assert!(found.message.len() <= 4096);
    }

    #[test]
    fn what_a_stranger_says_cannot_move_a_cursor() {
        let said = Report::unhealthy("\u{1b}[2Jgone\r\n").detail("status", "\u{7}");
        let shown = Outcome::from(said);
        assert_eq!((&*shown.message, &*shown.details["status"]), (" [2Jgone  ", " "));
    }

    #[tokio::test]
    async fn a_peer_that_asks_all_the_time_and_reads_nothing_is_left_at_the_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut peer = task::spawn("peer", OnEnd::Fine, async move {
            let (mut peer, _) = listener.accept().await.unwrap();
            // SETTINGS, and then pings whose answers nobody takes: until the other end is gone.
            let mut said = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
            let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
            (0..4096).for_each(|_| said.extend_from_slice(&ping));
            while peer.write_all(&said).await.is_ok() {
                said.drain(..said.len() - 4096 * ping.len());
            }
        });
        let grpc = Ask::Grpc { service: String::new() };
        assert_eq!(ask(&grpc, address, "peer:1", Duration::from_millis(500)).await, Asked::Silent);
        timeout(Duration::from_secs(20), &mut peer).await.expect("nothing is left behind").unwrap();
    }

    #[tokio::test]
    async fn silence_ends_at_the_limit() {
        let (address, _task) = says(Vec::new()).await;
        assert_eq!(ask(&http(&[]), address, "peer:1", Duration::from_millis(20)).await, Asked::Silent);
        assert_eq!(found(&Ask::Tcp, address).await.state, Reported::Healthy);
    }

    #[test]
    fn what_this_machine_lacks_is_nobodys_illness() {
        for (errno, ours) in [
            (Errno::MFILE, true),
            (Errno::ADDRNOTAVAIL, true),
            (Errno::NETUNREACH, true),
            (Errno::CONNREFUSED, false),
            (Errno::HOSTUNREACH, false),
            (Errno::TIMEDOUT, false),
            (Errno::CONNRESET, false),
        ] {
            assert_eq!(is_ours(&io::Error::from_raw_os_error(errno.raw_os_error())), ours, "{errno:?}");
        }
    }
}
