//! Who plays in the demo: a shop of four services that need each other, and what may happen to their parts.

use seaworthy_client::{Component, ServiceSpec};

/// A part of an instance, and the troubles that it may have.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: &'static str,
    kind: &'static str,
    essential: bool,
    pub(super) troubles: &'static [Trouble],
}

/// How bad it is, and what is said of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trouble {
    /// It still works.
    Slow(&'static str),
    /// It does not.
    Down(&'static str),
}

/// A service.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) service: &'static str,
    pub(super) version: &'static str,
    needs: &'static [&'static str],
    prefers: &'static [&'static str],
    pub(super) parts: &'static [Part],
}

const DATABASE: Part = Part {
    name: "database",
    kind: "postgres",
    essential: true,
    troubles: &[
        Trouble::Down("connection refused"),
        Trouble::Down("too many connections: all 100 are in use"),
        Trouble::Slow("SELECT 1 took 840 ms"),
    ],
};
const CACHE: Part = Part {
    name: "cache",
    kind: "redis",
    essential: false,
    troubles: &[Trouble::Slow("hit rate fell to 31 %"), Trouble::Down("connection reset by peer")],
};
const QUEUE: Part = Part {
    name: "queue",
    kind: "kafka",
    essential: true,
    troubles: &[
        Trouble::Down("the broker refuses connections"),
        Trouble::Slow("14,000 messages wait to be taken"),
    ],
};
const PROVIDER: Part = Part {
    name: "card-provider",
    kind: "http",
    essential: false,
    troubles: &[Trouble::Slow("answers in 2.4 s"), Trouble::Down("HTTP 503 from the provider")],
};

/// The whole cast; who is needed comes after who needs it.
pub(super) const ROLES: &[Role] = &[
    Role {
        service: "storefront",
        version: "4.2.0",
        needs: &["orders"],
        prefers: &["inventory"],
        parts: &[CACHE],
    },
    Role {
        service: "orders",
        version: "2.7.1",
        needs: &["payments", "inventory"],
        prefers: &[],
        parts: &[DATABASE, CACHE, QUEUE],
    },
    Role {
        service: "payments",
        version: "1.9.3",
        needs: &[],
        prefers: &[],
        parts: &[DATABASE, QUEUE, PROVIDER],
    },
    Role { service: "inventory", version: "3.0.2", needs: &[], prefers: &[], parts: &[DATABASE, CACHE] },
];

impl Part {
    /// As an instance declares it. Its health is pushed, so one bad report counts.
    pub(super) fn component(&self) -> Component {
        let component = Component::new(self.name).kind(self.kind);
        if self.essential { component.essential() } else { component }
    }
}

impl Role {
    /// As a version declares it.
    pub(super) fn spec(&self) -> ServiceSpec {
        let spec = self.needs.iter().fold(ServiceSpec::new(), |spec, needed| spec.depends_on(*needed));
        self.prefers.iter().fold(spec, |spec, preferred| spec.prefers(*preferred)).min_available(1)
    }
}

/// The role of each of so many instances, and its number within the role.
pub(super) fn cast(instances: usize) -> Vec<(&'static Role, usize)> {
    let places = (0..instances).map(|place| (place % ROLES.len(), place / ROLES.len() + 1));
    places.filter_map(|(role, number)| Some((ROLES.get(role)?, number))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_is_played_and_every_need_is_one_of_them() {
        let known: Vec<_> = ROLES.iter().map(|role| role.service).collect();
        for role in ROLES {
            assert!(role.needs.iter().chain(role.prefers).all(|it| known.contains(it)), "{}", role.service);
            assert!(role.parts.iter().all(|part| !part.troubles.is_empty()), "{}", role.service);
        }
        let cast = cast(10);
        let of = |name| cast.iter().filter(|(role, _)| role.service == name).count();
        assert_eq!(["storefront", "orders", "payments", "inventory"].map(of), [3, 3, 2, 2]);
    }
}
