//! Files that hold secrets: readable by their owner alone, and there whole or not at all.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

/// Who may read a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Readers {
    /// Its owner: mode 0600.
    Owner,
    /// Everybody who may enter the folder: mode 0644.
    Everybody,
}

impl Readers {
    fn mode(self) -> u32 {
        match self {
            Readers::Owner => 0o600,
            Readers::Everybody => 0o644,
        }
    }
}

/// What becomes of a file that is there already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Existing {
    /// It stays, and writing fails.
    Stays,
    /// It is replaced at one moment.
    IsReplaced,
}

/// Writes a file beside, and puts it in its place when it is whole and on the disk.
///
/// # Errors
/// As the operating system says; [`io::ErrorKind::AlreadyExists`] where one stays.
pub(crate) fn write(path: &Path, bytes: &[u8], readers: Readers, existing: Existing) -> io::Result<()> {
    // Told before anything is written; what counts is the last step.
    if existing == Existing::Stays && fs::symlink_metadata(path).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    // A link stays a link: what it leads to is replaced.
    let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = folder(&place);
    let mut file = beside(&folder, readers)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    match existing {
        Existing::Stays => file.persist_noclobber(&place),
        Existing::IsReplaced => file.persist(&place),
    }
    .map_err(|failed| failed.error)?;
    fs::File::open(folder)?.sync_all()
}

fn folder(path: &Path) -> PathBuf {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new(".")).to_owned()
}

#[cfg(unix)]
fn beside(folder: &Path, readers: Readers) -> io::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    let file = tempfile::Builder::new().prefix(".seaworthy-").tempfile_in(folder)?;
    // Whatever the umask: who has to read it can, and nobody else.
    file.as_file().set_permissions(fs::Permissions::from_mode(readers.mode()))?;
    Ok(file)
}

#[cfg(not(unix))]
fn beside(folder: &Path, _: Readers) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".seaworthy-").tempfile_in(folder)
}

/// Makes a folder that only its owner may enter, with those above it.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

/// The mode of a file that others than its owner can read or change. None: they cannot.
#[cfg(unix)]
pub(crate) fn exposed(file: &fs::Metadata) -> Option<u32> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

/// The mode of a file that others than its owner can read or change. Not known here.
#[cfg(not(unix))]
pub(crate) fn exposed(_: &fs::Metadata) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_are_whole_private_and_never_overwritten_unless_meant() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        write(&path, b"one", Readers::Owner, Existing::Stays).unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"one".to_vec(), 0o600));
        assert_eq!(exposed(&fs::metadata(&path).unwrap()), None);
        let refused = write(&path, b"two", Readers::Owner, Existing::Stays).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        write(&path, b"two", Readers::Everybody, Existing::IsReplaced).unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"two".to_vec(), 0o644));
        assert_eq!(exposed(&fs::metadata(&path).unwrap()), Some(0o644));
        // Nothing is left beside it.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_to_a_file_beside_it_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&real, "one").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write(&link, b"two", Readers::Owner, Existing::IsReplaced).unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"two");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(write(&link, b"three", Readers::Owner, Existing::Stays).is_err());
    }

    #[test]
    fn folders_are_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        make_folder(&path).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o700, 0o700));
        make_folder(&path).unwrap();
    }
}
