//! One run: settles whom to ask, and asks. Everything that can go wrong is an end of it; what the fleet is
//! told of it is `checks`'s.

use std::{
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::time::timeout;
use tracing::error;

use super::{schedule::Job, tally::Found};
use crate::{
    health::component::Reported,
    peer::Peer,
    probe::{self, Asked, Host, Outcome, permit::Rules, resolve::Resolver},
    time::Clock,
};

/// A run that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) job: Job,
    pub(super) end: End,
    /// What the control plane had stood still in all when it began.
    pub(super) stood_still: Duration,
}

/// How a run ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// Its name means this address: it has to be asked there yet.
    Settled(IpAddr),
    /// This was found, and took so long.
    Found(Found, Outcome, Duration),
    /// It may not be asked.
    Refused(String),
    /// The control plane could not ask.
    NotAsked(String),
    /// Its name led to nobody who may be asked: what is told, the same whether there is such a name or not, and
    /// what only the log is.
    Nobody {
        /// For everybody.
        told: String,
        /// For the log.
        because: String,
    },
}

/// What runs are made with.
#[derive(Debug)]
pub(super) struct Runner {
    clock: Clock,
    resolver: Resolver,
}

impl Runner {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, resolver: Resolver::default() }
    }

    /// Runs a check. Dropping it ends it without a result. Without rules nobody is asked.
    pub(super) fn run(
        &self,
        job: Job,
        rules: Option<Arc<Rules>>,
        stood_still: Duration,
    ) -> impl Future<Output = Ended> + use<> {
        let (clock, resolver) = (self.clock, self.resolver.clone());
        async move {
            // One broken check must not take all others with it.
            let asking = async {
                match &rules {
                    Some(rules) => end(&job, rules, &resolver, clock).await,
                    None => End::NotAsked(
                        "active checks are turned off by a flag of the control plane".to_owned(),
                    ),
                }
            };
            let asked = AssertUnwindSafe(asking).catch_unwind().await;
            let end = asked.unwrap_or_else(|_| {
                error!(component = "checks", instance = %job.key, "a check panicked");
                End::NotAsked("the check broke down, see the control plane's log".to_owned())
            });
            Ended { job, end, stood_still }
        }
    }
}

async fn end(job: &Job, rules: &Rules, resolver: &Resolver, clock: Clock) -> End {
    let (limit, port) = (job.check.timeout, job.check.port.get());
    let (ip, name) = match (&job.check.host, job.settled, job.peer) {
        (Host::Name(name), None, _) => {
            let looked_up = timeout(limit, look_up(job, name, rules, resolver)).await;
            return looked_up.unwrap_or_else(|_| nobody(name, format!("no answer within {limit:?}")));
        }
        (Host::Name(name), Some(ip), _) => (ip, Some(name)),
        (Host::Ip(ip), _, _) => (*ip, None),
        (Host::Peer, _, Some(ip)) => (ip, None),
        (Host::Peer, _, None) => {
            let unknown = "the address that the registration came from is not known; give a host";
            return End::Refused(unknown.to_owned());
        }
    };
    let address = SocketAddr::new(ip, port);
    // Again for a name: the rules may have changed while it waited for its address.
    if let Err(refused) = rules.permit(address, job.peer) {
        return match name {
            Some(name) => nobody(name, refused.to_string()),
            None => End::Refused(refused.to_string()),
        };
    }
    let authority = name.map_or_else(|| address.to_string(), |name| format!("{name}:{port}"));
    let began = clock.elapsed();
    let asked = probe::ask(&job.check.ask, address, &authority, limit).await;
    let took = clock.elapsed().saturating_sub(began);
    match asked {
        Asked::Found(outcome) => End::Found(found(outcome.state), outcome, took),
        Asked::Silent => {
            End::Found(Found::Timeout, Outcome::unhealthy(format!("no answer within {limit:?}")), took)
        }
        Asked::NotAsked(why) => End::NotAsked(why),
    }
}

fn found(state: Reported) -> Found {
    match state {
        Reported::Healthy => Found::Healthy,
        Reported::Degraded => Found::Degraded,
        Reported::Unhealthy => Found::Unhealthy,
    }
}

