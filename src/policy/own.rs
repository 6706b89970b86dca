//! Flags of the control plane's own: its optional behaviours, on or off while it runs.

use seaworthy_client::flags::{Context, Draft, DraftVariant, Flag, Value, evaluate};

use super::book::Book;
use crate::error::{Error, Result};

/// What begins the names of the control plane's own flags.
const PREFIX: &str = "control-plane.";

/// An optional behaviour of the control plane. All are on unless a flag says otherwise.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Behaviour {
    /// Rate limits of RPCs.
    RateLimits,
    /// Bounds of what is under way.
    Permits,
    /// Breakers of what RPCs depend on.
    CircuitBreakers,
    /// Active checks of what the fleet registered.
    ActiveChecks,
    /// Compression of what backups store.
    BackupCompression,
}

impl Behaviour {
    /// All of them.
    pub const ALL: [Behaviour; 5] = [
        Behaviour::RateLimits,
        Behaviour::Permits,
        Behaviour::CircuitBreakers,
        Behaviour::ActiveChecks,
        Behaviour::BackupCompression,
    ];

    /// The name of its flag.
    pub fn flag(self) -> &'static str {
        match self {
            Behaviour::RateLimits => "control-plane.rate-limits",
            Behaviour::Permits => "control-plane.permits",
            Behaviour::CircuitBreakers => "control-plane.circuit-breakers",
            Behaviour::ActiveChecks => "control-plane.active-checks",
            Behaviour::BackupCompression => "control-plane.backup-compression",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Behaviour::RateLimits => "whether rate limits of RPCs hold",
            Behaviour::Permits => "whether the bounds of RPCs under way hold",
            Behaviour::CircuitBreakers => "whether the breakers of what RPCs depend on hold",
            Behaviour::ActiveChecks => "whether active checks of registered instances are made",
            Behaviour::BackupCompression => "whether backups that begin compress what they store",
        }
    }

    /// Whether it is on.
    pub fn is_on(self, book: &Book) -> bool {
        let Some(placed) = book.flag(self.flag()) else { return true };
        let here = Context { service: "", instance: "", key: None };
        evaluate(&placed.flag, &here).value.as_bool().unwrap_or(true)
    }
}

/// All of them, as they are at first.
pub(super) fn flags() -> Vec<Flag> {
    Behaviour::ALL.into_iter().filter_map(|behaviour| flag(behaviour.flag())).collect()
}

/// The one of a name, as it is at first.
pub(super) fn flag(name: &str) -> Option<Flag> {
    let behaviour = Behaviour::ALL.into_iter().find(|behaviour| behaviour.flag() == name)?;
    Flag::new(Draft {
        name: name.to_owned(),
        variants: vec![DraftVariant::new("on", true), DraftVariant::new("off", false)],
        default_variant: "on".to_owned(),
        description: behaviour.description().to_owned(),
        ..Draft::default()
    })
    .ok()
}

/// Whether a flag can be what its name says.
///
/// # Errors
/// It bears a name of the control plane's own, and is none of them or no switch.
pub(super) fn check(wanted: &Flag) -> Result<()> {
    if !wanted.name().starts_with(PREFIX) {
        return Ok(());
    }
    let known = Behaviour::ALL.map(Behaviour::flag);
    if !known.contains(&wanted.name()) {
        let names = known.join(", ");
        return Err(Error::field(
            "flag.name",
            format!("is none of the control plane's own flags, which are {names}"),
        ));
    }
    if wanted.variants().any(|variant| !matches!(variant.value(), Value::Bool(_))) {
        return Err(Error::field("flag.variants", "are not all true or false, which this flag is"));
    }
    if !wanted.rules().is_empty() {
        return Err(Error::field("flag.rules", "are for services; this flag is the control plane's own"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_behaviour_has_a_flag_and_is_on_at_first() {
        assert_eq!(flags().len(), Behaviour::ALL.len());
        for behaviour in Behaviour::ALL {
            assert!(behaviour.is_on(&Book::default()), "{behaviour:?}");
            assert!(check(&flag(behaviour.flag()).unwrap()).is_ok());
        }
    }

    #[test]
    fn what_is_no_switch_is_refused() {
        let draft = |name: &str, value: Value| Draft {
            name: name.to_owned(),
            variants: vec![DraftVariant { name: "a".into(), value: Some(value) }],
            default_variant: "a".into(),
            ..Draft::default()
        };
        for (name, value, field) in [
            ("control-plane.nothing", Value::Bool(true), Some("flag.name")),
            ("control-plane.permits", Value::Int(1), Some("flag.variants")),
            ("control-plane.permits", Value::Bool(false), None),
            ("anything", Value::Int(1), None),
        ] {
            let refused = check(&Flag::new(draft(name, value)).unwrap()).err();
            assert_eq!(refused.map(|it| it.violations()[0].field.clone()).as_deref(), field, "{name}");
        }
    }
}
