//! The names in a certificate: its subject alternative names, by the rules of X509-SVID (SPIFFE) and RFC 5280.
//!
//! The common name of the subject never counts, nor do addresses and e-mail: what proves who somebody is must be
//! what an authority meant as a name for a machine or a workload.

use x509_parser::{certificate::X509Certificate, extensions::GeneralName};

use super::peer::{Name, Unnamed};

/// Names that a certificate may have.
const MOST: usize = 100;
/// Bytes of a SPIFFE id (SPIFFE-ID 2.3).
const LONGEST_ID: usize = 2048;
/// Bytes of a trust domain (SPIFFE-ID 2.3).
const LONGEST_DOMAIN: usize = 255;
/// Tags of names of DNS and of URIs in DER, where their text cannot be read (RFC 5280, 4.2.1.6).
const READABLE: [u32; 2] = [2, 6];

/// The names that a certificate proves.
///
/// # Errors
/// It has too many of them, or several URIs of which one is a SPIFFE id, or a SPIFFE id that is none.
pub(super) fn of(certificate: &X509Certificate<'_>) -> Result<Vec<Name>, Unnamed> {
    let extension = certificate
        .subject_alternative_name()
        .map_err(|_| Unnamed("has subject alternative names that cannot be read".to_owned()))?;
    let Some(names) = extension.map(|extension| &extension.value.general_names) else {
        return Ok(Vec::new());
    };
    if names.len() > MOST {
        return Err(Unnamed(format!("has {} names; {MOST} are the most", names.len())));
    }
    if names.iter().any(|name| matches!(name, GeneralName::Invalid(tag, _) if READABLE.contains(&tag.0))) {
        return Err(Unnamed("has a name that is no text".to_owned()));
    }
    let uris: Vec<&str> = names
        .iter()
        .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None })
        .collect();
    if uris.iter().any(|uri| is_spiffe(uri)) {
        return match uris.as_slice() {
            [only] => Ok(vec![Name::Spiffe(spiffe(only).map_err(Unnamed)?)]),
            _ => Err(Unnamed(format!(
                "has {} URIs as names; one with a SPIFFE id has that alone (X509-SVID 2)",
                uris.len()
            ))),
        };
    }
    let dns =
        names.iter().filter_map(|name| if let GeneralName::DNSName(name) = name { dns(name) } else { None });
    Ok(dns.map(Name::Dns).collect())
}

/// Whether it is meant as a SPIFFE id, however its scheme is written.
fn is_spiffe(uri: &str) -> bool {
    uri.split_once(':').is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("spiffe"))
}

/// A SPIFFE id of a workload, which has a path (SPIFFE-ID 2, X509-SVID 4.1).
fn spiffe(uri: &str) -> Result<String, String> {
    let wrong = |what: &str| format!("has a name that begins like a SPIFFE id and is none: {what}");
    let (domain, path) = uri
        .strip_prefix("spiffe://")
        .ok_or_else(|| wrong("it does not begin with spiffe://"))?
        .split_once('/')
        .ok_or_else(|| wrong("it names a trust domain and nobody in it"))?;
    let in_domain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    let in_path = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if uri.len() > LONGEST_ID {
        return Err(wrong("it is too long"));
    }
    if domain.is_empty() || domain.len() > LONGEST_DOMAIN || !domain.chars().all(in_domain) {
        return Err(wrong("its trust domain is none"));
    }
    let good = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(in_path);
    if !path.split('/').all(good) {
        return Err(wrong("its path is none"));
    }
    Ok(uri.to_owned())
}

/// A name of DNS in lower case. None: it is none, or stands for many.
fn dns(name: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let good = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(fits)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (name.len() <= 253 && name.split('.').all(good)).then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;
    use crate::tls::peer::PeerCertificate;

    fn san(name: &str) -> SanType {
        match name.split_once('=') {
            Some(("uri", uri)) => SanType::URI(uri.try_into().unwrap()),
            Some(("mail", mail)) => SanType::Rfc822Name(mail.try_into().unwrap()),
            Some(("ip", ip)) => SanType::IpAddress(ip.parse().unwrap()),
            _ => SanType::DnsName(name.try_into().unwrap()),
        }
    }

    fn read(names: &[&str]) -> Result<Vec<String>, String> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "admin.example.org");
        params.subject_alt_names = names.iter().map(|name| san(name)).collect();
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let read = PeerCertificate::read(certificate.der()).map_err(|wrong| wrong.0)?;
        Ok(read.names.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn names_of_certificates_as_a_table() {
        const ORDERS: &str = "spiffe://prod.example.org/service/orders";
        let orders = format!("uri={ORDERS}");
        for (names, proved) in [
            // The common name proves nothing.
            (vec![], vec![]),
            (vec!["ci.example.org"], vec!["dns:ci.example.org"]),
            (vec!["CI.Example.ORG", "b.example.org"], vec!["dns:ci.example.org", "dns:b.example.org"]),
            (vec!["mail=a@example.org", "ip=10.0.0.1"], vec![]),
            // What stands for many names nobody.
            (vec!["*.example.org", "a.example.org"], vec!["dns:a.example.org"]),
            (vec!["a..b", "-a.b", "a b", "a.b."], vec![]),
            // A SPIFFE id is then the only name.
            (vec![&orders], vec![ORDERS]),
            (vec!["ci.example.org", &orders], vec![ORDERS]),
            // Other URIs prove nothing, and are in nobody's way where no SPIFFE id is.
            (vec!["uri=https://a.example", "uri=https://b.example", "a.example"], vec!["dns:a.example"]),
            (vec!["uri=notspiffe://a/b", "a.example"], vec!["dns:a.example"]),
        ] {
            assert_eq!(
                read(&names).as_deref(),
                Ok(&proved.iter().map(ToString::to_string).collect::<Vec<_>>()[..]),
                "{names:?}"
            );
        }
    }

    #[test]
    fn what_breaks_the_rules_of_x509_svid_is_refused() {
        for names in [
            &["uri=spiffe://a.example/one", "uri=spiffe://a.example/two"][..],
            &["uri=spiffe://a.example/one", "uri=spiffe://a.example/one"],
            &["uri=spiffe://a.example/one", "uri=https://a.example"],
            &["uri=spiffe://a.example"],
            &["uri=spiffe://a.example/"],
            &["uri=spiffe:///one"],
            &["uri=SPIFFE://a.example/one"],
            &["uri=spiffe:a.example/one"],
            &["uri=spiffe://A.example/one"],
            &["uri=spiffe://user@a.example/one"],
            &["uri=spiffe://a.example:1/one"],
            &["uri=spiffe://a.example/one/../two"],
            &["uri=spiffe://a.example//one"],
            &["uri=spiffe://a.example/one?x"],
            &["uri=spiffe://a.example/one#x"],
            &["uri=spiffe://a.example/o%6ee"],
        ] {
            assert!(read(names).is_err(), "{names:?}");
        }
        let many: Vec<String> = (0..=MOST).map(|n| format!("n{n}.example")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(read(&many).is_err() && read(&many[1..]).is_ok());
        let long = format!("uri=spiffe://a.example/{}", "x".repeat(LONGEST_ID));
        assert!(read(&[&long]).is_err());
    }
}
