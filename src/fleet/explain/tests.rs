//! Explanations of a fleet in the test's hands: what is found out and what is said of it, together.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use super::*;
use crate::{
    fleet::{
        group::OperatorSpec,
        lifecycle::Lifecycle,
        member::Report,
        names::ComponentName,
        pairs::Pairs,
        registration::{Capability, Capture, Component, Registration},
        spec::{Budget, Limit, Need, Quantity},
        testing::{Fleet, birth, handle, key, register_as, registration, remove},
    },
    health::component::{Reported, Thresholds},
    time::Now,
};

fn name(text: &str) -> ServiceName {
    ServiceName::parse(text).unwrap()
}

fn component(name: &str, essential: bool, depends_on: &[usize]) -> Component {
    let times = |number| NonZeroU32::new(number).unwrap();
    Component {
        name: ComponentName::parse(name).unwrap(),
        kind: String::new(),
        essential,
        depends_on: depends_on.to_vec(),
        capabilities: vec![Capability::Health],
        report_interval: Duration::from_secs(60),
        thresholds: Thresholds { fail: times(3), pass: times(2) },
        check: None,
        capture: Capture::default(),
    }
}

/// `api` needs `database`, which needs `disk`; nobody needs `cache`, and it is not essential.
fn described(key: &InstanceKey) -> Registration {
    let components = [
        component("api", true, &[1]),
        component("database", true, &[2]),
        component("disk", false, &[]),
        component("cache", false, &[]),
    ]
    .into();
    Registration { components, ..registration(key) }
}

fn says(component: usize, state: Reported, message: &str) -> Report {
    let message = message.to_owned();
    Report { component, state, message, response_time: None, details: Pairs::default() }
}

fn say(fleet: &mut Fleet, key: &InstanceKey, component: usize, state: Reported, message: &str) {
    let reports = vec![says(component, state, message)];
    fleet.state.report(fleet.now, key, 1, reports, None).unwrap();
}

/// Registers one of which every component is healthy.
fn healthy(fleet: &mut Fleet, key: &InstanceKey) {
    register_as(&mut fleet.state, fleet.now, described(key));
    for component in 0..4 {
        say(fleet, key, component, Reported::Healthy, "");
    }
}

/// Three bad reports: as many as it takes.
fn fails(fleet: &mut Fleet, key: &InstanceKey, component: usize, message: &str) {
    for _ in 0..3 {
        say(fleet, key, component, Reported::Unhealthy, message);
    }
}

fn moves(fleet: &mut Fleet, key: &InstanceKey, lifecycle: Lifecycle) {
    fleet.state.report(fleet.now, key, 1, vec![], Some(lifecycle)).unwrap();
}

fn ask(fleet: &mut Fleet, service: &str, change: impl FnOnce(&mut Spec)) {
    let mut spec = Spec::default();
    change(&mut spec);
    let operator = OperatorSpec { spec: Arc::new(spec), revision: 1, updated: fleet.now.wall };
    fleet.state.set_spec(fleet.now, &name(service), Some(operator));
}

fn at_least(count: u32) -> Budget {
    Budget { limit: Some(Limit::MinAvailable(Quantity::Count(count))), quorum_size: 0 }
}

async fn of_service(fleet: Fleet, service: &str) -> Explanation {
    let Fleet { state, now: Now { wall, .. } } = fleet;
    let facts = handle(state).facts(&name(service), wall).await.unwrap();
    service::explain(facts, wall)
}

fn of_instance(fleet: &Fleet, key: &InstanceKey) -> Vec<Cause> {
    let member = &fleet.state.groups()[&key.service].members[&key.id];
    let found = member.snapshot(fleet.now);
    let mut causes = instance::chain(&found, fleet.now.wall);
    causes.extend(instance::nearly_wrong(&found, fleet.now.wall));
    causes
}

