//! The table of all keys: a setting is a field of [`Config`](super::Config) and one row here.

use std::{path::PathBuf, time::Duration};

use super::{
    access::{
        client_auth, open_pages, origins, share, show_client_auth, show_open_pages, show_share, trust_domain,
    },
    key::{Key, PLAIN},
    log::parse_filter,
    settings::LARGEST_MESSAGE,
    show_duration, show_size,
    value::{
        DAY, HOUR, KIB, MIB, MINUTE, SECOND, TENTH, address, count, duration, networks, optional, path, put,
        show_networks, size, small_count, truth,
    },
    vault::{options, secretive, show_options, word},
};

/// Every key, in the order in which it is shown.
pub const KEYS: &[Key] = &[
    Key {
        name: "data_dir",
        flag: Some("data-dir"),
        doc: "Folder of the embedded store, relative to the working directory; made if it is not there, locked while in use.",
        set: |c, v| put(&mut c.data_dir, path(v)),
        show: |c| c.data_dir.display().to_string(),
        ..PLAIN
    },
    Key {
        name: "ready_file",
        flag: Some("ready-file"),
        doc: "File that is written as JSON (the addresses and the process id) once the server serves; empty for none.",
        set: |c, v| put(&mut c.ready_file, optional(v, path)),
        show: |c| c.ready_file.as_ref().map_or_else(String::new, |path| path.display().to_string()),
        ..PLAIN
    },
    Key {
        name: "insecure",
        flag: Some("insecure"),
        doc: "Whether to listen beyond loopback although nothing is encrypted or nobody has to prove who they are.",
        set: |c, v| put(&mut c.insecure, truth(v)),
        show: |c| c.insecure.to_string(),
        ..PLAIN
    },
    Key {
        name: "log_level",
        flag: Some("log-level"),
        live: true,
        doc: "Level of the log: off, error, warn, info, debug or trace, or a filter like info,seaworthy::fleet=debug.",
        set: |c, v| put(&mut c.log_level, parse_filter(v).map(|_| v.to_owned())),
        show: |c| c.log_level.clone(),
        ..PLAIN
    },
    Key {
        name: "log_format",
        flag: Some("log-format"),
        doc: "Format of log lines: json, human, or auto for human on a terminal and json elsewhere.",
        set: |c, v| put(&mut c.log_format, v.parse()),
        show: |c| c.log_format.to_string(),
        ..PLAIN
    },
    Key {
        name: "probe_listen",
        flag: Some("probe-listen"),
        doc: "Address where the control plane's own health, and nothing else, is told without encryption, by gRPC and by HTTP; empty for none.",
        set: |c, v| put(&mut c.probe_listen, optional(v, address)),
        show: |c| c.probe_listen.map_or_else(String::new, |address| address.to_string()),
        ..PLAIN
    },
    Key {
        name: "grpc.listen",
        flag: Some("grpc-listen"),
        doc: "Address of the gRPC side; port 0 takes a free port.",
        set: |c, v| put(&mut c.grpc.listen, address(v)),
        show: |c| c.grpc.listen.to_string(),
        ..PLAIN
    },
    Key {
        name: "grpc.max_connections",
        live: true,
        doc: "Connections of the gRPC side at once; more are closed at once.",
        set: |c, v| put(&mut c.grpc.max_connections, count(v, 1_000_000)),
        show: |c| c.grpc.max_connections.to_string(),
        ..PLAIN
    },
    Key {
        name: "grpc.max_connections_per_peer",
        live: true,
        doc: "Connections at once from one peer: an IPv4 address, or a /64 of IPv6.",
        set: |c, v| put(&mut c.grpc.max_connections_per_peer, count(v, 1_000_000)),
        show: |c| c.grpc.max_connections_per_peer.to_string(),
        ..PLAIN
    },
    Key {
        name: "grpc.handshake_timeout",
        doc: "How long a new connection may take until it speaks HTTP/2.",
        set: |c, v| put(&mut c.grpc.handshake_timeout, duration(v, TENTH, 5 * MINUTE)),
        show: |c| show_duration(c.grpc.handshake_timeout),
        ..PLAIN
    },
    Key {
        name: "grpc.max_connection_age",
        doc: "Age at which a connection is asked to end, give or take a tenth.",
        set: |c, v| put(&mut c.grpc.max_connection_age, duration(v, SECOND, 30 * DAY)),
        show: |c| show_duration(c.grpc.max_connection_age),
        ..PLAIN
    },
    Key {
        name: "grpc.max_connection_age_grace",
        doc: "How long calls on a connection that was asked to end may go on.",
        set: |c, v| put(&mut c.grpc.max_connection_age_grace, duration(v, SECOND, DAY)),
        show: |c| show_duration(c.grpc.max_connection_age_grace),
        ..PLAIN
    },
    Key {
        name: "grpc.keepalive_interval",
        doc: "Silence on a connection after which the server pings.",
        set: |c, v| put(&mut c.grpc.keepalive_interval, duration(v, SECOND, DAY)),
        show: |c| show_duration(c.grpc.keepalive_interval),
        ..PLAIN
    },
    Key {
        name: "grpc.keepalive_timeout",
        doc: "How long the answer to a ping may take before the connection is closed.",
        set: |c, v| put(&mut c.grpc.keepalive_timeout, duration(v, TENTH, HOUR)),
        show: |c| show_duration(c.grpc.keepalive_timeout),
        ..PLAIN
    },
    Key {
        name: "grpc.max_streams_per_connection",
        doc: "Calls at once on one connection.",
        set: |c, v| put(&mut c.grpc.max_streams_per_connection, small_count(v, 65_536)),
        show: |c| c.grpc.max_streams_per_connection.to_string(),
        ..PLAIN
    },
    Key {
        name: "grpc.max_header_bytes",
        doc: "Size of all headers of a call.",
        set: |c, v| put(&mut c.grpc.max_header_bytes, size(v, KIB, MIB)),
        show: |c| show_size(c.grpc.max_header_bytes.into()),
        ..PLAIN
    },
    Key {
        name: "grpc.max_message_bytes",
        doc: "Size of one message of a caller.",
        set: |c, v| put(&mut c.grpc.max_message_bytes, size(v, 64 * KIB, LARGEST_MESSAGE as u64)),
        show: |c| shown_bytes(c.grpc.max_message_bytes),
        ..PLAIN
    },
    Key {
        name: "grpc.request_timeout",
        doc: "How long a unary call may take; a caller's shorter deadline counts.",
        set: |c, v| put(&mut c.grpc.request_timeout, duration(v, TENTH, HOUR)),
        show: |c| show_duration(c.grpc.request_timeout),
        ..PLAIN
    },
    Key {
        name: "http.listen",
        flag: Some("http-listen"),
        doc: "Address of the HTTP side; port 0 takes a free port.",
        set: |c, v| put(&mut c.http.listen, address(v)),
        show: |c| c.http.listen.to_string(),
        ..PLAIN
    },
    Key {
        name: "http.metrics_listen",
        flag: Some("metrics-listen"),
        doc: "Address of a listener of its own for /metrics; empty to serve them on http.listen.",
        set: |c, v| put(&mut c.http.metrics_listen, optional(v, address)),
        show: |c| c.http.metrics_listen.map_or_else(String::new, |address| address.to_string()),
        ..PLAIN
    },
    Key {
        name: "http.max_connections",
        live: true,
        doc: "Connections of the HTTP side at once.",
        set: |c, v| put(&mut c.http.max_connections, count(v, 1_000_000)),
        show: |c| c.http.max_connections.to_string(),
        ..PLAIN
    },
    Key {
        name: "http.max_connections_per_peer",
        live: true,
        doc: "Connections of the HTTP side at once from one peer: an IPv4 address, or a /64 of IPv6.",
        set: |c, v| put(&mut c.http.max_connections_per_peer, count(v, 1_000_000)),
        show: |c| c.http.max_connections_per_peer.to_string(),
        ..PLAIN
    },
    Key {
        name: "http.max_connection_age",
        doc: "Age at which an HTTP connection ends after the request that it is at, give or take a tenth.",
        set: |c, v| put(&mut c.http.max_connection_age, duration(v, SECOND, 30 * DAY)),
        show: |c| show_duration(c.http.max_connection_age),
        ..PLAIN
    },
    Key {
        name: "http.idle_timeout",
        doc: "How long an HTTP connection may take until the whole head of its next request is there.",
        set: |c, v| put(&mut c.http.idle_timeout, duration(v, TENTH, HOUR)),
        show: |c| show_duration(c.http.idle_timeout),
        ..PLAIN
    },
    Key {
        name: "http.write_timeout",
        doc: "How long the client of an HTTP connection may take nothing of an answer that waits for it.",
        set: |c, v| put(&mut c.http.write_timeout, duration(v, TENTH, HOUR)),
        show: |c| show_duration(c.http.write_timeout),
        ..PLAIN
    },
    Key {
        name: "http.request_timeout",
        doc: "How long an HTTP request may take.",
        set: |c, v| put(&mut c.http.request_timeout, duration(v, TENTH, HOUR)),
        show: |c| show_duration(c.http.request_timeout),
        ..PLAIN
    },
    Key {
        name: "http.cors_origins",
        doc: "Origins whose pages may read the HTTP side from a browser, like https://status.example.org; empty for none.",
        set: |c, v| put(&mut c.http.cors_origins, origins(v)),
        show: |c| c.http.cors_origins.join(", "),
        ..PLAIN
    },
    Key {
        name: "tls.cert_file",
        flag: Some("tls-cert"),
        doc: "Certificate of the server and those that it is issued by, in PEM, for the gRPC and the HTTP side; empty for no encryption. Read again when it changes.",
        set: |c, v| put(&mut c.tls.cert_file, optional(v, path)),
        show: |c| shown_path(c.tls.cert_file.as_ref()),
        ..PLAIN
    },
    Key {
        name: "tls.key_file",
        flag: Some("tls-key"),
        doc: "Private key of the certificate, in PEM. Read again when it changes.",
        set: |c, v| put(&mut c.tls.key_file, optional(v, path)),
        show: |c| shown_path(c.tls.key_file.as_ref()),
        ..PLAIN
    },
    Key {
        name: "tls.client_ca_file",
        flag: Some("tls-client-ca"),
        doc: "Authorities, in PEM, whose certificates prove who a client is; empty: none does. Read again when it changes.",
        set: |c, v| put(&mut c.tls.client_ca_file, optional(v, path)),
        show: |c| shown_path(c.tls.client_ca_file.as_ref()),
        ..PLAIN
    },
    Key {
        name: "tls.crl_file",
        doc: "Revocation lists of those authorities, in PEM. Read again when it changes.",
        set: |c, v| put(&mut c.tls.crl_file, optional(v, path)),
        show: |c| shown_path(c.tls.crl_file.as_ref()),
        ..PLAIN
    },
    Key {
        name: "tls.client_auth",
        doc: "Whether a client of the gRPC side must show a certificate: optional (who shows none brings a token) or required.",
        set: |c, v| put(&mut c.tls.client_auth, client_auth(v)),
        show: |c| show_client_auth(c.tls.client_auth).to_owned(),
        ..PLAIN
    },
    Key {
        name: "auth.required",
        flag: Some("auth"),
        doc: "Whether callers have to prove who they are, by a client certificate or a token; without it everybody may do everything.",
        set: |c, v| put(&mut c.auth.required, truth(v)),
        show: |c| c.auth.required.to_string(),
        ..PLAIN
    },
    Key {
        name: "auth.trust_domain",
        doc: "Trust domain whose SPIFFE ids /service/NAME and /role/ROLE/NAME mean what they say; empty: only the rules say what an id means.",
        set: |c, v| put(&mut c.auth.trust_domain, trust_domain(v)),
        show: |c| c.auth.trust_domain.clone(),
        ..PLAIN
    },
    Key {
        name: "auth.rules_file",
        doc: "File in TOML that grants roles to certificates and narrows roles to services, zones or labels; empty for none. Read again when it changes.",
        set: |c, v| put(&mut c.auth.rules_file, optional(v, path)),
        show: |c| shown_path(c.auth.rules_file.as_ref()),
        ..PLAIN
    },
    Key {
        name: "auth.bootstrap_file",
        doc: "File that the first start with auth.required writes an admin's token to, readable by its owner only; empty: bootstrap-token in the data folder.",
        set: |c, v| put(&mut c.auth.bootstrap_file, optional(v, path)),
        show: |c| shown_path(c.auth.bootstrap_file.as_ref()),
        ..PLAIN
    },
    Key {
        name: "auth.open_pages",
        live: true,
        doc: "Pages of the HTTP side that need no proof although auth.required is true: metrics, status, discovery; empty for none. Health always needs none.",
        set: |c, v| put(&mut c.auth.open_pages, open_pages(v)),
        show: |c| show_open_pages(c.auth.open_pages),
        ..PLAIN
    },
    Key {
        name: "audit.file",
        doc: "File that every entry of the audit is written to as well, a line of JSON each; empty for none.",
        set: |c, v| put(&mut c.audit.file, optional(v, path)),
        show: |c| shown_path(c.audit.file.as_ref()),
        ..PLAIN
    },
    Key {
        name: "audit.retention",
        live: true,
        doc: "How long the store keeps an entry of the audit.",
        set: |c, v| put(&mut c.audit.retention, duration(v, HOUR, 3650 * DAY)),
        show: |c| show_duration(c.audit.retention),
        ..PLAIN
    },
    Key {
        name: "audit.max_entries",
        live: true,
        doc: "Entries of the audit that the store keeps; more push the oldest out.",
        set: |c, v| put(&mut c.audit.max_entries, count(v, 10_000_000)),
        show: |c| c.audit.max_entries.to_string(),
        ..PLAIN
    },
    Key {
        name: "audit.enrolments",
        live: true,
        doc: "Whether instances that register and deregister are in the audit; they are many, and the registry remembers who came from where.",
        set: |c, v| put(&mut c.audit.enrolments, truth(v)),
        show: |c| c.audit.enrolments.to_string(),
        ..PLAIN
    },
    Key {
        name: "access_log.sample",
        live: true,
        doc: "Share of requests that are logged with who, what, outcome and duration: 0 none, 0.01 one in a hundred, 1 all.",
        set: |c, v| put(&mut c.access_log.sample, share(v)),
        show: |c| show_share(c.access_log.sample),
        ..PLAIN
    },
    Key {
        name: "fleet.lease_ttl",
        doc: "How long an instance that asks for no TTL of its own may be silent before it counts as lost.",
        set: |c, v| put(&mut c.fleet.lease_ttl, duration(v, 2 * SECOND, 10 * MINUTE)),
        show: |c| show_duration(c.fleet.lease_ttl),
        ..PLAIN
    },
    Key {
        name: "fleet.lost_removal",
        doc: "How long a lost instance stays listed before it is removed.",
        set: |c, v| put(&mut c.fleet.lost_removal, duration(v, SECOND, 30 * DAY)),
        show: |c| show_duration(c.fleet.lost_removal),
        ..PLAIN
    },
    Key {
        name: "fleet.tombstone_retention",
        doc: "How long it is remembered that, and why, an instance was removed.",
        set: |c, v| put(&mut c.fleet.tombstone_retention, duration(v, SECOND, 365 * DAY)),
        show: |c| show_duration(c.fleet.tombstone_retention),
        ..PLAIN
    },
    Key {
        name: "fleet.max_instances",
        live: true,
        doc: "Instances at once in the whole fleet.",
        set: |c, v| put(&mut c.fleet.max_instances, count(v, 10_000_000)),
        show: |c| c.fleet.max_instances.to_string(),
        ..PLAIN
    },
    Key {
        name: "fleet.max_services",
        live: true,
        doc: "Services at once.",
        set: |c, v| put(&mut c.fleet.max_services, count(v, 1_000_000)),
        show: |c| c.fleet.max_services.to_string(),
        ..PLAIN
    },
    Key {
        name: "fleet.change_history",
        doc: "Changes that are kept so that a watcher can resume without a full reset.",
        set: |c, v| put(&mut c.fleet.change_history, count(v, 10_000_000)),
        show: |c| c.fleet.change_history.to_string(),
        ..PLAIN
    },
    Key {
        name: "checks.ask_peers",
        live: true,
        doc: "Whether active checks may ask the address that a registration came from; set it to false where that is a proxy's.",
        set: |c, v| put(&mut c.checks.ask_peers, truth(v)),
        show: |c| c.checks.ask_peers.to_string(),
        ..PLAIN
    },
    Key {
        name: "checks.allowed_networks",
        live: true,
        doc: "Networks that active checks may ask besides the address that a registration came from, like 10.1.0.0/16, fd12:3456:789a::/48; empty for none.",
        set: |c, v| put(&mut c.checks.allowed_networks, networks(v)),
        show: |c| show_networks(&c.checks.allowed_networks),
        ..PLAIN
    },
    Key {
        name: "checks.max_concurrent",
        live: true,
        doc: "Active checks that run at once, at most two of them at one address.",
        set: |c, v| put(&mut c.checks.max_concurrent, count(v, 10_000)),
        show: |c| c.checks.max_concurrent.to_string(),
        ..PLAIN
    },
    Key {
        name: "vault.place",
        doc: "Where backups go: a folder, or the URL of an object store (s3://bucket/prefix, gs://…, az://…); empty for the folder vault in the data folder.",
        set: |c, v| put(&mut c.vault.place, optional(v, word)),
        show: |c| c.vault.place.clone().unwrap_or_default(),
        ..PLAIN
    },
    Key {
        name: "vault.options",
        secret: true,
        doc: "Options of the object store, name=value with commas between them, by their usual names: aws_region=eu-central-1, aws_endpoint, azure_storage_account_name and the like; what is not among them counts as the environment has it.",
        set: |c, v| put(&mut c.vault.options, options(v)),
        show: |c| show_options(&c.vault.options),
        ..PLAIN
    },
    Key {
        name: "vault.key_file",
        doc: "File that has the key of the vault; empty for vault.key in the data folder, which is made at the first start.",
        set: |c, v| put(&mut c.vault.key_file, optional(v, path)),
        show: |c| shown_path(c.vault.key_file.as_ref()),
        ..PLAIN
    },
    Key {
        name: "vault.key",
        secret: true,
        doc: "The key of the vault itself, as `seaworthy keygen` writes it; better given by the environment than by a file.",
        set: |c, v| put(&mut c.vault.key, optional(v, secretive)),
        show: |c| c.vault.key.as_ref().map_or_else(String::new, |key| key.0.clone()),
        ..PLAIN
    },
    Key {
        name: "vault.passphrase_file",
        doc: "File that has a passphrase, of which the key of the vault is made; empty for none.",
        set: |c, v| put(&mut c.vault.passphrase_file, optional(v, path)),
        show: |c| shown_path(c.vault.passphrase_file.as_ref()),
        ..PLAIN
    },
    Key {
        name: "vault.accept_other",
        doc: "Take a vault that is not the one to which backups went so far, or begin a new one; say it for one start. Without it such a start ends: a mount may be missing.",
        set: |c, v| put(&mut c.vault.accept_other, truth(v)),
        show: |c| c.vault.accept_other.to_string(),
        ..PLAIN
    },
    Key {
        name: "vault.max_concurrent",
        doc: "Backups and verifications that are carried out at once; others wait.",
        set: |c, v| put(&mut c.vault.at_once, count(v, 64)),
        show: |c| c.vault.at_once.to_string(),
        ..PLAIN
    },
    Key {
        name: "vault.own_state_interval",
        doc: "How often the control plane's own state is backed up, where it has changed.",
        set: |c, v| put(&mut c.vault.own_state_every, duration(v, MINUTE, 30 * DAY)),
        show: |c| show_duration(c.vault.own_state_every),
        ..PLAIN
    },
    Key {
        name: "shutdown.total",
        doc: "How long stopping may take in all; keep it below the platform's own patience.",
        set: |c, v| put(&mut c.shutdown.total, duration(v, SECOND, HOUR)),
        show: |c| show_duration(c.shutdown.total),
        ..PLAIN
    },
    Key {
        name: "shutdown.lame_duck",
        doc: "How long work is still accepted after health says NOT_SERVING; may be 0s.",
        set: |c, v| put(&mut c.shutdown.lame_duck, duration(v, Duration::ZERO, HOUR)),
        show: |c| show_duration(c.shutdown.lame_duck),
        ..PLAIN
    },
    Key {
        name: "shutdown.finish_requests",
        doc: "How long active requests may take to finish once nothing new is accepted.",
        set: |c, v| put(&mut c.shutdown.finish_requests, duration(v, TENTH, HOUR)),
        show: |c| show_duration(c.shutdown.finish_requests),
        ..PLAIN
    },
    Key {
        name: "shutdown.save_state",
        doc: "How long saving the state may take.",
        set: |c, v| put(&mut c.shutdown.save_state, duration(v, TENTH, HOUR)),
        show: |c| show_duration(c.shutdown.save_state),
        ..PLAIN
    },
    Key {
        name: "shutdown.cleanup",
        doc: "How long closing the store and the log may take.",
        set: |c, v| put(&mut c.shutdown.cleanup, duration(v, TENTH, HOUR)),
        show: |c| show_duration(c.shutdown.cleanup),
        ..PLAIN
    },
];

fn shown_path(path: Option<&PathBuf>) -> String {
    path.map_or_else(String::new, |path| path.display().to_string())
}

fn shown_bytes(bytes: usize) -> String {
    show_size(bytes as u64)
}
