//! Rules between several values: what each says by itself is right, and together they cannot be.

use super::{
    listener::{beyond_loopback, clashes, guarded, refusal},
    settings::{ClientAuth, Config},
    show_duration,
};

/// A rule that does not hold.
#[derive(Debug)]
pub(super) struct Broken {
    /// The key at fault, then those that the rule compares it with.
    pub(super) keys: Vec<&'static str>,
    /// What is wrong, and what would be right.
    pub(super) wrong: String,
}

/// Every rule that does not hold.
pub(super) fn broken_rules(config: &Config) -> Vec<Broken> {
    let mut broken = Vec::new();
    if let Some(wrong) = refusal(config) {
        let open = guarded(config).filter(|(_, address)| beyond_loopback(*address));
        broken.extend(open.map(|(key, _)| Broken {
            keys: vec![key, "insecure", "tls.cert_file", "auth.required"],
            wrong: wrong.clone(),
        }));
    }
    broken.extend(broken_rules_of_tls(config));
    for (earlier, later) in clashes(config) {
        let origin = config.origin(earlier);
        let wrong = format!("is also the address of {earlier} ({origin}); give each listener its own");
        broken.push(Broken { keys: vec![later, earlier], wrong });
    }
    if config.shutdown.lame_duck >= config.shutdown.total {
        let (total, origin) = (show_duration(config.shutdown.total), config.origin("shutdown.total"));
        let wrong = format!("must be shorter than shutdown.total, which is {total} ({origin})");
        broken.push(Broken { keys: vec!["shutdown.lame_duck", "shutdown.total"], wrong });
    }
    broken
}

/// Files of TLS that mean nothing without another one.
fn broken_rules_of_tls(config: &Config) -> Vec<Broken> {
    let tls = &config.tls;
    let (cert, key) = (tls.cert_file.is_some(), tls.key_file.is_some());
    let (client_ca, crl) = (tls.client_ca_file.is_some(), tls.crl_file.is_some());
    let required = tls.client_auth == ClientAuth::Required;
    let rules = [
        (cert && !key, "tls.cert_file", "tls.key_file", "is of no use without its private key"),
        (
            key && !cert,
            "tls.key_file",
            "tls.cert_file",
            "is of no use without the certificate that it belongs to",
        ),
        (
            client_ca && !cert,
            "tls.client_ca_file",
            "tls.cert_file",
            "is of no use where nothing is encrypted",
        ),
        (
            crl && !client_ca,
            "tls.crl_file",
            "tls.client_ca_file",
            "is of no use without the authorities that revoke",
        ),
        (
            required && !client_ca,
            "tls.client_auth",
            "tls.client_ca_file",
            "lets nobody in without authorities of client certificates",
        ),
    ];
    let broken = rules.into_iter().filter(|(is_broken, ..)| *is_broken);
    broken
        .map(|(_, key, other, wrong)| Broken {
            keys: vec![key, other],
            wrong: format!("{wrong}; set {other} as well"),
        })
        .collect()
}