/// The tree as a person reads it: `!` a cause, `~` a likely one, `?` nearly wrong, `.` context, `*` a root.
fn drawn(causes: &[Cause]) -> String {
    let line = |cause: &Cause| {
        let mark = match cause.role {
            Role::Cause => '!',
            Role::Likely => '~',
            Role::NearlyWrong => '?',
            Role::Context => '.',
        };
        let of = match &cause.about {
            About::Fleet => "fleet".to_owned(),
            About::Service(name) => name.to_string(),
            About::Instance(key) => key.id.to_string(),
            About::Component(key, name) => format!("{}/{name}", key.id),
        };
        let root = if cause.root { "*" } else { "" };
        format!("{}{mark} {of}{root}: {}\n", "  ".repeat(cause.depth as usize), cause.text)
    };
    causes.iter().map(line).collect()
}

#[test]
fn an_instance_is_followed_down_to_the_component_at_the_root() {
    let mut fleet = Fleet::default();
    let key = key("orders", "i-1");
    healthy(&mut fleet, &key);
    for (component, message) in [(3, "cold"), (0, "no answer"), (1, "read only"), (2, "no space left")] {
        fails(&mut fleet, &key, component, message);
    }
    assert_eq!(
        drawn(&of_instance(&fleet, &key)),
        "! i-1: component api, which needs disk: no space left\n  \
           ! i-1/api: no answer; the instance is useless without it; 3 bad reports in a row\n    \
             ! i-1/database: read only; the instance is useless without it; 3 bad reports in a row\n      \
               ! i-1/disk*: no space left; 3 bad reports in a row\n  \
           . i-1/cache: cold; 3 bad reports in a row\n"
    );
    // What it needs is well again: it is at the root itself.
    for component in [0, 1, 1] {
        say(&mut fleet, &key, component, Reported::Healthy, "");
    }
    assert_eq!(
        drawn(&of_instance(&fleet, &key)),
        "! i-1: component api: no answer\n  \
           ! i-1/api*: no answer; the instance is useless without it; its last report is good, 2 in a row \
         make it healthy\n  \
           . i-1/disk: no space left; 3 bad reports in a row\n  \
           . i-1/cache: cold; 3 bad reports in a row\n"
    );
}

#[test]
fn the_life_of_an_instance_comes_before_its_components() {
    let key = key("orders", "i-1");
    for (happens, drawn_so) in [
        (
            &(|fleet: &mut Fleet| {
                fleet.pass(Duration::from_secs(20));
                while fleet.state.tick(fleet.now, 8).more {}
            }) as &dyn Fn(&mut Fleet),
            "! i-1*: lost: not heard within its lease of 15s; i-1 was last heard at 22:13:20Z\n  \
               . i-1/disk: when it was last heard: no space left; 3 bad reports in a row\n",
        ),
        (
            &|fleet| moves(fleet, &key, Lifecycle::Failed),
            "! i-1*: the instance said that it failed\n  \
               . i-1/disk: when it was last heard: no space left; 3 bad reports in a row\n",
        ),
        (
            &|fleet| moves(fleet, &key, Lifecycle::Draining),
            "! i-1: draining since 22:13:20Z, takes no new work and does not count as available; component \
             disk: no space left\n  \
               ! i-1/disk*: no space left; 3 bad reports in a row\n",
        ),
    ] {
        let mut fleet = Fleet::default();
        healthy(&mut fleet, &key);
        fails(&mut fleet, &key, 2, "no space left");
        happens(&mut fleet);
        assert_eq!(drawn(&of_instance(&fleet, &key)), drawn_so);
    }
    let mut fleet = Fleet::default();
    let restored =
        crate::fleet::member::Birth { confirmed: false, ..birth(described(&key), 1, fleet.now.wall) };
    fleet.state.admit(fleet.now, restored);
    assert!(
        drawn(&of_instance(&fleet, &key)).starts_with("! i-1*: not heard since the control plane started\n"),
        "{}",
        drawn(&of_instance(&fleet, &key))
    );
}

