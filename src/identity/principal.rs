//! Who somebody has proved to be.

use std::{fmt, time::SystemTime};

use super::grant::Grant;
use crate::tls::peer::Name;

/// Who somebody has proved to be.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Principal {
    /// Nobody had to prove anything.
    Local,
    /// Somebody who proved nothing, although it is asked for.
    Nobody,
    /// The holder of a certificate with this name.
    Certificate(Name),
    /// The bearer of a token.
    Token {
        /// The token's id.
        id: String,
        /// The token's name.
        name: String,
    },
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Principal::Local => f.write_str("local"),
            Principal::Nobody => f.write_str("nobody"),
            Principal::Certificate(name) => name.fmt(f),
            Principal::Token { id: _, name } => write!(f, "token:{name}"),
        }
    }
}

/// Who calls, what that allows, and until when.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// Who.
    pub principal: Principal,
    /// What it may do.
    pub grant: Grant,
    /// When the proof expires. None: never.
    pub expires: Option<SystemTime>,
}

impl Identity {
    /// Whoever calls where nobody has to prove anything.
    pub fn local() -> Self {
        Self { principal: Principal::Local, grant: Grant::Everything, expires: None }
    }

    /// Somebody who proved nothing, although it is asked for.
    pub fn nobody() -> Self {
        Self { principal: Principal::Nobody, grant: Grant::Nothing, expires: None }
    }
}
