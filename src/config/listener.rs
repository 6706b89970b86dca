//! Rules about the addresses to listen on: none beyond loopback by accident, no two the same.

use std::net::SocketAddr;

use super::settings::Config;

/// Every listener with its key.
fn listeners(config: &Config) -> impl Iterator<Item = (&'static str, SocketAddr)> {
    guarded(config).chain(config.probe_listen.map(|address| ("probe_listen", address)))
}

/// Listeners that tell and take more than everybody may know and do.
pub(super) fn guarded(config: &Config) -> impl Iterator<Item = (&'static str, SocketAddr)> {
    let metrics = config.http.metrics_listen.map(|address| ("http.metrics_listen", address));
    [("grpc.listen", config.grpc.listen), ("http.listen", config.http.listen)].into_iter().chain(metrics)
}

/// Why an address that others can reach is refused; None if it is not.
pub(super) fn refusal(config: &Config) -> Option<String> {
    let is_encrypted = config.tls.cert_file.is_some();
    let lacking = match (is_encrypted, config.auth.required, config.insecure) {
        (true, true, _) | (_, _, true) => return None,
        (false, false, false) => "nothing is encrypted and nobody has to prove who they are",
        (false, true, false) => "nothing is encrypted, tokens included",
        (true, false, false) => "nobody has to prove who they are",
    };
    Some(format!(
        "reaches beyond this machine, and {lacking}: set tls.cert_file, tls.key_file and auth.required = true \
         (`seaworthy certs init` makes certificates), listen on 127.0.0.1 behind a proxy that terminates TLS and \
         authenticates callers, or set insecure = true if everyone on the network is trusted"
    ))
}

/// Whether others than this machine can reach an address.
pub(super) fn beyond_loopback(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

/// Pairs of listeners that cannot both be bound. Port 0 is never in the way.
pub(super) fn clashes(config: &Config) -> Vec<(&'static str, &'static str)> {
    let all: Vec<_> = listeners(config).collect();
    let mut clashes = Vec::new();
    for (at, (earlier, first)) in all.iter().enumerate() {
        for (later, second) in &all[at + 1..] {
            if first.port() != 0 && first == second {
                clashes.push((*earlier, *later));
            }
        }
    }
    clashes
}
