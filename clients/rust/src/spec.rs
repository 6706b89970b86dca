//! What a service declares about itself: what it needs, how many instances, and what its owners
//! promise. The operator's specification, where there is one, wins over it.

use std::time::Duration;

use crate::proto::seaworthy::v1::{
    self as wire, Dependency, DependencyKind, Quantity, budget::Limit, quantity::Value,
};

/// What a service needs and promises, as this version of it declares it. Empty by default: nothing is
/// declared.
///
/// ```
/// use seaworthy_client::ServiceSpec;
///
/// let spec = ServiceSpec::new().depends_on("payments").prefers("recommendations").min_available(2);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "a specification counts when it is given to the builder"]
pub struct ServiceSpec(wire::ServiceSpec);

impl ServiceSpec {
    /// Declares nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names a service without which this one cannot do its work (a hard dependency). It is shut down
    /// after this one.
    pub fn depends_on(self, service: impl Into<String>) -> Self {
        self.dependency(service.into(), DependencyKind::Hard)
    }

    /// Names a service without which this one works less well (a soft dependency).
    pub fn prefers(self, service: impl Into<String>) -> Self {
        self.dependency(service.into(), DependencyKind::Soft)
    }

    /// At least this many instances stay available. Default: one.
    pub fn min_available(self, instances: u32) -> Self {
        self.limit(Limit::MinAvailable(Quantity { value: Some(Value::Count(instances)) }))
    }

    /// At least this share of the instances stays available, in percent, rounded up.
    pub fn min_available_percent(self, percent: u32) -> Self {
        self.limit(Limit::MinAvailable(Quantity { value: Some(Value::Percent(percent)) }))
    }

    /// At most this many instances are unavailable.
    pub fn max_unavailable(self, instances: u32) -> Self {
        self.limit(Limit::MaxUnavailable(Quantity { value: Some(Value::Count(instances)) }))
    }

    /// At most this share of the instances is unavailable, in percent, rounded down.
    pub fn max_unavailable_percent(self, percent: u32) -> Self {
        self.limit(Limit::MaxUnavailable(Quantity { value: Some(Value::Percent(percent)) }))
    }

    /// A majority of this many members stays available, whatever the limit says.
    pub fn quorum_size(mut self, members: u32) -> Self {
        self.0.budget.get_or_insert_default().quorum_size = members;
        self
    }

    /// Promises a share of time available, in percent: `99.9`.
    pub fn availability_percent(mut self, percent: f64) -> Self {
        self.0.objectives.get_or_insert_default().availability_percent = percent;
        self
    }

    /// Promises how much time's worth of data may be lost.
    pub fn recovery_point(mut self, age: Duration) -> Self {
        self.0.objectives.get_or_insert_default().rpo = age.try_into().ok();
        self
    }

    /// Promises how long a recovery may take.
    pub fn recovery_time(mut self, time: Duration) -> Self {
        self.0.objectives.get_or_insert_default().rto = time.try_into().ok();
        self
    }

    /// Protects it: it cannot be deleted, nor its instances removed, until this is taken back.
    pub fn protected(mut self) -> Self {
        self.0.protected = true;
        self
    }

    /// What it declares, if anything.
    pub(crate) fn to_wire(&self) -> Option<wire::ServiceSpec> {
        (self.0 != wire::ServiceSpec::default()).then(|| self.0.clone())
    }

    pub(crate) fn as_wire(&self) -> &wire::ServiceSpec {
        &self.0
    }

    fn dependency(mut self, service: String, kind: DependencyKind) -> Self {
        self.0.depends_on.push(Dependency { service, kind: kind.into() });
        self
    }

    fn limit(mut self, limit: Limit) -> Self {
        self.0.budget.get_or_insert_default().limit = Some(limit);
        self
    }
}
