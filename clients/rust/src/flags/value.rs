//! What a flag can be: a value, and which kind of value it is.

use std::fmt;

/// What a variant stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// True or false.
    Bool(bool),
    /// A text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
}

/// Which kind of value it is. All variants of a flag are of one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// True or false.
    Bool,
    /// A text.
    Text,
    /// A whole number.
    Int,
    /// A number.
    Double,
}

impl Value {
    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Value::Bool(_) => Kind::Bool,
            Value::Text(_) => Kind::Text,
            Value::Int(_) => Kind::Int,
            Value::Double(_) => Kind::Double,
        }
    }

    /// True or false, if it is that.
    pub fn as_bool(&self) -> Option<bool> {
        let Value::Bool(value) = self else { return None };
        Some(*value)
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        let Value::Text(value) = self else { return None };
        Some(value)
    }

    /// The whole number, if it is one. [`Value::Double`] is none, whatever it holds.
    pub fn as_int(&self) -> Option<i64> {
        let Value::Int(value) = self else { return None };
        Some(*value)
    }

    /// The number, if it is one. [`Value::Int`] is none.
    pub fn as_double(&self) -> Option<f64> {
        let Value::Double(value) = self else { return None };
        Some(*value)
    }
}

impl Kind {
    /// The word for people: `bool`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Bool => "bool",
            Kind::Text => "text",
            Kind::Int => "int",
            Kind::Double => "double",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::Text(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Double(value)
    }
}
