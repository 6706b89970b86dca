//! The file that says where the server listens, so that scripts neither guess nor poll a port.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::io::Errno;
use serde_json::json;

use super::Addresses;
use crate::error::{Error, Kind, Reason, Result};

/// A file that is written whole, under another name: nobody sees it yet.
#[derive(Debug)]
pub(super) struct Written<'a> {
    file: &'a Path,
    part: PathBuf,
}

/// Writes the file whole: whoever sees it can read all of it.
///
/// # Errors
/// It cannot be written.
pub(super) fn write<'a>(file: &'a Path, addresses: &Addresses) -> Result<Written<'a>> {
    let content = json!({
        "grpc": addresses.grpc.to_string(),
        "http": addresses.http.to_string(),
        "metrics": addresses.metrics.map(|at| at.to_string()),
        "pid": std::process::id(),
    });
    let part = file.with_extension("part");
    let room = if file.is_dir() { Err(Errno::ISDIR.into()) } else { Ok(()) };
    room.and_then(|()| fs::write(&part, format!("{content}\n"))).map_err(|cause| unwritable(file, cause))?;
    Ok(Written { file, part })
}

impl Written<'_> {
    /// Gives it its name.
    ///
    /// # Errors
    /// It cannot have it; then nothing of it is left.
    pub(super) fn publish(self) -> Result<()> {
        let Self { file, part } = self;
        fs::rename(&part, file).map_err(|cause| {
            // Why it failed matters more than this.
            drop(fs::remove_file(&part));
            unwritable(file, cause)
        })
    }
}

fn unwritable(file: &Path, cause: io::Error) -> Error {
    Error::new(
        Kind::FailedPrecondition,
        Reason::ConfigInvalid,
        format!("cannot write the ready file {}: {cause}; name another with --ready-file", file.display()),
    )
    .because(cause)
}

/// Takes the file away: nobody listens there any more.
pub(super) fn remove(file: &Path) {
    // It may be gone already, which is just as well.
    drop(fs::remove_file(file));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_known_to_be_none_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let at = "127.0.0.1:1".parse().unwrap();
        let addresses = Addresses { grpc: at, http: at, metrics: None };
        let folder = dir.path().join("ready.json");
        fs::create_dir(&folder).unwrap();
        let error = write(&folder, &addresses).unwrap_err();
        assert!(error.to_string().contains("directory (os error"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::remove_dir(&folder).unwrap();
        write(&folder, &addresses).unwrap().publish().unwrap();
        assert!(fs::read_to_string(&folder).unwrap().contains("127.0.0.1:1"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
