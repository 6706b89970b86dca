//! What an instance says of itself when it registers: plain, checked values.

use std::{
    num::{NonZeroU16, NonZeroU32},
    sync::Arc,
    time::Duration,
};

use super::{
    lifecycle::Lifecycle,
    names::{ComponentName, InstanceKey},
    pairs::Pairs,
    spec::Spec,
};
use crate::{
    health::component::Thresholds,
    probe::{Ask, Host},
};

/// Most components of an instance.
pub const MAX_COMPONENTS: usize = 64;
/// Most dependencies of a service.
pub const MAX_DEPENDENCIES: usize = 64;
/// Shortest lease.
pub const MIN_LEASE_TTL: Duration = Duration::from_secs(2);
/// Longest lease.
pub const MAX_LEASE_TTL: Duration = Duration::from_secs(600);
/// A heartbeat is due this many times in a lease.
pub const HEARTBEATS_PER_LEASE: u32 = 3;

/// What a component can be asked to do.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Capability {
    /// Reports its health.
    Health,
    /// Can capture its state.
    Backup,
    /// Can restore its state.
    Restore,
    /// Takes part in an ordered shutdown.
    Shutdown,
}

/// Of which instances a component is captured.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum CaptureScope {
    /// All instances share it: of one is enough.
    #[default]
    One,
    /// Each instance has its own: of each.
    Each,
}

/// How what is captured is cut into pieces.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Cut {
    /// Where the content says so.
    #[default]
    Content,
    /// Into pages of so many bytes, from the beginning; a power of two.
    Pages(NonZeroU32),
}

/// How a component is captured.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Capture {
    /// Of which instances.
    pub scope: CaptureScope,
    /// Whether it can be asked to hold still while others are captured.
    pub quiesces: bool,
    /// How it is cut.
    pub cut: Cut,
    /// Whether it is compressed already.
    pub incompressible: bool,
}

/// Smallest page of a component.
pub const MIN_PAGE: u32 = 4 * 1024;
/// Largest page of a component.
pub const MAX_PAGE: u32 = 1024 * 1024;

impl Cut {
    /// Pages of so many bytes; 0: by content. None: no page is of this size.
    pub fn of(page_bytes: u32) -> Option<Self> {
        match NonZeroU32::new(page_bytes) {
            None => Some(Self::Content),
            Some(page) if page.is_power_of_two() && (MIN_PAGE..=MAX_PAGE).contains(&page.get()) => {
                Some(Self::Pages(page))
            }
            Some(_) => None,
        }
    }

    /// Bytes of a page; 0: it is cut by content.
    pub fn page_bytes(self) -> u32 {
        match self {
            Self::Content => 0,
            Self::Pages(page) => page.get(),
        }
    }
}

/// A component as its instance declared it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Component {
    /// Its name.
    pub name: ComponentName,
    /// What kind of thing it is, free text.
    pub kind: String,
    /// Whether the instance is useless without it.
    pub essential: bool,
    /// Positions in the registration's components of those that it needs. No circles.
    pub depends_on: Vec<usize>,
    /// What it can be asked to do; never empty.
    pub capabilities: Vec<Capability>,
    /// How often it reports.
    pub report_interval: Duration,
    /// How many reports change its state.
    pub thresholds: Thresholds,
    /// How the control plane finds out how it is; None where the instance says so.
    pub check: Option<Box<ActiveCheck>>,
    /// How it is captured; what was not said is the default. Means something only where it has the capability.
    pub capture: Capture,
}

/// How the control plane finds out how a component is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ActiveCheck {
    /// What is asked.
    pub ask: Ask,
    /// Whom to ask.
    pub host: Host,
    /// On which port.
    pub port: NonZeroU16,
    /// How often, give or take a tenth.
    pub interval: Duration,
    /// How long an answer may take; shorter than the interval.
    pub timeout: Duration,
}

impl ActiveCheck {
    fn weight(&self) -> usize {
        let name = if let Host::Name(name) = &self.host { name.len() } else { 0 };
        size_of::<Self>() + self.ask.weight() + name
    }
}

impl Component {
    /// How it is captured. None: it cannot be.
    pub fn captured(&self) -> Option<Capture> {
        self.capabilities.contains(&Capability::Backup).then_some(self.capture)
    }

    /// Whether it counts in health.
    pub fn reports_health(&self) -> bool {
        self.capabilities.contains(&Capability::Health)
    }
}

/// What an instance registered.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    /// Its service and id.
    pub key: InstanceKey,
    /// Version of its software.
    pub version: String,
    /// Failure domain it runs in.
    pub zone: String,
    /// Where others reach it.
    pub address: String,
    /// Its labels.
    pub labels: Pairs,
    /// Its components, as declared.
    pub components: Arc<[Component]>,
    /// What its version declares its service to need.
    pub declared_spec: Option<Arc<Spec>>,
    /// How long its lease lives without a message.
    pub lease_ttl: Duration,
    /// STARTING or READY.
    pub lifecycle: Lifecycle,
}

impl Registration {
    /// How often it should be heard.
    pub fn heartbeat_interval(&self) -> Duration {
        self.lease_ttl / HEARTBEATS_PER_LEASE
    }

    /// Bytes that it holds, roughly.
    pub(super) fn weight(&self) -> usize {
        let components = self.components.iter().map(|component| {
            let check = component.check.as_ref().map_or(0, |check| check.weight());
            size_of::<Component>()
                + component.kind.len()
                + component.depends_on.len() * size_of::<usize>()
                + check
        });
        let declared = self.declared_spec.as_ref().map_or(0, |spec| spec.weight());
        size_of::<Self>() + self.address.len() + self.labels.weight() + components.sum::<usize>() + declared
    }

    /// Position of a component.
    pub fn component(&self, name: &str) -> Option<usize> {
        self.components.iter().position(|component| component.name.as_str() == name)
    }
}

/// Finds a circle in what components need of each other, and answers the position of one in it.
pub fn component_cycle(depends_on: &[Vec<usize>]) -> Option<usize> {
    // Take away those that need nothing that is left, until nothing changes: what remains is circles,
    // or leads into one.
    let mut left: Vec<usize> = (0..depends_on.len()).collect();
    loop {
        let kept: Vec<usize> = left
            .iter()
            .copied()
            .filter(|at| depends_on[*at].iter().any(|needed| left.contains(needed)))
            .collect();
        if kept.len() == left.len() {
            return left.first().copied();
        }
        left = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_of_components_are_found() {
        assert_eq!(component_cycle(&[]), None);
        assert_eq!(component_cycle(&[vec![1], vec![2], vec![]]), None);
        assert_eq!(component_cycle(&[vec![], vec![1]]), Some(1));
        assert_eq!(component_cycle(&[vec![], vec![2], vec![1]]), Some(1));
    }

    #[test]
    fn pages_are_powers_of_two_within_bounds() {
        for (bytes, is_one) in [
            (0, true),
            (1, false),
            (2048, false),
            (MIN_PAGE, true),
            (MIN_PAGE + 1, false),
            (3 * MIN_PAGE, false),
            (8192, true),
            (MAX_PAGE, true),
            (2 * MAX_PAGE, false),
            (1 << 31, false),
            (u32::MAX, false),
        ] {
            let cut = Cut::of(bytes);
            assert_eq!(cut.is_some(), is_one, "{bytes}");
            assert!(cut.is_none_or(|cut| cut.page_bytes() == bytes), "{bytes}");
        }
    }
}
