//! The configuration as a whole: precedence, and that every key of the table works. What is said of
//! mistakes is in [`mistakes`].

mod mistakes;

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use super::*;

/// A configuration file in a folder of its own, and the flags that name it.
struct File {
    _folder: TempDir,
    path: PathBuf,
    flags: Flags,
}

fn file(text: &str) -> File {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seaworthy.toml");
    fs::write(&path, text).unwrap();
    let flags = Flags { config: Some(path.clone()), ..Flags::default() };
    File { _folder: folder, path, flags }
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| (*name, *value)).collect()
}

/// A value for a key that is right and not the default.
fn another(key: &Key) -> String {
    match key.name {
        "data_dir" => "/somewhere/else".to_owned(),
        "insecure" | "auth.required" | "audit.enrolments" | "vault.accept_other" => "true".to_owned(),
        "tls.client_auth" => "required".to_owned(),
        "auth.trust_domain" => "example.org".to_owned(),
        "auth.open_pages" => "metrics, discovery".to_owned(),
        "http.cors_origins" => "https://status.example.org".to_owned(),
        "access_log.sample" => "0.125".to_owned(),
        name if name.ends_with("_file") => "/somewhere/else".to_owned(),
        "checks.ask_peers" => "false".to_owned(),
        "log_level" => "warn,seaworthy=debug".to_owned(),
        "log_format" => "json".to_owned(),
        "grpc.listen" | "http.listen" | "http.metrics_listen" | "probe_listen" => "127.0.0.2:7".to_owned(),
        "checks.allowed_networks" => "10.0.0.0/8, fd00::/8".to_owned(),
        "audit.retention" | "vault.own_state_interval" => "7h".to_owned(),
        "vault.place" => "s3://bucket/backups".to_owned(),
        "vault.options" => "aws_region=eu-central-1, aws_secret_access_key=hidden".to_owned(),
        "vault.key" => "swk1_hidden".to_owned(),
        name if name.ends_with("_bytes") => "1MiB".to_owned(),
        name if name.contains(".max_") && !name.contains("age") || name.ends_with("history") => {
            "7".to_owned()
        }
        _ => "7s".to_owned(),
    }
}

/// Variables without which a key means nothing.
fn companions(key: &Key) -> Vec<(&'static str, &'static str)> {
    const CERT: (&str, &str) = ("SEAWORTHY_TLS_CERT_FILE", "/cert.pem");
    const KEY: (&str, &str) = ("SEAWORTHY_TLS_KEY_FILE", "/key.pem");
    const CA: (&str, &str) = ("SEAWORTHY_TLS_CLIENT_CA_FILE", "/ca.pem");
    match key.name {
        "tls.cert_file" => vec![KEY],
        "tls.key_file" => vec![CERT],
        "tls.client_ca_file" => vec![CERT, KEY],
        "tls.crl_file" | "tls.client_auth" => vec![CERT, KEY, CA],
        _ => Vec::new(),
    }
}

fn entry(config: &Config, key: &Key) -> Entry {
    config.entries().into_iter().find(|entry| entry.key == key.name).unwrap()
}

#[test]
fn nothing_said_is_the_default() {
    let config = load(&Flags::default(), &Environment::default()).unwrap();
    assert_eq!(config, Config::default());
    assert!(config.entries().iter().all(|entry| entry.origin == Origin::Default));
}

#[test]
fn every_default_is_a_value_that_may_be_written() {
    for key in KEYS {
        let mut config = Config::default();
        (key.set)(&mut config, &key.default_value()).unwrap_or_else(|wrong| panic!("{}: {wrong}", key.name));
        assert_eq!(config, Config::default(), "{}", key.name);
    }
}

#[test]
fn names_are_distinct_and_described() {
    for (at, key) in KEYS.iter().enumerate() {
        assert!(key.doc.ends_with('.') && !key.doc.contains('|'), "{}", key.name);
        for other in &KEYS[at + 1..] {
            assert_ne!(key.variable(), other.variable());
        }
    }
}

#[test]
fn every_key_is_settable_in_the_file_and_the_environment() {
    for key in KEYS {
        let value = another(key);
        assert_ne!(value, key.default_value(), "{}", key.name);
        let written = key.example().replace(&key.default_value(), &value);
        let written = if key.default_value().is_empty() {
            key.example().replace("\"\"", &format!("{value:?}"))
        } else {
            written
        };
        let text = match key.name.split_once('.') {
            Some((section, _)) => format!("[{section}]\n{written}\n"),
            None => format!("{written}\n"),
        };
        let file = file(&text);
        let companions = companions(key);
        let shown = if key.secret { MASKED.to_owned() } else { value.clone() };
        let config = load(&file.flags, &environment(&companions)).unwrap();
        let line = if key.name.contains('.') { 2 } else { 1 };
        let expected = Entry { key: key.name, value: shown, origin: Origin::File { path: file.path, line } };
        assert_eq!(entry(&config, key), expected);

        let variable = key.variable();
        let variables = [&companions[..], &[(&variable, &value)]].concat();
        let config = load(&Flags::default(), &environment(&variables)).unwrap();
        assert_eq!(entry(&config, key), Entry { origin: Origin::Environment(variable), ..expected });

        let set = config.entries().into_iter().filter(|entry| entry.origin != Origin::Default).count();
        assert_eq!(set, 1 + companions.len(), "{}", key.name);
    }
}

