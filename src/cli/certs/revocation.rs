//! Who is revoked: a list of serial numbers beside the authority, and the revocation list that it signs from that
//! (RFC 5280, 5).

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber, date_time_ymd};

use super::{
    authority::{Authority, seconds},
    cannot,
    facts::shown,
    write,
};
use crate::cli::{
    failure::Failure,
    private::{Existing, Readers},
};

/// The list, and what is signed from it.
const SERIALS: &str = "revoked.txt";
const LIST: &str = "crl.pem";

const HEAD: &str = "# serial number, and when it was revoked; crl.pem is made from this\n";

/// Adds serial numbers that are not on it yet; answers those that are new.
pub(super) fn add(folder: &Path, serials: &[String], now: SystemTime) -> Result<Vec<String>, Failure> {
    let mut all = read(folder)?;
    let mut new = Vec::new();
    for serial in serials {
        if all.iter().all(|(known, _)| known != serial) {
            all.push((serial.clone(), now));
            new.push(serial.clone());
        }
    }
    let lines: String = all.iter().map(|(serial, at)| format!("{serial} {}\n", shown(*at))).collect();
    write(&place(folder), &format!("{HEAD}{lines}"), Readers::Everybody, Existing::IsReplaced)?;
    Ok(new)
}

/// Signs the list anew, and answers where it is. It counts for as long as its authority: whoever is revoked in between
/// is on the next one, which servers read as soon as it is there.
pub(super) fn publish(authority: &Authority, folder: &Path, now: SystemTime) -> Result<PathBuf, Failure> {
    let since = |time: SystemTime| seconds(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    let epoch = date_time_ymd(1970, 1, 1);
    let mut revoked_certs = Vec::new();
    for (serial, at) in read(folder)? {
        let bytes = bytes(&serial).ok_or_else(|| damaged(folder, &serial))?;
        revoked_certs.push(RevokedCertParams {
            serial_number: SerialNumber::from_slice(&bytes),
            revocation_time: epoch + since(at),
            reason_code: None,
            invalidity_date: None,
        });
    }
    let number = since(now).as_secs();
    let list = CertificateRevocationListParams {
        this_update: epoch + since(now),
        next_update: epoch + since(authority.facts.not_after).max(since(now) + Duration::from_secs(1)),
        // Later ones have larger ones.
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let signed = list.signed_by(&authority.issuer).and_then(|list| list.pem());
    let pem = signed.map_err(|cause| cannot("sign the revocation list", cause))?;
    let file = folder.join(LIST);
    write(&file, &pem, Readers::Everybody, Existing::IsReplaced)?;
    Ok(file)
}

fn place(folder: &Path) -> PathBuf {
    folder.join(SERIALS)
}

fn damaged(folder: &Path, what: &str) -> Failure {
    Failure::Usage(format!(
        "{} has a line that is none of a serial number and a time: {what:?}",
        place(folder).display()
    ))
}

fn read(folder: &Path) -> Result<Vec<(String, SystemTime)>, Failure> {
    let text = match fs::read_to_string(place(folder)) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => {
            return Err(Failure::Usage(format!("cannot read {}: {cause}", place(folder).display())));
        }
        Ok(text) => text,
    };
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines.map(|line| parse(line).ok_or_else(|| damaged(folder, line))).collect()
}

fn parse(line: &str) -> Option<(String, SystemTime)> {
    let (serial, at) = line.trim().split_once(' ')?;
    bytes(serial)?;
    let at: jiff::Timestamp = at.trim().parse().ok()?;
    Some((serial.to_owned(), at.into()))
}

/// The bytes of a serial number in hexadecimal digits.
fn bytes(serial: &str) -> Option<Vec<u8>> {
    if serial.is_empty() || !serial.len().is_multiple_of(2) || !serial.is_ascii() {
        return None;
    }
    (0..serial.len()).step_by(2).map(|at| u8::from_str_radix(&serial[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_a_serial_number_and_a_time() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!(parse("0aff 2023-11-14T22:13:20Z"), Some(("0aff".to_owned(), at)));
        for bad in ["", "0aff", "0af 2023-11-14T22:13:20Z", "0axx 2023-11-14T22:13:20Z", "0aff yesterday"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
