//! Policies, from a file, by flags and imported, against the real server.

use std::{fs, process::Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdout},
    time::timeout,
};

use super::{PATIENCE, code, harness::TestServer, run, seaworthy, stderr, stdout};

const CHARGES: [&str; 11] = [
    "policy",
    "put",
    "charges",
    "--service",
    "orders",
    "--operation",
    "charge-card",
    "--limit",
    "100/s",
    "--burst",
    "20",
];

/// The server, and the commands that are asked of it.
pub(crate) struct Scene {
    pub(crate) server: TestServer,
    url: String,
}

impl Scene {
    pub(crate) async fn start() -> Self {
        let server = TestServer::start().await;
        Self { url: server.url(), server }
    }

    /// The whole command line.
    pub(crate) fn args<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        [&["--server", &self.url], args].concat()
    }

    /// What is printed, of a command that does what it is asked.
    pub(crate) async fn done(&self, args: &[&str]) -> String {
        let ended = run(&self.args(args)).await;
        assert_eq!((code(&ended), stderr(&ended)), (0, String::new()), "{args:?}");
        stdout(&ended)
    }

    /// The same, as JSON.
    pub(crate) async fn json(&self, args: &[&str]) -> Value {
        let printed = self.done(&[args, &["-o", "json"]].concat()).await;
        serde_json::from_str(&printed).unwrap()
    }

    /// What a command complains of, that ends with this code and prints nothing else.
    pub(crate) async fn refused(&self, expected: i32, args: &[&str]) -> String {
        let ended = run(&self.args(args)).await;
        assert_eq!((code(&ended), stdout(&ended)), (expected, String::new()), "{args:?}: {}", stderr(&ended));
        stderr(&ended)
    }

    /// What a command says that is given this on its standard input.
    async fn told(&self, args: &[&str], input: &str) -> std::process::Output {
        let mut command = seaworthy(&self.args(args));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap()
    }
}

/// The row of a table that begins so.
pub(crate) fn row<'a>(table: &'a str, begin: &str) -> &'a str {
    table.lines().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("no {begin} in\n{table}"))
}

#[tokio::test]
async fn a_policy_is_put_by_flags_and_shown_and_deleted_by_its_name() {
    let scene = Scene::start().await;
    let put = scene.done(&CHARGES).await;
    assert_eq!(row(&put, "about"), "about             charge-card of orders");
    assert_eq!(row(&put, "limits"), "limits OPERATION  100 in 1s, token bucket, burst 20");
    assert!(row(&put, "from").starts_with("from              put "), "{put}");
    assert_eq!(row(&scene.done(&["policy", "get", "charges"]).await, "limits"), row(&put, "limits"));

    let list = scene.done(&["policy", "list"]).await;
    assert!(list.starts_with("POLICY "), "{list}");
    let listed = row(&list, "charges ");
    assert!(listed.contains(" charge-card of orders ") && listed.contains(" put "), "{list}");
    assert!(listed.ends_with("  limits OPERATION: 100 in 1s, token bucket, burst 20"), "{list}");
    let json = scene.json(&["policy", "list"]).await;
    let found = json["policies"].as_array().unwrap().iter().find(|it| it["name"] == "charges").unwrap();
    assert_eq!((&found["origin"], &found["limits"][0]["amount"]), (&json!("POLICY_ORIGIN_PUT"), &json!(100)));

    let silent = scene.refused(1, &["policy", "delete", "charges"]).await;
    assert!(silent.contains("charge-card of orders") && silent.contains("--yes charges"), "{silent}");
    scene.refused(1, &["policy", "delete", "charges", "--yes", "charge"]).await;
    scene.done(&["policy", "get", "charges"]).await;
    let deleted = scene.done(&["policy", "delete", "charges", "--yes", "charges"]).await;
    assert_eq!(deleted, "deleted policy charges\n");
    for gone in [&["policy", "get", "charges"][..], &["policy", "delete", "charges", "--yes", "charges"]] {
        scene.refused(3, gone).await;
    }
    scene.server.stop().await;
}

