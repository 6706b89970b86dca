//! Where an instance is in its life. The order of it is the client library's ([`seaworthy_client::rules`]): an
//! instance is told at once, and on its own machine, what its control plane would refuse.

pub use seaworthy_client::rules::Lifecycle;
