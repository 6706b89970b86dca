//! Notices that files have changed: by looking at them about every second, which costs next to nothing and works
//! wherever files are mounted from.

use std::{fs, path::PathBuf, time::Duration, time::SystemTime};

use tokio::time::{sleep, timeout};

use crate::rt;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// How long somebody waits for one who wants to read them: where they are mounted from may not answer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);
/// How much the pause varies, so that a fleet does not look, and come back, in step.
const JITTER: f64 = 0.2;

/// Files, and how they were when they were last used.
#[derive(Debug)]
pub(crate) struct Files {
    paths: Vec<PathBuf>,
    used: Vec<Option<Stamp>>,
}

/// What tells one version of a file from another without reading it: a link that leads elsewhere has another number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    number: u64,
}

impl Files {
    pub(crate) fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, used: Vec::new() }
    }

    /// Notes how they are, before they are read: what changes after that is seen. Takes a second at the most; what is not
    /// known by then is noticed later. Cancel safe.
    pub(crate) async fn about_to_be_read(&mut self) {
        if !self.paths.is_empty()
            && let Ok(seen) = timeout(LOOK_TIMEOUT, self.look()).await
        {
            self.used = seen;
        }
    }

    /// Waits until they are not as they were, and notes how they are then: they can be read at once. Cancel safe.
    pub(crate) async fn changed(&mut self) {
        if self.paths.is_empty() {
            return std::future::pending().await;
        }
        loop {
            sleep(rt::jittered(PAUSE, JITTER)).await;
            let seen = self.look().await;
            if seen != self.used {
                self.used = seen;
                return;
            }
        }
    }

    async fn look(&self) -> Vec<Option<Stamp>> {
        let paths = self.paths.clone();
        let look = move || paths.iter().map(|path| fs::metadata(path).ok().as_ref().map(stamp)).collect();
        // Fails only where the runtime ends; then nothing is to be noticed any more.
        rt::blocking(look).await.unwrap_or_else(|_| self.used.clone())
    }
}

fn stamp(file: &fs::Metadata) -> Stamp {
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(file);
    #[cfg(not(unix))]
    let number = 0;
    Stamp { modified: file.modified().ok(), length: file.len(), number }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn whatever_becomes_of_a_file_is_noticed_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let mut files = Files::new(vec![path.clone()]);
        let write = |text: &str| fs::write(&path, text).expect("written");
        let steps: [&dyn Fn(); 4] = [
            &|| write("one"),
            &|| write("other"),
            // As a renewal should be: beside, and then in its place.
            &|| {
                fs::write(folder.path().join("new"), "third").expect("written");
                fs::rename(folder.path().join("new"), &path).expect("renamed");
            },
            &|| fs::remove_file(&path).expect("removed"),
        ];
        files.about_to_be_read().await;
        for (number, step) in steps.iter().enumerate() {
            assert!(timeout(LONG, files.changed()).await.is_err(), "nothing changed before step {number}");
            step();
            timeout(LONG, files.changed()).await.unwrap_or_else(|_| panic!("step {number} is noticed"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_files_never_change() {
        assert!(timeout(LONG, Files::new(Vec::new()).changed()).await.is_err());
    }
}
