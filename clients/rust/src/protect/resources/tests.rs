use std::num::NonZeroU64;

use parking_lot::Mutex;

use super::*;
use crate::protect::clock::Manual;

const MIB: u64 = 1 << 20;

/// A process and a machine that are as a test says.
fn meter(reading: Reading) -> (Meter<Manual>, Manual, Arc<Mutex<Reading>>) {
    let (clock, reading) = (Manual::default(), Arc::new(Mutex::new(reading)));
    let read = {
        let reading = Arc::clone(&reading);
        move || *reading.lock()
    };
    (Meter::reading(clock.clone(), read), clock, reading)
}

fn needs(bytes: u64) -> Ceiling {
    Ceiling::new(None, None, NonZeroU64::new(bytes)).expect("it can begin")
}

fn process_up_to(bytes: u64) -> Ceiling {
    Ceiling::new(NonZeroU64::new(bytes), None, None).expect("it can begin")
}

#[test]
fn operations_of_one_moment_do_not_count_on_the_same_memory() {
    let (meter, ..) = meter(Reading { free: Some(100 * MIB), ..Reading::default() });
    let first = meter.admit(&needs(60 * MIB)).expect("it is free");
    let refused = meter.admit(&needs(60 * MIB)).expect_err("it is promised");
    assert_eq!((refused.which, refused.limit, refused.now), (Resource::Free, 100 * MIB, 60 * MIB));
    let second = meter.admit(&needs(40 * MIB)).expect("that much is free");
    drop(first);
    let usage = meter.usage();
    assert_eq!((usage.reserved, usage.peak_reserved), (40 * MIB, 100 * MIB));
    drop(second);
    assert!(meter.admit(&needs(100 * MIB)).is_ok());
}

#[test]
fn a_decision_goes_by_a_sample_of_the_last_second() {
    let (meter, clock, reading) = meter(Reading { memory: Some(10 * MIB), ..Reading::default() });
    let ceiling = process_up_to(100 * MIB);
    assert!(meter.admit(&ceiling).is_ok());
    reading.lock().memory = Some(200 * MIB);
    clock.advance(MAX_AGE);
    assert!(meter.admit(&ceiling).is_ok(), "it is not known yet");
    clock.advance(Duration::from_nanos(1));
    let refused = meter.admit(&ceiling).expect_err("now it is");
    assert_eq!((refused.which, refused.now), (Resource::Memory, 200 * MIB));
    reading.lock().memory = Some(10 * MIB);
    assert_eq!(meter.sample().memory, Some(10 * MIB), "or when it is taken");
    assert!(meter.admit(&ceiling).is_ok());
    assert_eq!(meter.usage().peak_memory, Some(200 * MIB));
}

#[test]
fn a_busy_process_begins_nothing() {
    let ceiling = Ceiling::new(None, CpuShare::new(0.8).ok(), None).expect("it can begin");
    let used = |seconds| Some(Duration::from_secs(seconds));
    let (meter, clock, reading) = meter(Reading { cpu_time: used(0), cpus: Some(2.0), ..Reading::default() });
    assert!(meter.admit(&ceiling).is_ok(), "nothing is known yet");
    for seconds in 1..=10 {
        clock.advance(Duration::from_secs(1));
        reading.lock().cpu_time = used(2 * seconds);
        meter.sample();
    }
    let refused = meter.admit(&ceiling).expect_err("all of it is used");
    assert_eq!((refused.which, refused.limit, refused.now), (Resource::Cpu, 80, 100));
    assert!(meter.admit(&Ceiling::default()).is_ok(), "another ceiling, another answer");
    clock.advance(2 * MAX_AGE);
    assert!(meter.admit(&ceiling).is_ok(), "it rests");
    assert!(meter.usage().peak_cpu.is_some_and(|share| share > 0.99));
}

#[test]
fn where_nothing_is_measured_nothing_is_refused() {
    let (meter, ..) = meter(Reading::default());
    let all = Ceiling::new(NonZeroU64::new(1), CpuShare::new(0.01).ok(), NonZeroU64::new(1));
    let held = meter.admit(&all.expect("it can begin")).expect("nothing is measured");
    assert!(meter.admit(&needs(u64::MAX)).is_ok());
    drop(held);
    assert_eq!(meter.usage().newest, Sample::default());
}

#[cfg(target_os = "linux")]
#[test]
fn the_real_process_is_judged() {
    let meter = Meter::new();
    assert!(meter.admit(&needs(MIB)).is_ok());
    let refused = meter.admit(&needs(1 << 50)).expect_err("no machine has a pebibyte free");
    assert_eq!(refused.which, Resource::Free);
    let usage = meter.usage();
    assert!(usage.newest.memory.is_some() && usage.least_free.is_some(), "{usage:?}");
    assert_eq!(meter.admit(&process_up_to(1)).expect_err("it has more").which, Resource::Memory);
}
