//! The flags of `probe`, in the manner of Go's `flag` package: one dash or two, `-flag=value` or
//! `-flag value`, the last one wins.

use std::{ffi::OsString, time::Duration};

use clap::{Args, Parser};
use seaworthy_client::proto::grpc::health::v1::health_check_response::ServingStatus;

use super::INVALID;
use crate::cli::{args::value, exit::Exit};

/// Flags that take no value of their own: Go accepts one only after `=`.
const BOOLEANS: [&str; 10] =
    ["tls", "tls-no-verify", "gzip", "alts", "spiffe", "v", "version", "watch", "help", "h"];

/// Ask a gRPC server for its health, with the flags and exit codes of grpc-health-probe
#[derive(Args, Debug)]
#[command(after_help = "\
One dash or two, -flag=value or -flag value: all are the same.

Exit codes:
  0  SERVING, or the status that was waited for
  1  wrong arguments
  2  no connection, or not within -connect-timeout
  3  the call failed, or was not answered within -rpc-timeout
  4  the answer is not SERVING, or not the status that was waited for")]
pub(crate) struct Probe {
    /// Address of the server: host:port (required)
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    pub(super) addr: String,
    /// Name to ask for; empty is the server itself
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(super) service: String,
    /// Value of the user-agent header
    #[arg(long, value_name = "TEXT", default_value = "grpc_health_probe")]
    pub(super) user_agent: String,
    /// Longest wait for the connection, with its unit
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = value::duration)]
    pub(super) connect_timeout: Duration,
    /// Longest wait for the answer, with its unit
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = value::duration)]
    pub(super) rpc_timeout: Duration,
    /// Additional header 'name: value'; can be repeated [default: none]
    #[arg(long, value_name = "HEADER")]
    pub(super) rpc_header: Vec<String>,
    /// Compress the call with gzip
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", value_parser = boolean)]
    pub(super) gzip: bool,
    /// Say more
    #[arg(short, long = "v", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", value_parser = boolean)]
    pub(super) verbose: bool,
    /// Print the version
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", value_parser = boolean)]
    pub(super) version: bool,
    /// Print the status now and after every change, until Ctrl-C or what -wait-for names
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", value_parser = boolean)]
    pub(super) watch: bool,
    /// Wait for this status: SERVING, NOT_SERVING, UNKNOWN or SERVICE_UNKNOWN; a server that is not
    /// there yet is waited for as well [default: do not wait]
    #[arg(long, value_name = "STATUS", value_parser = status)]
    pub(super) wait_for: Option<ServingStatus>,
    /// Longest wait for the status that -wait-for names, with its unit
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = value::duration)]
    pub(super) wait_timeout: Duration,
    #[command(flatten)]
    pub(super) tls: Tls,
}

/// Flags of encryption. ALTS and SPIFFE's workload API are understood, and refused.
#[derive(Args, Debug)]
#[command(next_help_heading = "TLS")]
pub(super) struct Tls {
    /// Use TLS
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", value_parser = boolean)]
    pub(super) tls: bool,
    /// Do not verify the server's certificate: anybody on the way can answer
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", value_parser = boolean)]
    pub(super) tls_no_verify: bool,
    /// File of trusted certificates [default: the system's]
    #[arg(long, value_name = "FILE")]
    pub(super) tls_ca_cert: Option<String>,
    /// File of the client's certificate [default: none]
    #[arg(long, value_name = "FILE")]
    pub(super) tls_client_cert: Option<String>,
    /// File of the client's key [default: none]
    #[arg(long, value_name = "FILE")]
    pub(super) tls_client_key: Option<String>,
    /// Name to verify the server's certificate by [default: that of the address]
    #[arg(long, value_name = "NAME")]
    pub(super) tls_server_name: Option<String>,
    /// Use ALTS (not supported)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", value_parser = boolean)]
    pub(super) alts: bool,
    /// Use SPIFFE's workload API (not supported)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", value_parser = boolean)]
    pub(super) spiffe: bool,
}

// A parser of its own: the common options of the other commands do not belong here, and wrong
// arguments end with 1.
#[derive(Debug, Parser)]
#[command(
    name = "seaworthy probe",
    about = "Ask a gRPC server for its health, as grpc-health-probe does",
    args_override_self = true,
    disable_version_flag = true,
    max_term_width = 100
)]
struct Line {
    #[command(flatten)]
    probe: Probe,
}

/// Parses what comes after `probe`.
pub(crate) fn parse(args: &[OsString]) -> Result<Probe, Exit> {
    let name = OsString::from("seaworthy probe");
    match Line::try_parse_from(std::iter::once(name).chain(normalise(args))) {
        Ok(line) => Ok(line.probe),
        Err(wrong) => {
            // Nobody reads it where it cannot be written; the exit code stays.
            drop(wrong.print());
            Err(if wrong.use_stderr() { INVALID } else { Exit::Done })
        }
    }
}

