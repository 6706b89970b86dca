//! Shutdowns without a control plane, on paused time.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::time::sleep;

use super::*;
use crate::rules::Phase;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn idle() -> Settings {
    Settings { lame_duck: Duration::ZERO, ..Settings::default() }
}

fn of(settings: Settings) -> Shutdown {
    Shutdown::new(settings).unwrap()
}

/// Runs it, and `beside` it.
async fn ended<T>(shutdown: &Shutdown, beside: impl Future<Output = T>) -> (Report, T) {
    shutdown.begin("test");
    tokio::join!(shutdown.clone().run_alone(), beside)
}

fn took(report: &Report, phase: Phase) -> Duration {
    report.phases.iter().find(|one| one.phase == phase).unwrap().took
}

#[tokio::test(start_paused = true)]
async fn what_is_idle_ends_at_once_and_goes_through_all_phases() {
    let shutdown = of(idle());
    let mut stage = shutdown.stage();
    let seen = async {
        let mut seen = Vec::new();
        loop {
            let phase = stage.borrow_and_update().phase;
            if seen.last() != Some(&phase) {
                seen.push(phase);
            }
            if phase == Phase::Terminated || stage.changed().await.is_err() {
                return seen;
            }
        }
    };
    let (report, seen) = ended(&shutdown, seen).await;
    assert_eq!(report.total, Duration::ZERO);
    assert!(report.is_clean() && report.cause == "test", "{report}");
    assert!(report.phases.iter().map(|one| one.phase).eq(Phase::ALL[1..6].iter().copied()));
    assert_eq!(seen.last(), Some(&Phase::Terminated));
}

