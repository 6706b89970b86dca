//! Checks what was given to the builder against the limits of the wire contract, so that a mistake is
//! seen where it was made, and not as a refusal by a control plane that may be away.

use std::{collections::BTreeSet, time::Duration};

use super::{AttachError, Builder, Problem, Transport, reach};
use crate::{
    Component, ServiceSpec,
    backup::Settings,
    proto::seaworthy::v1::{Budget, Objectives, Quantity, budget::Limit, quantity::Value},
    rules::names::{is_instance_id, is_label},
    rules::{
        self,
        registration::{self, MAX_LABELS, MAX_VERSION, MAX_WORD},
    },
};

const MAX_COMPONENTS: usize = 64;
const MAX_DEPENDENCIES: usize = 64;
const MAX_THRESHOLD: u32 = 100;
/// Longer than it takes to see that the network is gone: that is not the component's fault.
const SHORTEST_STALL: Duration = Duration::from_secs(300);
const LONGEST_STALL: Duration = Duration::from_secs(24 * 3600);
const SMALLEST_PAGE: u32 = 4 << 10;
const LARGEST_PAGE: u32 = 1 << 20;
const NOT_A_LABEL: &str = "is not a DNS label (lower-case letters, digits and inner hyphens, 1 to 63)";

/// Problems that were found so far.
#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Problem { field: field.into(), problem: problem.into() });
    }

    fn unless(&mut self, right: bool, field: &str, problem: &str) {
        if !right {
            self.add(field, problem);
        }
    }

    fn judge(&mut self, field: &str, judged: Result<(), String>) {
        if let Err(problem) = judged {
            self.add(field, problem);
        }
    }

    fn between(&mut self, field: &str, time: Duration, least: Duration, most: Duration) {
        if time < least || time > most {
            self.add(field, format!("is {time:?}; it must be between {least:?} and {most:?}"));
        }
    }
}

/// Answers how the control plane is reached where all is well.
pub(super) fn checked(builder: &Builder) -> Result<Transport, AttachError> {
    let mut problems = Problems::default();
    let transport = transport(&mut problems, builder);
    instance(&mut problems, builder);
    spec(&mut problems, &builder.service, &builder.spec);
    components(&mut problems, &builder.components);
    match (transport, problems.0.is_empty()) {
        (Some(transport), true) => Ok(transport),
        _ => Err(AttachError::Invalid { problems: problems.0 }),
    }
}

fn transport(problems: &mut Problems, builder: &Builder) -> Option<Transport> {
    let transport = reach::transport(builder);
    match &transport {
        Some(transport) => {
            for (field, problem) in transport.problems() {
                problems.add(field, problem);
            }
        }
        None => {
            let address = &builder.control_plane;
            problems.add(
                "control_plane",
                format!("is `{address}`; it must be like https://host:port or http://host:port"),
            );
        }
    }
    transport
}

fn instance(problems: &mut Problems, builder: &Builder) {
    problems.unless(is_label(&builder.service), "service", NOT_A_LABEL);
    if let Some(id) = &builder.instance_id {
        let shape = "must be 1 to 128 letters, digits, `.`, `_` or `-`, beginning with a letter or digit";
        problems.unless(is_instance_id(id), "instance_id", shape);
    }
    problems.judge("version", registration::text(&builder.version, MAX_VERSION));
    problems.judge("zone", registration::text(&builder.zone, MAX_WORD));
    problems.judge("address", registration::address(&builder.address));
    let few = format!("are more than {MAX_LABELS}");
    problems.unless(builder.labels.len() <= MAX_LABELS, "labels", &few);
    for (key, value) in &builder.labels {
        problems.judge("labels", registration::label_key(key));
        problems.judge(&format!("labels[{}]", key.escape_debug()), registration::label_value(value));
    }
    if let Some(ttl) = builder.lease_ttl {
        problems.between("lease_ttl", ttl, Duration::from_secs(2), Duration::from_secs(600));
    }
}

