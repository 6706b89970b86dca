//! What a process left in a folder that died while it wrote: an object comes to be in a file `name#1` beside, which gets its
//! name once it is whole. No listing shows such a file, so that nobody who prunes sees it. What is a day old is nobody's any
//! more.

use std::{
    fs, io,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use tracing::{info, warn};

/// How old it has to be: no write takes so long.
const OLD: Duration = Duration::from_hours(24);
/// Folders of a vault. What else there is beside them is not ours.
const FOLDERS: [&str; 8] = ["keys", "packs", "index", "manifests", "notes", "sessions", "gc", "probes"];

/// Takes away what is old, and answers how many files that were. `now` is by the clock of the folder's own times, in
/// milliseconds since 1970.
pub(super) fn sweep(vault: &Path, now: u64) -> usize {
    let swept: usize = FOLDERS.iter().map(|folder| sweep_folder(&vault.join(folder), now)).sum();
    if swept > 0 {
        let folder = vault.display().to_string();
        info!(
            component = "vault",
            operation = "sweep",
            folder,
            files = swept,
            "what was half written was taken away"
        );
    }
    swept
}

fn sweep_folder(folder: &Path, now: u64) -> usize {
    let told = |cause: &io::Error| {
        if cause.kind() != io::ErrorKind::NotFound {
            let folder = folder.display().to_string();
            warn!(component = "vault", operation = "sweep", folder, %cause, "what is half written cannot be taken away");
        }
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(cause) => {
            told(&cause);
            return 0;
        }
    };
    let mut swept = 0;
    for entry in entries.flatten() {
        let (path, kind) = (entry.path(), entry.file_type());
        // Links are followed by nobody.
        match kind {
            Ok(kind) if kind.is_dir() => swept += sweep_folder(&path, now),
            Ok(kind) if kind.is_file() && is_staging(&path) && is_old(&path, now) => {
                match fs::remove_file(&path) {
                    Ok(()) => swept += 1,
                    Err(cause) => told(&cause),
                }
            }
            _ => {}
        }
    }
    swept
}

/// Whether it is named as what is being written: no object has such a name.
fn is_staging(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.rsplit_once('#')).is_some_and(|(object, number)| {
        !object.is_empty() && !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}

fn is_old(path: &Path, now: u64) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|meta| meta.modified()).ok();
    let age = modified.and_then(|at| (UNIX_EPOCH + Duration::from_millis(now)).duration_since(at).ok());
    age.is_some_and(|age| age >= OLD)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        time::Clock,
        vault::{Kek, KeyItself, Options, Place, Secret, Vault},
    };

    fn aged(path: &Path, age: Duration) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "half").unwrap();
        let written = fs::metadata(path).unwrap().modified().unwrap();
        fs::File::options().write(true).open(path).unwrap().set_modified(written - age).unwrap();
    }

    #[tokio::test]
    async fn what_was_half_written_a_day_ago_is_gone_once_the_vault_is_opened_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("vault");
        let (day, hour) = (Duration::from_hours(25), Duration::from_hours(1));
        let old = ["packs/orders/ab/abcd#1", "notes/x/0000000000#12", "probes/x#1"];
        let kept = [
            ("packs/orders/ab/cdef#1", hour),
            ("packs/orders/ab/abcd", day),
            ("packs/orders/ab/abcd#", day),
            ("packs/orders/ab/abcd#1x", day),
            ("elsewhere/abcd#1", day),
        ];
        old.iter().for_each(|name| aged(&root.join(name), day));
        kept.iter().for_each(|(name, age)| aged(&root.join(name), *age));
        let open = async |existing: bool| {
            let key = Arc::new(KeyItself::new(Kek::new(Secret::new([1; 32])), "test"));
            let options = Options { place: Place::folder(&root).unwrap(), key, clock: Clock::start() };
            match existing {
                true => Vault::open_existing(options).await.unwrap(),
                false => Vault::open(options).await.unwrap(),
            }
        };
        // A vault that is there already, but for its first opening: what is under packs/ keeps one from being begun.
        let beside = dir.path().join("beside");
        fs::rename(root.join("packs"), &beside).unwrap();
        open(false).await.swept().await;
        fs::rename(&beside, root.join("packs")).unwrap();

        // Who only reads takes nothing away.
        drop(open(true).await);
        assert!(root.join(old[0]).exists());
        let vault = open(false).await;
        vault.swept().await;
        for name in old {
            assert!(!root.join(name).exists(), "{name}");
        }
        for (name, _) in kept {
            assert!(root.join(name).exists(), "{name}");
        }
    }
}
