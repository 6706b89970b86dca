//! What a certificate says, for people and programs.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    time::{Duration, SystemTime},
};

use serde::{Serialize, Serializer};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{ExtendedKeyUsage, GeneralName, KeyUsage},
    prelude::FromDer as _,
    time::ASN1Time,
};

use crate::cli::{
    output::{Text, Tone, table::Table},
    render::when,
};

/// What is less than this, in days, is soon over.
const SOON: u64 = 14;
const DAY: u64 = 24 * 3600;

/// What a certificate says.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Facts {
    pub(crate) subject: String,
    pub(crate) issuer: String,
    /// In hexadecimal digits.
    pub(crate) serial: String,
    /// DNS names, addresses and URIs, as they are written.
    pub(crate) names: Vec<String>,
    #[serde(serialize_with = "stamp")]
    pub(crate) not_before: SystemTime,
    #[serde(serialize_with = "stamp")]
    pub(crate) not_after: SystemTime,
    pub(crate) key_usage: Vec<String>,
    pub(crate) is_authority: bool,
    /// How many authorities may stand between it and a certificate. None: as many as there are, or it is none.
    pub(crate) path_length: Option<u32>,
    #[serde(skip)]
    pub(crate) public_key: Vec<u8>,
}

fn stamp<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shown(*time))
}

/// A point in time as RFC 3339.
pub(crate) fn shown(time: SystemTime) -> String {
    when::stamp(Some(&time.into()))
}

impl Facts {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn of(der: &[u8]) -> Result<Self, String> {
        let wrong = |cause: &dyn std::fmt::Display| format!("has a certificate that is none: {cause}");
        let (_, certificate) = X509Certificate::from_der(der).map_err(|cause| wrong(&cause))?;
        let constraints = certificate.basic_constraints().map_err(|cause| wrong(&cause))?;
        let constraints = constraints.map(|found| found.value);
        let names = certificate.subject_alternative_name().map_err(|cause| wrong(&cause))?;
        let names = names.iter().flat_map(|found| &found.value.general_names).map(name).collect();
        let usage = certificate.key_usage().map_err(|cause| wrong(&cause))?;
        let extended = certificate.extended_key_usage().map_err(|cause| wrong(&cause))?;
        let mut key_usage = usage.map_or_else(Vec::new, |found| usages(found.value));
        key_usage.extend(extended.map_or_else(Vec::new, |found| purposes(found.value)));
        Ok(Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            serial: hex(certificate.raw_serial()),
            names,
            not_before: system(certificate.validity().not_before),
            not_after: system(certificate.validity().not_after),
            key_usage,
            is_authority: constraints.is_some_and(|found| found.ca),
            path_length: constraints.and_then(|found| found.path_len_constraint),
            public_key: certificate.public_key().raw.to_vec(),
        })
    }

    /// How long it still counts: what is left, and whether that is well.
    pub(crate) fn left(&self, now: SystemTime) -> Text {
        if let Ok(early) = self.not_before.duration_since(now)
            && !early.is_zero()
        {
            return Text::toned(&format!("begins in {}", when::coarse(early)), Tone::Bad);
        }
        match self.not_after.duration_since(now) {
            Err(late) => Text::toned(&format!("expired {} ago", when::coarse(late.duration())), Tone::Bad),
            Ok(left) if left < Duration::from_secs(SOON * DAY) => {
                Text::toned(&format!("{} left", when::coarse(left)), Tone::Uneasy)
            }
            Ok(left) => Text::toned(&format!("{} left", when::coarse(left)), Tone::Good),
        }
    }

    /// As names and values.
    pub(super) fn table(&self, now: SystemTime) -> Table {
        let mut table = Table::new([]);
        let mut fact = |name: &str, value: Text| table.row([name.into(), value]);
        let all = |words: &[String]| match words {
            [] => "-".to_owned(),
            words => words.join(", "),
        };
        fact("subject", self.subject.as_str().into());
        fact("names", all(&self.names).into());
        fact("issuer", self.issuer.as_str().into());
        fact("serial", self.serial.as_str().into());
        fact("from", shown(self.not_before).into());
        fact("until", shown(self.not_after).into());
        fact("validity", self.left(now));
        fact("used for", all(&self.key_usage).into());
        let authority = match (self.is_authority, self.path_length) {
            (false, _) => "no".to_owned(),
            (true, None) => "yes".to_owned(),
            (true, Some(0)) => "yes, of no further authorities".to_owned(),
            (true, Some(length)) => format!("yes, of {length} further authorities in a row"),
        };
        fact("authority", authority.into());
        table
    }
}

/// Digits of a serial number, as every program writes them.
pub(super) fn hex(serial: &[u8]) -> String {
    serial.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A time of a certificate; before the epoch is the epoch.
pub(super) fn system(time: ASN1Time) -> SystemTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => {
            (*name).to_owned()
        }
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|octets| Ipv4Addr::from(octets).to_string());
            let v6 = || <[u8; 16]>::try_from(*bytes).map(|octets| Ipv6Addr::from(octets).to_string());
            v4.or_else(|_| v6()).unwrap_or_else(|_| "an address that is none".to_owned())
        }
        other => format!("{other}"),
    }
}

fn usages(usage: &KeyUsage) -> Vec<String> {
    usage.to_string().split(", ").filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

fn purposes(usage: &ExtendedKeyUsage<'_>) -> Vec<String> {
    let known = [
        (usage.any, "anything"),
        (usage.server_auth, "server"),
        (usage.client_auth, "client"),
        (usage.code_signing, "code signing"),
        (usage.email_protection, "e-mail"),
        (usage.time_stamping, "time stamps"),
        (usage.ocsp_signing, "OCSP"),
    ];
    let known = known.into_iter().filter(|(has, _)| *has).map(|(_, word)| word.to_owned());
    known.chain(usage.other.iter().map(ToString::to_string)).collect()
}
