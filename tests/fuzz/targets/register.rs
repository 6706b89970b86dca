//! A request to register: whatever comes, it is read, or every wrong field is named.
#![no_main]

use std::{sync::Arc, time::Duration};

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use seaworthy::{
    api::{parse::registration, proto::v1 as pb},
    id::Entropy,
    probe::{machine::Machine, permit::Rules},
    time::Clock,
};

fuzz_target!(|bytes: &[u8]| {
    let Ok(wire) = pb::RegisterRequest::decode(bytes) else { return };
    let defaults = registration::Defaults { lease_ttl: Duration::from_secs(15), entropy: Entropy::seeded(1) };
    let machine = Machine::new(Clock::start());
    let rules = Rules { peers: true, networks: Vec::new(), own: Vec::new(), machine };
    let origin = registration::Origin { peer: Some([10, 0, 0, 7].into()), rules: Arc::new(rules) };
    match registration::request(&defaults, &origin, "register", wire) {
        Ok((registration, _)) => {
            // What was read is within what the fleet is promised.
            assert!(registration.key.service.as_str().len() <= 63);
            assert!(registration.components.len() <= 64);
        }
        Err(wrong) => {
            let named = wrong.violations();
            assert!(!named.is_empty(), "no field is named: {wrong:?}");
            assert!(named.iter().all(|one| one.field.starts_with("register")), "{wrong:?}");
        }
    }
});
