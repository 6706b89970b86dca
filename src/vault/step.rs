//! The steps of a commit, so that tests can end the process at each of them. In a release build nothing listens.

/// A step that is done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// The session is open.
    SessionOpened,
    /// The condemned lists and the index were read.
    IndexRead,
    /// A pack is in the bucket.
    PackStored,
    /// The index is in the bucket.
    IndexWritten,
    /// What was written was looked at.
    PacksChecked,
    /// Everything that the manifest will name was looked at.
    Renewed,
    /// The manifest is in the bucket: the commit.
    ManifestWritten,
    /// Whether it came in time was looked at.
    ManifestChecked,
    /// The session has ended.
    SessionEnded,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Step; 9] = [
        Step::SessionOpened,
        Step::IndexRead,
        Step::PackStored,
        Step::IndexWritten,
        Step::PacksChecked,
        Step::Renewed,
        Step::ManifestWritten,
        Step::ManifestChecked,
        Step::SessionEnded,
    ];

    /// Its name: `manifest-written`.
    pub fn as_str(self) -> &'static str {
        match self {
            Step::SessionOpened => "session-opened",
            Step::IndexRead => "index-read",
            Step::PackStored => "pack-stored",
            Step::IndexWritten => "index-written",
            Step::PacksChecked => "packs-checked",
            Step::Renewed => "renewed",
            Step::ManifestWritten => "manifest-written",
            Step::ManifestChecked => "manifest-checked",
            Step::SessionEnded => "session-ended",
        }
    }
}

#[cfg(debug_assertions)]
static WATCHER: std::sync::OnceLock<fn(Step)> = std::sync::OnceLock::new();

/// Has every step told to somebody, for the life of the process. Of builds with debug assertions alone.
#[cfg(debug_assertions)]
pub fn watch(watcher: fn(Step)) {
    // The first one stays.
    WATCHER.get_or_init(|| watcher);
}

/// Says that a step is done.
pub(super) fn reached(step: Step) {
    #[cfg(debug_assertions)]
    if let Some(watcher) = WATCHER.get() {
        watcher(step);
    }
    #[cfg(not(debug_assertions))]
    let _unused = step;
}
