//! Flags: as rows of a table, and in detail.

use std::time::SystemTime;

use seaworthy_client::proto::seaworthy::v1::{Flag, FlagRule, FlagValue, flag_value::Kind};

use super::{
    instance::{dash, short},
    when,
};
use crate::cli::output::{Text, table::Table};

/// Flags as a table.
pub(crate) fn table(flags: &[Flag], wide: bool, now: SystemTime) -> Table {
    let mut heading = vec!["FLAG", "TYPE", "DEFAULT"];
    if wide {
        heading.extend(["REVISION", "PUT", "BY", "DESCRIPTION"]);
    }
    heading.push("RULES");
    let mut table = Table::new(heading);
    for flag in flags {
        let mut row: Vec<Text> =
            vec![flag.name.as_str().into(), kind(flag).into(), variant(flag, &flag.default_variant).into()];
        if wide {
            row.push(flag.revision.to_string().into());
            row.push(when::ago(flag.update_time.as_ref(), now).into());
            row.push(dash(&flag.updater).into());
            row.push(dash(&flag.description).into());
        }
        row.push(short(&rules(flag), wide).into());
        table.row(row);
    }
    table
}

/// What is known of one flag, as names and values.
pub(crate) fn facts(flag: &Flag, now: SystemTime) -> Table {
    let mut table = Table::new([]);
    let mut fact = |name: &str, value: String| table.row([name.into(), Text::new(&value)]);
    let variants: Vec<_> = flag.variants.iter().map(|it| variant(flag, &it.name)).collect();
    fact("flag", flag.name.clone());
    fact("type", kind(flag).to_owned());
    fact("variants", dash(&variants.join(", ")).to_owned());
    fact("default", variant(flag, &flag.default_variant));
    for (rule, number) in flag.rules.iter().zip(1..) {
        fact(&format!("rule {number}"), told(rule));
    }
    let disabled = if flag.disabled { "yes: the default holds for everybody" } else { "no" };
    fact("disabled", disabled.to_owned());
    fact("put", put(flag, now));
    fact("description", dash(&flag.description).to_owned());
    table
}

/// What it says, in a line: `off (false); 10% of orders: on`.
pub(crate) fn says(flag: &Flag) -> String {
    let default = variant(flag, &flag.default_variant);
    if flag.rules.is_empty() { default } else { format!("{default}; {}", rules(flag)) }
}

/// A variant with its value: `on (true)`.
fn variant(flag: &Flag, name: &str) -> String {
    let found = flag.variants.iter().find(|variant| variant.name == name);
    match found.and_then(|variant| variant.value.as_ref()).and_then(value) {
        Some(value) => format!("{name} ({value})"),
        None => dash(name).to_owned(),
    }
}

fn value(value: &FlagValue) -> Option<String> {
    Some(match value.kind.as_ref()? {
        Kind::BoolValue(value) => value.to_string(),
        Kind::StringValue(value) => format!("{value:?}"),
        Kind::IntValue(value) => value.to_string(),
        Kind::DoubleValue(value) => value.to_string(),
    })
}

/// All variants are of one type.
fn kind(flag: &Flag) -> &'static str {
    let first = flag.variants.first().and_then(|variant| variant.value.as_ref());
    match first.and_then(|value| value.kind.as_ref()) {
        Some(Kind::BoolValue(_)) => "bool",
        Some(Kind::StringValue(_)) => "string",
        Some(Kind::IntValue(_)) => "int",
        Some(Kind::DoubleValue(_)) => "double",
        None => "-",
    }
}

fn rules(flag: &Flag) -> String {
    let each: Vec<_> = flag.rules.iter().map(told).collect();
    match each.join("; ").as_str() {
        "" => "-".to_owned(),
        rules if flag.disabled => format!("disabled: {rules}"),
        rules => rules.to_owned(),
    }
}