#[test]
fn every_flag_sets_its_key() {
    let flags = Flags {
        config: None,
        data_dir: Some("/somewhere/else".into()),
        grpc_listen: Some("127.0.0.2:1".into()),
        http_listen: Some("127.0.0.2:2".into()),
        metrics_listen: Some("127.0.0.2:3".into()),
        ready_file: Some("/ready".into()),
        log_level: Some("debug".into()),
        log_format: Some("human".into()),
        insecure: Some(true),
        probe_listen: Some("127.0.0.2:4".into()),
        tls_cert: Some("/server.pem".into()),
        tls_key: Some("/server.key".into()),
        tls_client_ca: Some("/ca.pem".into()),
        auth: Some(true),
    };
    let config = load(&flags, &Environment::default()).unwrap();
    for key in KEYS {
        let entry = entry(&config, key);
        match key.flag {
            Some(flag) => {
                assert_eq!(entry.origin, Origin::Flag(flag));
                assert_ne!(entry.value, key.default_value(), "{flag}");
            }
            None => assert_eq!(entry.origin, Origin::Default),
        }
    }
    assert_eq!(config.http.metrics_listen, Some("127.0.0.2:3".parse().unwrap()));
}

#[test]
fn the_later_source_wins() {
    let mut file =
        file("log_level = \"error\"\n[grpc]\nlisten = \"127.0.0.1:1\"\n[http]\nlisten = \"127.0.0.1:2\"");
    let variables =
        environment(&[("SEAWORTHY_GRPC_LISTEN", "127.0.0.1:3"), ("SEAWORTHY_HTTP_LISTEN", "127.0.0.1:4")]);
    file.flags.http_listen = Some("127.0.0.1:5".into());
    let config = load(&file.flags, &variables).unwrap();
    assert_eq!(config.log_level, "error");
    assert_eq!(config.grpc.listen.port(), 3);
    assert_eq!(config.http.listen.port(), 5);
    assert_eq!(config.origin("log_level").to_string(), format!("file {}:1", file.path.display()));
    assert_eq!(config.origin("grpc.listen").to_string(), "environment SEAWORTHY_GRPC_LISTEN");
    assert_eq!(config.origin("http.listen").to_string(), "flag --http-listen");
    assert_eq!(config.origin("data_dir").to_string(), "default");
}

#[test]
fn the_environment_names_the_file_unless_a_flag_does() {
    let (named, flagged) = (file("log_level = \"warn\""), file("log_level = \"error\""));
    let variables = environment(&[(CONFIG_VARIABLE, named.path.to_str().unwrap())]);
    assert_eq!(load(&Flags::default(), &variables).unwrap().log_level, "warn");
    assert_eq!(load(&flagged.flags, &variables).unwrap().log_level, "error");
    assert_eq!(load(&Flags::default(), &environment(&[(CONFIG_VARIABLE, "")])).unwrap().log_level, "info");
}

#[test]
fn variables_of_others_are_left_alone() {
    let foreign = environment(&[
        ("PATH", "/bin"),
        ("SEAWORTHY_SERVER", "http://127.0.0.1:1"),
        ("SEAWORTHY_TIMEOUT", "10s"),
        ("SEAWORTHY_OUTPUT", "json"),
        ("SEAWORTHY_BIN", "/usr/local/bin/seaworthy"),
        ("SEAWORTHY_SERVICE_HOST", "10.0.0.1"),
        ("SEAWORTHY_SERVICE_PORT", "50051"),
        ("SEAWORTHY_SERVICE_PORT_GRPC", "50051"),
        ("SEAWORTHY_PORT", "tcp://10.0.0.1:50051"),
        ("SEAWORTHY_PORT_50051_TCP", "tcp://10.0.0.1:50051"),
        ("SEAWORTHY_PORT_50051_TCP_PROTO", "tcp"),
        ("SEAWORTHY_PORT_50051_TCP_PORT", "50051"),
        ("SEAWORTHY_PORT_50051_TCP_ADDR", "10.0.0.1"),
    ]);
    assert_eq!(load(&Flags::default(), &foreign).unwrap(), Config::default());
    assert!(load(&Flags::default(), &environment(&[("SEAWORTHY_PORT", "50051")])).is_err());
}

