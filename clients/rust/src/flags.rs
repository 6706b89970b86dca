//! Feature flags: switches of a running fleet, which services and the control plane evaluate by themselves.
//!
//! What a flag is ([`Flag`], checked when it is made), which of its variants holds for whom ([`evaluate`]) and which keys
//! a percentage takes ([`share`]) are pure rules, the same at both ends. [`wire`] reads flags from the wire and writes
//! them, and [`Flags`] is what a service asks. Where flags are kept, who may change them and how they travel is not
//! decided here.

mod draft;
mod evaluate;
mod flag;
pub mod names;
mod set;
pub mod share;
mod told;
mod value;
pub mod wire;

pub use self::{
    draft::{Draft, DraftRule, DraftVariant, InvalidFlag},
    evaluate::{Context, Evaluation, Reason, evaluate},
    flag::{Flag, Rule, Variant},
    set::Flags,
    value::{Kind, Value},
};

/// Most variants of a flag.
pub const MAX_VARIANTS: usize = 16;
/// Most rules of a flag.
pub const MAX_RULES: usize = 32;
/// Most services, and most instances, that one rule names.
pub const MAX_NAMED: usize = 256;
/// Longest text that a variant stands for, in bytes.
pub const MAX_TEXT: usize = 4096;
/// Longest description, in characters.
pub const MAX_DESCRIPTION: usize = 1024;
