//! Keeps README.md true: its table of settings is the real one, and every reason of an error is in it.

#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use seaworthy::{config, error::Reason};

const BEGIN: &str = "<!-- configuration: kept by tests/readme.rs -->\n";
const END: &str = "<!-- /configuration -->";

/// The table between its marks is rewritten, and the test fails if that changed anything.
#[test]
fn the_table_of_settings_is_the_real_one() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(&file).expect("README.md");
    let (before, rest) = readme.split_once(BEGIN).expect("the first mark");
    let (_, after) = rest.split_once(END).expect("the second mark");
    let real = format!("{before}{BEGIN}{}{END}{after}", config::reference());
    if readme != real {
        fs::write(&file, real).expect("written");
        panic!("the table of settings in README.md was not the real one; it has been rewritten");
    }
}

#[test]
fn every_reason_is_explained_and_no_other() {
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("README.md");
    let explained: BTreeSet<&str> = readme
        .split("## Errors")
        .nth(1)
        .expect("the section")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let real: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(explained, real);
}

fn section(name: &str) -> String {
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("README.md");
    let after = readme.split(&format!("\n## {name}\n")).nth(1).expect("the section").to_owned();
    after.split("\n## ").next().expect("a first part").to_owned()
}

#[test]
fn every_command_is_named() {
    let help = Command::new(env!("CARGO_BIN_EXE_seaworthy")).arg("--help").output().expect("the binary runs");
    let help = String::from_utf8(help.stdout).expect("text");
    let commands =
        help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("a list");
    let names: Vec<&str> = commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(names.len() >= 10, "{names:?}");
    let section = section("Command line");
    let missing: Vec<_> =
        names.into_iter().filter(|name| !section.contains(&format!("\nseaworthy {name}"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_page_is_named() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/http.rs");
    let router = fs::read_to_string(file).expect("the router");
    let paths: Vec<&str> =
        router.split(".route(\"").skip(1).filter_map(|rest| rest.split(['"', '{']).next()).collect();
    assert!(paths.len() >= 10, "{paths:?}");
    let section = section("Ask for health");
    let named = |path: &str| ["`", "<", "["].iter().any(|end| section.contains(&format!("`{path}{end}")));
    let missing: Vec<_> = paths.into_iter().filter(|path| !named(path)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
