//! The files that the configuration names: what they hold, and whether they look as they did.
//!
//! Reading them blocks, for as long as their file system wants.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{credentials::Credentials, material::Material};
use crate::{
    config::Tls,
    error::{Error, Kind, Reason, Result},
    time::Clock,
};

/// Bytes that one of them may have. A revocation list may be long.
const MOST: u64 = 32 << 20;

/// One file, by the setting that names it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub(super) setting: &'static str,
    pub(super) path: &'a Path,
}

impl Named<'_> {
    /// That it is of no use, and why.
    pub(super) fn unusable(&self, wrong: &str) -> Error {
        let message = format!("cannot use {} ({}): {wrong}", self.path.display(), self.setting);
        Error::new(Kind::FailedPrecondition, Reason::TlsUnusable, message)
    }
}

/// The files that are to be read.
#[derive(Clone, Debug)]
pub(super) struct Files {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    crl: Option<PathBuf>,
}

/// What is in them. Not to be shown: it has the key in it.
pub(super) struct Contents {
    pub(super) cert: Vec<u8>,
    pub(super) key: Vec<u8>,
    pub(super) client_ca: Option<Vec<u8>>,
    pub(super) crl: Option<Vec<u8>>,
    /// Whether others than its owner and its group may read the key.
    pub(super) key_is_open: bool,
}

impl Contents {
    /// Tells whether it is what it was.
    pub(super) fn digest(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for part in [Some(&self.cert), Some(&self.key), self.client_ca.as_ref(), self.crl.as_ref()] {
            let part = part.map_or(&[][..], Vec::as_slice);
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        hasher.finalize()
    }
}

/// How a file looks without being read. None: it cannot be looked at.
type Stamp = Option<(u64, Option<SystemTime>, [i64; 4])>;

/// How all of them look.
pub(super) type Stamps = [Stamp; 4];

impl Files {
    /// Those of a configuration. None: nothing is to be encrypted.
    ///
    /// # Errors
    /// A certificate without a key.
    pub(super) fn of(config: &Tls) -> Result<Option<Self>> {
        let Tls { cert_file, key_file, client_ca_file, crl_file, client_auth: _ } = config;
        let Some(cert) = cert_file else { return Ok(None) };
        let Some(key) = key_file else {
            return Err(Error::new(
                Kind::InvalidArgument,
                Reason::TlsUnusable,
                "tls.cert_file is set, and tls.key_file, its private key, is not",
            ));
        };
        Ok(Some(Self {
            cert: cert.clone(),
            key: key.clone(),
            client_ca: client_ca_file.clone(),
            crl: crl_file.clone(),
        }))
    }

    pub(super) fn cert(&self) -> Named<'_> {
        Named { setting: "tls.cert_file", path: &self.cert }
    }

    pub(super) fn key(&self) -> Named<'_> {
        Named { setting: "tls.key_file", path: &self.key }
    }

    pub(super) fn client_ca(&self) -> Option<Named<'_>> {
        self.client_ca.as_deref().map(|path| Named { setting: "tls.client_ca_file", path })
    }

    pub(super) fn crl(&self) -> Option<Named<'_>> {
        self.crl.as_deref().map(|path| Named { setting: "tls.crl_file", path })
    }

    /// How they look now. Links are followed, so that one that leads elsewhere is a change.
    pub(super) fn stamps(&self) -> Stamps {
        [Some(self.cert()), Some(self.key()), self.client_ca(), self.crl()]
            .map(|file| file.and_then(|file| fs::metadata(file.path).ok()).map(|seen| stamp(&seen)))
    }

    /// Reads them all.
    ///
    /// # Errors
    /// One cannot be read.
    pub(super) fn read(&self) -> Result<Contents> {
        let (cert, _) = read(self.cert())?;
        let (key, key_is_open) = read(self.key())?;
        let bytes = |file: Option<Named<'_>>| file.map(|file| read(file).map(|(bytes, _)| bytes)).transpose();
        Ok(Contents { cert, key, client_ca: bytes(self.client_ca())?, crl: bytes(self.crl())?, key_is_open })
    }
}

/// What a file holds, and whether everybody on this machine may read it.
fn read(named: Named<'_>) -> Result<(Vec<u8>, bool)> {
    let failed = |cause: io::Error| named.unusable(&cause.to_string()).because(cause);
    let seen = fs::metadata(named.path).map_err(failed)?;
    // A pipe would be waited for.
    if !seen.is_file() {
        return Err(named.unusable("it is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(named.path).and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > MOST {
        return Err(named.unusable("it has more than 32 MiB"));
    }
    Ok((bytes, is_open(&seen)))
}

#[cfg(unix)]
fn is_open(seen: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    seen.permissions().mode() & 0o007 != 0
}

#[cfg(not(unix))]
fn is_open(_: &fs::Metadata) -> bool {
    false
}

/// Length, time of writing, and which file it is: a change within the grain of the clock is one of these all the same.
#[cfg(unix)]
#[allow(clippy::cast_possible_wrap)] // only compared
fn stamp(seen: &fs::Metadata) -> (u64, Option<SystemTime>, [i64; 4]) {
    use std::os::unix::fs::MetadataExt as _;
    let which = [seen.dev() as i64, seen.ino() as i64, seen.ctime(), seen.ctime_nsec()];
    (seen.len(), seen.modified().ok(), which)
}

#[cfg(not(unix))]
fn stamp(seen: &fs::Metadata) -> (u64, Option<SystemTime>, [i64; 4]) {
    (seen.len(), seen.modified().ok(), [0; 4])
}

/// Reads the files that a configuration names and checks them as a start would, and answers what is doubtful about
/// them. Blocks.
///
/// # Errors
/// `TlsUnusable`, naming the setting, the file and what is wrong.
pub fn check(config: &Tls, clock: Clock) -> Result<Vec<String>> {
    let Some(files) = Files::of(config)? else { return Ok(Vec::new()) };
    let material = Material::of(&files, &files.read()?, clock.now().wall)?;
    let doubts = material.doubts.clone();
    Credentials::of(material, config.client_auth, clock, None).map(|_| doubts)
}
