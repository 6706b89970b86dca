use super::*;

/// What becomes of a right draft.
type Change = fn(&mut Draft);

/// Two variants and a rule: nothing is wrong with it.
fn right() -> Draft {
    Draft {
        name: "new-checkout".to_owned(),
        variants: vec![DraftVariant::new("on", true), DraftVariant::new("off", false)],
        default_variant: "off".to_owned(),
        rules: vec![DraftRule { percentage: Some(10.0), ..DraftRule::new("on") }],
        disabled: false,
        description: "The checkout of 2027.".to_owned(),
    }
}

/// The fields that are wrong once a right draft is changed.
fn wrong(change: impl FnOnce(&mut Draft)) -> Vec<String> {
    let mut draft = right();
    change(&mut draft);
    let problems = Flag::new(draft).err().map(|invalid| invalid.problems).unwrap_or_default();
    problems.into_iter().map(|(field, _)| field).collect()
}

fn variants(count: usize) -> Vec<DraftVariant> {
    (0..count)
        .map(|at| DraftVariant::new(if at == 0 { "off".to_owned() } else { format!("v{at}") }, false))
        .collect()
}

fn rule() -> DraftRule {
    DraftRule::new("off")
}

#[test]
fn a_flag_is_what_its_draft_says() {
    let flag = Flag::new(Draft { disabled: true, ..right() }).unwrap();
    assert_eq!((flag.name(), flag.kind(), flag.is_disabled()), ("new-checkout", Kind::Bool, true));
    assert_eq!(flag.description(), "The checkout of 2027.");
    let variants: Vec<_> =
        flag.variants().map(|variant| (variant.name(), variant.value().as_bool())).collect();
    assert_eq!(variants, [("on", Some(true)), ("off", Some(false))]);
    assert_eq!(flag.default_variant().name(), "off");
    let [rule] = flag.rules() else { panic!("{flag:?}") };
    assert_eq!((rule.variant().name(), rule.share().map(Share::percentage)), ("on", Some(10.0)));
    assert!(rule.services().is_empty() && rule.instances().is_empty());
    assert!(!flag.is_control_planes_own());
    let own = Flag::new(Draft { name: "control-plane.read-only".to_owned(), ..right() }).unwrap();
    assert!(own.is_control_planes_own());
}

#[test]
fn what_keeps_the_limits_is_right() {
    let table: [Change; 12] = [
        |_| {},
        |draft| draft.name = "a".repeat(128),
        |draft| draft.variants = variants(1),
        |draft| draft.variants = variants(16),
        |draft| draft.rules = Vec::new(),
        |draft| draft.rules = vec![rule(); 32],
        |draft| draft.rules = vec![DraftRule { services: vec!["a".to_owned(); 256], ..rule() }],
        |draft| draft.rules = vec![DraftRule { instances: vec!["A.1".to_owned(); 256], ..rule() }],
        |draft| draft.rules = vec![DraftRule { percentage: Some(100.0), ..rule() }],
        |draft| draft.variants = vec![DraftVariant::new("off", "\u{e9}".repeat(2048))],
        |draft| draft.variants = vec![DraftVariant::new("off", f64::MIN), DraftVariant::new("v", 0.5)],
        // Characters are counted, not bytes.
        |draft| draft.description = "\u{e9}".repeat(1024),
    ];
    for (at, change) in table.into_iter().enumerate() {
        // The rule of the right draft leads to a variant that some of them do not have.
        let change = |draft: &mut Draft| {
            draft.rules = vec![rule()];
            change(draft);
        };
        assert_eq!(wrong(change), Vec::<String>::new(), "number {at}");
    }
}

