//! The flags of encryption, checked as grpc-health-probe checks them.

use std::path::PathBuf;

use seaworthy_client::Tls;

use super::args;

/// Where systems keep the authorities that everybody trusts.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Whom to trust and what to show. None: nothing is encrypted.
///
/// # Errors
/// The flags do not go together.
pub(super) fn chosen(flags: &args::Tls) -> Result<Option<Tls>, String> {
    let args::Tls {
        tls,
        tls_no_verify,
        tls_ca_cert,
        tls_client_cert,
        tls_client_key,
        tls_server_name,
        alts,
        spiffe,
    } = flags;
    if *alts || *spiffe {
        return Err("-alts and -spiffe are not supported; -tls with its flags is".to_owned());
    }
    let given = [
        ("-tls-no-verify", *tls_no_verify),
        ("-tls-ca-cert", tls_ca_cert.is_some()),
        ("-tls-client-cert", tls_client_cert.is_some()),
        ("-tls-client-key", tls_client_key.is_some()),
        ("-tls-server-name", tls_server_name.is_some()),
    ];
    if !tls {
        return match given.into_iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(format!("specified {flag} without specifying -tls")),
            None => Ok(None),
        };
    }
    if *tls_no_verify && tls_ca_cert.is_some() {
        return Err("cannot specify -tls-ca-cert with -tls-no-verify (CA cert would not be used)".to_owned());
    }
    if *tls_no_verify && tls_server_name.is_some() {
        return Err(
            "cannot specify -tls-server-name with -tls-no-verify (server name would not be used)".to_owned()
        );
    }
    let mut chosen = match (tls_no_verify, tls_ca_cert) {
        (true, _) => Tls::new().without_verification(),
        (false, Some(file)) => Tls::new().ca_file(file),
        (false, None) => Tls::new().ca_file(bundle()?),
    };
    if let Some(name) = tls_server_name {
        chosen = chosen.server_name(name);
    }
    match (tls_client_cert, tls_client_key) {
        (Some(certificate), Some(key)) => Ok(Some(chosen.identity(certificate, key))),
        (None, None) => Ok(Some(chosen)),
        (Some(_), None) => Err("specified -tls-client-cert without specifying -tls-client-key".to_owned()),
        (None, Some(_)) => Err("specified -tls-client-key without specifying -tls-client-cert".to_owned()),
    }
}

fn bundle() -> Result<PathBuf, String> {
    let found = BUNDLES.into_iter().map(PathBuf::from).find(|path| path.is_file());
    found.ok_or_else(|| "this system has no authorities that are known; name them by -tls-ca-cert".to_owned())
}
