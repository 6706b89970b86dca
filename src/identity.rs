//! Who calls, and what they may do: roles, what each RPC needs, to what a caller is narrowed.
//!
//! Rules alone, and the records of tokens. How a proof is carried (headers, certificates) is `guard`'s and `tls`'s;
//! nothing here knows gRPC or HTTP.

pub mod authenticator;
pub mod failures;
pub mod grant;
pub mod principal;
pub mod rules;
pub mod scope;
pub mod tokens;
pub mod watched;

pub use self::{
    grant::{Grant, Permission, Role},
    principal::{Identity, Principal},
    scope::Scope,
};
