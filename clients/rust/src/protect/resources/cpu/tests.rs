use super::*;

const MS: Duration = Duration::from_millis(1);

#[test]
fn the_first_share_needs_two_readings() {
    let mut cpu = Cpu::default();
    assert_eq!(cpu.step(1_000 * MS, 500 * MS, 2.0), None);
    assert_eq!(cpu.step(1_099 * MS, 600 * MS, 2.0), None, "too soon");
    assert_eq!(cpu.step(1_500 * MS, 1_000 * MS, 2.0), Some(0.5));
    assert_eq!(cpu.step(1_500 * MS, 9_000 * MS, 2.0), Some(0.5), "no time went by");
}

#[test]
fn a_share_is_smoothed_over_about_a_second() {
    let mut cpu = Cpu::default();
    let mut used = Duration::ZERO;
    let mut share = None;
    let mut run = |from: u32, busy: u32, steps: u32| {
        for step in from..from + steps {
            used += busy * MS;
            share = cpu.step(step * 500 * MS, used, 1.0);
        }
        share.expect("two readings")
    };
    assert!(run(0, 0, 4) < 0.001);
    let after_a_second = run(4, 500, 2);
    assert!((after_a_second - 0.632).abs() < 0.01, "{after_a_second}");
    assert!(run(6, 500, 6) > 0.95);
    assert!(run(12, 0, 2) < 0.4);
}

#[test]
fn the_pace_of_the_readings_does_not_matter() {
    let after_a_second = |pace: u32| {
        let mut cpu = Cpu::default();
        cpu.step(Duration::ZERO, Duration::ZERO, 1.0);
        cpu.step(pace * MS, Duration::ZERO, 1.0);
        let shares = (1..=1_000 / pace).map(|n| cpu.step((n + 1) * pace * MS, n * pace * MS, 1.0));
        shares.last().flatten().expect("two readings")
    };
    for pace in [100, 250, 500, 1_000] {
        assert!((after_a_second(pace) - 0.632).abs() < 0.01, "{pace}: {}", after_a_second(pace));
    }
}

#[test]
fn cpu_time_that_goes_back_is_none() {
    let mut cpu = Cpu::default();
    cpu.step(Duration::ZERO, 500 * MS, 1.0);
    assert_eq!(cpu.step(500 * MS, Duration::ZERO, 1.0), Some(0.0));
}
