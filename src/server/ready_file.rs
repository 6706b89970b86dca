//! The file that says where the server listens, so that scripts neither guess nor poll a port.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use rustix::io::Errno;
use serde_json::json;

use super::Addresses;
use crate::error::{Error, Kind, Reason, Result};

/// A file that is written whole, under another name: nobody sees it yet. Dropping it leaves nothing of it.
#[derive(Debug)]
pub(super) struct Written<'a> {
    file: &'a Path,
    part: Part,
}

/// A file under a name that is not its own. Goes with this, unless it got its own.
#[derive(Debug)]
struct Part {
    name: PathBuf,
    renamed: bool,
}

/// Writes the file whole: whoever sees it can read all of it.
///
/// # Errors
/// It cannot be written; then nothing of it is left.
pub(super) fn write<'a>(file: &'a Path, addresses: &Addresses) -> Result<Written<'a>> {
    let content = json!({
        "grpc": addresses.grpc.to_string(),
        "http": addresses.http.to_string(),
        "metrics": addresses.metrics.map(|at| at.to_string()),
        "probe": addresses.probe.map(|at| at.to_string()),
        "pid": std::process::id(),
    });
    let room = if file.is_dir() { Err(Errno::ISDIR.into()) } else { Ok(()) };
    let part = room.and_then(|()| Part::write(file, &format!("{content}\n")));
    part.map(|part| Written { file, part }).map_err(|cause| unwritable(file, cause))
}

impl Written<'_> {
    /// Gives it its name.
    ///
    /// # Errors
    /// It cannot have it; then nothing of it is left.
    pub(super) fn publish(mut self) -> Result<()> {
        fs::rename(&self.part.name, self.file).map_err(|cause| unwritable(self.file, cause))?;
        self.part.renamed = true;
        Ok(())
    }
}

impl Part {
    fn write(file: &Path, content: &str) -> io::Result<Self> {
        // Behind the whole name: another ready file beside it has a part of its own.
        let mut name = file.as_os_str().to_owned();
        name.push(".part");
        let mut open = File::create(&name)?;
        let part = Self { name: name.into(), renamed: false };
        open.write_all(content.as_bytes())?;
        Ok(part)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.renamed {
            // It may be gone already, which is just as well.
            drop(fs::remove_file(&self.name));
        }
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

    fn addresses(port: u16) -> Addresses {
        let at = ([127, 0, 0, 1], port).into();
        Addresses { grpc: at, http: at, metrics: None, probe: None }
    }

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_is_known_to_be_none_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("ready.json");
        fs::create_dir(&folder).unwrap();
        let error = write(&folder, &addresses(1)).unwrap_err();
        assert!(error.to_string().contains("directory (os error"), "{error}");
        assert_eq!(names(dir.path()), ["ready.json"]);
        fs::remove_dir(&folder).unwrap();
        write(&folder, &addresses(1)).unwrap().publish().unwrap();
        assert!(fs::read_to_string(&folder).unwrap().contains("127.0.0.1:1"));
        assert_eq!(names(dir.path()), ["ready.json"]);
    }

    #[test]
    fn it_is_not_seen_until_it_is_published_whatever_its_name_is() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["ready.json", "ready.part", "ready", ".part"] {
            let file = dir.path().join(name);
            let written = write(&file, &addresses(1)).unwrap();
            assert!(!file.exists(), "{name}");
            written.publish().unwrap();
            assert!(file.exists(), "{name}");
        }
    }

    #[test]
    fn two_that_differ_in_their_extension_alone_do_not_meet() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("a.json"), dir.path().join("a.txt"));
        let (first, second) = (write(&one, &addresses(1)).unwrap(), write(&other, &addresses(2)).unwrap());
        first.publish().unwrap();
        second.publish().unwrap();
        assert!(fs::read_to_string(one).unwrap().contains("127.0.0.1:1\""));
        assert!(fs::read_to_string(other).unwrap().contains("127.0.0.1:2\""));
    }

    #[test]
    fn nothing_is_left_of_what_is_not_published() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ready.json");
        drop(write(&file, &addresses(1)).unwrap());
        assert!(names(dir.path()).is_empty(), "{:?}", names(dir.path()));
        let written = write(&file, &addresses(1)).unwrap();
        fs::create_dir(&file).unwrap();
        written.publish().unwrap_err();
        assert_eq!(names(dir.path()), ["ready.json"]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn nothing_is_left_where_the_disk_is_full() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", dir.path().join("ready.json.part")).unwrap();
        let file = dir.path().join("ready.json");
        let error = write(&file, &addresses(1)).unwrap_err();
        assert!(error.to_string().contains("(os error 28)"), "{error}");
        assert!(names(dir.path()).is_empty(), "{:?}", names(dir.path()));
    }
}
