//! The judgements as tables.

use seaworthy_client::proto::seaworthy::v1::{Dependency, InstanceCounts, ServiceSpec};

use super::*;

#[test]
fn versions_of_one_minor_match_and_the_side_that_is_behind_is_named() {
    for (server, own, outcome, remedy) in [
        ("1.2.0", "1.2.0", Outcome::Pass, ""),
        ("1.2.9", "1.2.0", Outcome::Pass, ""),
        ("1.3.0", "1.2.0", Outcome::Warn, "update this program to 1.3.0"),
        ("1.1.0", "1.2.0", Outcome::Warn, "update the control plane to 1.2.0, or use this program in 1.1.0"),
        ("2.0.0", "1.9.0", Outcome::Fail, "use this program in version 2.0.0"),
        ("0.9.0", "1.0.0", Outcome::Fail, "use this program in version 0.9.0"),
        ("", "1.0.0", Outcome::Warn, "use a released version of both"),
    ] {
        let finding = versions(server, own);
        assert_eq!((finding.outcome, finding.remedy.as_str()), (outcome, remedy), "{server} and {own}");
    }
}

#[test]
fn only_what_a_round_trip_cannot_explain_is_a_difference() {
    let sent = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let ms = Duration::from_millis;
    for (server, round_trip, outcome) in [
        (sent, ms(0), Outcome::Pass),
        (sent + ms(1999), ms(0), Outcome::Pass),
        (sent + ms(2000), ms(0), Outcome::Warn),
        (sent - ms(2000), ms(0), Outcome::Warn),
        // Answered at the end of a slow round trip: 1.5 s ahead at the least, whatever the way took.
        (sent + ms(3500), ms(2000), Outcome::Pass),
        (sent + ms(4000), ms(2000), Outcome::Warn),
        (sent - ms(2000), ms(2000), Outcome::Warn),
    ] {
        assert_eq!(clocks(Some(server), sent, round_trip).outcome, outcome, "{server:?} {round_trip:?}");
    }
    assert!(clocks(Some(sent - ms(5000)), sent, ms(0)).found.contains("5.0s behind"));
    assert_eq!(clocks(None, sent, ms(0)).outcome, Outcome::Warn);
}

#[test]
fn bounds_are_near_from_four_fifths_on() {
    for (used, most, outcome) in [
        (79, 100, Outcome::Pass),
        (80, 100, Outcome::Warn),
        (100, 100, Outcome::Fail),
        (u64::MAX, 0, Outcome::Pass),
        (u64::MAX / 2, u64::MAX, Outcome::Warn),
    ] {
        let found = limit(("a.b", "t"), (used, most, "things"), "mend it");
        assert_eq!(found.outcome, outcome, "{used} of {most}");
    }
}

fn service(name: &str, available: u32, needed: u32, health: HealthState) -> Service {
    Service {
        name: name.into(),
        health: health.into(),
        required_available: needed,
        counts: Some(InstanceCounts { total: 3, available, ..InstanceCounts::default() }),
        ..Service::default()
    }
}

#[test]
fn a_fleet_that_is_well_passes_and_so_does_an_empty_one() {
    let well = [service("orders", 3, 2, HealthState::Healthy)];
    for services in [&well[..], &[]] {
        let found = fleet(services, Unheard::default());
        assert!(found.iter().all(|it| it.outcome == Outcome::Pass), "{found:?}");
    }
}

#[test]
fn what_is_wrong_with_a_fleet_is_named() {
    let degraded = service("cart", 2, 2, HealthState::Degraded);
    let found = needs(std::slice::from_ref(&degraded));
    assert_eq!((found.outcome, found.remedy.as_str()), (Outcome::Warn, "see why: `seaworthy health cart`"));
    let found = needs(&[degraded, service("orders", 1, 2, HealthState::Unhealthy)]);
    assert_eq!(found.outcome, Outcome::Fail);
    assert_eq!(found.found, "1 of 2 have not: orders (1 of 2 needed)");

    let needing = |kind: DependencyKind| Service {
        spec: Some(ServiceSpec {
            depends_on: vec![Dependency { service: "payments".into(), kind: kind.into() }],
            ..ServiceSpec::default()
        }),
        disagreements: vec!["budget".into()],
        dependency_circle: vec!["orders".into(), "cart".into()],
        ..service("orders", 3, 2, HealthState::Healthy)
    };
    assert_eq!(dependencies(&[needing(DependencyKind::Soft)]).outcome, Outcome::Pass);
    let found = dependencies(&[needing(DependencyKind::Hard)]);
    assert_eq!(
        (found.outcome, found.found.as_str()),
        (Outcome::Warn, "nobody has registered payments (needed by orders)")
    );
    assert_eq!(specifications(&[needing(DependencyKind::Soft)]).found, "orders (budget)");
    assert_eq!(circles(&[needing(DependencyKind::Soft)]).found, "cart and orders");
}

#[test]
fn all_are_said_to_be_heard_only_where_all_were_looked_at() {
    for (instances, more, outcome, found) in [
        (0, false, Outcome::Pass, "all of them"),
        (0, true, Outcome::Warn, "the first 1000 of unknown health were, and there are more"),
        (1, false, Outcome::Warn, "1 instance not yet heard"),
        (500, true, Outcome::Warn, "500 instances or more not yet heard"),
    ] {
        let finding = confirmed(Unheard { instances, of: 1000, more });
        assert_eq!(finding.outcome, outcome, "{instances} {more}");
        assert!(finding.found.starts_with(found), "{}", finding.found);
    }
}

#[test]
fn long_lists_are_cut_and_counted() {
    let names: Vec<String> = (0..8).map(|number| format!("s{number}")).collect();
    assert_eq!(list(&names), "s0, s1, s2, s3, s4 and 3 more");
    assert_eq!(list(&names[..2]), "s0, s1");
}

#[test]
fn an_outcome_of_a_newer_server_is_not_taken_for_good() {
    let check = ReadinessCheck { id: "new.one".into(), outcome: 99, ..ReadinessCheck::default() };
    assert_eq!(folded(&check).outcome, Outcome::Warn);
}
