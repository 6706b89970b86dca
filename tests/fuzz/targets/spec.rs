//! A specification of a service: what was read is told as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use seaworthy::{
    api::{
        convert::service,
        parse::{Fields, spec::spec},
        proto::v1 as pb,
    },
    fleet::{names::ServiceName, spec::Spec},
};

fn read(wire: pb::ServiceSpec) -> Option<Spec> {
    let of = ServiceName::parse("orders").expect("a name");
    let mut fields = Fields::default();
    let spec = spec(&mut fields, "spec", Some(&of), wire);
    match fields.check() {
        Ok(()) => Some(spec),
        Err(wrong) => {
            assert!(!wrong.violations().is_empty(), "no field is named: {wrong:?}");
            None
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(wire) = pb::ServiceSpec::decode(bytes) else { return };
    let Some(found) = read(wire) else { return };
    let told = service::spec(&found);
    let again = read(told.clone()).expect("what was told is right");
    assert_eq!(again, found);
    assert_eq!(service::spec(&again), told);
});
