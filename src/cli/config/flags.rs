//! The flags that set the server's configuration: what `serve` runs with, and `config` checks.

use std::path::PathBuf;

use clap::Args;

use crate::config;

/// The flags. What is not given comes from the environment, the file, or the default.
#[derive(Args, Debug)]
#[command(next_help_heading = "Configuration")]
pub(crate) struct Flags {
    /// Configuration file in TOML [env: SEAWORTHY_CONFIG] [default: none]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the store, locked while in use [default: ./seaworthy-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address of the gRPC API; port 0 takes a free one [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDRESS")]
    grpc_listen: Option<String>,
    /// Address of the HTTP side; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    http_listen: Option<String>,
    /// Address for /metrics alone [default: none, it is on the HTTP side]
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<String>,
    /// File that is written, as JSON with the addresses, once the server serves [default: none]
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// off, error, warn, info, debug, trace, or a filter like info,seaworthy::fleet=debug
    /// [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// auto (for people on a terminal, else JSON), json or human [default: auto]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Allow listening beyond loopback without TLS and authentication [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    insecure: Option<bool>,
    /// Address where the control plane's own health alone is told, without encryption [default: none]
    #[arg(long, value_name = "ADDRESS")]
    probe_listen: Option<String>,
    /// Certificate of the server, in PEM; with it gRPC and HTTP are encrypted [default: none]
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate, in PEM [default: none]
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Authorities whose certificates prove who a client is, in PEM [default: none]
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,
    /// Ask callers to prove who they are, by a client certificate or a token [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    auth: Option<bool>,
}

impl From<Flags> for config::Flags {
    fn from(flags: Flags) -> Self {
        let Flags {
            config,
            data_dir,
            grpc_listen,
            http_listen,
            metrics_listen,
            ready_file,
            log_level,
            log_format,
            insecure,
            probe_listen,
            tls_cert,
            tls_key,
            tls_client_ca,
            auth,
        } = flags;
        Self {
            config,
            data_dir,
            grpc_listen,
            http_listen,
            metrics_listen,
            ready_file,
            log_level,
            log_format,
            insecure,
            probe_listen,
            tls_cert,
            tls_key,
            tls_client_ca,
            auth,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, builder::StyledStr};

    use super::*;

    #[test]
    fn the_flags_are_those_of_the_configuration_and_say_its_defaults() {
        let command = Flags::augment_args(Command::new("serve"));
        let mut given: Vec<_> = command.get_arguments().filter_map(|it| it.get_long()).collect();
        let mut known: Vec<_> = config::KEYS.iter().filter_map(|key| key.flag).chain(["config"]).collect();
        given.sort_unstable();
        known.sort_unstable();
        assert_eq!(given, known);
        let defaults = config::Config::default().entries();
        for (key, entry) in config::KEYS.iter().zip(defaults) {
            let Some(flag) = key.flag else { continue };
            let argument = command.get_arguments().find(|it| it.get_long() == Some(flag)).unwrap();
            let help = argument.get_help().map(StyledStr::to_string).unwrap();
            let default = match entry.value.as_str() {
                "" => "[default: none".to_owned(),
                default => format!("[default: {default}]"),
            };
            assert!(help.contains(&default), "--{flag}: {help:?} lacks {default:?}");
        }
    }
}
