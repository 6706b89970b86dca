use std::sync::Arc;

use super::*;
use crate::backup::{
    Pipe, TransferError, incoming,
    pipe::Next,
    reader::{Arrived, Incoming},
};

fn restored() -> Restored {
    Restored {
        backup_id: "b-1".into(),
        evidence: Evidence::new(),
        length: 8,
        source_component: "rules".into(),
    }
}

async fn send(incoming: Incoming, pieces: &[&'static [u8]], last: Arrived) {
    for piece in pieces {
        incoming.pieces.send(Arrived::Piece(Bytes::from_static(piece))).await.expect("room");
    }
    incoming.pieces.send(last).await.expect("room");
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).expect("a folder");
    names.map(|entry| entry.expect("an entry").file_name().into_string().expect("plain")).collect()
}

#[tokio::test]
async fn it_is_replaced_whole_or_not_at_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, what) = (File::new(folder.path().join("rules.json")), restored());
    assert_eq!(file.inspect().await.expect("it can say"), Inspection::empty());
    fs::write(file.path(), "old").expect("written");
    assert_eq!(file.inspect().await.expect("it can say"), Inspection::holds(3));

    let (from, mut reader) = incoming();
    let failed = Arrived::Failed(TransferError::Stopped);
    let (_, restore) = tokio::join!(send(from, &[b"01", b"23"], failed), file.restore(&mut reader, &what));
    assert_eq!(restore.expect_err("it did not come").to_string(), "it was stopped");
    assert_eq!(fs::read(file.path()).expect("it is there"), b"old");
    assert_eq!(names(folder.path()), ["rules.json"], "nothing is left beside it");

    let (from, mut reader) = incoming();
    let (_, restore) =
        tokio::join!(send(from, &[b"0123", b"4567"], Arrived::End), file.restore(&mut reader, &what));
    restore.expect("restored");
    assert_eq!(fs::read(file.path()).expect("it is there"), b"01234567");
    assert_eq!(names(folder.path()), ["rules.json"]);
    assert!(file.verify().await.expect("it works").ends_with("has 8 bytes"));
}

#[cfg(unix)]
#[tokio::test]
async fn it_keeps_the_permissions_of_what_it_replaces() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().expect("a folder");
    let (file, what) = (File::new(folder.path().join("rules.json")), restored());
    for (before, mode) in [(None, 0o600), (Some(0o640), 0o640)] {
        if let Some(before) = before {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(before)).expect("set");
        }
        let (from, mut reader) = incoming();
        let (_, restore) =
            tokio::join!(send(from, &[b"0123"], Arrived::End), file.restore(&mut reader, &what));
        restore.expect("restored");
        assert_eq!(fs::metadata(file.path()).expect("there").permissions().mode() & 0o777, mode);
    }
}

#[tokio::test]
async fn it_is_captured_as_it_is_and_not_while_it_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = File::new(folder.path().join("rules.json"));
    let missing = file.capture(&mut CaptureWriter::new(Arc::new(Pipe::new(1)))).await;
    assert!(missing.expect_err("it is not there").to_string().contains("rules.json: "));
    fs::write(file.path(), vec![7; 3 << 20]).expect("written");

    let pipe = Arc::new(Pipe::new(usize::MAX));
    let mut writer = CaptureWriter::new(Arc::clone(&pipe));
    let evidence = file.capture(&mut writer).await.expect("captured");
    assert_eq!(evidence.get("bytes"), Some("3145728"));

    let pipe = Arc::new(Pipe::new(1));
    let mut writer = CaptureWriter::new(Arc::clone(&pipe));
    let changing = async {
        let piece = || matches!(pipe.next(0), Next::Piece(_));
        while !piece() {
            tokio::task::yield_now().await;
        }
        // It waits for room now.
        let mut appended = fs::OpenOptions::new().append(true).open(file.path())?;
        appended.write_all(b"more")?;
        io::Result::Ok(())
    };
    let reading = async {
        let captured = file.capture(&mut writer).await;
        drop(writer);
        captured
    };
    let receiving = async {
        let mut offset = 0;
        while offset < (3 << 20) + 4 {
            match pipe.next(offset) {
                Next::Piece(piece) if changed_after(&file) => offset += length(piece.len()),
                _ => tokio::task::yield_now().await,
            }
            pipe.receive(offset);
        }
    };
    let (captured, changed, ()) = tokio::join!(reading, changing, receiving);
    changed.expect("changed");
    assert!(captured.expect_err("it is not of one moment").to_string().contains("was changed"));
}

/// Whether it has what was appended.
fn changed_after(file: &File) -> bool {
    fs::metadata(file.path()).is_ok_and(|found| found.len() > 3 << 20)
}

