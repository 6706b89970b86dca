//! All that is ruled at one moment: policies from everywhere, flags, and breakers that were forced.
//!
//! A plain value, made anew by each change and published whole: who reads one sees nothing half done. It knows which
//! services a change concerns, so that the sessions of all others stay quiet.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::SystemTime,
};

use seaworthy_client::{
    flags::Flag,
    protect::policy::{
        Origin, Policy,
        choose::{Ranked, ordered},
    },
};

use crate::{
    fleet::names::{InstanceId, ServiceName},
    store::Revision,
};

/// Services whose changes are told apart at the most; beyond that a change concerns all.
const MOST_TOLD_APART: usize = 10_000;

/// All that is ruled.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// Counts the changes of this run, from 1.
    pub revision: u64,
    policies: BTreeMap<String, Layers>,
    flags: BTreeMap<String, Arc<PlacedFlag>>,
    overrides: BTreeMap<OverrideKey, Arc<Override>>,
    concerns: Concerns,
}

/// Policies of one name, the one that counts last.
#[derive(Clone, Debug, Default)]
struct Layers {
    built_in: Option<Arc<Placed>>,
    file: Option<Arc<Placed>>,
    put: Option<Arc<Placed>>,
}

/// A policy, and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// The policy.
    pub policy: Policy,
    /// Where it comes from.
    pub origin: Origin,
    /// How it was put. None: it was not.
    pub put: Option<Put>,
}

/// How something was put while running.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Put {
    /// The revision of its record.
    pub revision: Revision,
    /// When.
    pub at: SystemTime,
    /// By whom.
    pub by: String,
}

/// A flag, and how it was put.
#[derive(Clone, Debug, PartialEq)]
pub struct PlacedFlag {
    /// The flag.
    pub flag: Flag,
    /// How it was put. None: it is the control plane's own, as it comes with it.
    pub put: Option<Put>,
}

/// Which breakers are forced.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct OverrideKey {
    /// Of this service.
    pub service: ServiceName,
    /// Of this operation.
    pub operation: String,
    /// Of this instance alone. None: of all.
    pub instance: Option<InstanceId>,
}

/// How a breaker is forced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Force {
    /// It refuses everything.
    Open,
    /// It refuses nothing.
    Closed,
}

/// Breakers that were forced by hand.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Override {
    /// Which.
    pub key: OverrideKey,
    /// How.
    pub force: Force,
    /// Until when.
    pub expires: SystemTime,
    /// By whom.
    pub by: String,
    /// Why, for people.
    pub message: String,
}

/// When what concerns each service changed last.
#[derive(Clone, Debug, Default)]
struct Concerns {
    all: u64,
    one: HashMap<String, u64>,
}