#[test]
fn loopback_is_open_and_the_rest_wants_consent() {
    for (address, allowed) in [
        ("127.0.0.1:1", true),
        ("127.9.9.9:1", true),
        ("[::1]:1", true),
        ("[::ffff:127.0.0.1]:1", true),
        ("0.0.0.0:1", false),
        ("[::]:1", false),
        ("192.168.0.1:1", false),
    ] {
        let flags = Flags { grpc_listen: Some(address.into()), ..Flags::default() };
        assert_eq!(load(&flags, &Environment::default()).is_ok(), allowed, "{address}");
        let consenting = Flags { insecure: Some(true), ..flags };
        assert!(load(&consenting, &Environment::default()).is_ok(), "{address}");
    }
}

#[test]
fn beyond_loopback_takes_encryption_and_proof() {
    let (cert, key) = (Some("/cert.pem".into()), Some("/key.pem".into()));
    let open = Flags { http_listen: Some("0.0.0.0:1".into()), ..Flags::default() };
    for (encrypted, auth, insecure, lacking) in [
        (true, true, false, None),
        (false, false, true, None),
        (false, false, false, Some("nothing is encrypted and nobody has to prove who they are")),
        (false, true, false, Some("nothing is encrypted, tokens included")),
        (true, false, false, Some("nobody has to prove who they are")),
    ] {
        let (tls_cert, tls_key) = if encrypted { (cert.clone(), key.clone()) } else { (None, None) };
        let flags = Flags { tls_cert, tls_key, auth: Some(auth), insecure: Some(insecure), ..open.clone() };
        let told = load(&flags, &Environment::default()).err().map(|error| error.message().to_owned());
        assert_eq!(told.is_none(), lacking.is_none(), "{told:?}");
        let told = told.unwrap_or_default();
        assert!(
            told.contains(&lacking.map_or_else(String::new, |what| format!("and {what}: set tls.cert"))),
            "{told}"
        );
        assert!(lacking.is_none() || told.contains("`seaworthy certs init`"), "{told}");
    }
    // What is told there may be told to anybody.
    let probe = Flags { probe_listen: Some("0.0.0.0:1".into()), ..Flags::default() };
    assert!(load(&probe, &Environment::default()).is_ok());
}

#[test]
fn port_zero_clashes_with_nothing() {
    let zero = Some("127.0.0.1:0".to_owned());
    let flags = Flags {
        grpc_listen: zero.clone(),
        http_listen: zero.clone(),
        metrics_listen: zero.clone(),
        probe_listen: zero,
        ..Flags::default()
    };
    assert!(load(&flags, &Environment::default()).is_ok());
}

#[test]
fn a_secret_is_masked_where_it_is_shown() {
    let key = Key { secret: true, show: |_| "hunter2".to_owned(), ..KEYS[0].clone() };
    assert_eq!(key.masked(&Config::default()), MASKED);
    let unset = Key { show: |_| String::new(), ..key };
    assert_eq!(unset.masked(&Config::default()), "");
}

#[test]
fn a_reload_takes_live_values_and_names_the_rest() {
    let file = file("log_level = \"info\"");
    let current = load(&file.flags, &Environment::default()).unwrap();
    let text = "log_level = \"debug\"\n[fleet]\nmax_instances = 5_000\nlease_ttl = \"20s\"\n[grpc]\nlisten = \"127.0.0.1:1\"";
    fs::write(&file.path, text).unwrap();
    let reloaded = reload(&current, &file.flags, &Environment::default()).unwrap();
    assert_eq!(reloaded.changed_keys, ["log_level", "fleet.max_instances"]);
    assert_eq!(reloaded.needs_restart, ["grpc.listen", "fleet.lease_ttl"]);
    assert_eq!(reloaded.config.log_level, "debug");
    assert_eq!(reloaded.config.fleet.max_instances.get(), 5_000);
    assert_eq!(
        reloaded.config.origin("fleet.max_instances"),
        Origin::File { path: file.path.clone(), line: 3 }
    );
    assert_eq!(reloaded.config.grpc, current.grpc);
    assert_eq!(reloaded.config.fleet.lease_ttl, current.fleet.lease_ttl);

    fs::write(&file.path, "log_level = \"loud\"").unwrap();
    assert!(reload(&current, &file.flags, &Environment::default()).is_err());
}

#[test]
fn the_reference_names_every_key() {
    let table = reference();
    assert_eq!(table.lines().count(), KEYS.len() + 2);
    assert!(table.contains("| `fleet.lease_ttl` | `15s` | `SEAWORTHY_FLEET_LEASE_TTL` |  |  | How long"));
}
