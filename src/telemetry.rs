//! What the server tells the outside about itself: the log, figures for Prometheus, readiness for
//! systemd, and the trace that a request belongs to.
//!
//! Only the means are here. Which figures there are, and when the server is ready, is known by the rooms
//! above; nothing here listens on a port.

pub mod exposition;
pub mod histogram;
pub mod log;
pub mod notify;
pub mod process;
pub mod trace;
