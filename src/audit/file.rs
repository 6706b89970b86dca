//! The file that entries are exported to: appended lines, synced, and a tail that can be trusted. It blocks.
//!
//! Only the end of what this program itself has begun to write is ever cut off: a file that is something else is left
//! as it is, and refused.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use super::{
    LONGEST_LINE,
    chain::{Link, hash},
    entry::Entry,
    verify::read_exported,
};

/// How every line begins.
const BEGINNING: &[u8] = b"{\"hash\":\"";
/// Digits of the hash after that.
const DIGITS: usize = 64;
/// What follows the hash.
const MIDDLE: &[u8] = b"\",\"line\":{\"sequence\":";
/// What is read of a file's end: more than a whole line and a torn one.
const TAIL: u64 = 4 * LONGEST_LINE as u64;

/// A file that is open for appending. No other process appends to it meanwhile.
#[derive(Debug)]
pub(super) struct Appender {
    file: File,
    /// What has this name now is another file where these differ.
    device: u64,
    inode: u64,
    length: u64,
}

impl Appender {
    /// Opens a file, or makes it, readable and writable by its owner alone; and answers the last entry in it. A line
    /// that a crash has torn is cut off.
    ///
    /// # Errors
    /// It cannot be read or written, another process appends to it, or its end is not that of such a file.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Option<Link>)> {
        let new = !path.exists();
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::Error::other("another process writes to it")),
            Err(TryLockError::Error(cause)) => return Err(cause),
        }
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let mut appender = Self { file, device: about.dev(), inode: about.ino(), length: about.len() };
        let last = appender.recover()?;
        if new {
            // Its name too has to be there after a power cut.
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()?;
        }
        Ok((appender, last))
    }

    /// Whether this file still has its name: it may have been moved away.
    pub(super) fn has_its_name(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|about| (about.dev(), about.ino()) == (self.device, self.inode))
    }

    /// Appends whole lines, and makes them durable.
    ///
    /// # Errors
    /// It cannot be written. What of it was is taken back, as far as that can be; else the next opening does it.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(lines).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => self.length += lines.len() as u64,
            // The cause is what is told. A file that somebody else has shortened is not made longer.
            Err(_) if self.file.metadata().is_ok_and(|about| about.len() > self.length) => {
                drop(self.file.set_len(self.length));
            }
            Err(_) => {}
        }
        written
    }

    /// Cuts off what was torn, and reads the last whole line.
    fn recover(&mut self) -> io::Result<Option<Link>> {
        let from = self.length.saturating_sub(TAIL);
        let mut tail = vec![0; usize::try_from(self.length - from).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut tail, from)?;
        let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let torn = &tail[whole..];
        let last = match whole {
            0 if from > 0 => return Err(foreign()),
            0 => None,
            whole => {
                let begins =
                    tail[..whole - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                Some(read(&tail[begins..whole - 1]).ok_or_else(foreign)?)
            }
        };
        if !is_torn(torn) {
            return Err(foreign());
        }
        if !torn.is_empty() {
            self.length = from + whole as u64;
            self.file.set_len(self.length)?;
        }
        self.file.sync_all()?;
        Ok(last)
    }
}

/// Whether something is what a crash leaves of a line of ours, or nothing.
fn is_torn(text: &[u8]) -> bool {
    // After a power cut there are zeros up to the end where nothing has arrived.
    let arrived = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    let (arrived, missing) = text.split_at(arrived);
    is_begun(arrived) && missing.iter().all(|byte| *byte == 0)
}

/// Whether a line of ours begins like this.
fn is_begun(text: &[u8]) -> bool {
    let (beginning, rest) = text.split_at(text.len().min(BEGINNING.len()));
    let (digits, rest) = rest.split_at(rest.len().min(DIGITS));
    let middle = &rest[..rest.len().min(MIDDLE.len())];
    BEGINNING.starts_with(beginning)
        && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        && MIDDLE.starts_with(middle)
}

/// The entry of a line.
fn read(line: &[u8]) -> Option<Link> {
    let (line, _) = read_exported(std::str::from_utf8(line).ok()?)?;
    Some(Link { sequence: Entry::read(line)?.sequence, hash: hash(line) })
}

