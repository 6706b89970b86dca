//! Keeps the floors: a room imports only from floors below its own, domain rooms never name tonic,
//! prost or generated types, and files stay of a size that can be lived in.

#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Rooms by floor, from the ground up. A new room is a new entry.
const FLOORS: &[&[&str]] = &[
    &["error", "peer", "private", "task", "text", "time", "id"],
    &["store", "config", "telemetry", "probe", "tls"],
    &["health", "operation", "vault"],
    &["fleet", "checks", "system", "identity", "audit", "backup", "restore", "shutdown", "metrics", "policy"],
    &["guard", "api", "dashboard"],
    &["server"],
    &["cli"],
];

/// The highest floor that knows nothing of gRPC.
const DOMAIN: usize = 3;
/// Rooms below the guard that may call out by gRPC.
const OUTBOUND: &[&str] = &["store/etcd", "telemetry", "probe"];
/// Imports between rooms of one floor, each with its reason. One way only.
const NEIGHBOURS: &[(&str, &str)] = &[
    // Errors are logged by tasks; ids fail with errors. `error` itself imports nothing.
    ("id", "error"),
    // Those who take turns have a slice of time each.
    ("task", "time"),
    // The log reads its level with the configuration's own parser, so that both refuse the same.
    ("telemetry", "config"),
    // Which files are to be read is the configuration's.
    ("tls", "config"),
    // Checks are of what is registered, and their results belong to it; the fleet knows no checker.
    ("checks", "fleet"),
    // What somebody may do is said of services and instances; the fleet knows nobody who calls.
    ("identity", "fleet"),
    // Policies and overrides name services and instances; the fleet knows no policy.
    ("policy", "fleet"),
    // Backups are of what is registered, and restores of what was backed up; the fleet knows neither.
    ("backup", "fleet"),
    // Whether they are compressed is a flag; policies know no backup.
    ("backup", "policy"),
    ("restore", "fleet"),
    ("restore", "backup"),
    // Entries name who did it.
    ("audit", "identity"),
    // Adapters read who calls from what the guard attached; the guard knows no adapter.
    ("api", "guard"),
];
/// Lines that a file may have before somebody has to look hard at it.
const HARD_LOOK: usize = 600;

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The room of a file, and the file within `src`.
fn room(file: &Path) -> (String, String) {
    let inside = file.strip_prefix(src()).expect("in src").to_string_lossy().replace('\\', "/");
    let room = inside.split('/').next().expect("a first part").trim_end_matches(".rs").to_owned();
    (room, inside)
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// A file without what only its tests need.
fn library_part(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("text");
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    text[..end].to_owned()
}

/// Rooms that a text imports: whatever follows `crate::`, one name or a list in braces.
fn imported(text: &str) -> Vec<String> {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut rooms = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => rooms.push(std::mem::take(&mut name)),
                    c if depth == 0 => name.push(c),
                    _ => {}
                }
            }
            rooms.push(name);
        } else {
            rooms.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    rooms
        .into_iter()
        .map(|name| name.trim().split("::").next().unwrap_or_default().trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn the_reader_of_imports_reads_them() {
    let text = "use crate::{\n    error::{Chain, Error},\n    fleet::Handle,\n};\nuse crate::time::Clock;\n// crate::server\n";
    assert_eq!(imported(text), ["error", "fleet", "time"]);
}

#[test]
fn a_room_imports_only_from_floors_below() {
    let mut wrong = Vec::new();
    for file in sources(&src()) {
        let (own, inside) = room(&file);
        if own == "lib" || own == "main" {
            continue;
        }
        let own_floor =
            floor(&own).unwrap_or_else(|| panic!("{own} has no floor: give it one in {}", file!()));
        for other in imported(&library_part(&file)) {
            let Some(other_floor) = floor(&other) else { continue };
            let neighbour = NEIGHBOURS.contains(&(own.as_str(), other.as_str()));
            if other != own && other_floor >= own_floor && !neighbour {
                wrong.push(format!("{inside} imports {other}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_domain_knows_no_grpc() {
    let mut wrong = Vec::new();
    for file in sources(&src()) {
        let (own, inside) = room(&file);
        let below = floor(&own).is_some_and(|floor| floor <= DOMAIN);
        if !below || OUTBOUND.iter().any(|room| inside.starts_with(room)) {
            continue;
        }
        let text = library_part(&file);
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            if ["tonic", "prost", "seaworthy_client::proto", "api::proto"]
                .iter()
                .any(|name| line.contains(name))
            {
                wrong.push(format!("{inside}: {}", line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_stay_small() {
    let mut sizes: Vec<(usize, String)> =
        sources(&src()).iter().map(|file| (library_part(file).lines().count(), room(file).1)).collect();
    sizes.sort();
    let (median, nine_in_ten) = (sizes[sizes.len() / 2].0, sizes[sizes.len() * 9 / 10].0);
    assert!(median <= 150, "the median file has {median} lines");
    assert!(nine_in_ten <= 350, "one file in ten has more than {nine_in_ten} lines");
    let large: Vec<_> = sizes.iter().filter(|(lines, _)| *lines > HARD_LOOK).collect();
    assert!(large.is_empty(), "a hard look is due at {large:?}");
}

#[test]
fn modules_have_a_head_that_says_what_they_are_for() {
    let bare: Vec<_> = sources(&src())
        .iter()
        .filter(|file| !fs::read_to_string(file).expect("text").starts_with("//!"))
        .map(|file| room(file).1)
        .collect();
    assert!(bare.is_empty(), "{bare:?}");
    assert!(!sources(&src()).iter().any(|file| file.ends_with("mod.rs")), "foo.rs and foo/, never mod.rs");
}
