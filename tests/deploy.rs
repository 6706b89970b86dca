//! The files in `deploy/` against the real configuration: they name every key, nothing else, and
//! promise nothing that the server does not keep.

#![allow(clippy::unwrap_used)] // helpers of tests; clippy knows only the tests themselves

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use seaworthy::config::{CONFIG_VARIABLE, Config, Environment, Flags, KEYS, Key, load, parse_duration};

const TOML_HEAD: &str = "\
# Every setting of Seaworthy with its default. Name this file by `seaworthy serve --config FILE` or by
# SEAWORTHY_CONFIG; keep only the lines that you change. Environment variables and flags win over it.
# Durations are written like 250ms, 30s, 1m30s or 24h, sizes like 64KiB or 8MiB.
# `seaworthy config check` says what is wrong, `seaworthy config show` what counts and why.
";

const ENV_HEAD: &str = "\
# Every environment variable of the Seaworthy server with its default. Take away the # of those that
# you change. They win over the configuration file, and flags win over them.

# Configuration file to read; empty for none.
#SEAWORTHY_CONFIG=
";

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(deploy(name)).unwrap()
}

/// The values of a configuration without where they came from.
fn values(config: &Config) -> Vec<(&'static str, String)> {
    config.entries().into_iter().map(|entry| (entry.key, entry.value)).collect()
}

fn section(key: &Key) -> Option<&'static str> {
    key.name.split_once('.').map(|(section, _)| section)
}

#[test]
fn the_example_file_is_the_table_of_keys() {
    let mut expected = TOML_HEAD.to_owned();
    let mut current = None;
    for key in KEYS {
        if section(key) != current {
            current = section(key);
            expected.push_str(&format!("\n[{}]\n", current.unwrap()));
        }
        expected.push_str(&format!("\n# {}\n{}\n", key.doc, key.example()));
    }
    assert_eq!(text("config.example.toml"), expected, "deploy/config.example.toml should read:\n{expected}");
}

#[test]
fn the_example_file_sets_every_key_to_its_default() {
    let path = deploy("config.example.toml");
    let flags = Flags { config: Some(path.clone()), ..Flags::default() };
    let config = load(&flags, &Environment::default()).unwrap();
    assert_eq!(values(&config), values(&Config::default()));
    for entry in config.entries() {
        let place = format!("file {}:", path.display());
        assert!(entry.origin.to_string().starts_with(&place), "{}", entry.key);
    }
}

#[test]
fn the_example_environment_is_the_table_of_keys() {
    let mut expected = ENV_HEAD.to_owned();
    for key in KEYS {
        expected.push_str(&format!("\n# {}\n#{}={}\n", key.doc, key.variable(), key.default_value()));
    }
    assert_eq!(
        text("seaworthy.env.example"),
        expected,
        "deploy/seaworthy.env.example should read:\n{expected}"
    );
}

#[test]
fn the_example_environment_sets_every_key_to_its_default() {
    let text = text("seaworthy.env.example");
    assert!(text.lines().all(|line| line.is_empty() || line.starts_with('#')), "something is set");
    let lines = text.lines().filter_map(|line| line.strip_prefix("#SEAWORTHY_")?.split_once('='));
    let variables: BTreeMap<_, _> =
        lines.map(|(name, value)| (format!("SEAWORTHY_{name}"), value.to_owned())).collect();
    assert_eq!(variables.len(), KEYS.len() + 1);
    assert!(variables.contains_key(CONFIG_VARIABLE));
    let config = load(&Flags::default(), &variables.into_iter().collect()).unwrap();
    assert_eq!(values(&config), values(&Config::default()));
    assert!(config.entries().iter().all(|entry| entry.origin.to_string().starts_with("environment ")));
}

/// The settings of the unit; of a setting that stands there twice, the last.
fn unit() -> BTreeMap<String, String> {
    let text = text("seaworthy.service");
    let settings = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn the_unit_starts_the_server_with_flags_that_exist() {
    let unit = unit();
    let words: Vec<_> = unit["ExecStart"].split(' ').collect();
    assert_eq!(words[..2], ["/usr/local/bin/seaworthy", "serve"]);
    let mut flags = words[2..].iter().filter_map(|word| word.strip_prefix("--"));
    assert!(flags.clone().count() > 0);
    assert!(flags.all(|flag| flag == "config" || KEYS.iter().any(|key| key.flag == Some(flag))));
    let state = format!("--data-dir %S/{}", unit["StateDirectory"]);
    assert!(unit["ExecStart"].contains(&state), "the data folder is not the one that may be written");
}

#[test]
fn the_unit_leaves_the_server_time_and_descriptors() {
    let (unit, defaults) = (unit(), Config::default());
    let patience = parse_duration(&format!("{}s", unit["TimeoutStopSec"])).unwrap();
    assert!(patience > defaults.shutdown.total);
    let descriptors: usize = unit["LimitNOFILE"].parse().unwrap();
    let connections = defaults.grpc.max_connections.get() + defaults.http.max_connections.get();
    assert!(descriptors > connections + 1_000);
}

#[test]
fn the_unit_waits_for_readiness_and_is_hardened() {
    let unit = unit();
    for (name, value) in [
        ("Type", "notify"),
        ("Restart", "on-failure"),
        ("RestartPreventExitStatus", "64"),
        ("EnvironmentFile", "-/etc/seaworthy/seaworthy.env"),
        ("DynamicUser", "yes"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("CapabilityBoundingSet", ""),
    ] {
        assert_eq!(unit.get(name).map(String::as_str), Some(value), "{name}");
    }
    // Readiness is told over a Unix socket.
    assert!(unit["RestrictAddressFamilies"].contains("AF_UNIX"));
}

#[test]
fn systemd_accepts_the_unit() {
    // It looks for the program too, so it gets the one that was built.
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("seaworthy.service");
    let unit = text("seaworthy.service").replace("/usr/local/bin/seaworthy", env!("CARGO_BIN_EXE_seaworthy"));
    fs::write(&copy, unit).unwrap();
    let verify =
        Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).stdin(Stdio::null()).output();
    let Ok(output) = verify else {
        println!("not checked: there is no systemd-analyze on this machine");
        return;
    };
    // It complains of other units of the machine as well, and of unknown settings without failing.
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<_> = said.lines().filter(|line| line.contains("seaworthy.service")).collect();
    assert!(ours.is_empty(), "{}", ours.join("\n"));
}
