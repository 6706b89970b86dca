//! What a caller may do, against what a call needs.

use std::fmt;

use super::scope::Scope;
use crate::fleet::names::ServiceName;

/// What somebody may do, from the least to the most.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// Reads: fleet, health, status.
    Viewer,
    /// Changes the fleet as well.
    Operator,
    /// Makes and revokes tokens as well, and reads the audit.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 3] = [Role::Viewer, Role::Operator, Role::Admin];

    /// The word for it, wherever one is read or written: `viewer`.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }

    /// The role of a word.
    pub fn parse(word: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a call needs.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Permission {
    /// Nothing: whoever reaches the port may call.
    Open,
    /// Some role, whichever.
    Known,
    /// To register and report for the service that is named, and to prove the incarnation besides.
    Enrol,
    /// To read.
    View,
    /// To read how the control plane as a whole is; like `Run`, for whoever is not narrowed.
    Oversee,
    /// To change the fleet.
    Operate,
    /// To delete what cannot be made again, within one's scope.
    Destroy,
    /// To see and change how the control plane itself runs; like what follows, for whoever is not narrowed.
    Run,
    /// To say who may do what, and to see who did.
    Administer,
}

/// What somebody may do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Grant {
    /// What is open to everybody.
    Nothing,
    /// Everything: where nobody has to prove anything.
    Everything,
    /// What a role may, within a scope.
    Role(Role, Scope),
    /// To act for one service as its instances do.
    Service(ServiceName),
}

impl Grant {
    /// Whether it is enough for a call, before it is known what the call is about.
    pub fn allows(&self, needed: Permission) -> bool {
        match (self, needed) {
            (Grant::Everything, _) | (_, Permission::Open) => true,
            (Grant::Nothing, _) => false,
            (Grant::Role(..) | Grant::Service(_), Permission::Known) => true,
            (Grant::Service(_), Permission::Enrol) => true,
            (
                Grant::Service(_),
                Permission::View
                | Permission::Oversee
                | Permission::Operate
                | Permission::Destroy
                | Permission::Run
                | Permission::Administer,
            ) => false,
            (Grant::Role(..), Permission::Enrol) => false,
            (Grant::Role(..), Permission::View) => true,
            (Grant::Role(_, scope), Permission::Oversee) => scope.is_everything(),
            (Grant::Role(role, _), Permission::Operate) => *role >= Role::Operator,
            (Grant::Role(role, _), Permission::Destroy) => *role >= Role::Admin,
            (Grant::Role(role, scope), Permission::Run) => *role >= Role::Operator && scope.is_everything(),
            (Grant::Role(role, scope), Permission::Administer) => {
                *role >= Role::Admin && scope.is_everything()
            }
        }
    }

    /// Whether it may act for a service as its instances do.
    pub fn acts_for(&self, service: &str) -> bool {
        match self {
            Grant::Everything => true,
            Grant::Service(own) => own.as_str() == service,
            Grant::Nothing | Grant::Role(..) => false,
        }
    }

    /// What it sees of the fleet. None: nothing.
    pub fn sees(&self) -> Option<&Scope> {
        match self {
            Grant::Role(_, scope) => Some(scope),
            Grant::Everything => Some(Scope::everything()),
            Grant::Nothing | Grant::Service(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::scope::{Narrowing, Pattern};

    #[test]
    fn grants_against_permissions_as_a_table() {
        use Permission::{Administer, Enrol, Known, Open, Operate, Oversee, Run, View};
        let role = |role| Grant::Role(role, Scope::default());
        let narrowing = Narrowing { services: vec![Pattern::parse("orders")], ..Narrowing::default() };
        let narrowed = |role| Grant::Role(role, Scope::default().narrowed(narrowing.clone()));
        let orders = Grant::Service(ServiceName::parse("orders").unwrap());
        for (grant, allowed) in [
            (Grant::Nothing, vec![Open]),
            (Grant::Everything, vec![Open, Known, Enrol, View, Oversee, Operate, Run, Administer]),
            (role(Role::Viewer), vec![Open, Known, View, Oversee]),
            (role(Role::Operator), vec![Open, Known, View, Oversee, Operate, Run]),
            (role(Role::Admin), vec![Open, Known, View, Oversee, Operate, Run, Administer]),
            (narrowed(Role::Operator), vec![Open, Known, View, Operate]),
            // Whoever could make tokens without bounds would have none.
            (narrowed(Role::Admin), vec![Open, Known, View, Operate]),
            (orders.clone(), vec![Open, Known, Enrol]),
        ] {
            for needed in [Open, Known, Enrol, View, Oversee, Operate, Run, Administer] {
                assert_eq!(grant.allows(needed), allowed.contains(&needed), "{grant:?} {needed:?}");
            }
        }
        assert!(orders.acts_for("orders") && !orders.acts_for("payments"));
        assert!(!role(Role::Admin).acts_for("orders"));
    }
}
