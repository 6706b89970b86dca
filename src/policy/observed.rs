//! What instances report of what they protect: the newest report of each whose session lives.
//!
//! It is shown for as long as the session that it came by, and not stored: after a restart of the control plane instances
//! report anew within seconds. For a while longer it is what the reports of the next session are compared with, for the
//! totals. Rows are bounded in all; whoever finds no room is counted, and everything else goes on.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::RwLock;
use seaworthy_client::protect::stats::Report;

use super::totals::Totals;
use crate::{
    fleet::names::{InstanceId, InstanceKey, ServiceName},
    time::Mono,
};

/// Operations, breakers, pools and parts of policies that are kept, of all instances together: about 250 MiB, for a hundred
/// thousand instances with an operation each.
const MOST_ROWS: usize = 500_000;

/// How long the last report of a session that ended is remembered: most that lose theirs are back within seconds.
const REMEMBERED: Duration = Duration::from_secs(15 * 60);

/// The first of all instance ids: they begin with a letter or digit.
const LEAST_ID: &str = "0";

/// The newest reports.
#[derive(Debug, Default)]
pub struct Observed {
    table: RwLock<Table>,
    /// Reports that were not kept for want of room.
    dropped: AtomicU64,
    sessions: AtomicU64,
    totals: Totals,
}

#[derive(Debug, Default)]
struct Table {
    by_instance: BTreeMap<InstanceKey, Seen>,
    /// How many of them each service has.
    by_service: BTreeMap<ServiceName, usize>,
    /// The last reports of sessions that ended, and when.
    ended: BTreeMap<InstanceKey, (Arc<Report>, Mono)>,
    /// Of both.
    rows: usize,
}

/// What an instance reported last.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The report.
    pub report: Arc<Report>,
    /// When it came.
    pub at: Mono,
    /// The revision of the policies that are in force there.
    pub revision: u64,
    session: u64,
    /// The last report of the instance, of this session or the one before.
    known: Option<Arc<Report>>,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kept {
    Yes,
    /// A newer session of the instance has taken over, and speaks for it.
    Superseded,
    NoRoom,
}

/// The right to report for an instance, for as long as its session lives.
#[derive(Debug)]
pub struct Reporter {
    observed: Arc<Observed>,
    key: InstanceKey,
    session: u64,
    revision: u64,
    kept: Option<Arc<Report>>,
    /// What the next report is compared with. None: with nothing, as this is the first that is known of the instance.
    before: Option<Arc<Report>>,
}

impl Observed {
    /// Lets a session report for its instance, in place of those before. It is known from now on, with nothing to show.
    pub fn reporter(self: &Arc<Self>, key: InstanceKey, now: Mono) -> Reporter {
        let session = self.sessions.fetch_add(1, Ordering::Relaxed);
        let before = self.table.write().take_over(&key);
        let mut reporter =
            Reporter { observed: Arc::clone(self), key, session, revision: 0, kept: None, before };
        reporter.took(0, now);
        reporter
    }

    /// Forgets the last reports of sessions that ended long ago.
    pub fn sweep(&self, now: Mono) {
        let mut table = self.table.write();
        table.forget(now);
        let Table { by_service, ended, .. } = &*table;
        let remembered: BTreeSet<&ServiceName> = ended.keys().map(|key| &key.service).collect();
        self.totals.keep(|service| by_service.contains_key(service) || remembered.contains(service));
    }

    /// What became of the operations of services, over all instances.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Up to `limit` instances that have reported after a place, by service and id, and whether there are more. `of`: of this
    /// service alone.
    pub fn after(
        &self,
        after: Option<&InstanceKey>,
        of: Option<&ServiceName>,
        limit: usize,
    ) -> (Vec<(InstanceKey, Seen)>, bool) {
        let table = self.table.read();
        let first = of.and_then(|service| {
            Some(InstanceKey { service: service.clone(), id: InstanceId::parse(LEAST_ID).ok()? })
        });
        let from = match (after, &first) {
            (Some(after), _) => Bound::Excluded(after),
            (None, Some(first)) => Bound::Included(first),
            (None, None) => Bound::Unbounded,
        };
        let mut found = table
            .by_instance
            .range((from, Bound::Unbounded))
            .take_while(|(key, _)| of.is_none_or(|service| key.service == *service))
            .map(|(key, seen)| (key.clone(), seen.clone()));
        let page: Vec<_> = found.by_ref().take(limit).collect();
        (page, found.next().is_some())
    }

    /// What an instance reported.
    pub fn of(&self, key: &InstanceKey) -> Option<Seen> {
        self.table.read().by_instance.get(key).cloned()
    }

