//! Switching a flag that is true or false: for everybody, or for some; the rest of it stays.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{Flag, FlagRule, FlagValue, FlagVariant, flag_value::Kind};

use crate::cli::{args::value, failure::Failure};

/// The flags.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Switching the flag NAME, which is true or false")]
pub(crate) struct Switch {
    /// True for everybody, or for those of --service
    #[arg(long, conflicts_with_all = ["off", "percentage"])]
    on: bool,
    /// False for everybody, or for those of --service
    #[arg(long, conflicts_with = "percentage")]
    off: bool,
    /// True for so many of a hundred keys, or instances where services ask by none
    #[arg(long, value_name = "SHARE", value_parser = value::percentage)]
    percentage: Option<f64>,
    /// Only in this service; repeat it for several [default: in all]
    #[arg(long = "service", value_name = "SERVICE")]
    services: Vec<String>,
}

impl Switch {
    /// Whether no flag was given.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The flag once it is switched; a new one where there is none.
    ///
    /// # Errors
    /// It is not said to what, or the flag is not one of true and false.
    pub(crate) fn apply(self, name: &str, found: Option<Flag>) -> Result<Flag, Failure> {
        if !self.on && !self.off && self.percentage.is_none() {
            let what = "say to what it is switched: --on, --off or --percentage";
            return Err(Failure::Usage(format!("flag {name}: {what}")));
        }
        let mut flag = found.unwrap_or_else(|| off(name));
        let variant = |wanted: bool| {
            let is_it = |it: &&FlagVariant| it.value == Some(boolean(wanted));
            flag.variants.iter().find(is_it).map(|it| it.name.clone())
        };
        let Some(variant) = variant(!self.off) else {
            return Err(Failure::Usage(format!(
                "flag {name} has no variant that is {}; put it from a file: seaworthy flags get {name} -o json",
                !self.off
            )));
        };
        if self.percentage.is_none() && self.services.is_empty() {
            flag.default_variant = variant;
            // For everybody, whatever its rules say; they are there still.
            flag.disabled = !flag.rules.is_empty();
        } else {
            let percentage = self.percentage.unwrap_or_default();
            rule(&mut flag, FlagRule { services: self.services, percentage, variant, ..FlagRule::default() });
            flag.disabled = false;
        }
        Ok(flag)
    }
}

/// Gives a flag a rule, in place of the one for the same; that of some services counts before those of all.
fn rule(flag: &mut Flag, rule: FlagRule) {
    let services = |rule: &FlagRule| {
        let mut services = rule.services.clone();
        services.sort_unstable();
        services
    };
    let is_same = |it: &&mut FlagRule| it.instances.is_empty() && services(it) == services(&rule);
    if let Some(before) = flag.rules.iter_mut().find(is_same) {
        *before = rule;
    } else if rule.services.is_empty() {
        flag.rules.push(rule);
    } else {
        flag.rules.insert(0, rule);
    }
}

/// A new flag, which is false for everybody.
fn off(name: &str) -> Flag {
    let variant = |name: &str, value| FlagVariant { name: name.to_owned(), value: Some(boolean(value)) };
    Flag {
        name: name.to_owned(),
        variants: vec![variant("on", true), variant("off", false)],
        default_variant: "off".to_owned(),
        ..Flag::default()
    }
}

fn boolean(value: bool) -> FlagValue {
    FlagValue { kind: Some(Kind::BoolValue(value)) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::render::flag::says;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        switch: Switch,
    }

    fn parsed(line: &str) -> Result<Switch, clap::Error> {
        Line::try_parse_from(["put"].into_iter().chain(line.split_whitespace())).map(|line| line.switch)
    }

    fn switched(line: &str, found: Option<Flag>) -> Flag {
        parsed(line).unwrap().apply("new-checkout", found).unwrap()
    }

    #[test]
    fn a_new_flag_is_true_or_false() {
        for (line, expected) in [
            ("--on", "on (true)"),
            ("--off", "off (false)"),
            ("--percentage 10", "off (false); 10% of all: on"),
            ("--percentage 10 --service orders --service shop", "off (false); 10% of orders, shop: on"),
            ("--on --service orders", "off (false); orders: on"),
            ("--off --service orders", "off (false); orders: off"),
        ] {
            let flag = switched(line, None);
            assert_eq!((flag.name.as_str(), says(&flag).as_str()), ("new-checkout", expected), "{line}");
            assert!(!flag.disabled && flag.variants.len() == 2, "{line}");
        }
    }

    #[test]
    fn switching_for_everybody_keeps_the_rules_and_makes_them_rest() {
        let before = Flag {
            description: "why".into(),
            revision: 4,
            ..switched("--percentage 10 --service orders", None)
        };
        let off = switched("--off", Some(before.clone()));
        assert_eq!(says(&off), "off (false); disabled: 10% of orders: on");
        assert_eq!(off, Flag { disabled: true, ..before });
        assert_eq!(says(&switched("--on", Some(off.clone()))), "on (true); disabled: 10% of orders: on");
        // Once something is said of some, rules hold again.
        let again = switched("--percentage 50 --service orders", Some(off));
        assert_eq!(says(&again), "off (false); 50% of orders: on");
        assert_eq!((again.description.as_str(), again.revision), ("why", 4));
    }

    #[test]
    fn a_rule_for_the_same_is_replaced_and_some_count_before_all() {
        let mut flag = switched("--percentage 10", None);
        for (line, expected) in [
            ("--percentage 20", "off (false); 20% of all: on"),
            ("--off --service orders", "off (false); orders: off; 20% of all: on"),
            ("--on --service shop --service pay", "off (false); shop, pay: on; orders: off; 20% of all: on"),
            (
                "--percentage 5 --service pay --service shop",
                "off (false); 5% of pay, shop: on; orders: off; 20% of all: on",
            ),
        ] {
            flag = switched(line, Some(flag));
            assert_eq!(says(&flag), expected, "{line}");
        }
        flag.rules[1].instances.push("i-1".into());
        let flag = switched("--on --service orders", Some(flag));
        assert_eq!(flag.rules.len(), 4, "one of instances is of others");
    }

    #[test]
    fn variants_are_found_by_their_values() {
        let mut odd = off("new-checkout");
        odd.variants[0].name = "enabled".into();
        assert_eq!(says(&switched("--on", Some(odd))), "enabled (true)");
        let text = FlagValue { kind: Some(Kind::StringValue("true".into())) };
        let mut text_alone = off("new-checkout");
        text_alone.variants = vec![FlagVariant { name: "on".into(), value: Some(text) }];
        let refused = parsed("--on").unwrap().apply("new-checkout", Some(text_alone)).unwrap_err();
        assert_eq!(refused.exit().code(), 2);
        assert!(refused.to_string().contains("has no variant that is true"), "{refused}");
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for line in [
            "--on --off",
            "--on --percentage 1",
            "--off --percentage 1",
            "--percentage 0",
            "--percentage 101",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
        assert!(parsed("").unwrap().is_empty() && !parsed("--service orders").unwrap().is_empty());
        let refused = parsed("--service orders").unwrap().apply("new-checkout", None).unwrap_err();
        assert!(refused.to_string().contains("--on, --off or --percentage"), "{refused}");
    }
}