#[test]
fn what_is_nearly_wrong_is_told_of_what_is_healthy() {
    let key = key("orders", "i-1");
    let mut fleet = Fleet::default();
    healthy(&mut fleet, &key);
    assert_eq!(drawn(&of_instance(&fleet, &key)), ". i-1: nothing is wrong with it\n");
    say(&mut fleet, &key, 1, Reported::Unhealthy, "slow");
    say(&mut fleet, &key, 1, Reported::Unhealthy, "slow");
    fleet.pass(Duration::from_secs(10));
    assert_eq!(
        drawn(&of_instance(&fleet, &key)),
        ". i-1: nothing is wrong with it\n  ? i-1/database: 2 of 3 bad reports towards unhealthy: slow\n"
    );
    fleet.pass(Duration::from_secs(1));
    let found = drawn(&of_instance(&fleet, &key));
    assert!(found.contains("\n  ? i-1: not heard for 11s; lost after 15s\n"), "{found}");
    fleet.pass(Duration::from_secs(110));
    fleet.state.groups()[&key.service].members[&key.id].lease.touch(fleet.now.mono);
    let found = drawn(&of_instance(&fleet, &key));
    assert!(found.contains("\n  ? i-1/api: no report for 121s; unknown after 180s\n"), "{found}");
    assert!(!found.contains("not heard for"), "{found}");
}

#[test]
fn a_check_that_is_late_is_told_as_what_it_is() {
    let key = key("orders", "i-1");
    let mut fleet = Fleet::default();
    let mut asked = described(&key);
    let interval = Duration::from_secs(10);
    let mut components = asked.components.to_vec();
    components.truncate(1);
    components[0] = Component {
        report_interval: interval,
        depends_on: vec![],
        check: Some(Box::new(crate::fleet::registration::ActiveCheck {
            ask: crate::probe::Ask::Tcp,
            host: crate::probe::Host::Peer,
            port: std::num::NonZeroU16::MIN,
            interval,
            timeout: Duration::from_secs(1),
        })),
        ..components[0].clone()
    };
    asked.components = components.into();
    register_as(&mut fleet.state, fleet.now, asked);
    assert!(fleet.state.checked(fleet.now, &key, 1, says(0, Reported::Healthy, "")));
    for (seconds, told) in [(20, None), (5, Some("25s")), (40, Some("65s"))] {
        fleet.pass(Duration::from_secs(seconds));
        fleet.state.groups()[&key.service].members[&key.id].lease.touch(fleet.now.mono);
        while fleet.state.tick(fleet.now, 8).more {}
        let late = told.map_or(String::new(), |told| {
            format!("  ? i-1/api: not asked for {told}, and due every 10s; unknown after 300s\n")
        });
        assert_eq!(drawn(&of_instance(&fleet, &key)), format!(". i-1: nothing is wrong with it\n{late}"));
    }
}

#[test]
fn bad_reports_lead_to_what_all_of_them_are() {
    use Reported::{Degraded, Unhealthy};
    for (reports, towards) in [
        (&[Unhealthy] as &[Reported], "1 of 3 bad reports towards unhealthy"),
        (&[Unhealthy, Unhealthy], "2 of 3 bad reports towards unhealthy"),
        (&[Degraded, Degraded], "2 of 3 bad reports towards degraded"),
        (&[Unhealthy, Degraded], "2 of 3 bad reports towards degraded"),
        // One more unhealthy one makes it degraded.
        (&[Degraded, Unhealthy], "2 of 3 bad reports towards degraded"),
    ] {
        let key = key("orders", "i-1");
        let mut fleet = Fleet::default();
        healthy(&mut fleet, &key);
        for report in reports {
            say(&mut fleet, &key, 1, *report, "slow");
        }
        let found = drawn(&of_instance(&fleet, &key));
        assert!(found.contains(&format!("? i-1/database: {towards}: slow\n")), "{reports:?}: {found}");
        // That is what comes of it.
        for report in reports.last().into_iter().cycle().take(3 - reports.len()) {
            say(&mut fleet, &key, 1, *report, "slow");
        }
        let member = &fleet.state.groups()[&key.service].members[&key.id];
        assert!(towards.ends_with(member.part(1).unwrap().state.as_str()), "{reports:?}");
    }
}