    /// How many instances have reported.
    pub fn count(&self) -> usize {
        self.table.read().by_instance.len()
    }

    /// How many instances of a service have reported, or are going to.
    pub fn count_of(&self, service: &ServiceName) -> usize {
        self.table.read().by_service.get(service).copied().unwrap_or_default()
    }

    /// Reports that were not kept for want of room.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Seen {
    /// How old it is.
    pub fn age(&self, now: Mono) -> Duration {
        now.since(self.at)
    }
}

impl Table {
    /// The last report of an instance, whose session lives still or ended.
    fn take_over(&mut self, key: &InstanceKey) -> Option<Arc<Report>> {
        match self.ended.remove(key) {
            Some((report, _)) => {
                self.rows -= rows(&report);
                Some(report)
            }
            None => self.by_instance.get(key)?.known.clone(),
        }
    }

    fn one_less(&mut self, service: &ServiceName) {
        if let Some(count) = self.by_service.get_mut(service) {
            *count -= 1;
            if *count == 0 {
                self.by_service.remove(service);
            }
        }
    }

    fn remember(&mut self, key: InstanceKey, report: Arc<Report>, now: Mono) {
        let more = rows(&report);
        if self.rows + more <= MOST_ROWS {
            self.rows += more;
            if let Some((older, _)) = self.ended.insert(key, (report, now)) {
                self.rows -= rows(&older);
            }
        }
    }

    fn forget(&mut self, now: Mono) {
        let forgotten = self.ended.extract_if(.., |_, (_, ended)| now.since(*ended) >= REMEMBERED);
        let freed: usize = forgotten.map(|(_, (report, _))| rows(&report)).sum();
        self.rows -= freed;
    }

    fn forget_all(&mut self) {
        let freed: usize = mem::take(&mut self.ended).values().map(|(report, _)| rows(report)).sum();
        self.rows -= freed;
    }
}

impl Reporter {
    /// Takes a report. False: there is no room for it.
    pub fn report(&mut self, report: Report, now: Mono) -> bool {
        let report = Arc::new(report);
        let before = self.before.replace(Arc::clone(&report));
        let kept = self.keep(&report, now);
        if kept != Kept::Superseded
            && let Some(before) = before
        {
            self.observed.totals.add(&self.key.service, &before, &report);
        }
        if kept == Kept::NoRoom {
            self.observed.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            self.kept = Some(report);
        }
        kept != Kept::NoRoom
    }

    /// Takes down which policies are in force there.
    pub fn took(&mut self, revision: u64, now: Mono) {
        self.revision = revision;
        let report = self.kept.clone().unwrap_or_default();
        self.keep(&report, now);
        self.kept = Some(report);
    }

    fn keep(&self, report: &Arc<Report>, now: Mono) -> Kept {
        let Self { observed, key, session, revision, .. } = self;
        let mut table = observed.table.write();
        let before = match table.by_instance.get(key) {
            Some(seen) if seen.session > *session => return Kept::Superseded,
            Some(seen) => rows(&seen.report),
            None => 0,
        };
        if table.rows - before + rows(report) > MOST_ROWS {
            // Who lives comes first.
            table.forget_all();
        }
        let after = table.rows - before + rows(report);
        if after > MOST_ROWS {
            return Kept::NoRoom;
        }
        table.rows = after;
        let (report, known) = (Arc::clone(report), self.before.clone());
        let seen = Seen { report, at: now, revision: *revision, session: *session, known };
        if table.by_instance.insert(key.clone(), seen).is_none() {
            *table.by_service.entry(key.service.clone()).or_default() += 1;
        }
        Kept::Yes
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        let mut table = self.observed.table.write();
        if table.by_instance.get(&self.key).is_some_and(|seen| seen.session == self.session)
            && let Some(seen) = table.by_instance.remove(&self.key)
        {
            table.rows -= rows(&seen.report);
            table.one_less(&self.key.service);
            if let Some(known) = seen.known {
                table.remember(self.key.clone(), known, seen.at);
            }
        }
    }
}

/// What a report takes, the entry itself counted as one.
fn rows(report: &Report) -> usize {
    1 + report.operations.len() + report.breakers.len() + report.pools.len() + report.parts.len()
}

#[cfg(test)]
mod tests {
    use seaworthy_client::protect::stats::OperationStats;

    use super::*;

    fn key(id: &str) -> InstanceKey {
        InstanceKey { service: ServiceName::parse("orders").unwrap(), id: InstanceId::parse(id).unwrap() }
    }

    fn report(operations: usize) -> Report {
        Report { operations: vec![OperationStats::default(); operations], ..Report::default() }
    }