#[tokio::test]
async fn what_is_shown_as_json_can_be_put_from_a_file_and_the_standard_input() {
    let scene = Scene::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("charges.toml");
    fs::write(&file, "name = \"charges\"\nretry = { attempts = 5 }\n[[limits]]\nscope = \"POLICY_SCOPE_GLOBAL\"\namount = 7\n")
        .unwrap();
    let put = scene.done(&["policy", "put", file.to_str().unwrap()]).await;
    assert!(row(&put, "limits GLOBAL").contains("  7 in 1s, token bucket"), "{put}");
    assert!(row(&put, "retry").contains("5 tries"), "{put}");

    let mut shown = scene.json(&["policy", "get", "charges"]).await;
    let revision = shown["revision"].as_u64().unwrap();
    shown["limits"][0]["amount"] = json!(8);
    let text = shown.to_string();
    let stale = scene.told(&["policy", "put", "-", "--if-revision", "0"], &text).await;
    assert_eq!((code(&stale), stdout(&stale)), (5, String::new()), "{}", stderr(&stale));
    let put = scene.told(&["policy", "put", "-", "--if-revision", &revision.to_string()], &text).await;
    assert_eq!((code(&put), stderr(&put)), (0, String::new()));
    assert!(row(&stdout(&put), "limits GLOBAL").contains("8 in 1s"), "{}", stdout(&put));
    let again = scene.told(&["policy", "put", "-", "--if-revision", &revision.to_string()], &text).await;
    assert_eq!(code(&again), 5, "{}", stderr(&again));

    // By flags it is a whole policy too: nothing of the one before stays.
    let put = scene.done(&CHARGES).await;
    assert!(!put.contains("retry") && !put.contains("limits GLOBAL"), "{put}");
    let wrong = scene.told(&["policy", "put", "-"], r#"{"nam": "charges"}"#).await;
    assert_eq!(code(&wrong), 2);
    assert!(
        stderr(&wrong).contains("- is no policy: ") && stderr(&wrong).contains("nam"),
        "{}",
        stderr(&wrong)
    );
    scene.server.stop().await;
}

#[tokio::test]
async fn what_the_server_refuses_of_a_policy_is_told_by_field() {
    let scene = Scene::start().await;
    let told = scene.refused(5, &["policy", "put", "Charges", "--service", "orders", "--limit", "1/s"]).await;
    assert!(told.starts_with("error: cannot put policy Charges: policy.name"), "{told}");
    scene.refused(3, &["policy", "get", "charges"]).await;
    scene.server.stop().await;
}

#[tokio::test]
async fn what_decides_of_a_call_is_told_with_what_it_hides() {
    let scene = Scene::start().await;
    scene.done(&CHARGES).await;
    scene.done(&["policy", "put", "all-orders", "--service", "orders", "--limit", "500/s"]).await;
    let call = ["policy", "explain", "--service", "orders", "--operation", "charge-card"];
    let explained = scene.done(&call).await;
    let decides = row(&explained, "limits OPERATION");
    assert!(
        decides.contains("  charges  ") && decides.contains("100 in 1s, token bucket, burst 20"),
        "{explained}"
    );
    assert!(decides.split("  ").last().unwrap().contains("all-orders"), "{explained}");
    let json = scene.json(&call).await;
    let parts = json["parts"].as_array().unwrap();
    assert!(parts.iter().any(|part| part["policy"] == "charges" && part["shadow"] == json!(false)), "{json}");
    // Who is exempt is told so, and only that.
    let exempt = scene.done(&["policy", "explain", "--rpc", "grpc.health.v1.Health/Check"]).await;
    assert!(exempt.starts_with("no policy holds of it: "), "{exempt}");
    scene.server.stop().await;
}

/// A command that goes on, and the lines that it prints.
pub(crate) fn start(scene: &Scene, args: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = seaworthy(&scene.args(args));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

/// The next line that has all of these.
pub(crate) async fn until(lines: &mut Lines<BufReader<ChildStdout>>, words: &[&str]) -> String {
    let found = async {
        loop {
            let line = lines.next_line().await.unwrap().unwrap();
            if words.iter().all(|word| line.contains(word)) {
                return line;
            }
        }
    };
    timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("never {words:?}"))
}

pub(crate) async fn interrupt(mut child: Child) -> i32 {
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    timeout(PATIENCE, child.wait()).await.unwrap().unwrap().code().unwrap()
}

#[tokio::test]
async fn a_watch_prints_what_there_is_and_what_changes() {
    let scene = Scene::start().await;
    scene.done(&CHARGES).await;
    let (child, mut lines) = start(&scene, &["policy", "watch"]);
    let line = until(&mut lines, &["policy", "charges", "present"]).await;
    assert!(
        line.ends_with("charge-card of orders: limits OPERATION: 100 in 1s, token bucket, burst 20"),
        "{line}"
    );
    scene.done(&[&CHARGES[..], &["--shadow"]].concat()).await;
    until(&mut lines, &["policy", "charges", "changed", "in shadow"]).await;
    scene.done(&["flags", "put", "new-checkout", "--on"]).await;
    until(&mut lines, &["flag", "new-checkout", "added", "on (true)"]).await;
    scene.done(&["breakers", "force", "orders", "charge-card", "closed", "--message", "calm"]).await;
    until(&mut lines, &["override", "charge-card of orders", "added", "forced_closed until", "calm"]).await;
    scene.done(&["breakers", "release", "orders", "charge-card"]).await;
    until(&mut lines, &["override", "charge-card of orders", "removed"]).await;
    scene.done(&["policy", "delete", "charges", "--yes", "charges"]).await;
    until(&mut lines, &["policy", "charges", "removed"]).await;
    assert_eq!(interrupt(child).await, 130);

    let (child, mut lines) = start(&scene, &["policy", "watch", "-o", "json"]);
    let line = until(&mut lines, &["new-checkout"]).await;
    let object: Value = serde_json::from_str(&line).unwrap();
    assert!(object["revision"].is_u64() && object["policies"].is_array(), "{line}");
    assert_eq!(interrupt(child).await, 130);
    scene.server.stop().await;
}

const EDGE: &str = "
domain: edge
descriptors:
  - key: operation
    value: charge-card
    rate_limit: {unit: second, requests_per_unit: 100, algorithm: token-bucket}
    descriptors:
      - key: caller
        shadow_mode: true
        rate_limit: {unit: minute, requests_per_unit: 600}
  - key: caller
    value: shop
    detailed_metric: true
    rate_limit: {unit: day, requests_per_unit: 1000}
";

#[tokio::test]
async fn a_file_of_envoyproxy_ratelimit_is_imported() {
    let scene = Scene::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edge.yaml");
    fs::write(&file, EDGE).unwrap();
    let import = ["policy", "import", file.to_str().unwrap(), "--service", "orders"];

    let names = ["edge-caller-shop", "edge-operation-charge-card", "edge-operation-charge-card-caller"];
    let dry = run(&[&import[..], &["--dry-run"]].concat()).await;
    assert_eq!(code(&dry), 0, "it asks no server: {}", stderr(&dry));
    assert_eq!(stderr(&dry), "left out: detailed_metric of descriptors[1] (caller_shop)\n");
    for name in names {
        row(&stdout(&dry), &format!("{name} "));
        scene.refused(3, &["policy", "get", name]).await;
    }

    let put = run(&scene.args(&import)).await;
    assert_eq!(code(&put), 0, "{}", stderr(&put));
    assert!(row(&stdout(&put), "edge-caller-shop ").contains("limits CALLER: 1000 in 86400s, fixed window"));
    let found = scene.json(&["policy", "get", names[2]]).await;
    assert_eq!(found["target"]["operations"], json!({"service": "orders", "operation": "charge-card"}));
    assert_eq!((&found["shadow"], &found["limits"][0]["period"]), (&json!(true), &json!("60s")));
    assert_eq!(found["description"], "from envoyproxy/ratelimit: edge.operation_charge-card.caller");
    // The same again is the same.
    let json = run(&scene.args(&[&import[..], &["-o", "json"]].concat())).await;
    let again: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(again["policies"].as_array().map(Vec::len), Some(3));
    let ours = scene.json(&["policy", "list"]).await;
    let ours = ours["policies"].as_array().unwrap().iter().filter(|it| it["origin"] == "POLICY_ORIGIN_PUT");
    assert!(ours.map(|it| it["name"].as_str().unwrap().to_owned()).eq(names));
    scene.server.stop().await;
}

#[tokio::test]
async fn a_file_that_no_policies_can_say_is_refused_as_a_whole() {
    let scene = Scene::start().await;
    let import = ["policy", "import", "-", "--service", "orders"];
    let wrong = format!("{EDGE}  - {{key: path, rate_limit: {{unit: week, requests_per_unit: 0}}}}\n");
    let refused = scene.told(&import, &wrong).await;
    assert_eq!((code(&refused), stdout(&refused)), (2, String::new()));
    let told = stderr(&refused);
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines[0], "error: - cannot be said as policies; nothing was put", "{told}");
    let places: Vec<_> = lines[1..].iter().map(|line| line.split(" (path): ").next().unwrap()).collect();
    let rate_limit = "  descriptors[2].rate_limit";
    let expected = [
        "  descriptors[2]".to_owned(),
        format!("{rate_limit}.unit"),
        format!("{rate_limit}.requests_per_unit"),
    ];
    assert_eq!(places, expected);
    scene.refused(3, &["policy", "get", "edge-caller-shop"]).await;

    let no_yaml = scene.told(&import, "domain: [").await;
    assert_eq!(code(&no_yaml), 2);
    assert!(stderr(&no_yaml).contains("is no configuration of envoyproxy/ratelimit"), "{}", stderr(&no_yaml));
    scene.server.stop().await;
}

