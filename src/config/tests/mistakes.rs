//! What is said of mistakes: every one at once, each with its key, its value, where it was written, and
//! what would be right.

use super::*;
use crate::error::Reason;

/// The message of the refusal, with the file's path replaced by FILE.
fn refusal(text: &str, variables: &[(&str, &str)]) -> String {
    let file = file(text);
    let error = load(&file.flags, &environment(variables)).unwrap_err();
    assert_eq!(error.reason(), Reason::ConfigInvalid);
    error.message().replace(&file.path.display().to_string(), "FILE")
}

#[test]
fn each_mistake_is_named_with_its_place_and_its_cure() {
    for (text, message) in [
        (
            "[fleet]\nlease_tll = \"15s\"",
            "fleet.lease_tll (file FILE:2): is not a known key; did you mean fleet.lease_ttl?",
        ),
        ("colour = \"red\"", "colour (file FILE:1): is not a known key"),
        ("[flet]", "flet (file FILE:1): is not a known key"),
        ("grpc = 5", "grpc (file FILE:1): is a section; write [grpc]"),
        (
            "[fleet]\nlease_ttl = 15",
            "fleet.lease_ttl = \"15\" (file FILE:2): is not a duration; write it like 250ms, 30s, 1m30s \
             or 24h",
        ),
        ("[fleet]\nlease_ttl = \"0s\"", "fleet.lease_ttl = \"0s\" (file FILE:2): must be between 2s and 10m"),
        (
            "[grpc]\nmax_connections = 0",
            "grpc.max_connections = \"0\" (file FILE:2): must be a whole number between 1 and 1000000",
        ),
        (
            "[grpc]\nmax_message_bytes = \"4MB\"",
            "grpc.max_message_bytes = \"4MB\" (file FILE:2): is not a size; write a whole number of bytes \
             with or without KiB, MiB or GiB, like 64MiB",
        ),
        (
            "[grpc]\nmax_header_bytes = 10",
            "grpc.max_header_bytes = \"10\" (file FILE:2): must be between 1KiB and 1MiB",
        ),
        (
            "[grpc]\nlisten = \"localhost:50051\"",
            "grpc.listen = \"localhost:50051\" (file FILE:2): is not an address to listen on; write an IP \
             address and a port, like 127.0.0.1:50051 or [::1]:50051 (port 0 takes a free one)",
        ),
        (
            "[grpc]\nlisten = [\"127.0.0.1:1\"]",
            "grpc.listen (file FILE:2): is of the type array; write it like listen = \"127.0.0.1:50051\"",
        ),
        ("insecure = \"yes\"", "insecure = \"yes\" (file FILE:1): must be true or false"),
        (
            "log_level = \"inf\"",
            "log_level = \"inf\" (file FILE:1): \"inf\" is not a level; write off, error, warn, info, debug \
             or trace, or a filter like info,seaworthy::fleet=debug",
        ),
        ("log_format = \"xml\"", "log_format = \"xml\" (file FILE:1): must be auto, json or human"),
        ("data_dir = \"\"", "data_dir = \"\" (file FILE:1): must not be empty"),
        (
            "[shutdown]\ntotal = \"4s\"",
            "shutdown.lame_duck = \"5s\" (default): must be shorter than shutdown.total, which is 4s (file FILE:2)",
        ),
        (
            "[http]\nlisten = \"127.0.0.1:50051\"",
            "http.listen = \"127.0.0.1:50051\" (file FILE:2): is also the address of grpc.listen (default); give each \
             listener its own",
        ),
        (
            "[http]\nmetrics_listen = \"0.0.0.0:9090\"",
            "http.metrics_listen = \"0.0.0.0:9090\" (file FILE:2): reaches beyond this machine, and nothing is encrypted \
             and nobody has to prove who they are: set tls.cert_file, tls.key_file and auth.required = true (`seaworthy \
             certs init` makes certificates), listen on 127.0.0.1 behind a proxy that terminates TLS and authenticates \
             callers, or set insecure = true if everyone on the network is trusted",
        ),
        (
            "probe_listen = \"127.0.0.1:8080\"",
            "probe_listen = \"127.0.0.1:8080\" (file FILE:1): is also the address of http.listen (default); give each \
             listener its own",
        ),
        (
            "[tls]\ncert_file = \"/cert\"",
            "tls.cert_file = \"/cert\" (file FILE:2): is of no use without its private key; set tls.key_file as well",
        ),
        (
            "[tls]\nkey_file = \"/key\"",
            "tls.key_file = \"/key\" (file FILE:2): is of no use without the certificate that it belongs to; set \
             tls.cert_file as well",
        ),
        (
            "[tls]\nclient_ca_file = \"/ca\"",
            "tls.client_ca_file = \"/ca\" (file FILE:2): is of no use where nothing is encrypted; set tls.cert_file as \
             well",
        ),
        (
            "[tls]\ncert_file = \"/cert\"\nkey_file = \"/key\"\ncrl_file = \"/crl\"",
            "tls.crl_file = \"/crl\" (file FILE:4): is of no use without the authorities that revoke; set \
             tls.client_ca_file as well",
        ),
        (
            "[tls]\ncert_file = \"/cert\"\nkey_file = \"/key\"\nclient_auth = \"required\"",
            "tls.client_auth = \"required\" (file FILE:4): lets nobody in without authorities of client certificates; \
             set tls.client_ca_file as well",
        ),
    ] {
        assert_eq!(refusal(text, &[]), format!("invalid configuration: {message}"), "{text}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let broken = refusal("log_level = \"info\"\n[grpc\nlisten = 1", &[]);
    assert!(broken.starts_with("invalid configuration: cannot read file FILE:2 as TOML: "), "{broken}");
    let error =
        load(&Flags { config: Some("/no/such/file".into()), ..Flags::default() }, &Environment::default());
    assert_eq!(
        error.unwrap_err().message(),
        "invalid configuration: cannot read the configuration file /no/such/file (named by flag --config): No \
         such file or directory (os error 2)"
    );
}

#[test]
fn all_mistakes_are_told_at_once() {
    let message = refusal(
        "log_level = \"loud\"\n[shutdown]\ntotal = \"soon\"",
        &[("SEAWORTHY_INSECURE", "maybe"), ("SEAWORTHY_GRCP_LISTEN", "127.0.0.1:1")],
    );
    let lines: Vec<_> = message.lines().collect();
    assert_eq!(lines.len(), 5, "{message}");
    assert_eq!(lines[0], "invalid configuration, 4 mistakes:");
    assert!(
        message.contains("  insecure = \"maybe\" (environment SEAWORTHY_INSECURE): must be true or false")
    );
    assert!(message.contains(
        "  SEAWORTHY_GRCP_LISTEN (environment): is not a known variable; did you mean SEAWORTHY_GRPC_LISTEN?"
    ));
}

/// A file, variables, and every line that is said of them.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

#[test]
fn mistakes_of_one_value_and_between_two_are_told_together() {
    const LAME_DUCK: &str = "shutdown.lame_duck = \"50s\" (file FILE:2): must be shorter than shutdown.total, which is \
         40s (default)";
    let rows: [Row<'_>; 6] = [
        (
            "[shutdown]\nlame_duck = \"50s\"\n[fleet]\nlease_ttl = \"1s\"",
            &[("SEAWORTHY_HTTP_LISTEN", "127.0.0.1:50051"), ("SEAWORTHY_GRPC_MAX_CONNECTIONS", "many")],
            &[
                "fleet.lease_ttl = \"1s\" (file FILE:4): must be between 2s and 10m",
                "grpc.max_connections = \"many\" (environment SEAWORTHY_GRPC_MAX_CONNECTIONS): must be a whole \
                 number between 1 and 1000000",
                "http.listen = \"127.0.0.1:50051\" (environment SEAWORTHY_HTTP_LISTEN): is also the address of \
                 grpc.listen (default); give each listener its own",
                LAME_DUCK,
            ],
        ),
        // A rule means something only between values that could be read: here the total could not.
        (
            "[shutdown]\nlame_duck = \"50s\"\ntotal = \"soon\"",
            &[],
            &[
                "shutdown.total = \"soon\" (file FILE:3): is not a duration; write it like 250ms, 30s, 1m30s or 24h",
            ],
        ),
        // A later source that can be read counts, whatever an earlier one said.
        (
            "[shutdown]\nlame_duck = \"50s\"\ntotal = \"soon\"",
            &[("SEAWORTHY_SHUTDOWN_TOTAL", "45s")],
            &[
                "shutdown.total = \"soon\" (file FILE:3): is not a duration; write it like 250ms, 30s, 1m30s or \
                 24h",
                "shutdown.lame_duck = \"50s\" (file FILE:2): must be shorter than shutdown.total, which is 45s \
                 (environment SEAWORTHY_SHUTDOWN_TOTAL)",
            ],
        ),
        // Whether listening beyond loopback is wanted is not known.
        (
            "insecure = \"maybe\"\n[grpc]\nlisten = \"0.0.0.0:1\"",
            &[],
            &["insecure = \"maybe\" (file FILE:1): must be true or false"],
        ),
        // Nor is it where the file could not be read; what the environment alone gets wrong still is.
        (
            "insecure = ",
            &[("SEAWORTHY_GRPC_LISTEN", "0.0.0.0:1"), ("SEAWORTHY_HTTP_LISTEN", "0.0.0.0:1")],
            &[
                "cannot read file FILE:1 as TOML: string values must be quoted, expected literal string",
                "http.listen = \"0.0.0.0:1\" (environment SEAWORTHY_HTTP_LISTEN): is also the address of \
                 grpc.listen (environment SEAWORTHY_GRPC_LISTEN); give each listener its own",
            ],
        ),
        ("[shutdown]\nlame_duck = \"50s\"", &[], &[LAME_DUCK]),
    ];
    for (text, variables, told) in rows {
        let expected = match told {
            [only] => format!("invalid configuration: {only}"),
            all => format!("invalid configuration, {} mistakes:\n  {}", all.len(), all.join("\n  ")),
        };
        assert_eq!(refusal(text, variables), expected, "{text}");
    }
}