impl Book {
    /// The policies that count, by name.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Placed>> {
        self.policies.values().filter_map(Layers::counting)
    }

    /// Up to `limit` of them after a name, and whether there are more.
    pub fn policies_after(&self, after: Option<&str>, limit: usize) -> (Vec<Arc<Placed>>, bool) {
        page(self.policies.range::<str, _>(range(after)).filter_map(|(_, layers)| layers.counting()), limit)
    }

    /// The policy of a name that counts.
    pub fn policy(&self, name: &str) -> Option<&Arc<Placed>> {
        self.policies.get(name).and_then(Layers::counting)
    }

    /// The policy of a name that was put.
    pub fn put_policy(&self, name: &str) -> Option<&Arc<Placed>> {
        self.policies.get(name).and_then(|layers| layers.put.as_ref())
    }

    /// How many policies were put.
    pub fn put_count(&self) -> usize {
        self.policies.values().filter(|layers| layers.put.is_some()).count()
    }

    /// The policies that count, in the order in which they are asked.
    pub fn ordered(&self) -> Vec<Ranked<'_>> {
        ordered(self.policies().map(|placed| Ranked { policy: &placed.policy, origin: placed.origin }))
    }

    /// Flags, by name.
    pub fn flags(&self) -> impl Iterator<Item = &Arc<PlacedFlag>> {
        self.flags.values()
    }

    /// Up to `limit` of them after a name, and whether there are more.
    pub fn flags_after(&self, after: Option<&str>, limit: usize) -> (Vec<Arc<PlacedFlag>>, bool) {
        page(self.flags.range::<str, _>(range(after)).map(|(_, flag)| flag), limit)
    }

    /// The flag of a name.
    pub fn flag(&self, name: &str) -> Option<&Arc<PlacedFlag>> {
        self.flags.get(name)
    }

    /// Breakers that are forced, by service and operation.
    pub fn overrides(&self) -> impl Iterator<Item = &Arc<Override>> {
        self.overrides.values()
    }

    /// Those of a service.
    pub fn overrides_of(&self, service: &str) -> impl Iterator<Item = &Arc<Override>> {
        self.overrides.values().filter(move |forced| forced.key.service.as_str() == service)
    }

    /// How one is forced.
    pub fn forced(&self, key: &OverrideKey) -> Option<&Arc<Override>> {
        self.overrides.get(key)
    }

    /// The revision at which something changed last that concerns a service.
    pub fn concerns(&self, service: &str) -> u64 {
        self.concerns.one.get(service).copied().unwrap_or_default().max(self.concerns.all)
    }

    // === changes ===

    /// Places policies that come with the control plane, before anybody reads.
    pub(super) fn build_in(&mut self, policies: Vec<Policy>) {
        for policy in policies {
            let layers = self.policies.entry(policy.name.clone()).or_default();
            layers.built_in = Some(Arc::new(Placed { policy, origin: Origin::BuiltIn, put: None }));
        }
    }

    /// Takes these policies from the configuration file in place of those before.
    pub(super) fn declare(&mut self, policies: Vec<Policy>) {
        let before: Vec<Option<Policy>> =
            self.policies.values_mut().map(|layers| layers.file.take().map(|it| it.policy.clone())).collect();
        let mut changed: Vec<Policy> = before.into_iter().flatten().collect();
        for policy in policies {
            changed.push(policy.clone());
            let layers = self.policies.entry(policy.name.clone()).or_default();
            layers.file = Some(Arc::new(Placed { policy, origin: Origin::File, put: None }));
        }
        self.policies.retain(|_, layers| layers.counting().is_some());
        self.turn();
        changed.iter().for_each(|policy| self.touch(policy));
    }

    /// Takes a policy that was put, in place of the one before.
    pub(super) fn put(&mut self, policy: Policy, put: Put) -> Arc<Placed> {
        let before = self.policy(&policy.name).cloned();
        let placed = Arc::new(Placed { policy, origin: Origin::Put, put: Some(put) });
        self.policies.entry(placed.policy.name.clone()).or_default().put = Some(Arc::clone(&placed));
        self.turn();
        before.iter().for_each(|before| self.touch(&before.policy));
        self.touch(&placed.policy);
        placed
    }

    /// Takes back a policy that was put.
    pub(super) fn take_back(&mut self, name: &str) {
        let Some(layers) = self.policies.get_mut(name) else { return };
        let Some(before) = layers.put.take() else { return };
        let now = layers.counting().cloned();
        if now.is_none() {
            self.policies.remove(name);
        }
        self.turn();
        self.touch(&before.policy);
        now.iter().for_each(|now| self.touch(&now.policy));
    }

    /// Takes a flag.
    pub(super) fn put_flag(&mut self, placed: PlacedFlag) -> Arc<PlacedFlag> {
        let placed = Arc::new(placed);
        self.flags.insert(placed.flag.name().to_owned(), Arc::clone(&placed));
        self.turn();
        self.concerns.all = self.revision;
        placed
    }

    /// Takes a flag back.
    pub(super) fn take_back_flag(&mut self, name: &str) {
        if self.flags.remove(name).is_some() {
            self.turn();
            self.concerns.all = self.revision;
        }
    }

    /// Forces a breaker.
    pub(super) fn force(&mut self, forced: Override) -> Arc<Override> {
        let forced = Arc::new(forced);
        self.overrides.insert(forced.key.clone(), Arc::clone(&forced));
        self.turn();
        self.concerns.one(forced.key.service.as_str(), self.revision);
        forced
    }

    /// Forces it no longer.
    pub(super) fn release(&mut self, key: &OverrideKey) {
        if self.overrides.remove(key).is_some() {
            self.turn();
            self.concerns.one(key.service.as_str(), self.revision);
        }
    }

    /// Overrides that do not hold any more.
    pub(super) fn expired(&self, now: SystemTime) -> Vec<OverrideKey> {
        self.overrides
            .values()
            .filter(|forced| forced.expires <= now)
            .map(|forced| forced.key.clone())
            .collect()
    }

    /// When the first override ends.
    pub(super) fn next_expiry(&self) -> Option<SystemTime> {
        self.overrides.values().map(|forced| forced.expires).min()
    }

    fn turn(&mut self) {
        self.revision += 1;
    }

    fn touch(&mut self, policy: &Policy) {
        use seaworthy_client::protect::policy::Target;
        match &policy.target {
            Target::Rpcs { .. } => {}
            Target::Operations { service: Some(service), .. } => self.concerns.one(service, self.revision),
            Target::Everything | Target::Operations { service: None, .. } => {
                self.concerns.all = self.revision;
            }
        }
    }
}

