//! One run: settles whom to ask, asks, and tells the fleet. Everything that can go wrong is an outcome.

use std::{
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::time::timeout;
use tracing::error;

use super::{
    schedule::Job,
    tally::{Ended, Found},
};
use crate::{
    fleet::{self, Report},
    health::component::Reported,
    probe::{self, Host, Outcome, permit::Rules, resolve::Resolver},
    time::Clock,
};

/// A time limit that is noticed later than this is a stall of the control plane.
const STALL: Duration = Duration::from_millis(500);

/// What runs are made with.
#[derive(Debug)]
pub(super) struct Runner {
    fleet: fleet::Handle,
    clock: Clock,
    resolver: Resolver,
}

impl Runner {
    pub(super) fn new(fleet: fleet::Handle, clock: Clock) -> Self {
        Self { fleet, clock, resolver: Resolver::default() }
    }

    /// Runs a check. Dropping it ends it without a result.
    pub(super) fn run(&self, job: Job, rules: Arc<Rules>) -> impl Future<Output = Ended> + use<> {
        let (fleet, clock, resolver) = (self.fleet.clone(), self.clock, self.resolver.clone());
        async move {
            let began = clock.elapsed();
            // One broken check must not take all others with it.
            let asked = AssertUnwindSafe(outcome(&job, &rules, &resolver)).catch_unwind().await;
            let (found, outcome) = asked.unwrap_or_else(|_| {
                error!(component = "checks", instance = %job.key, "a check panicked");
                (Found::Unhealthy, Outcome::unhealthy("the check broke down, see the control plane's log"))
            });
            let took = clock.elapsed().saturating_sub(began);
            if !is_our_delay(found, took, job.check.timeout) {
                let Outcome { state, message, details } = outcome;
                // What was never asked took no time to answer.
                let response_time = (found != Found::Refused).then_some(took);
                let details = details.into_iter().collect();
                let report = Report { component: job.component, state, message, response_time, details };
                // Dropped where the instance is gone meanwhile: nobody is left to whom it matters.
                fleet.checked(&job.key, job.incarnation, report);
            }
            Ended { job, found }
        }
    }
}

async fn outcome(job: &Job, rules: &Rules, resolver: &Resolver) -> (Found, Outcome) {
    let limit = job.check.timeout;
    let asked = timeout(limit, async {
        match settle(job, rules, resolver).await {
            Err(unsettled) => unsettled,
            Ok((address, authority)) => match probe::ask(&job.check.ask, address, &authority, limit).await {
                Some(outcome) => (found(outcome.state), outcome),
                None => late(limit),
            },
        }
    });
    asked.await.unwrap_or_else(|_| late(limit))
}

/// Whether a time limit was noticed so late that the control plane itself must have stood still: that says
/// nothing of who was asked.
fn is_our_delay(found: Found, took: Duration, limit: Duration) -> bool {
    found == Found::Timeout && took > limit + STALL
}

fn late(limit: Duration) -> (Found, Outcome) {
    (Found::Timeout, Outcome::unhealthy(format!("no answer within {limit:?}")))
}

fn found(state: Reported) -> Found {
    match state {
        Reported::Healthy => Found::Healthy,
        Reported::Degraded => Found::Degraded,
        Reported::Unhealthy => Found::Unhealthy,
    }
}

/// The one address that may be asked, and the name that the other end is called by.
async fn settle(
    job: &Job,
    rules: &Rules,
    resolver: &Resolver,
) -> Result<(SocketAddr, String), (Found, Outcome)> {
    let port = job.check.port.get();
    let permitted = |ip: IpAddr| {
        let target = SocketAddr::new(ip, port);
        rules
            .permit(target, job.peer)
            .map(|()| target)
            .map_err(|refused| (Found::Refused, Outcome::unhealthy(format!("not asked: {refused}"))))
    };
    match (&job.check.host, &job.peer) {
        (Host::Peer, None) => {
            let unknown = "not asked: the address that the registration came from is not known; give a host";
            Err((Found::Refused, Outcome::unhealthy(unknown)))
        }
        (Host::Peer, Some(ip)) | (Host::Ip(ip), _) => {
            let target = permitted(*ip)?;
            Ok((target, target.to_string()))
        }
        (Host::Name(name), _) => {
            let found = resolver.addresses(name).await.map_err(|error| {
                (Found::Unhealthy, Outcome::unhealthy(format!("cannot look up {name}: {error}")))
            })?;
            // A name with one address that may not be asked is not asked at all: which one is used would
            // be up to whoever answers for the name.
            let mut targets = Vec::with_capacity(found.len());
            for ip in found {
                targets.push(permitted(ip)?);
            }
            // Whoever registers over one kind of addresses is likely to listen on that kind.
            let alike = |it: &&SocketAddr| job.peer.is_some_and(|peer| peer.is_ipv4() == it.is_ipv4());
            let first = targets.iter().find(alike).or_else(|| targets.first()).copied();
            let nowhere = || (Found::Unhealthy, Outcome::unhealthy(format!("{name} has no address")));
            Ok((first.ok_or_else(nowhere)?, format!("{name}:{port}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checks::{schedule::Schedule, testing::instance},
        time::Mono,
    };

    /// A run of a check of this host on port 1, registered from this peer.
    fn job(host: &str, peer: &str) -> Job {
        let mut it = instance(0, 1, peer);
        let registration = Arc::get_mut(&mut it.registration).unwrap();
        Arc::make_mut(&mut registration.components)[0].check.as_mut().unwrap().host =
            Host::parse(host).unwrap();
        let mut schedule = Schedule::default();
        schedule.follow(Mono::default(), &it);
        schedule.due(Mono::default() + Duration::from_secs(20));
        schedule.start(1).unwrap()
    }

    fn rules(networks: &[&str]) -> Rules {
        let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
        Rules { peers: true, networks, own: Vec::new() }
    }

    #[tokio::test]
    async fn whom_a_check_asks_is_settled_when_it_runs() {
        const NONE: &[&str] = &[];
        for (host, peer, networks, settled) in [
            ("", "10.0.0.7:40000", NONE, Ok("10.0.0.7:1")),
            ("", "[::ffff:10.0.0.7]:40000", NONE, Ok("10.0.0.7:1")),
            ("", "somebody", NONE, Err(Found::Refused)),
            ("10.0.0.8", "10.0.0.7:40000", NONE, Err(Found::Refused)),
            ("10.0.0.8", "10.0.0.7:40000", &["10.0.0.0/8"], Ok("10.0.0.8:1")),
            // A name is looked up once; every address that it has must be permitted.
            ("localhost", "10.0.0.7:40000", NONE, Err(Found::Refused)),
            ("localhost", "10.0.0.7:40000", &["127.0.0.0/8", "::1/128"], Ok("127.0.0.1:1")),
            ("nobody.invalid", "10.0.0.7:40000", &["0.0.0.0/0"], Err(Found::Unhealthy)),
        ] {
            let found = settle(&job(host, peer), &rules(networks), &Resolver::default()).await;
            let found = found.map(|(address, _)| address.to_string()).map_err(|(found, _)| found);
            assert_eq!(found, settled.map(str::to_owned), "{host:?} {peer} {networks:?}");
        }
    }

    #[test]
    fn our_own_stalls_are_nobodys_failures() {
        let (limit, ms) = (Duration::from_secs(1), Duration::from_millis);
        for (found, took, ours) in [
            (Found::Timeout, ms(1_001), false),
            (Found::Timeout, ms(1_501), true),
            // It was answered, or broke, whenever that was noticed.
            (Found::Healthy, ms(9_000), false),
            (Found::Unhealthy, ms(9_000), false),
        ] {
            assert_eq!(is_our_delay(found, took, limit), ours, "{found:?} after {took:?}");
        }
    }

    #[tokio::test]
    async fn a_server_is_called_by_the_name_that_was_given() {
        let job = job("localhost", "127.0.0.1:40000");
        let (_, authority) =
            settle(&job, &rules(&["127.0.0.0/8", "::1/128"]), &Resolver::default()).await.unwrap();
        assert_eq!(authority, "localhost:1");
    }
}
