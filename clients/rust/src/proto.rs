//! The wire contract, generated from `proto/`: messages and client stubs of `seaworthy.v1`, and the
//! standard `grpc.health.v1` with its server stub.

/// Packages under `seaworthy`.
pub mod seaworthy {
    /// `seaworthy.v1`, the public contract.
    #[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
    #[allow(
        clippy::clone_on_ref_ptr,
        clippy::or_fun_call,
        clippy::missing_errors_doc,
        clippy::wildcard_imports
    )]
    pub mod v1 {
        tonic::include_proto!("seaworthy.v1");
    }
}

/// Packages under `grpc`.
pub mod grpc {
    /// `grpc.health`.
    pub mod health {
        /// `grpc.health.v1`, the standard health checking protocol.
        #[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
        #[allow(
            clippy::clone_on_ref_ptr,
            clippy::or_fun_call,
            clippy::missing_errors_doc,
            clippy::wildcard_imports
        )]
        pub mod v1 {
            tonic::include_proto!("grpc.health.v1");
        }
    }
}