/// Finds the one address of a name that is to be asked. What a name means, and whether it means anything, is told
/// to nobody: whoever registers it could look around in names that only the control plane can resolve.
async fn look_up(job: &Job, name: &str, rules: &Rules, resolver: &Resolver) -> End {
    if !rules.permits_names() {
        return End::Refused(format!("{name} is a name, and checks.allowed_networks names no network"));
    }
    let addresses = match resolver.addresses(name, job.peer.map(Peer::of)).await {
        Ok(addresses) => addresses,
        Err(error) => return nobody(name, error.to_string()),
    };
    let permit = |ip: &IpAddr| rules.permit(SocketAddr::new(*ip, job.check.port.get()), job.peer);
    // A name with one address that may not be asked is not asked at all: which one is used would be up to
    // whoever answers for the name. Unless one is the peer's own: that is used, whatever the others are.
    let own = addresses.iter().find(|ip| job.peer == Some(**ip) && permit(ip).is_ok());
    let refused = addresses.iter().find_map(|ip| permit(ip).err());
    // Whoever registers over one kind of addresses is likely to listen on that kind.
    let alike = |ip: &&IpAddr| job.peer.is_some_and(|peer| peer.is_ipv4() == ip.is_ipv4());
    let first = addresses.iter().find(alike).or_else(|| addresses.first());
    match (own, first, refused) {
        (Some(ip), _, _) | (None, Some(ip), None) => End::Settled(*ip),
        (None, _, Some(refused)) => nobody(name, refused.to_string()),
        (None, None, None) => nobody(name, "it has no address".to_owned()),
    }
}

fn nobody(name: &str, because: String) -> End {
    let told = format!(
        "{name} cannot be looked up, or has an address that may not be asked: all of them must be inside \
         networks of checks.allowed_networks; the control plane's log says more"
    );
    End::Nobody { told, because }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checks::{schedule::Schedule, testing::instance},
        probe::machine::Machine,
        time::Mono,
    };

    /// A run of a check of this host on port 1, registered from this peer.
    fn job(host: &str, peer: &str) -> Job {
        let mut it = instance(0, 1, peer);
        let registration = Arc::get_mut(&mut it.registration).unwrap();
        let check = Arc::make_mut(&mut registration.components)[0].check.as_mut().unwrap();
        check.host = Host::parse(host).unwrap();
        check.timeout = Duration::from_secs(20);
        let mut schedule = Schedule::default();
        schedule.follow(Mono::default(), &it);
        schedule.due(Mono::default() + Duration::from_secs(20));
        schedule.start(1).unwrap()
    }

    fn rules(networks: &[&str]) -> Rules {
        let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
        Rules { peers: true, networks, own: Vec::new(), machine: Machine::new(Clock::start()) }
    }

    async fn ended(host: &str, peer: &str, networks: &[&str]) -> End {
        end(&job(host, peer), &rules(networks), &Resolver::default(), Clock::start()).await
    }

    #[tokio::test]
    async fn whom_a_check_asks_is_settled_when_it_runs() {
        const NONE: &[&str] = &[];
        for (host, peer, networks, settled) in [
            ("", "somebody", NONE, None),
            ("10.0.0.8", "10.0.0.7:40000", NONE, None),
            // A name is looked up once; every address that it has must be permitted, or one be the peer's.
            ("localhost", "10.0.0.7:40000", NONE, None),
            ("localhost", "10.0.0.7:40000", &["10.0.0.0/8", "0.0.0.0/0", "::/0"], None),
            ("localhost", "10.0.0.7:40000", &["127.0.0.0/8", "::1/128"], Some("127.0.0.1")),
            ("localhost", "127.0.0.1:40000", &["10.0.0.0/8"], Some("127.0.0.1")),
        ] {
            let wanted = settled.map(|ip| End::Settled(ip.parse().unwrap()));
            match (ended(host, peer, networks).await, wanted) {
                (End::Refused(told) | End::Nobody { told, .. }, None) => {
                    assert!(!told.contains("127.0.0.1") && !told.contains("::1"), "{told}");
                }
                (found, wanted) => assert_eq!(Some(found), wanted, "{host:?} {peer} {networks:?}"),
            }
        }
    }

    #[tokio::test]
    async fn whether_a_name_exists_is_told_to_nobody() {
        let mut told = Vec::new();
        // One that there is not, and one that has an address which may not be asked.
        for name in ["nobody.invalid", "localhost"] {
            match ended(name, "10.0.0.7:40000", &["10.0.0.0/8"]).await {
                End::Nobody { told: text, because } => told.push((text.replace(name, "NAME"), because)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(told[0].0, told[1].0);
        assert!(told[1].1.contains("127.0.0.1") || told[1].1.contains("::1"), "for the log: {told:?}");
    }

    #[tokio::test]
    async fn a_server_is_called_by_the_name_that_was_given_and_the_rules_are_asked_again() {
        let mut job = job("localhost", "127.0.0.1:40000");
        job.settled = Some([127, 0, 0, 1].into());
        let (resolver, clock) = (Resolver::default(), Clock::start());
        match end(&job, &rules(&[]), &resolver, clock).await {
            End::Found(Found::Unhealthy, outcome, _) => {
                assert!(outcome.message.starts_with("cannot connect to localhost:1: "), "{outcome:?}");
            }
            other => panic!("{other:?}"),
        }
        job.settled = Some([127, 0, 0, 2].into());
        assert!(matches!(end(&job, &rules(&[]), &resolver, clock).await, End::Nobody { .. }));
    }
}
