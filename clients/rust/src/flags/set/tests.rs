use std::{io, time::Duration};

use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::time::timeout;

use super::*;
use crate::flags::{Draft, DraftRule, DraftVariant};

fn draft(name: &str, variants: Vec<DraftVariant>, rules: Vec<DraftRule>) -> Draft {
    let default_variant = variants[0].name.clone();
    Draft { name: name.to_owned(), variants, default_variant, rules, ..Draft::default() }
}

/// A flag of which the first of two values holds, and the second for whom the rule says.
fn flag<T: Into<Value>>(name: &str, values: [T; 2], rule: DraftRule) -> Flag {
    let [off, on] = values;
    let variants = vec![DraftVariant::new("off", off), DraftVariant::new("on", on)];
    Flag::new(draft(name, variants, vec![rule])).unwrap()
}

fn switch() -> Vec<DraftVariant> {
    vec![DraftVariant::new("off", false), DraftVariant::new("on", true)]
}

fn percentage(percentage: f64) -> DraftRule {
    DraftRule { percentage: Some(percentage), ..DraftRule::new("on") }
}

fn only(service: &str) -> DraftRule {
    DraftRule { services: vec![service.to_owned()], ..DraftRule::new("on") }
}

fn flags(all: Vec<Flag>) -> Flags {
    let flags = Flags::new("orders", "orders-7");
    flags.replace(all);
    flags
}

/// Whether it changed since it was last asked. Time is paused: it passes once nobody can go on.
async fn has_changed(flags: &mut Flags) -> bool {
    timeout(Duration::from_secs(1), flags.changed()).await.is_ok()
}

#[test]
fn values_of_each_kind_are_answered() {
    let flags = flags(vec![
        flag("bool", [false, true], only("orders")),
        flag("text", ["a", "b"], only("orders")),
        flag("int", [1, 2], only("orders")),
        flag("double", [0.5, 1.5], only("orders")),
    ]);
    assert!(flags.bool("bool", false) && flags.bool_for("bool", "user-1", false));
    assert_eq!(
        (flags.text("text", "x"), flags.text_for("text", "user-1", "x")),
        ("b".to_owned(), "b".to_owned())
    );
    assert_eq!((flags.int("int", 7), flags.int_for("int", "user-1", 7)), (2, 2));
    assert_eq!((flags.double("double", 7.0), flags.double_for("double", "user-1", 7.0)), (1.5, 1.5));
}

#[test]
fn what_is_no_such_flag_is_the_default_in_the_code() {
    let known = vec![flag("int", [1, 2], only("orders")), flag("text", ["a", "b"], only("orders"))];
    // Nobody gave any yet; there is none of that name; they are of another kind.
    for (flags, name) in [
        (Flags::new("orders", "orders-7"), "int"),
        (flags(known.clone()), "gone"),
        (flags(known.clone()), "text"),
    ] {
        for default in [true, false] {
            assert_eq!(
                (flags.bool(name, default), flags.bool_for(name, "user-1", default)),
                (default, default)
            );
        }
        assert_eq!((flags.int(name, 7), flags.int_for(name, "user-1", 8)), (7, 8));
        assert_eq!((flags.double(name, 0.5), flags.double_for(name, "user-1", 1.5)), (0.5, 1.5));
    }
    // A whole number is not read as a number.
    let flags = flags(known);
    assert_eq!(
        (flags.double("int", 0.5), flags.text("int", "x"), flags.text_for("int", "k", "y")),
        (0.5, "x".to_owned(), "y".to_owned())
    );
}

#[test]
fn a_key_goes_before_the_instance() {
    // 40 % of `bool`, `text` and `double` take this user and not this instance, of `int` the other way round.
    let all = vec![
        flag("bool", [false, true], percentage(40.0)),
        flag("text", ["a", "b"], percentage(40.0)),
        flag("int", [1, 2], percentage(40.0)),
        flag("double", [0.5, 1.5], percentage(40.0)),
    ];
    let flags = flags(all.clone());
    assert!(flags.bool_for("bool", "user-2", false) && !flags.bool("bool", true));
    assert_eq!(
        (flags.text_for("text", "user-2", "x"), flags.text("text", "x")),
        ("b".to_owned(), "a".to_owned())
    );
    assert_eq!((flags.int_for("int", "user-2", 0), flags.int("int", 0)), (1, 2));
    assert_eq!((flags.double_for("double", "user-2", 0.0), flags.double("double", 0.0)), (1.5, 0.5));
    // A key gets the same wherever it is asked for; this other instance is not taken by `int`.
    let elsewhere = Flags::new("orders", "orders-8");
    elsewhere.replace(all);
    assert_eq!((elsewhere.int_for("int", "user-2", 0), elsewhere.int("int", 0)), (1, 1));
    assert!(elsewhere.bool_for("bool", "user-2", false));
}