/// A section of the README.
fn section(name: &str) -> String {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let after = readme.split(&format!("\n## {name}\n")).nth(1).unwrap().to_owned();
    after.split("\n## ").next().unwrap().to_owned()
}

/// The blocks of a section in one language.
fn blocks<'a>(section: &'a str, language: &str) -> Vec<&'a str> {
    let begin = format!("```{language}\n");
    section.split(begin.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The words of a command, as a shell reads them that knows quotes alone.
fn words(line: &str) -> Vec<&str> {
    let parts = line.split('"').enumerate();
    parts
        .flat_map(|(n, part)| if n % 2 == 1 { vec![part] } else { part.split_whitespace().collect() })
        .collect()
}

#[tokio::test]
async fn every_command_of_the_readme_does_what_it_is_said_to() {
    let scene = Scene::start().await;
    let section = section("Protect it");
    let lines: Vec<&str> = blocks(&section, "sh")
        .iter()
        .flat_map(|block| block.lines())
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert!(lines.len() >= 9, "{lines:?}");
    for line in lines {
        let words = words(line);
        let (program, args) = words.split_first().unwrap();
        assert_eq!(*program, "seaworthy", "{line}");
        // What is followed does not end; other tests follow it.
        let args: Vec<&str> = args.iter().copied().filter(|word| *word != "--watch").collect();
        let ended = run(&scene.args(&args)).await;
        assert_eq!(code(&ended), 0, "{line}: {}", stderr(&ended));
    }
    let explained =
        scene.done(&["policy", "explain", "--service", "orders", "--operation", "charge-card"]).await;
    assert!(row(&explained, "limits OPERATION").contains("charges"), "{explained}");
    scene.server.stop().await;
}

#[tokio::test]
async fn the_configuration_of_the_readme_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("seaworthy.toml");
    let section = section("Protect it");
    let [text] = blocks(&section, "toml")[..] else { panic!("one block") };
    fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap();
    let right = run(&["config", "check", "--config", path]).await;
    assert_eq!((code(&right), stderr(&right)), (0, String::new()));
    // It is looked at.
    fs::write(&file, text.replace("amount = 100", "amount = 0")).unwrap();
    let wrong = run(&["config", "check", "--config", path]).await;
    assert_eq!(code(&wrong), 64);
    assert!(stderr(&wrong).contains("policies.limits[0].amount"), "{}", stderr(&wrong));
}