fn foreign() -> io::Error {
    io::Error::other("it does not end with an entry of the audit; move it away")
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, time::SystemTime};

    use super::*;
    use crate::audit::{
        entry::{Call, Draft, Who},
        verify::exported,
    };

    fn line(previous: &Link) -> (String, Link) {
        let who = Who { principal: "local".into(), peer: String::new() };
        let call = Call { who, operation: "/a.B/C".into(), object: String::new(), request_id: "r".into() };
        let line = Draft::received(call).line(previous, SystemTime::UNIX_EPOCH);
        let link = Link { sequence: previous.sequence + 1, hash: hash(&line) };
        (exported(&line, &link.hash.to_hex()), link)
    }

    #[test]
    fn a_new_file_is_its_owners_and_what_is_appended_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let (mut file, last) = Appender::open(&path).unwrap();
        assert_eq!(last, None);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (first, link) = line(&Link::START);
        let (second, end) = line(&link);
        file.append((first + &second).as_bytes()).unwrap();
        let taken = Appender::open(&path).unwrap_err();
        assert!(taken.to_string().contains("another process"), "{taken}");
        drop(file);
        assert_eq!(Appender::open(&path).unwrap().1, Some(end));
    }

    #[test]
    fn the_torn_end_of_a_crash_is_cut_off_wherever_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let (first, link) = line(&Link::START);
        let (second, end) = line(&link);
        for torn in 0..=second.len() {
            for zeros in [0, 7] {
                let zeros = if torn == second.len() { 0 } else { zeros };
                let text = [first.as_bytes(), &second.as_bytes()[..torn], &vec![0; zeros]].concat();
                fs::write(&path, text).unwrap();
                let last = Appender::open(&path).unwrap().1;
                let whole = torn == second.len();
                assert_eq!(last, Some(if whole { end } else { link }), "{torn} {zeros}");
                let left = if whole { first.len() + second.len() } else { first.len() };
                assert_eq!(fs::metadata(&path).unwrap().len(), left as u64, "{torn} {zeros}");
            }
        }
    }

    #[test]
    fn what_a_crash_leaves_of_the_first_line_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let (first, _) = line(&Link::START);
        for torn in 0..first.len() {
            for zeros in [0, 7] {
                fs::write(&path, [&first.as_bytes()[..torn], &vec![0; zeros]].concat()).unwrap();
                assert_eq!(Appender::open(&path).unwrap().1, None, "{torn} {zeros}");
                assert_eq!(fs::metadata(&path).unwrap().len(), 0, "{torn} {zeros}");
            }
        }
    }

    #[test]
    fn what_is_something_else_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwd");
        let long = "x".repeat(2 * usize::try_from(TAIL).unwrap());
        let (first, _) = line(&Link::START);
        let (begun, _) = first.split_at(30);
        let beginning = std::str::from_utf8(BEGINNING).unwrap();
        for text in [
            "root:x:0:0",
            "root:x:0:0\n",
            "{}\n",
            &long,
            &format!("{first}root"),
            "\n",
            "\0root:x:0:0",
            "\0\0\0x",
            &format!("{begun}\0x"),
            &format!("{first}\0\0root"),
            &format!("{beginning}root"),
            &format!("{beginning}{}\",\"line\":42", "0".repeat(DIGITS)),
        ] {
            fs::write(&path, text).unwrap();
            let refused = Appender::open(&path).unwrap_err();
            assert!(refused.to_string().contains("move it away"), "{refused}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert!(Appender::open(dir.path()).is_err());
    }

    #[test]
    fn a_file_that_was_moved_away_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let (file, _) = Appender::open(&path).unwrap();
        assert!(file.has_its_name(&path));
        fs::rename(&path, dir.path().join("audit.jsonl.1")).unwrap();
        assert!(!file.has_its_name(&path));
        fs::write(&path, "").unwrap();
        assert!(!file.has_its_name(&path));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_an_error() {
        // A device is no file to append to either.
        assert!(Appender::open(Path::new("/dev/full")).is_err());
    }
}
