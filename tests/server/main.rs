//! The server, driven through its public API.

#![allow(missing_docs, clippy::disallowed_methods, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod credentials;
mod harness;
mod keeper;
mod raw;

mod active_checks;
mod audit;
mod backups;
mod bad_bytes;
mod bad_input;
mod bulk;
mod closing;
mod crowd;
mod directives;
mod explain;
mod fleet;
mod guard;
mod health;
mod http;
mod identity;
mod limits;
mod loading;
mod operations;
mod overload;
mod past;
mod permissions;
mod pki;
mod policy;
mod protection;
mod proxy;
mod restart;
mod restores;
mod session;
mod shutdown;
mod slow;
mod standard_health;
mod tls;
mod unread;
mod watch;
mod words;
mod wrong_port;
