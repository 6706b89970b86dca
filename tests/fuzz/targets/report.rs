//! Reports of health: whatever comes, they are read, or every wrong field is named.
#![no_main]

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use seaworthy::{
    api::{
        parse::{registration, report},
        proto::v1 as pb,
    },
    fleet::registration::Registration,
    id::Entropy,
    probe::{machine::Machine, permit::Rules},
    time::Clock,
};

/// An instance with the components `a`, `b` and `c`.
static DECLARED: LazyLock<Registration> = LazyLock::new(|| {
    let component = |name: &str| pb::Component { name: name.to_owned(), ..pb::Component::default() };
    let wire = pb::Registration {
        service: "orders".to_owned(),
        instance_id: "i-1".to_owned(),
        components: ["a", "b", "c"].map(component).to_vec(),
        ..pb::Registration::default()
    };
    let request = pb::RegisterRequest { registration: Some(wire), ..pb::RegisterRequest::default() };
    let defaults = registration::Defaults { lease_ttl: Duration::from_secs(15), entropy: Entropy::seeded(1) };
    let machine = Machine::new(Clock::start());
    let rules = Rules { peers: true, networks: Vec::new(), own: Vec::new(), machine };
    let origin = registration::Origin { peer: Some([10, 0, 0, 7].into()), rules: Arc::new(rules) };
    registration::request(&defaults, &origin, "", request).expect("nothing is wrong with it").0
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(wire) = pb::ReportHealthRequest::decode(bytes) else { return };
    match report::reports("report", &DECLARED, wire.reports) {
        Ok(reports) => assert!(reports.len() <= DECLARED.components.len(), "each is reported once"),
        Err(wrong) => assert!(!wrong.violations().is_empty(), "no field is named: {wrong:?}"),
    }
});
