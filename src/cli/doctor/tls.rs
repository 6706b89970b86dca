//! What an encrypted control plane shows of itself: whether it is to be trusted, and its certificate. Where it is not
//! trusted, what is there instead is looked at, and nothing is said to it.

use std::time::{Duration, SystemTime};

use tokio::{net::TcpStream, time::timeout};

use super::finding::Finding;
use crate::{
    cli::{
        access::Access,
        certs::facts::{Facts, shown},
        output::Tone,
    },
    system::readiness::Outcome,
};

const TRUST: (&str, &str) = ("reach.tls", "control plane is the right one");
const CERTIFICATE: (&str, &str) = ("reach.certificate", "its certificate counts for a while");

/// Shakes hands. False: the two do not trust each other.
pub(super) async fn look(
    access: &Access,
    place: (&str, u16),
    wait: Duration,
    now: SystemTime,
    found: &mut Vec<Finding>,
) -> bool {
    let (id, title) = TRUST;
    let (facts, version) = match shake(access, place, wait, true).await {
        Ok(shaken) => shaken,
        Err(why) => {
            let there = shake(access, place, wait, false).await.ok().and_then(|(facts, _)| facts);
            let (what, remedy) = distrust(&why, there.as_ref(), now);
            found.push(Finding::fail(id, title, what, remedy));
            return false;
        }
    };
    found.push(Finding::pass(id, title, format!("{version}, a certificate for {}", access.name(place.0))));
    if let Some(facts) = facts {
        found.push(certificate(&facts, now));
    }
    true
}

async fn shake(
    access: &Access,
    (host, port): (&str, u16),
    wait: Duration,
    verified: bool,
) -> Result<(Option<Facts>, String), String> {
    let tls = if verified { access.tls() } else { access.tls_to_look() };
    let shaken = async {
        let stream = TcpStream::connect((host, port)).await.map_err(|cause| cause.to_string())?;
        tls.handshake(stream, host, "h2").await
    };
    let stream = timeout(wait, shaken).await.map_err(|_| format!("no handshake within {wait:?}"))??;
    let session = stream.get_ref().1;
    let first = session.peer_certificates().and_then(|chain| chain.first());
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS",
    };
    Ok((first.and_then(|der| Facts::of(der).ok()), version.to_owned()))
}

/// What is there, and what to do about it.
fn distrust(why: &str, there: Option<&Facts>, now: SystemTime) -> (String, String) {
    let remedy = "give the authority that has issued its certificate by --ca-cert, its name by --server-name, and what it \
                  asks for by --client-cert and --client-key; compare the clocks";
    let Some(facts) = there else { return (why.to_owned(), remedy.to_owned()) };
    let names = if facts.names.is_empty() { "nobody".to_owned() } else { facts.names.join(", ") };
    let Facts { issuer, not_before, not_after, .. } = facts;
    let what = format!(
        "{why}; what is there has a certificate for {names}, issued by {issuer}, from {} until {} ({}; it is {} here)",
        shown(*not_before),
        shown(*not_after),
        facts.left(now).plain,
        shown(now),
    );
    (what, remedy.to_owned())
}

/// How long a certificate still counts.
fn certificate(facts: &Facts, now: SystemTime) -> Finding {
    let (id, title) = CERTIFICATE;
    let left = facts.left(now);
    let outcome = match left.tone {
        Some(Tone::Good) => Outcome::Pass,
        _ => Outcome::Warn,
    };
    let what = format!("{}, until {}", left.plain, shown(facts.not_after));
    Finding::new(id, title, outcome, what, "renew it: the control plane reads its files again by itself")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(from: u64, until: u64) -> Facts {
        let at = |day| SystemTime::UNIX_EPOCH + Duration::from_secs(day * 24 * 3600);
        Facts {
            subject: "CN=h".into(),
            issuer: "CN=somebody".into(),
            serial: "01".into(),
            names: vec!["h".into()],
            not_before: at(from),
            not_after: at(until),
            key_usage: Vec::new(),
            is_authority: false,
            path_length: None,
            public_key: Vec::new(),
        }
    }

    #[test]
    fn what_ends_soon_is_warned_of() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100 * 24 * 3600);
        for (from, until, outcome) in [
            (90, 200, Outcome::Pass),
            (90, 110, Outcome::Warn),
            (90, 99, Outcome::Warn),
            (101, 200, Outcome::Warn),
        ] {
            assert_eq!(certificate(&facts(from, until), now).outcome, outcome, "{from} {until}");
        }
        let (what, _) = distrust("not trusted", Some(&facts(90, 99)), now);
        assert!(what.contains("issued by CN=somebody") && what.contains("expired 24h ago"), "{what}");
    }
}
