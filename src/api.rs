//! One adapter for each gRPC service: parse, call the domain, convert.
//!
//! Generated types live here and above, and nowhere below. `parse` turns requests into checked domain
//! values and names every field that is wrong; `convert` turns domain values into messages and cannot
//! fail; `status` is the one place that maps errors to gRPC codes. No rule of the domain is here.

pub mod audit;
pub mod audited;
pub mod backup;
mod caller;
pub mod codec;
pub mod convert;
pub mod declared;
pub mod enrolment;
pub mod fleet;
pub mod health;
pub mod http;
pub mod metrics;
pub mod names;
pub mod operation;
pub mod overview;
pub mod page;
pub mod parse;
pub mod policy;
pub mod probe_health;
pub mod reach;
pub mod restore;
pub mod session;
pub mod standard_health;
pub mod status;
pub mod system;
pub mod target;
pub mod tokens;
pub mod watch;
pub mod weigh;

/// The public contract: messages, and the server stubs that are made here.
pub mod proto {
    pub use seaworthy_client::proto::{grpc, seaworthy::v1};

    /// Server stubs of `seaworthy.v1`.
    #[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
    #[allow(
        clippy::clone_on_ref_ptr,
        clippy::or_fun_call,
        clippy::missing_errors_doc,
        clippy::wildcard_imports
    )]
    pub mod server {
        tonic::include_proto!("seaworthy.v1");
    }

    /// Server stub of `grpc.health.v1`, which reads and writes as all others do.
    #[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
    #[allow(
        clippy::clone_on_ref_ptr,
        clippy::or_fun_call,
        clippy::missing_errors_doc,
        clippy::wildcard_imports
    )]
    pub mod health {
        tonic::include_proto!("grpc.health.v1");
    }

    /// The descriptor set, with comments, that reflection serves.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}
