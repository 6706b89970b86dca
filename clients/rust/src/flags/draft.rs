//! A flag as somebody wrote it: nothing is known to be right yet, and [`Flag::new`](super::Flag::new) says what is not.

mod check;

pub(super) use self::check::check;
use super::value::Value;

/// A flag that nobody has judged yet. [`Flag::new`](super::Flag::new) does.
///
/// ```
/// use seaworthy_client::flags::{Draft, DraftRule, DraftVariant, Flag};
///
/// let flag = Flag::new(Draft {
///     name: "new-checkout".to_owned(),
///     variants: vec![DraftVariant::new("on", true), DraftVariant::new("off", false)],
///     default_variant: "off".to_owned(),
///     rules: vec![DraftRule { percentage: Some(10.0), ..DraftRule::new("on") }],
///     ..Draft::default()
/// })?;
/// # Ok::<(), seaworthy_client::flags::InvalidFlag>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// Its name: up to 128 of `a-z`, `0-9`, `.`, `_` and `-`.
    pub name: String,
    /// What it can be: 1 to 16, all of one kind.
    pub variants: Vec<DraftVariant>,
    /// Name of the variant that holds where no rule says otherwise.
    pub default_variant: String,
    /// For whom another one holds, at most 32: the first that matches counts.
    pub rules: Vec<DraftRule>,
    /// Whether the default holds for everybody, whatever the rules say.
    pub disabled: bool,
    /// For people, up to 1024 characters.
    pub description: String,
}

/// A variant of a [`Draft`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DraftVariant {
    /// Its name: up to 64 of `a-z`, `0-9`, `.`, `_` and `-`.
    pub name: String,
    /// What it stands for: a text of up to 4 KiB, a number that is finite. None: it was not said, which is refused.
    pub value: Option<Value>,
}

/// A rule of a [`Draft`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DraftRule {
    /// Only these services, at most 256. Empty: all.
    pub services: Vec<String>,
    /// Only these instances, at most 256. Empty: all.
    pub instances: Vec<String>,
    /// Only so many of a hundred keys: above 0, and up to 100. None: all.
    pub percentage: Option<f64>,
    /// Name of the variant.
    pub variant: String,
}

/// Why a draft is no flag.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "cannot make a flag: {}",
    problems.iter().map(|(field, wrong)| format!("{field} {wrong}")).collect::<Vec<_>>().join("; ")
)]
pub struct InvalidFlag {
    /// Everything that is wrong: the field (`rules[2].variant`), and what is wrong with it.
    pub problems: Vec<(String, String)>,
}

impl DraftVariant {
    /// A name for a value.
    pub fn new(name: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { name: name.into(), value: Some(value.into()) }
    }
}

impl DraftRule {
    /// A rule by which a variant holds for everybody, to be narrowed.
    pub fn new(variant: impl Into<String>) -> Self {
        Self { variant: variant.into(), ..Self::default() }
    }
}