#[tokio::test(start_paused = true)]
async fn the_lame_duck_time_ends_when_it_is_quiet_and_at_its_own_end_where_it_never_is() {
    // Nothing comes: as long as it has to be quiet.
    let (report, ()) = ended(&of(Settings::default()), async {}).await;
    assert_eq!(report.total, ms(1000));

    let shutdown = of(Settings::default());
    let come = async {
        let mut taken = 0;
        while let Ok(request) = shutdown.request() {
            sleep(ms(100)).await;
            taken += 1;
            drop(request);
        }
        taken
    };
    let (report, taken) = ended(&shutdown, come).await;
    assert_eq!(took(&report, Phase::InitiateShutdown), ms(5000));
    assert!(report.is_clean() && (50..=51).contains(&taken), "{taken}: {report}");
    assert_eq!((report.requests.finished, report.requests.cut, report.requests.refused), (taken, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn requests_finish_within_their_time_or_are_cut() {
    for (takes, cut) in [(20_000, 0), (50_000, 1)] {
        let shutdown = of(idle());
        let request = shutdown.request().unwrap();
        let work = async move {
            sleep(ms(takes)).await;
            drop(request);
        };
        let work = rt::spawn(work);
        let (report, ()) = ended(&shutdown, async {}).await;
        drop(work);
        let expected = Counts { at_start: 1, finished: 1 - cut, cut, refused: 0 };
        assert_eq!(report.requests, expected, "{report}");
        assert_eq!(report.total, ms(takes.min(30_000)));
        assert_eq!(report.phases[2].timed_out, cut == 1);
        assert_eq!(report.is_clean(), cut == 0);
    }
}

#[tokio::test(start_paused = true)]
async fn hooks_run_in_order_and_none_keeps_the_others_from_running() {
    let shutdown = of(idle());
    let log = Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let log = Arc::clone(&log);
        move |_: Ending| async move {
            sleep(ms(10)).await;
            log.lock().push(name);
            Ok::<_, Error>("seen")
        }
    };
    shutdown.add(Hook::database("database", note("database")));
    shutdown.add(Hook::cache("cache", note("cache")));
    shutdown.add(Hook::new("late", Phase::CleanupResources, note("late")).order(300));
    shutdown.add(Hook::new("hangs", Phase::CleanupResources, async |_| {
        std::future::pending::<()>().await;
        Ok(())
    }));
    shutdown.add(Hook::new("panics", Phase::SaveState, async |_| -> Result<(), Error> { panic!("oh") }));
    shutdown.add(Hook::new("fails", Phase::SaveState, async |_| Err::<(), _>("no room".into())));
    shutdown.add(Hook::save("orders", async |_| {
        Ok(Checkpoint { name: "orders".into(), position: "42".into(), size: 7 })
    }));
    shutdown.add(Hook::background_tasks("mailer", note("mailer")));
    shutdown.add(Hook::scheduler("nightly", note("nightly")));
    let (report, ()) = ended(&shutdown, async {}).await;
    assert_eq!(*log.lock(), ["nightly", "mailer", "cache", "database", "late"]);
    let outcome = |name: &str| {
        let hooks = report.phases.iter().flat_map(|phase| &phase.hooks);
        hooks.clone().find(|hook| hook.name == name).unwrap().outcome.clone()
    };
    assert_eq!(outcome("hangs"), Outcome::TimedOut);
    assert_eq!(outcome("fails"), Outcome::Failed("no room".into()));
    assert_eq!(outcome("panics"), Outcome::Failed("the hook panicked: oh".into()));
    assert_eq!(outcome("cache"), Outcome::Done);
    assert_eq!(report.checkpoints().map(|one| one.position.as_str()).collect::<Vec<_>>(), ["42"]);
    assert_eq!(took(&report, Phase::CleanupResources), ms(5030), "{report}");
    assert!(!report.is_clean());
    let text = report.to_string();
    assert!(text.contains("saved orders up to 42, 7 bytes") && text.contains("failed: no room"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn everything_fits_under_the_time_of_all_and_what_comes_last_keeps_its_part() {
    for platform in [None, Some(Duration::from_secs(20)), Some(Duration::from_secs(5))] {
        let settings = Settings { platform, ..Settings::default() };
        let shutdown = of(Settings { lame_duck: settings.all() / 4, ..settings });
        let _hangs = shutdown.request().unwrap();
        let _stays = shutdown.long_lived().unwrap();
        let ran = Arc::new(AtomicU32::new(0));
        for name in ["mailer", "queue", "cache", "database"] {
            let ran = Arc::clone(&ran);
            let work = async move |ending: Ending| {
                ran.fetch_add(1, Ordering::Relaxed);
                assert!(!ending.left().is_zero(), "no time is left for it");
                std::future::pending::<()>().await;
                Ok::<_, Error>(())
            };
            shutdown.add(match name {
                "mailer" => Hook::background_tasks(name, work),
                "queue" => Hook::save(name, work),
                "cache" => Hook::cache(name, work),
                _ => Hook::database(name, work),
            });
        }
        let (report, ()) = ended(&shutdown, async {}).await;
        assert!(report.total <= settings.all(), "{report}");
        assert!(platform.is_none_or(|platform| report.total < platform), "{report}");
        assert_eq!(ran.load(Ordering::Relaxed), 4, "{report}");
        assert_eq!((report.requests.cut, report.long_lived.cut), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_request_skips_the_waits_and_still_saves_and_closes() {
    let shutdown = of(idle());
    let _hangs = shutdown.request().unwrap();
    let saved = Arc::new(AtomicU32::new(0));
    let save = Arc::clone(&saved);
    shutdown.add(Hook::save("queue", async move |_| {
        sleep(ms(500)).await;
        save.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }));
    shutdown.add(Hook::database("database", async |_| {
        std::future::pending::<()>().await;
        Ok(())
    }));
    let again = async {
        sleep(ms(2000)).await;
        shutdown.force("SIGTERM");
    };
    let (report, ()) = ended(&shutdown, again).await;
    assert_eq!(report.total, ms(2000 + 500 + 1000), "{report}");
    assert!(report.forced && report.requests.cut == 1 && saved.load(Ordering::Relaxed) == 1);
}

#[tokio::test(start_paused = true)]
async fn more_time_is_given_within_a_cap_and_to_what_is_waited_for() {
    let settings = Settings { most_extension: ms(30_000), ..idle() };
    let shutdown = of(settings);
    assert_eq!(shutdown.extend(ms(1000)), Duration::ZERO, "it has not begun");
    let request = shutdown.request().unwrap();
    let beside = async {
        sleep(ms(29_000)).await;
        let given = [shutdown.extend(ms(20_000)), shutdown.extend(ms(20_000)), shutdown.extend(ms(20_000))];
        sleep(ms(28_000)).await;
        drop(request);
        given
    };
    let (report, given) = ended(&shutdown, beside).await;
    assert_eq!(given, [ms(20_000), ms(10_000), Duration::ZERO]);
    assert_eq!((report.total, report.extended), (ms(57_000), ms(30_000)));
    assert!(report.is_clean(), "{report}");
    // What the platform does not give nobody can.
    let shutdown = of(Settings { platform: Some(ms(50_000)), ..idle() });
    shutdown.begin("test");
    assert_eq!(shutdown.extend(ms(60_000)), ms(5_000));
}

#[tokio::test(start_paused = true)]
async fn long_lived_streams_get_a_last_word_and_close() {
    let shutdown = of(idle());
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = shutdown.long_lived().unwrap();
        streams.push(rt::spawn(async move {
            let goodbye = stream.closing().await;
            assert_eq!(goodbye.cause(), "test");
            goodbye.pause().await;
        }));
    }
    let _deaf = shutdown.long_lived().unwrap();
    let (report, ()) = ended(&shutdown, async {}).await;
    assert_eq!(report.long_lived, Counts { at_start: 4, finished: 3, cut: 1, refused: 0 });
    assert_eq!(report.total, ms(5000));
    assert!(shutdown.long_lived().is_err());
}

#[tokio::test(start_paused = true)]
async fn hooks_that_come_late_run_where_their_phase_is_still_to_come() {
    let shutdown = of(idle());
    let (adds, ran) = (shutdown.clone(), Arc::new(AtomicU32::new(0)));
    let counted = Arc::clone(&ran);
    shutdown.add(Hook::save("first", async move |_| {
        for phase in [Phase::StopAcceptingRequests, Phase::CleanupResources] {
            let counted = Arc::clone(&counted);
            adds.add(Hook::new("late", phase, async move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }));
        }
        Ok(())
    }));
    ended(&shutdown, async {}).await;
    assert_eq!(ran.load(Ordering::Relaxed), 1);
}