#[test]
fn each_wrong_field_is_named_as_a_table() {
    let table: [(&str, Change); 24] = [
        ("name", |draft| draft.name = String::new()),
        ("name", |draft| draft.name = "New Checkout".to_owned()),
        ("name", |draft| draft.name = "a".repeat(129)),
        ("variants", |draft| draft.variants = variants(17)),
        ("variants[1].name", |draft| {
            draft.variants = vec![DraftVariant::new("off", 1), DraftVariant::new("", 2)];
        }),
        ("variants[1].name", |draft| draft.variants = [variants(1), variants(1)].concat()),
        ("variants[0].name", |draft| draft.variants.insert(0, DraftVariant::new("a".repeat(65), true))),
        ("variants[1].value", |draft| {
            draft.variants = vec![DraftVariant::new("off", 1), DraftVariant::new("v", 2.0)];
        }),
        ("variants[0].value", |draft| draft.variants = vec![DraftVariant::new("off", "x".repeat(4097))]),
        // Bytes are counted, not characters.
        ("variants[0].value", |draft| draft.variants = vec![DraftVariant::new("off", "\u{e9}".repeat(2049))]),
        ("variants[0].value", |draft| draft.variants = vec![DraftVariant::new("off", f64::NAN)]),
        ("variants[0].value", |draft| draft.variants = vec![DraftVariant::new("off", f64::INFINITY)]),
        ("variants[1].value", |draft| draft.variants[1].value = None),
        ("default_variant", |draft| draft.default_variant = String::new()),
        ("default_variant", |draft| draft.default_variant = "On".to_owned()),
        ("rules", |draft| draft.rules = vec![rule(); 33]),
        ("rules[1].variant", |draft| draft.rules.push(DraftRule::new("v"))),
        ("rules[0].percentage", |draft| draft.rules[0].percentage = Some(0.0)),
        ("rules[0].percentage", |draft| draft.rules[0].percentage = Some(100.5)),
        ("rules[0].services", |draft| draft.rules[0].services = vec!["a".to_owned(); 257]),
        ("rules[0].services[1]", |draft| draft.rules[0].services = vec!["a".to_owned(), "A".to_owned()]),
        ("rules[0].instances[0]", |draft| draft.rules[0].instances = vec!["a/b".to_owned()]),
        ("description", |draft| draft.description = "x".repeat(1025)),
        ("description", |draft| draft.description = "a\u{1b}[2J".to_owned()),
    ];
    for (field, change) in table {
        let narrowed = |draft: &mut Draft| {
            draft.rules = vec![rule()];
            change(draft);
        };
        assert_eq!(wrong(narrowed), [field]);
    }
}

#[test]
fn a_flag_has_a_variant() {
    assert_eq!(wrong(|draft| draft.variants.clear()), ["variants", "default_variant", "rules[0].variant"]);
}

#[test]
fn everything_wrong_is_named_at_once_and_nothing_because_of_it() {
    let rules = vec![
        DraftRule { services: vec!["a".to_owned(), String::new()], ..DraftRule::new("on") },
        DraftRule { percentage: Some(f64::NAN), instances: vec!["-".to_owned()], ..DraftRule::new("gone") },
    ];
    let variants = vec![
        DraftVariant { name: "on".to_owned(), value: None },
        DraftVariant::new("off", 1),
        DraftVariant::new("O", "x"),
    ];
    let draft = Draft {
        name: "N".to_owned(),
        variants,
        default_variant: "off".to_owned(),
        rules,
        ..Draft::default()
    };
    let invalid = Flag::new(draft).unwrap_err();
    let named = |name: &str, longest: usize| {
        (name.to_owned(), format!("is not 1 to {longest} of a-z, 0-9, `.`, `_` and `-`"))
    };
    let field = |name: &str, problem: &str| (name.to_owned(), problem.to_owned());
    assert_eq!(
        invalid.problems,
        [
            named("name", 128),
            field("variants[0].value", "is missing"),
            named("variants[2].name", 64),
            field("variants[2].value", "is of kind text, and another variant is of kind int; use one kind"),
            field(
                "rules[0].services[1]",
                "is no name of a service: use 1 to 63 of a-z, 0-9 and `-`, with a letter or digit first and last"
            ),
            field(
                "rules[1].instances[0]",
                "is no id of an instance: use 1 to 128 letters, digits, `.`, `_` and `-`, with a letter or digit first"
            ),
            field("rules[1].percentage", "is NaN; use more than 0, and up to 100"),
            field("rules[1].variant", "is not the name of one of the variants"),
        ]
    );
}

#[test]
fn lists_that_are_too_long_are_not_looked_into() {
    let variants: Vec<_> = (0..1000).map(|_| DraftVariant::new("off", f64::NAN)).collect();
    let rules = vec![DraftRule { percentage: Some(-1.0), ..DraftRule::new("gone") }; 1000];
    assert_eq!(wrong(|draft| (draft.variants, draft.rules) = (variants, rules)), ["variants", "rules"]);
    let services = vec![String::new(); 1000];
    assert_eq!(wrong(|draft| draft.rules[0].services = services), ["rules[0].services"]);
}

#[test]
fn the_error_says_what_is_wrong_in_one_line() {
    let draft = Draft { name: String::new(), default_variant: String::new(), ..right() };
    assert_eq!(
        Flag::new(draft).unwrap_err().to_string(),
        "cannot make a flag: name is missing; default_variant is missing; name one of the variants"
    );
}