/// `10% of orders, shop: on`.
fn told(rule: &FlagRule) -> String {
    let mut whom = Vec::new();
    if !rule.services.is_empty() {
        whom.push(rule.services.join(", "));
    }
    if !rule.instances.is_empty() {
        whom.push(format!("instances {}", rule.instances.join(", ")));
    }
    let whom = if whom.is_empty() { "all".to_owned() } else { whom.join(" ") };
    let share = if rule.percentage > 0.0 { format!("{}% of ", rule.percentage) } else { String::new() };
    format!("{share}{whom}: {}", rule.variant)
}

fn put(flag: &Flag, now: SystemTime) -> String {
    match &flag.update_time {
        Some(time) => {
            let (ago, by) = (when::ago(Some(time), now), dash(&flag.updater));
            format!("{ago} by {by}, revision {}", flag.revision)
        }
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prost_types::Timestamp;
    use seaworthy_client::proto::seaworthy::v1::FlagVariant;

    use super::*;
    use crate::cli::output::Looks;

    const PLAIN: Looks = Looks { colour: false, unicode: false };

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000)
    }

    fn named(name: &str, kind: Kind) -> FlagVariant {
        FlagVariant { name: name.into(), value: Some(FlagValue { kind: Some(kind) }) }
    }

    fn checkout() -> Flag {
        Flag {
            name: "new-checkout".into(),
            variants: vec![named("on", Kind::BoolValue(true)), named("off", Kind::BoolValue(false))],
            default_variant: "off".into(),
            rules: vec![
                FlagRule {
                    services: vec!["orders".into(), "shop".into()],
                    percentage: 12.5,
                    variant: "on".into(),
                    ..FlagRule::default()
                },
                FlagRule { instances: vec!["i-1".into()], variant: "on".into(), ..FlagRule::default() },
            ],
            revision: 4,
            update_time: Some(Timestamp { seconds: 820, nanos: 0 }),
            updater: "token:alice".into(),
            ..Flag::default()
        }
    }

    #[test]
    fn flags_are_told_with_for_whom_they_are_what() {
        let greeting = Flag {
            name: "greeting".into(),
            variants: vec![named("short", Kind::StringValue("hi\x1b[2J".into()))],
            default_variant: "short".into(),
            ..Flag::default()
        };
        let stopped = Flag { disabled: true, ..checkout() };
        assert_eq!(
            table(&[checkout(), greeting, stopped], false, now()).lines(PLAIN),
            [
                "FLAG          TYPE    DEFAULT                RULES",
                "new-checkout  bool    off (false)            12.5% of orders, shop: on; instances i-1: on",
                "greeting      string  short (\"hi\\u{1b}[2J\")  -",
                "new-checkout  bool    off (false)            disabled: 12.5% of orders, shop: on; instances i-1: on",
            ]
        );
        let wide = table(&[checkout()], true, now()).lines(PLAIN);
        assert!(wide[1].contains("4         3m ago  token:alice  -            12.5%"), "{wide:?}");
    }

    #[test]
    fn one_flag_is_told_rule_by_rule() {
        assert_eq!(
            facts(&checkout(), now()).lines(PLAIN),
            [
                "flag         new-checkout",
                "type         bool",
                "variants     on (true), off (false)",
                "default      off (false)",
                "rule 1       12.5% of orders, shop: on",
                "rule 2       instances i-1: on",
                "disabled     no",
                "put          3m ago by token:alice, revision 4",
                "description  -",
            ]
        );
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        let empty = Flag { name: "odd".into(), ..Flag::default() };
        assert_eq!(table(&[empty], false, now()).lines(PLAIN)[1], "odd   -     -        -");
        for (value, expected) in [
            (Kind::IntValue(-3), "v (-3)"),
            (Kind::DoubleValue(0.5), "v (0.5)"),
            (Kind::BoolValue(true), "v (true)"),
        ] {
            let flag = Flag { variants: vec![named("v", value)], ..Flag::default() };
            assert_eq!((variant(&flag, "v").as_str(), variant(&flag, "w").as_str()), (expected, "w"));
        }
    }
}