async fn restore(file: &File) -> Result<(), Error> {
    let (from, mut reader) = incoming();
    let what = restored();
    // A restore that is refused takes nothing of it.
    let sending = async {
        send(from, &[b"0123", b"4567"], Arrived::End).await;
        std::future::pending().await
    };
    tokio::select! {
        restored = file.restore(&mut reader, &what) => restored,
        never = sending => never,
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_stays_and_what_it_points_to_is_replaced() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let folder = tempfile::tempdir().expect("a folder");
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    fs::create_dir(&here).expect("made");
    fs::create_dir(&there).expect("made");
    let (target, file) = (there.join("rules.json"), File::new(here.join("rules.json")));
    // One link to another, and both say where from their own folder.
    symlink("../there/also.json", file.path()).expect("linked");
    symlink("rules.json", there.join("also.json")).expect("linked");
    // Lost, and so made anew.
    restore(&file).await.expect("restored");
    assert_eq!(fs::read(&target).expect("it is there"), b"01234567");
    fs::write(&target, "old").expect("written");
    fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).expect("set");
    restore(&file).await.expect("restored");
    assert!(fs::symlink_metadata(file.path()).expect("there").is_symlink(), "it still is one");
    assert!(fs::symlink_metadata(there.join("also.json")).expect("there").is_symlink());
    let found = fs::symlink_metadata(&target).expect("there");
    assert!(found.is_file() && found.permissions().mode() & 0o777 == 0o640);
    assert_eq!(fs::read(&target).expect("it is there"), b"01234567");
    assert_eq!(names(&here), ["rules.json"]);
    assert_eq!(names(&there).len(), 2, "nothing is left beside it");
}

#[cfg(unix)]
#[tokio::test]
async fn what_leads_nowhere_is_refused_before_anything_is_written() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().expect("a folder");
    let file = File::new(folder.path().join("rules.json"));
    symlink("rules.json", file.path()).expect("linked");
    let error = restore(&file).await.expect_err("a circle").to_string();
    assert!(error.contains("links lead in a circle"), "{error}");
    fs::remove_file(file.path()).expect("removed");
    fs::create_dir(file.path()).expect("made");
    let error = restore(&file).await.expect_err("a folder").to_string();
    assert!(error.contains("is no file"), "{error}");
    fs::remove_dir(file.path()).expect("removed");
    assert_eq!(names(folder.path()), [""; 0]);
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_that_was_set_elsewhere_meanwhile_is_left_alone() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().expect("a folder");
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    let file = File::new(folder.path().join("rules.json"));
    fs::write(&one, "one").expect("written");
    fs::write(&other, "other").expect("written");
    symlink(&one, file.path()).expect("linked");
    let (from, mut reader) = incoming();
    let what = restored();
    let changing = async {
        let first = Arrived::Piece(Bytes::from_static(b"0123"));
        from.pieces.send(first).await.expect("room");
        // It is begun when a file is beside it.
        while names(folder.path()).len() < 4 {
            tokio::task::yield_now().await;
        }
        fs::remove_file(file.path()).expect("removed");
        symlink(&other, file.path()).expect("linked");
        from.pieces.send(Arrived::End).await.expect("room");
    };
    let ((), restored) = tokio::join!(changing, file.restore(&mut reader, &what));
    let error = restored.expect_err("it moved").to_string();
    assert!(error.contains("points elsewhere than when the restore began"), "{error}");
    assert_eq!(fs::read(&one).expect("it is there"), b"one");
    assert_eq!(fs::read(&other).expect("it is there"), b"other");
    assert_eq!(names(folder.path()).len(), 3, "nothing is left beside it");
}

/// A disk that fails says so to whoever syncs first, and nothing to whoever does after that.
#[tokio::test]
async fn a_disk_that_fails_while_the_rest_still_comes_fails_the_restore() {
    let fails = || Ok(|| Err(io::Error::other("the disk is gone")));
    let works = || Ok(|| Ok(()));
    let mut at_the_end = Syncing::default();
    at_the_end.wrote(SYNCED_EVERY, fails).await.expect("it is only begun");
    assert!(at_the_end.ended().await.is_err());
    let mut meanwhile = Syncing::default();
    meanwhile.wrote(SYNCED_EVERY, fails).await.expect("it is only begun");
    while !meanwhile.running.as_ref().is_none_or(rt::Task::is_finished) {
        tokio::task::yield_now().await;
    }
    assert!(meanwhile.wrote(SYNCED_EVERY, works).await.is_err());
    let mut well = Syncing::default();
    well.wrote(SYNCED_EVERY - 1, fails).await.expect("it is not time yet");
    well.wrote(1, works).await.expect("it works");
    well.ended().await.expect("it works");
}
