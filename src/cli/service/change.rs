//! What the flags of `service put` change in a specification.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{
    Budget, Dependency, DependencyKind, Quantity, ServiceSpec, budget,
};

use crate::cli::args::value;

/// The flags. What is not named stays as it is.
#[derive(Args, Debug, Default)]
pub(crate) struct Change {
    /// Services that it cannot do without, separated by commas; replaces those of before, empty for none
    #[arg(long, value_name = "SERVICES", value_delimiter = ',')]
    depends_on: Option<Vec<String>>,
    /// Services that it does less well without, separated by commas; replaces those of before, empty for none
    #[arg(long, value_name = "SERVICES", value_delimiter = ',')]
    soft_depends_on: Option<Vec<String>>,
    /// At least this many instances stay available: 2, or 50% of them (rounded up)
    #[arg(long, value_name = "QUANTITY", value_parser = value::quantity, conflicts_with = "max_unavailable")]
    min_available: Option<Quantity>,
    /// At most this many instances are unavailable at once: 1, or 25% of them (rounded down)
    #[arg(long, value_name = "QUANTITY", value_parser = value::quantity)]
    max_unavailable: Option<Quantity>,
    /// A protected service cannot be deleted, nor its instances removed: --protected, or =false to end it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    protected: Option<bool>,
}

impl Change {
    /// Whether no flag was given.
    pub(crate) fn is_empty(&self) -> bool {
        let Change { depends_on, soft_depends_on, min_available, max_unavailable, protected } = self;
        depends_on.is_none()
            && soft_depends_on.is_none()
            && min_available.is_none()
            && max_unavailable.is_none()
            && protected.is_none()
    }

    /// The specification after the change.
    pub(crate) fn apply(self, mut spec: ServiceSpec) -> ServiceSpec {
        for (names, kind) in
            [(self.depends_on, DependencyKind::Hard), (self.soft_depends_on, DependencyKind::Soft)]
        {
            let Some(names) = names else { continue };
            let names: Vec<_> = names.into_iter().filter(|name| !name.is_empty()).collect();
            // Not said is hard; and one that is named now is no longer what it was before.
            let hard = kind == DependencyKind::Hard;
            spec.depends_on
                .retain(|old| (old.kind() != DependencyKind::Soft) != hard && !names.contains(&old.service));
            let new = names.into_iter().map(|service| Dependency { service, kind: kind.into() });
            spec.depends_on.extend(new);
        }
        let limit = match (self.min_available, self.max_unavailable) {
            (Some(least), _) => Some(budget::Limit::MinAvailable(least)),
            (None, Some(most)) => Some(budget::Limit::MaxUnavailable(most)),
            (None, None) => None,
        };
        if limit.is_some() {
            spec.budget = Some(Budget { limit, ..spec.budget.unwrap_or_default() });
        }
        if let Some(protected) = self.protected {
            spec.protected = protected;
        }
        spec
    }
}

#[cfg(test)]
mod tests {
    use seaworthy_client::proto::seaworthy::v1::quantity;

    use super::*;

    fn needs(service: &str, kind: DependencyKind) -> Dependency {
        Dependency { service: service.into(), kind: kind.into() }
    }

    fn before() -> ServiceSpec {
        ServiceSpec {
            depends_on: vec![
                needs("payments", DependencyKind::Unspecified),
                needs("cache", DependencyKind::Soft),
            ],
            budget: Some(Budget { quorum_size: 3, limit: None }),
            protected: true,
            ..ServiceSpec::default()
        }
    }

    #[test]
    fn what_is_not_named_stays() {
        assert!(Change::default().is_empty());
        assert_eq!(Change::default().apply(before()), before());
        let two = Quantity { value: Some(quantity::Value::Count(2)) };
        let after = Change { min_available: Some(two), ..Change::default() }.apply(before());
        assert_eq!(after.depends_on, before().depends_on);
        assert!(after.protected);
        let limit = Some(budget::Limit::MinAvailable(two));
        assert_eq!(after.budget, Some(Budget { quorum_size: 3, limit }));
    }

    #[test]
    fn each_kind_of_dependency_is_replaced_by_itself() {
        let change = Change { depends_on: Some(vec!["stock".into()]), ..Change::default() };
        assert_eq!(
            change.apply(before()).depends_on,
            [needs("cache", DependencyKind::Soft), needs("stock", DependencyKind::Hard)]
        );
        let none = Change { soft_depends_on: Some(vec![String::new()]), ..Change::default() };
        assert_eq!(none.apply(before()).depends_on, [needs("payments", DependencyKind::Unspecified)]);
    }

    #[test]
    fn a_dependency_that_becomes_soft_is_not_named_twice() {
        let change = Change { soft_depends_on: Some(vec!["payments".into()]), ..Change::default() };
        assert_eq!(change.apply(before()).depends_on, [needs("payments", DependencyKind::Soft)]);
    }
}