fn spec(problems: &mut Problems, service: &str, spec: &ServiceSpec) {
    let spec = spec.as_wire();
    problems.unless(
        spec.depends_on.len() <= MAX_DEPENDENCIES,
        "spec.depends_on",
        "has more than 64 services",
    );
    let mut seen = BTreeSet::new();
    for dependency in &spec.depends_on {
        let field = format!("spec.depends_on[{}]", dependency.service);
        problems.unless(is_label(&dependency.service), &field, NOT_A_LABEL);
        problems.unless(dependency.service != service, &field, "is the service itself");
        problems.unless(seen.insert(&dependency.service), &field, "is named twice");
    }
    let limit = spec.budget.as_ref().and_then(|Budget { limit, .. }| limit.as_ref());
    let quantity = limit.map(|limit| match limit {
        Limit::MinAvailable(quantity) | Limit::MaxUnavailable(quantity) => quantity,
    });
    if let Some(Quantity { value: Some(Value::Percent(percent)) }) = quantity {
        problems.unless(*percent <= 100, "spec.budget", "is more than 100 percent");
    }
    if let Some(Objectives { availability_percent, .. }) = &spec.objectives
        && let Err(problem) = rules::availability(*availability_percent)
    {
        problems.add("spec.availability_percent", problem);
    }
}

fn components(problems: &mut Problems, components: &[Component]) {
    problems.unless(components.len() <= MAX_COMPONENTS, "components", "are more than 64");
    let mut seen = BTreeSet::new();
    for (position, component) in components.iter().enumerate() {
        let at = |field: &str| format!("components[{position}].{field}");
        problems.unless(is_label(&component.name), &at("name"), NOT_A_LABEL);
        problems.unless(seen.insert(&component.name), &at("name"), "is used twice");
        problems.judge(&at("kind"), registration::text(&component.kind, MAX_WORD));
        let mut named = BTreeSet::new();
        for needed in &component.depends_on {
            let once = named.insert(needed);
            problems.unless(once, &at("depends_on"), &format!("names `{needed}` twice"));
            let known = components.iter().any(|one| one.name == *needed);
            problems.unless(known, &at("depends_on"), &format!("names `{needed}`, which is no component"));
        }
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        problems.between(&at("interval"), component.interval, second, hour);
        if let Some(timeout) = component.timeout {
            problems.between(&at("timeout"), timeout, Duration::from_millis(1), hour);
        }
        let (fail, pass) = (component.fail_threshold.unwrap_or(1), component.pass_threshold);
        for (field, reports) in [("fail_threshold", fail), ("pass_threshold", pass)] {
            let right = (1..=MAX_THRESHOLD).contains(&reports);
            problems.unless(right, &at(field), "must be between 1 and 100");
        }
        if let Some(problem) = component.check.as_ref().and_then(|check| check.problem()) {
            problems.add(at("check"), problem);
        }
        if let Some(active) = &component.active_check {
            for (field, problem) in active.problems() {
                problems.add(at(&format!("active_check.{field}")), problem);
            }
            let pushed = component.check.is_none() && component.expires_after.is_none();
            problems.unless(
                pushed,
                &at("active_check"),
                "leaves nothing to the service; take its other check away",
            );
        }
        backup(problems, component, position);
        let watchdog = component.expires_after.is_some() && component.check.is_some();
        problems.unless(!watchdog, &at("expires_after"), "is for pushed components; this one has a check");
    }
    if let Some(name) = in_a_circle(components) {
        problems.add("components", format!("need each other in a circle, `{name}` among them"));
    }
}

fn backup(problems: &mut Problems, component: &Component, position: usize) {
    let at = format!("components[{position}].backup");
    if component.backup.is_none() {
        let problem = "is missing, and how it is captured was set; give it one by backup or backup_with";
        problems.unless(component.capture == Settings::default(), &at, problem);
    }
    if component.without_health {
        let at = format!("components[{position}].without_health");
        let problem = "leaves nothing to say of it; give it a backup";
        problems.unless(component.backup.is_some(), &at, problem);
        let heard = component.check.is_some()
            || component.active_check.is_some()
            || component.expires_after.is_some();
        problems.unless(!heard, &at, "and a check do not go together; take one of them away");
        problems.unless(!component.essential, &at, "is for what is not essential");
    }
    if let Some(time) = component.capture.stalls_after {
        let at = format!("components[{position}].stalls_after");
        problems.between(&at, time, SHORTEST_STALL, LONGEST_STALL);
    }
    if let Some(bytes) = component.capture.page_bytes {
        let right = bytes.is_power_of_two() && (SMALLEST_PAGE..=LARGEST_PAGE).contains(&bytes);
        let at = format!("components[{position}].pages");
        problems.unless(right, &at, &format!("is {bytes}; it must be a power of two from 4096 to 1048576"));
    }
}

