//! Lists, and what is forgotten.

use proptest::prelude::*;

use super::*;

async fn ids(it: &Running, filter: &Filter, is_seen: impl Fn(&str) -> bool) -> Vec<Ordered> {
    let (found, more) = it.handle.list(filter, is_seen, None, 1000).await;
    assert!(!more);
    found.iter().map(|it| it.id).collect()
}

#[tokio::test(start_paused = true)]
async fn lists_are_newest_first_filtered_and_seen_in_part() {
    let it = start(&Medium::default()).await;
    let of = |service: &str, kind| Wanted { kind, scope: format!("{kind:?}/{service}"), ..wanted(service) };
    let mut all = Vec::new();
    for (service, kind, ends) in [
        ("orders", Kind::Backup, true),
        ("orders", Kind::Verify, false),
        ("payments", Kind::Backup, false),
        ("payments", Kind::Restore, true),
    ] {
        let run = it.begin(of(service, kind)).await;
        run.add_step("step", 0).unwrap();
        all.insert(0, run.id());
        match ends {
            true => drop(run.finish(failed("no"), vec!["line".into()]).await.unwrap()),
            false => run.leave(),
        }
    }
    let everything = Filter::default();
    assert_eq!(ids(&it, &everything, |_| true).await, all);
    assert_eq!(ids(&it, &everything, |service| service == "orders").await, all[2..]);
    let filter =
        |service: Option<&str>, kind, state| Filter { service: service.map(Into::into), kind, state };
    assert_eq!(ids(&it, &filter(Some("payments"), None, None), |_| true).await, all[..2]);
    assert_eq!(ids(&it, &filter(None, Some(Kind::Backup), None), |_| true).await, [all[1], all[3]]);
    assert_eq!(ids(&it, &filter(None, None, Some(State::Failed)), |_| true).await, [all[0], all[3]]);
    assert_eq!(ids(&it, &filter(Some("stock"), None, None), |_| true).await, []);
    let (page, more) = it.handle.list(&everything, |_| true, None, 3).await;
    assert!(more && page.len() == 3);
    assert!(page.iter().all(|it| it.steps.is_empty() && it.events.is_empty() && it.report.is_empty()));
    let (rest, more) = it.handle.list(&everything, |_| true, Some(page[2].id), 3).await;
    assert_eq!((rest[0].id, rest.len(), more), (all[3], 1, false));
}

#[tokio::test(start_paused = true)]
async fn a_list_is_the_same_after_a_restart() {
    let medium = Medium::default();
    let it = start(&medium).await;
    for n in 0..600 {
        let run = it.begin(wanted(&format!("s-{n}"))).await;
        run.finish(Outcome::Succeeded, Vec::new()).await.unwrap();
    }
    let before = it.handle.list(&Filter::default(), |_| true, None, 1000).await;
    it.crash();
    let it = start(&medium).await;
    assert_eq!(it.handle.list(&Filter::default(), |_| true, None, 1000).await, before);
}

#[tokio::test(start_paused = true)]
async fn what_ended_long_ago_is_forgotten_and_the_oldest_of_too_many() {
    let medium = Medium::default();
    let day = Duration::from_secs(24 * 3600);
    // At one go: a tick for each moment of a month would take long.
    let days = async |count: u32| {
        tokio::time::advance(day * count).await;
        pass(1).await;
    };
    let options = Options { most_kept: 4, ..Options::default() };
    let it = start_with(&medium, options).await;
    let mut made = Vec::new();
    let lasting = it.begin(wanted("lasting")).await;
    for n in 0..6 {
        let run = it.begin(Wanted { request_id: format!("r-{n}"), ..wanted("orders") }).await;
        made.push(run.id());
        run.finish(Outcome::Succeeded, Vec::new()).await.unwrap();
        days(1).await;
    }
    let kept = ids(&it, &Filter::default(), |_| true).await;
    assert_eq!(kept, [made[5], made[4], made[3], lasting.id()], "four in all");
    assert_eq!(it.handle.get(made[0]).await.unwrap_err().reason(), Reason::OperationNotFound);
    assert_eq!(medium.entries("operations/").len(), 4);
    let again = Wanted { request_id: "r-0".into(), ..wanted("orders") };
    it.begin(again).await.finish(Outcome::Succeeded, Vec::new()).await.unwrap();
    days(31).await;
    assert_eq!(ids(&it, &Filter::default(), |_| true).await, [lasting.id()], "30 days after their end");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn pages_of_any_size_make_up_the_list(count in 0_usize..40, size in 1_usize..12, ended: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let it = start(&Medium::default()).await;
            for n in 0..count {
                let run = it.begin(wanted(&format!("s-{n}"))).await;
                if ended >> n & 1 == 1 {
                    run.finish(Outcome::Succeeded, Vec::new()).await.unwrap();
                } else {
                    run.leave();
                }
            }
            let (mut all, mut before) = (Vec::new(), None);
            loop {
                let (page, more) = it.handle.list(&Filter::default(), |_| true, before, size).await;
                all.extend(page.iter().map(|it| it.service.clone()));
                before = page.last().map(|it| it.id);
                if !more {
                    break;
                }
                assert_eq!(page.len(), size);
            }
            let expected: Vec<_> = (0..count).rev().map(|n| format!("s-{n}")).collect();
            assert_eq!(all, expected);
        });
    }
}