/// Whoever made a policy that stops everything can see it, and lift it by the commands that say so.
#[tokio::test]
async fn a_policy_that_refuses_everything_is_lifted_by_its_command() {
    let scene = Scene::start().await;
    scene
        .done(&[
            "policy", "put", "stop", "--rpc", "all", "--limit", "1/h", "--burst", "1", "--scope", "global",
        ])
        .await;
    scene.json(&["service", "list"]).await;
    assert!(
        scene.refused(5, &["service", "list"]).await.contains("policy stop allows everything together 1 in")
    );
    assert_eq!(scene.json(&["policy", "get", "stop"]).await["name"], "stop");
    scene.done(&["policy", "list"]).await;
    let force = ["breakers", "force", "orders", "charge-card", "open", "--ttl", "1m", "--yes", "charge-card"];
    scene.done(&force).await;
    scene.done(&["flags", "put", "control-plane.rate-limits", "--off"]).await;
    scene.json(&["service", "list"]).await;
    scene.done(&["flags", "put", "control-plane.rate-limits", "--on"]).await;
    scene.done(&["policy", "delete", "stop", "--yes", "stop"]).await;
    scene.json(&["service", "list"]).await;
    scene.server.stop().await;
}

/// What the server cannot do now is asked for again within the user's deadline, as it says when; a longer wait is not begun.
#[tokio::test]
async fn a_call_over_the_limit_waits_for_its_turn_within_the_deadline() {
    let scene = Scene::start().await;
    let limit = |name, rate| {
        [
            "policy",
            "put",
            name,
            "--rpc",
            "seaworthy.v1.FleetService/ListServices",
            "--limit",
            rate,
            "--burst",
            "1",
        ]
    };
    scene.done(&limit("slow", "1/s")).await;
    scene.json(&["service", "list"]).await;
    let waits = run(&scene.args(&["service", "list"])).await;
    let said = stderr(&waits);
    assert_eq!(code(&waits), 0, "{said}");
    assert!(said.contains("policy slow allows") && said.contains("; trying again in "), "{said}");

    scene.done(&limit("slow", "1/min")).await;
    scene.json(&["service", "list"]).await;
    let said = scene.refused(5, &["service", "list"]).await;
    assert!(said.starts_with("error: cannot list services: policy slow allows"), "{said}");
    scene.server.stop().await;
}