/// Takes away components that need nothing that is left, until nothing changes: what remains is in a
/// circle, or leads into one.
fn in_a_circle(components: &[Component]) -> Option<&str> {
    let mut left: Vec<&Component> = components.iter().collect();
    loop {
        let needs_some = |one: &&Component| left.iter().any(|other| one.depends_on.contains(&other.name));
        let kept: Vec<&Component> = left.iter().copied().filter(needs_some).collect();
        if kept.len() == left.len() {
            return left.first().map(|one| one.name.as_str());
        }
        left = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ActiveCheck, Agent, Token, backup::File, checks};

    fn builder() -> Builder {
        Agent::builder("http://127.0.0.1:50051", "orders")
    }

    fn fields(builder: &Builder) -> Vec<String> {
        match checked(builder) {
            Ok(_) => Vec::new(),
            Err(AttachError::Invalid { problems }) => problems.into_iter().map(|one| one.field).collect(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn what_is_right_passes() {
        let database = Component::new("database").depends_on("disk").essential();
        let disk = Component::new("disk").interval(Duration::from_secs(1)).fail_threshold(1);
        let full = builder()
            .instance_id("orders-1")
            .label("team", "checkout")
            .depends_on("payments")
            .lease_ttl(Duration::from_secs(2))
            .spec(ServiceSpec::new().availability_percent(100.0))
            .component(database)
            .component(disk.backup(File::new("state")).pages(8192).quiesces().capture_from_each());
        assert_eq!(fields(&full), Vec::<String>::new());
        let quiet = Component::new("state")
            .backup(File::new("state"))
            .without_health()
            .stalls_after(2 * SHORTEST_STALL);
        assert_eq!(fields(&builder().component(quiet)), Vec::<String>::new());
        for host in ["127.0.0.1", "[::1]", "localhost"] {
            let near = Agent::builder(format!("http://{host}:50051"), "orders").token(Token::new("t"));
            assert_eq!(fields(&near), Vec::<String>::new(), "{host}");
        }
        let far = Agent::builder("http://10.0.0.7:50051", "orders").token(Token::new("t"));
        assert_eq!(fields(&far.allow_plaintext_token()), Vec::<String>::new());
    }

    #[cfg(feature = "tls")]
    #[test]
    fn what_encryption_needs_as_a_table() {
        use crate::Tls;
        let https = || Agent::builder("https://seaworthy.internal:50051", "orders");
        let rows: Vec<(Builder, &[&str])> = vec![
            (https(), &["tls"]),
            (https().tls(Tls::new()), &["tls"]),
            (https().tls(Tls::new().ca_file("ca.pem")).token(Token::file("t")), &[]),
            (https().tls(Tls::new().ca_pem("no PEM")), &["tls"]),
            (https().tls(Tls::new().ca_file("ca.pem").server_name("a b")), &["tls"]),
            (builder().tls(Tls::new().ca_file("ca.pem")), &["control_plane"]),
        ];
        for (builder, expected) in rows {
            assert_eq!(fields(&builder), expected, "{builder:?}");
        }
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn encryption_needs_its_feature() {
        assert_eq!(fields(&Agent::builder("https://h:1", "orders")), ["control_plane"]);
    }

    #[test]
    fn every_mistake_is_named_as_a_table() {
        let component = |component| builder().component(component);
        let one = || Component::new("one");
        let rows: Vec<(Builder, &[&str])> = vec![
            (Agent::builder("127.0.0.1:50051", "orders"), &["control_plane"]),
            (Agent::builder("ftp://127.0.0.1:50051", "orders"), &["control_plane"]),
            (builder().token(Token::new("two words")), &["token"]),
            (Agent::builder("http://10.0.0.7:50051", "orders").token(Token::file("t")), &["token"]),
            (Agent::builder("", "orders"), &["control_plane"]),
            (Agent::builder("http://127.0.0.1:99999", "orders"), &["control_plane"]),
            (Agent::builder("http://127.0.0.1:0", "orders"), &["control_plane"]),
            (Agent::builder("http://127.0.0.1:50051", "Orders"), &["service"]),
            (builder().instance_id(""), &["instance_id"]),
            (builder().version("v".repeat(129)), &["version"]),
            (builder().zone("z".repeat(64)), &["zone"]),
            (builder().address(format!("{}:80", "a".repeat(254))), &["address"]),
            (builder().address("10.0.0.7"), &["address"]),
            (builder().address("10.0.0.7:0"), &["address"]),
            (builder().address("10.0.0.7:99999"), &["address"]),
            (builder().address("10.0.0.7:+80"), &["address"]),
            (builder().address("::1"), &["address"]),
            (builder().address(":8080"), &["address"]),
            (builder().address("a b:8080"), &["address"]),
            (builder().version("1.0\n"), &["version"]),
            (builder().zone("eu\t1"), &["zone"]),
            (builder().label("te\0am", "x"), &["labels"]),
            (builder().label("team", "a\nb"), &["labels[team]"]),
            (builder().label("t".repeat(64), "x"), &["labels"]),
            (builder().label("", "x"), &["labels"]),
            (builder().label("team", "x".repeat(257)), &["labels[team]"]),
            ((0..33).fold(builder(), |all, n| all.label(format!("k{n}"), "")), &["labels"]),
            (builder().lease_ttl(Duration::from_secs(1)), &["lease_ttl"]),
            (builder().depends_on("orders"), &["spec.depends_on[orders]"]),
            (builder().depends_on("a").depends_on("a"), &["spec.depends_on[a]"]),
            (builder().spec(ServiceSpec::new().min_available_percent(101)), &["spec.budget"]),
            (builder().spec(ServiceSpec::new().availability_percent(100.1)), &["spec.availability_percent"]),
            (component(Component::new("Data Base")), &["components[0].name"]),
            (component(one()).component(one()), &["components[1].name"]),
            (component(one().depends_on("two")), &["components[0].depends_on"]),
            (component(one().depends_on("one")), &["components"]),
            (
                component(one()).component(Component::new("two").depends_on("one").depends_on("one")),
                &["components[1].depends_on"],
            ),
            (component(one().kind("k".repeat(64))), &["components[0].kind"]),
            (component(one().kind("sql\u{9b}ite")), &["components[0].kind"]),
            (component(one().interval(Duration::from_millis(999))), &["components[0].interval"]),
            (component(one().timeout(Duration::ZERO)), &["components[0].timeout"]),
            (component(one().fail_threshold(0)), &["components[0].fail_threshold"]),
            (component(one().pass_threshold(101)), &["components[0].pass_threshold"]),
            (component(one().check(checks::http("https://example.org/"))), &["components[0].check"]),
            (
                component(one().active_check(ActiveCheck::tcp(0).timeout(Duration::from_secs(60)))),
                &["components[0].active_check.port", "components[0].active_check.timeout"],
            ),
            (
                component(one().check(|| async {}).active_check(ActiveCheck::http(8080, "health"))),
                &["components[0].active_check.path", "components[0].active_check"],
            ),
            (
                component(one().active_check(ActiveCheck::http(8080, format!("/{}", "x".repeat(1024))))),
                &["components[0].active_check.path"],
            ),
            (
                component(one().active_check(ActiveCheck::http(8080, "/").expect(vec![200; 17]))),
                &["components[0].active_check.expected_statuses"],
            ),
            (
                component(one().active_check(ActiveCheck::http(8080, "/").expect([200, 600, 199]))),
                &["components[0].active_check.expected_statuses"; 2],
            ),
            (
                component(one().active_check(ActiveCheck::grpc(8080, "x".repeat(257)))),
                &["components[0].active_check.service"],
            ),
            (
                component(one().active_check(ActiveCheck::grpc(8080, "a\nb").host("db:80"))),
                &["components[0].active_check.host", "components[0].active_check.service"],
            ),
            (component(one().without_health()), &["components[0].without_health"]),
            (
                component(one().without_health().backup(File::new("state")).check(|| async {}).essential()),
                &["components[0].without_health"; 2],
            ),
            (component(one().quiesces()), &["components[0].backup"]),
            (component(one().pages(5000)), &["components[0].backup", "components[0].pages"]),
            (component(one().backup(File::new("state")).pages(2 << 20)), &["components[0].pages"]),
            (
                component(one().backup(File::new("state")).stalls_after(Duration::from_secs(60))),
                &["components[0].stalls_after"],
            ),
            (
                component(one().check(|| async {}).expires_after(Duration::from_secs(9))),
                &["components[0].expires_after"],
            ),
            (
                (0..65).fold(builder(), |all, n| all.component(Component::new(format!("c{n}")))),
                &["components"],
            ),
            (Agent::builder("", "").lease_ttl(Duration::ZERO), &["control_plane", "service", "lease_ttl"]),
        ];
        for (builder, expected) in rows {
            assert_eq!(fields(&builder), expected, "{builder:?}");
        }
    }

    #[test]
    fn the_error_names_all_of_it_in_one_line() {
        let error = builder().instance_id("").lease_ttl(Duration::from_secs(1)).attach().expect_err("wrong");
        let words = error.to_string();
        assert!(words.starts_with("cannot attach: instance_id must be 1 to 128"), "{words}");
        assert!(words.ends_with("lease_ttl is 1s; it must be between 2s and 600s"), "{words}");
    }

    #[test]
    fn without_a_runtime_it_says_so() {
        assert_eq!(builder().attach().expect_err("no runtime"), AttachError::NoRuntime);
    }
}