    #[test]
    fn a_report_lives_as_long_as_its_session() {
        let observed = Arc::new(Observed::default());
        let mut first = observed.reporter(key("i-1"), Mono::default());
        assert!(first.report(report(2), Mono::from_millis(1)));
        let mut second = observed.reporter(key("i-1"), Mono::default());
        assert!(second.report(report(3), Mono::from_millis(2)));
        // The old session may still say something, and end: the new one's report stays.
        assert!(first.report(report(9), Mono::from_millis(3)));
        drop(first);
        assert_eq!(observed.of(&key("i-1")).unwrap().report.operations.len(), 3);
        drop(second);
        assert!(observed.of(&key("i-1")).is_none());
        assert_eq!(observed.table.read().rows, 4, "remembered for the totals");
        observed.sweep(Mono::from_millis(2) + REMEMBERED);
        assert_eq!(observed.table.read().rows, 0);
    }

    fn calls(calls: u64) -> Report {
        let stats = OperationStats { operation: "charge".to_owned(), calls, ..OperationStats::default() };
        Report { operations: vec![stats], ..Report::default() }
    }

    fn total(observed: &Observed) -> u64 {
        observed.totals().all().iter().map(|(_, _, sum)| sum.calls).sum()
    }

    #[test]
    fn totals_know_an_instance_again_that_lost_its_session() {
        let observed = Arc::new(Observed::default());
        let now = Mono::default();
        let mut first = observed.reporter(key("i-1"), now);
        first.report(calls(100), now);
        assert_eq!(total(&observed), 0, "nobody knows when that was");
        first.report(calls(110), now);
        assert_eq!(total(&observed), 10);
        drop(first);
        // It is back, and went on meanwhile.
        let mut second = observed.reporter(key("i-1"), now);
        second.report(calls(115), now);
        assert_eq!(total(&observed), 15);
        // A third one takes over while the second has not ended, which says something once more.
        let silent = observed.reporter(key("i-1"), now);
        assert_eq!(observed.of(&key("i-1")).unwrap().report.operations, [], "nothing of it is shown");
        drop(silent);
        let mut third = observed.reporter(key("i-1"), now);
        second.report(calls(118), now);
        third.report(calls(120), now);
        assert_eq!(total(&observed), 20);
        drop((second, third));
        observed.sweep(now + REMEMBERED);
        observed.reporter(key("i-1"), now).report(calls(500), now);
        assert_eq!(total(&observed), 0, "forgotten with its service, and so known for the first time");
    }

    #[test]
    fn what_is_remembered_gives_way_to_who_lives() {
        let observed = Arc::new(Observed::default());
        let now = Mono::default();
        let mut first = observed.reporter(key("i-1"), now);
        first.report(report(MOST_ROWS - 1), now);
        drop(first);
        assert!(observed.reporter(key("i-2"), now).report(report(MOST_ROWS - 1), now));
        assert_eq!(observed.dropped(), 0);
    }

    #[test]
    fn rows_are_bounded_in_all_and_who_finds_no_room_is_counted() {
        let observed = Arc::new(Observed::default());
        let mut full = observed.reporter(key("full"), Mono::default());
        assert!(full.report(report(MOST_ROWS - 1), Mono::default()));
        let mut late = observed.reporter(key("late"), Mono::default());
        assert!(!late.report(report(1), Mono::default()));
        assert_eq!((observed.dropped(), observed.count()), (1, 1), "it is not even known");
        assert!(full.report(report(10), Mono::default()));
        assert!(late.report(report(1), Mono::default()));
    }

    #[test]
    fn pages_follow_each_other() {
        let observed = Arc::new(Observed::default());
        let mut all: Vec<_> =
            (1..=3).map(|n| observed.reporter(key(&format!("i-{n}")), Mono::default())).collect();
        all.iter_mut().for_each(|reporter| reporter.took(7, Mono::default()));
        let (first, more) = observed.after(None, None, 2);
        assert!(more && first.len() == 2 && first[0].1.revision == 7);
        let (rest, more) = observed.after(Some(&first[1].0), None, 2);
        assert!(!more && rest[0].0 == key("i-3"));
        // Services before and behind it.
        let other = |service: &str| {
            let service = ServiceName::parse(service).unwrap();
            observed.reporter(InstanceKey { service, id: InstanceId::parse("0").unwrap() }, Mono::default())
        };
        let _others = [other("billing"), other("payments")];
        let (own, more) = observed.after(None, Some(&key("i-1").service), 9);
        assert_eq!((own.len(), more, &own[0].0), (3, false, &key("i-1")));
        let (rest, more) = observed.after(Some(&key("i-2")), Some(&key("i-1").service), 9);
        assert_eq!((rest.len(), more), (1, false));
    }
}