#[test]
fn how_many_good_reports_it_takes_is_told_as_it_is_while_flapping_too() {
    for (pass, reports, told) in [(2, "HUH", 2), (1, "HUHUHUH", 2), (3, "HUHHHUHHHUHH", 3)] {
        let times = |number| NonZeroU32::new(number).unwrap();
        let key = key("orders", "i-1");
        let registered = registration(&key);
        let mut components = registered.components.to_vec();
        components[0].thresholds = Thresholds { fail: times(1), pass: times(pass) };
        let registered = Registration { components: components.into(), ..registered };
        let mut fleet = Fleet::default();
        register_as(&mut fleet.state, fleet.now, registered);
        for letter in reports.chars() {
            let state = if letter == 'H' { Reported::Healthy } else { Reported::Unhealthy };
            say(&mut fleet, &key, 0, state, "gone");
        }
        let found = drawn(&of_instance(&fleet, &key));
        let told = format!("its last report is good, {told} in a row make it healthy");
        assert!(found.contains(&told), "pass {pass}, {reports}: {found}");
    }
}

#[tokio::test]
async fn instances_that_share_a_cause_are_one_line_and_the_rest_is_counted() {
    let mut fleet = Fleet::default();
    for number in 0..20 {
        healthy(&mut fleet, &key("orders", &format!("i-{number:02}")));
    }
    ask(&mut fleet, "orders", |spec| spec.budget = at_least(8));
    fleet.pass(Duration::from_secs(60));
    for number in 0..12 {
        let key = key("orders", &format!("i-{number:02}"));
        fleet.state.report(fleet.now, &key, 1, vec![], None).unwrap();
        fails(&mut fleet, &key, 1, "connection refused");
    }
    fails(&mut fleet, &key("orders", "i-12"), 3, "cold");
    let found = of_service(fleet, "orders").await;
    assert_eq!(
        found.headline,
        "orders is degraded since 22:14:20Z: 8 of 20 instances available, 8 needed; 12 instances (i-00, \
         i-01, i-02 and 9 more): component database: connection refused"
    );
    assert_eq!(
        drawn(&found.causes),
        "! orders: 8 of 20 instances available, 8 needed\n  \
           ! i-00: 12 instances (i-00, i-01, i-02 and 9 more): component database: connection refused\n    \
             ! i-00/database*: connection refused; the instance is useless without it; 3 bad reports in a row\n  \
           ! i-12: component cache: cold\n    \
             ! i-12/cache*: cold; 3 bad reports in a row\n  \
           ? orders: none to spare: the next one that fails makes orders unhealthy\n"
    );
    assert_eq!(
        found.next_steps,
        [
            "look at component database of orders/i-00 first; 12 in all say the same",
            "look at component cache of orders/i-12 first"
        ]
    );
}

#[tokio::test]
async fn a_service_without_enough_says_what_it_lacks() {
    for (happens, headline, drawn_so) in [
        (
            &(|fleet: &mut Fleet| remove(&mut fleet.state, fleet.now, &key("orders", "i-1"), 1))
                as &dyn Fn(&mut Fleet),
            "orders is unknown since 22:13:20Z: no instances are registered",
            "! orders: no instances are registered\n  ! orders*: nobody is registered, 2 needed\n",
        ),
        (
            &|_| {},
            "orders is unhealthy since 22:13:20Z: 1 of 1 instance available, 2 needed; only 1 instance \
             registered, 2 needed",
            "! orders: 1 of 1 instance available, 2 needed\n  ! orders*: only 1 instance registered, 2 needed\n",
        ),
        (
            &|fleet| {
                healthy(fleet, &key("orders", "i-2"));
                moves(fleet, &key("orders", "i-2"), Lifecycle::Draining);
            },
            "orders is unhealthy since 22:13:20Z: 1 of 2 instances available, 2 needed; 1 leaving on \
             purpose; 1 instance leaving on purpose (lame_duck, draining or stopping), not available",
            "! orders: 1 of 2 instances available, 2 needed; 1 leaving on purpose\n  \
               ! orders*: 1 instance leaving on purpose (lame_duck, draining or stopping), not available\n",
        ),
    ] {
        let mut fleet = Fleet::default();
        ask(&mut fleet, "orders", |spec| spec.budget = at_least(2));
        healthy(&mut fleet, &key("orders", "i-1"));
        happens(&mut fleet);
        let found = of_service(fleet, "orders").await;
        assert_eq!((found.headline.as_str(), drawn(&found.causes).as_str()), (headline, drawn_so));
        assert_eq!(found.next_steps.len(), 1, "{:?}", found.next_steps);
    }
}