impl Layers {
    fn counting(&self) -> Option<&Arc<Placed>> {
        self.put.as_ref().or(self.file.as_ref()).or(self.built_in.as_ref())
    }
}

impl Concerns {
    fn one(&mut self, service: &str, revision: u64) {
        if self.one.len() >= MOST_TOLD_APART && !self.one.contains_key(service) {
            self.one.clear();
            self.all = revision;
            return;
        }
        self.one.insert(service.to_owned(), revision);
    }
}

fn range(after: Option<&str>) -> (std::ops::Bound<&str>, std::ops::Bound<&str>) {
    use std::ops::Bound::{Excluded, Unbounded};
    (after.map_or(Unbounded, Excluded), Unbounded)
}

fn page<'a, T: 'a>(found: impl Iterator<Item = &'a Arc<T>>, limit: usize) -> (Vec<Arc<T>>, bool) {
    let mut found = found.cloned();
    let page: Vec<_> = found.by_ref().take(limit).collect();
    (page, found.next().is_some())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use seaworthy_client::protect::policy::Target;

    use super::*;

    fn of(name: &str, service: Option<&str>) -> Policy {
        let target = Target::Operations { service: service.map(str::to_owned), operation: None };
        Policy { target, ..Policy::named(name) }
    }

    fn put(revision: u64) -> Put {
        Put { revision, at: SystemTime::UNIX_EPOCH, by: "local".into() }
    }

    #[test]
    fn of_one_name_the_one_that_was_put_counts_then_the_files_then_the_built_in_one() {
        let mut book = Book::default();
        book.build_in(vec![of("a", None), of("b", None)]);
        book.declare(vec![of("a", Some("file"))]);
        let service = |book: &Book| book.policy("a").map(|placed| placed.policy.service().map(str::to_owned));
        assert_eq!(service(&book), Some(Some("file".into())));
        book.put(of("a", Some("put")), put(7));
        assert_eq!(service(&book), Some(Some("put".into())));
        assert_eq!(book.policies().count(), 2);
        book.take_back("a");
        assert_eq!(service(&book), Some(Some("file".into())));
        book.declare(Vec::new());
        assert_eq!(service(&book), Some(None));
        book.put(of("c", None), put(8));
        book.take_back("c");
        assert!(book.policy("c").is_none());
        assert_eq!(book.put_count(), 0);
    }

    #[test]
    fn a_change_concerns_those_whom_it_concerned_before_and_after() {
        let mut book = Book::default();
        book.put(of("a", Some("orders")), put(1));
        let before = book.revision;
        assert_eq!((book.concerns("orders"), book.concerns("payments")), (before, 0));
        book.put(of("a", Some("payments")), put(2));
        assert_eq!(book.concerns("orders"), book.revision, "it does not hold of orders any more");
        assert_eq!(book.concerns("payments"), book.revision);
        assert_eq!(book.concerns("stock"), 0);
        book.put(Policy { target: Target::Rpcs { method: None }, ..Policy::named("r") }, put(3));
        assert!(book.concerns("orders") < book.revision, "RPCs concern no service");
        book.put(of("b", None), put(4));
        assert_eq!(book.concerns("stock"), book.revision);
    }

    #[test]
    fn more_services_than_are_told_apart_are_all_concerned() {
        let mut book = Book::default();
        for n in 0..=MOST_TOLD_APART {
            book.put(of("a", Some(&format!("s-{n}"))), put(1));
        }
        assert!(book.concerns.one.len() <= MOST_TOLD_APART);
        // None that changed is missed.
        assert!(book.concerns("s-0") > 1);
        assert!(book.concerns(&format!("s-{MOST_TOLD_APART}")) >= book.revision - 1);
    }

    #[test]
    fn overrides_end() {
        let mut book = Book::default();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let key = |operation: &str| OverrideKey {
            service: ServiceName::parse("orders").unwrap(),
            operation: operation.into(),
            instance: None,
        };
        for (operation, expires) in [("charge", 10), ("refund", 20)] {
            let (key, message) = (key(operation), String::new());
            book.force(Override {
                key,
                force: Force::Open,
                expires: at(expires),
                by: "local".into(),
                message,
            });
        }
        assert_eq!(book.next_expiry(), Some(at(10)));
        assert_eq!(book.expired(at(9)), []);
        assert_eq!(book.expired(at(10)), [key("charge")]);
        book.release(&key("charge"));
        assert_eq!(book.next_expiry(), Some(at(20)));
        assert_eq!(book.concerns("orders"), book.revision);
    }
}
