use std::sync::{
    Arc, Barrier,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Each reading finds one byte more.
fn counting() -> (Arc<AtomicU64>, Sampler) {
    let count = Arc::new(AtomicU64::new(0));
    let read = {
        let count = Arc::clone(&count);
        move || Reading { memory: Some(count.fetch_add(1, SeqCst) + 1), ..Reading::default() }
    };
    (count, Sampler::new(Box::new(read)))
}

#[test]
fn a_sample_is_taken_when_the_newest_is_too_old() {
    let (_, sampler) = counting();
    let memory = |millis| sampler.newest_or_sample(Duration::from_millis(millis), SECOND).memory;
    let found = [0, 1, 1_000, 1_001, 2_001, 2_002].map(memory);
    assert_eq!(found, [1, 1, 1, 2, 2, 3].map(Some), "there was none at first");
    assert_eq!(sampler.sample(2 * SECOND).memory, Some(4), "asked for by name it is always taken");
}

#[test]
fn others_do_not_wait_for_the_one_that_samples() {
    let (inside, answered) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let calls = Arc::new(AtomicU64::new(0));
    let read = {
        let (inside, answered, calls) = (Arc::clone(&inside), Arc::clone(&answered), Arc::clone(&calls));
        move || {
            if calls.fetch_add(1, SeqCst) == 1 {
                inside.wait();
                answered.wait();
            }
            Reading { memory: Some(calls.load(SeqCst)), ..Reading::default() }
        }
    };
    let sampler = Sampler::new(Box::new(read));
    assert_eq!(sampler.sample(SECOND).memory, Some(1));
    std::thread::scope(|scope| {
        let sampling = scope.spawn(|| sampler.newest_or_sample(9 * SECOND, SECOND));
        inside.wait();
        assert_eq!(sampler.newest_or_sample(9 * SECOND, SECOND).memory, Some(1), "the old one");
        assert_eq!(sampler.sample(9 * SECOND).memory, Some(1), "the old one");
        answered.wait();
        assert_eq!(sampling.join().expect("it ends").memory, Some(2));
    });
    assert_eq!(calls.load(SeqCst), 2);
}

#[test]
fn the_share_of_the_cpu_needs_what_may_be_used() {
    for (cpus, expected) in [(Some(2.0), Some(0.25)), (None, None)] {
        let used = AtomicU64::new(0);
        let read = move || {
            let cpu_time = Some(Duration::from_millis(used.fetch_add(500, SeqCst)));
            Reading { cpu_time, cpus, ..Reading::default() }
        };
        let sampler = Sampler::new(Box::new(read));
        assert_eq!(sampler.sample(SECOND).cpu, None);
        assert_eq!(sampler.sample(2 * SECOND).cpu, expected);
    }
}