#[tokio::test]
async fn what_a_service_needs_is_a_likely_cause_and_never_the_cause() {
    let mut fleet = Fleet::default();
    let (orders, payments) = (key("orders", "i-1"), key("payments", "p-1"));
    healthy(&mut fleet, &orders);
    healthy(&mut fleet, &payments);
    ask(&mut fleet, "orders", |spec| {
        spec.depends_on = [(name("payments"), Need::Hard), (name("mail"), Need::Soft)].into();
    });
    fleet.pass(Duration::from_secs(5));
    fails(&mut fleet, &payments, 2, "no space left");
    fails(&mut fleet, &payments, 1, "read only");
    fleet.pass(Duration::from_secs(5));
    let Fleet { state, now } = fleet;
    let facts = handle(state).facts(&name("orders"), now.wall).await.unwrap();
    let found = service::explain(facts, now.wall);
    assert_eq!(
        found.headline,
        "orders is healthy by itself; payments, which it needs, is unhealthy since 22:13:25Z"
    );

    let mut fleet = Fleet::default();
    healthy(&mut fleet, &orders);
    healthy(&mut fleet, &payments);
    ask(&mut fleet, "orders", |spec| {
        spec.depends_on = [(name("payments"), Need::Hard), (name("mail"), Need::Soft)].into();
    });
    fails(&mut fleet, &payments, 1, "read only");
    fleet.pass(Duration::from_secs(5));
    fails(&mut fleet, &orders, 0, "no answer");
    let found = of_service(fleet, "orders").await;
    assert_eq!(
        found.headline,
        "orders is unhealthy since 22:13:25Z: 0 of 1 instance available, 1 needed; i-1: component api: no \
         answer; payments, which it needs, is unhealthy since 22:13:20Z and is a likely cause"
    );
    assert_eq!(
        drawn(&found.causes),
        "! orders: 0 of 1 instance available, 1 needed\n  \
           ! i-1: component api: no answer\n    \
             ! i-1/api*: no answer; the instance is useless without it; 3 bad reports in a row\n  \
           ~ payments*: orders needs it (hard): 0 of 1 required instance available; p-1: component database: \
         read only; so since before orders (22:13:25Z)\n  \
           . mail: orders needs it (soft), and nobody of that name is known\n"
    );
    assert_eq!(
        found.next_steps[..2],
        ["look at component api of orders/i-1 first", "look at payments: `seaworthy explain payments`"]
    );
}

#[tokio::test]
async fn of_a_service_of_any_size_a_bounded_part_is_looked_at() {
    let mut fleet = Fleet::default();
    let count = LOOKED_AT + 3 * HOLD;
    for number in 0..count {
        fleet.register(&key("orders", &format!("i-{number:05}")));
    }
    let handle = handle(fleet.state);
    let (_, crowd) = handle.crowd(&name("orders")).await.unwrap();
    assert_eq!(crowd.total, count);
    let (shares, more) = crowd.worst();
    assert_eq!((shares.len(), shares[0].count as usize, more), (1, LOOKED_AT, 3 * HOLD));
    let found = handle.explain_service(&name("orders")).await.unwrap();
    assert!(drawn(&found.causes).ends_with("  . orders: and 3072 more instances not healthy\n"));
}

#[tokio::test]
async fn the_whole_fleet_is_read_in_pieces() {
    let mut fleet = Fleet::default();
    let services = 2 * HOLD + 5;
    for number in 0..services {
        let key = key(&format!("s{number:05}"), "i-1");
        fleet.register(&key);
        let state = if number == services - 1 { Reported::Unhealthy } else { Reported::Healthy };
        let message = "gone".to_owned();
        let report = Report { component: 0, state, message, response_time: None, details: Pairs::default() };
        fleet.state.report(fleet.now, &key, 1, vec![report], None).unwrap();
    }
    let found = handle(fleet.state).explain_fleet().await;
    let summary =
        "1 of 2053 services not well: 1 unhealthy, 0 unknown, 0 degraded; begin with s02052, unhealthy";
    assert!(found.headline.starts_with(summary), "{}", found.headline);
}