#[test]
fn a_set_takes_the_place_of_the_one_before_for_all_clones() {
    let flags = Flags::new("orders", "orders-7");
    let clone = flags.clone();
    flags.replace(vec![flag("a", [1, 2], only("orders")), flag("b", [1, 2], only("orders"))]);
    assert_eq!((clone.int("a", 0), clone.int("b", 0)), (2, 2));
    clone.replace(vec![flag("b", [1, 2], only("shop")), flag("b", [3, 4], only("shop"))]);
    assert_eq!((flags.int("a", 0), flags.int("b", 0)), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_change_is_seen_once_by_each_clone() {
    let mut flags = Flags::new("orders", "orders-7");
    assert!(!has_changed(&mut flags).await);
    // The first ones are a change, even if there are none.
    flags.replace(Vec::new());
    assert!(has_changed(&mut flags).await && !has_changed(&mut flags).await);
    let mut clone = flags.clone();
    for value in [1, 2] {
        flags.replace(vec![flag("a", [value, 0], only("shop"))]);
    }
    for each in [&mut flags, &mut clone] {
        assert!(has_changed(each).await && !has_changed(each).await);
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_concern_the_instance_is_no_change() {
    let mut flags = flags(vec![flag("a", [false, true], only("shop"))]);
    assert!(has_changed(&mut flags).await);
    let words = Draft { description: "For people.".to_owned(), ..draft("a", switch(), vec![only("shop")]) };
    let same = [flag("a", [false, true], only("shop")), flag("a", [false, true], only("bank"))];
    for same in same.into_iter().chain(Flag::new(words)) {
        flags.replace(vec![same]);
        assert!(!has_changed(&mut flags).await);
    }
    flags.replace(vec![flag("a", [false, true], percentage(10.0))]);
    assert!(has_changed(&mut flags).await);
    flags.replace(vec![flag("a", [false, true], percentage(11.0))]);
    assert!(has_changed(&mut flags).await);
    flags.replace(Vec::new());
    assert!(has_changed(&mut flags).await);
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_woken() {
    let flags = Flags::new("orders", "orders-7");
    let mut waiting = flags.clone();
    let changed = async {
        assert!(has_changed(&mut waiting).await);
        waiting.bool("a", false)
    };
    let change = async {
        tokio::task::yield_now().await;
        flags.replace(vec![flag("a", [false, true], only("orders"))]);
    };
    let (seen, ()) = tokio::join!(changed, change);
    assert!(seen);
}

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// The lines since it was last asked.
    fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock());
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_log_says_once_why_a_default_holds_and_only_then() {
    let log = Log::default();
    let writer = log.clone();
    let debug =
        tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(move || writer.clone());
    tracing::subscriber::with_default(debug.finish(), || {
        let flags = Flags::new("orders", "orders-7");
        flags.bool("a", false);
        assert_eq!(log.take(), Vec::<String>::new(), "nobody has given flags yet");
        flags.replace(vec![flag("a", [1, 2], only("orders"))]);
        flags.int("a", 0);
        assert_eq!(log.take(), Vec::<String>::new(), "it holds");
        for _ in 0..3 {
            flags.bool("a", false);
            flags.clone().bool_for("a", "user-1", false);
        }
        let [said] = &log.take()[..] else { panic!("it is of another kind") };
        assert!(said.contains("DEBUG") && said.contains("is of kind int, asked for as bool"), "{said}");
        for _ in 0..3 {
            flags.text("gone\n", "x");
        }
        let [said] = &log.take()[..] else { panic!("there is none") };
        assert!(said.contains(r#""gone\n""#) && said.contains("no such flag"), "{said}");
        flags.bool(&"b".repeat(100_000), false);
        let [said] = &log.take()[..] else { panic!("there is none of a name that is too long") };
        assert!(said.len() < 500, "{} bytes", said.len());
    });
}

#[test]
fn what_is_shown_of_it_is_short() {
    let flags = flags(vec![flag("a", ["x", "y"], only("orders"))]);
    assert_eq!(
        format!("{flags:?}"),
        r#"Flags { service: "orders", instance: "orders-7", known: Some(1), .. }"#
    );
}

proptest! {
    #[test]
    fn it_answers_as_the_flag_is_evaluated(
        service in prop::sample::select(vec!["orders", "shop"]),
        share in prop::option::of(1.0..=100.0),
        disabled: bool,
        key in prop::option::of("[a-z]{0,3}"),
    ) {
        let variants = vec![DraftVariant::new("off", 1), DraftVariant::new("on", 2)];
        let rule = DraftRule { percentage: share, ..only(service) };
        let flag = Flag::new(Draft { disabled, ..draft("a", variants, vec![rule]) }).unwrap();
        let context = Context { service: "orders", instance: "orders-7", key: key.as_deref() };
        let expected = evaluate(&flag, &context).value.as_int().unwrap();
        let flags = flags(vec![flag]);
        let found = match &key {
            Some(key) => flags.int_for("a", key, 0),
            None => flags.int("a", 0),
        };
        prop_assert_eq!(found, expected);
    }
}
