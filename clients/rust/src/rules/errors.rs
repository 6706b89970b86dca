//! How errors say why and when, by gRPC: the names that both ends go by.

/// Domain of every `google.rpc.ErrorInfo` of a control plane and of this library.
pub const DOMAIN: &str = "seaworthy.dev";
/// Metadata that says when to call again, in milliseconds (gRFC A6).
pub const PUSHBACK: &str = "grpc-retry-pushback-ms";
