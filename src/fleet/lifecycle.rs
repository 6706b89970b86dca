//! Where an instance is in its life. The order of it is the client library's ([`seaworthy_client::rules`]): an
//! instance is told at once, and on its own machine, what its control plane would refuse.

pub use seaworthy_client::rules::Lifecycle;

/// Whether the control plane runs active checks of an instance in this lifecycle: there must be something
/// that could answer.
pub fn is_checked(lifecycle: Lifecycle) -> bool {
    !matches!(lifecycle, Lifecycle::Stopped | Lifecycle::Lost)
}