/// Go's forms in clap's: two dashes, and `=` between a flag and its value.
fn normalise(args: &[OsString]) -> Vec<OsString> {
    let mut normal = Vec::with_capacity(args.len());
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let flag = match arg.to_str() {
            // After `--`, and where it is no flag, Go stops parsing; clap then says what is left over.
            None | Some("-" | "--") => None,
            Some(text) => text.strip_prefix("--").or_else(|| text.strip_prefix('-')),
        };
        let Some(flag) = flag else {
            normal.push(arg.clone());
            normal.extend(rest.cloned());
            break;
        };
        let takes_value = !flag.contains('=') && !BOOLEANS.contains(&flag);
        let mut long = OsString::from(format!("--{}", if flag == "h" { "help" } else { flag }));
        if takes_value && let Some(value) = rest.next() {
            long.push("=");
            long.push(value);
        }
        normal.push(long);
    }
    normal
}

/// What Go's `strconv.ParseBool` accepts.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("write true or false".to_owned()),
    }
}

fn status(text: &str) -> Result<ServingStatus, String> {
    ServingStatus::from_str_name(text)
        .ok_or_else(|| "write SERVING, NOT_SERVING, UNKNOWN or SERVICE_UNKNOWN".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(args: &[&str]) -> Vec<OsString> {
        args.iter().map(OsString::from).collect()
    }

    #[test]
    fn the_forms_of_go_become_those_of_clap() {
        let table: [(&[&str], &[&str]); 9] = [
            (&["-addr=h:1"], &["--addr=h:1"]),
            (&["-addr", "h:1"], &["--addr=h:1"]),
            (&["--addr", "h:1"], &["--addr=h:1"]),
            (&["--addr=h:1", "-v"], &["--addr=h:1", "--v"]),
            (&["-service", "-odd"], &["--service=-odd"]),
            (&["-tls", "-addr", "h:1"], &["--tls", "--addr=h:1"]),
            (&["-gzip=false"], &["--gzip=false"]),
            (&["-h"], &["--help"]),
            (&["-v", "rest", "-addr"], &["--v", "rest", "-addr"]),
        ];
        for (given, expected) in table {
            assert_eq!(normalise(&os(given)), os(expected), "{given:?}");
        }
    }

    #[test]
    fn all_flags_of_grpc_health_probe_are_known() {
        let given = os(&[
            "-addr=h:1",
            "-service",
            "orders",
            "-user-agent=x",
            "-connect-timeout=250ms",
            "-rpc-timeout",
            "1m30s",
            "-rpc-header=a: b",
            "-rpc-header",
            "c: d",
            "-tls",
            "-tls-no-verify",
            "-tls-ca-cert=f",
            "-tls-client-cert=f",
            "-tls-client-key=f",
            "-tls-server-name=n",
            "-gzip",
            "-v=true",
        ]);
        let probe = parse(&given).unwrap();
        assert_eq!((&*probe.addr, &*probe.service, &*probe.user_agent), ("h:1", "orders", "x"));
        assert_eq!(probe.connect_timeout, Duration::from_millis(250));
        assert_eq!(probe.rpc_timeout, Duration::from_secs(90));
        assert_eq!(probe.rpc_header, ["a: b", "c: d"]);
        assert!(probe.tls.tls && probe.tls.tls_no_verify && probe.gzip && probe.verbose && !probe.version);
        assert_eq!(probe.tls.tls_ca_cert.as_deref(), Some("f"));
        assert_eq!(probe.tls.tls_server_name.as_deref(), Some("n"));
    }

    #[test]
    fn defaults_are_those_of_grpc_health_probe() {
        let probe = parse(&os(&["-addr=a:1", "-addr=h:1", "-tls=false"])).unwrap();
        assert_eq!((&*probe.addr, &*probe.service, &*probe.user_agent), ("h:1", "", "grpc_health_probe"));
        assert_eq!(
            (probe.connect_timeout, probe.rpc_timeout),
            (Duration::from_secs(1), Duration::from_secs(1))
        );
        assert!(!probe.tls.tls);
    }

    #[test]
    fn wrong_arguments_end_with_1_and_help_with_0() {
        for wrong in
            [&["-nope"][..], &["-rpc-timeout=0s"], &["-rpc-timeout"], &["-tls=perhaps"], &["left", "over"]]
        {
            assert_eq!(parse(&os(wrong)).unwrap_err().code(), 1, "{wrong:?}");
        }
        assert_eq!(parse(&os(&["-help"])).unwrap_err().code(), 0);
    }
}
