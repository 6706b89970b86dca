//! The control plane's own state as a component: every key of the store, as of one moment, in lines of JSON that a person can
//! read. From the bucket and the key alone it becomes a store again ([`read_own_state`]).

use std::{collections::BTreeMap, num::NonZeroUsize, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::{Create, Handle, Shared, Subject, Wish, totals};
use crate::{
    error::{Error, Kind, Reason, Result},
    operation::Run,
    store::{self, Event, Revision, Store},
    vault::{Component, Cut, DigestKind, How, Intake},
};

/// What the component is called.
pub(super) const COMPONENT: &str = "store";
/// Newest version of the lines that this build writes and reads.
const VERSION: u32 = 1;
/// Keys that are read at a time.
const PAGE: NonZeroUsize = NonZeroUsize::new(1000).expect("1000 is not zero");
/// Bytes of lines that are handed on at a time.
const PIECE: usize = 256 << 10;
/// Lines that wait to be taken.
const QUEUE: usize = 16;
/// How often the store is read anew because too much changed meanwhile.
const TRIES: u32 = 5;
/// How long changes that have happened may take to be told.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
/// Keys of no use in another life: who leads is found out anew.
const LEFT_OUT: &[&str] = &[store::election::PREFIX];
/// Records that change by being backed up: they alone are no reason for a backup.
const NO_REASON: &[&str] = &["operations/", "sequences/", totals::KEY];

/// The first line.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Head {
    seaworthy_store: u32,
    revision: Revision,
}

/// Each other line: a key, and what it holds. A key that comes again holds what it holds last; one without a value is gone.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Of a value that is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

impl Line {
    fn of(key: &str, value: Option<&[u8]>) -> Self {
        let key = key.to_owned();
        match value.map(|value| (std::str::from_utf8(value), value)) {
            None => Self { key, text: None, base64: None },
            Some((Ok(text), _)) => Self { key, text: Some(text.to_owned()), base64: None },
            Some((Err(_), value)) => Self { key, text: None, base64: Some(STANDARD.encode(value)) },
        }
    }
}

/// One key of a store that was backed up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnEntry {
    /// The key.
    pub key: String,
    /// What it held.
    pub value: Bytes,
}

/// Captures the store.
pub(super) async fn capture(shared: &Shared, run: &Run, intake: &Intake) -> Component {
    let mut component = Component::new(COMPONENT, shared.store.status().engine, "control-plane");
    let captured = async {
        let step = run.add_step(&format!("capture {COMPONENT}"), shared.store.status().size_bytes)?;
        step.start()?;
        let captured =
            try_to(&shared.store, intake, shared.stores_as_it_is(false), |bytes| step.advance(bytes)).await?;
        step.succeed()?;
        Ok::<_, Error>(captured)
    };
    match captured.await {
        Ok((captured, revision, keys)) => {
            captured.fill(&mut component);
            component.evidence = BTreeMap::from([
                ("revision".to_owned(), revision.to_string()),
                ("keys".to_owned(), keys.to_string()),
            ]);
        }
        Err(error) => {
            component = component.failed(error.to_string());
        }
    }
    component
}

async fn try_to(
    store: &Store,
    intake: &Intake,
    incompressible: bool,
    advance: impl Fn(u64),
) -> Result<(crate::vault::Captured, Revision, u64)> {
    for _ in 0..TRIES {
        let mut stream = intake.stream(How { cut: Cut::Content, incompressible, digest: DigestKind::Blake3 });
        let (sender, lines) = mpsc::channel::<Vec<u8>>(QUEUE);
        let (stream_in, advance) = (&mut stream, &advance);
        let taking = async move {
            // Gone with whoever takes them, or nobody would tell the other end.
            let (mut lines, stream) = (lines, stream_in);
            let mut piece = BytesMut::new();
            while let Some(line) = lines.recv().await {
                advance(line.len() as u64);
                piece.extend_from_slice(&line);
                if piece.len() >= PIECE {
                    stream.push(piece.split().freeze()).await?;
                }
            }
            stream.push(piece.freeze()).await.map_err(Error::from)
        };
        let (written, taken) = tokio::join!(write(store, sender), taking);
        taken?;
        let Some((revision, keys)) = written? else { continue };
        return Ok((stream.finish().await?, revision, keys));
    }
    let message = format!("the store changed too fast to be read {TRIES} times");
    Err(Error::new(Kind::Unavailable, Reason::StoreUnavailable, message))
}

/// Writes the store as lines: all keys, page by page, then what changed while they were read, so that it is as of one moment.
/// None: it changed faster than it could be read.
async fn write(store: &Store, lines: mpsc::Sender<Vec<u8>>) -> Result<Option<(Revision, u64)>> {
    let stopped = |_| Error::internal("nobody takes the lines of the store");
    let mut after: Option<String> = None;
    let mut first: Option<(Revision, store::Watch)> = None;
    let (mut last, mut keys) = (0, 0);
    loop {
        let page = store.list("", after.as_deref(), PAGE).await?;
        if first.is_none() {
            let head = Head { seaworthy_store: VERSION, revision: page.revision };
            lines.send(json(&head)?).await.map_err(stopped)?;
            first = Some((page.revision, store.watch("", Some(page.revision))));
        }
        last = page.revision.max(last);
        for entry in page.entries.iter().filter(|entry| !is_left_out(&entry.key)) {
            send(&lines, &Line::of(&entry.key, Some(&entry.value))).await?;
            keys += 1;
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let Some((from, mut watch)) = first else { return Ok(None) };
    let mut seen = from;
    while seen < last {
        // A revision is told whole, or as a reset; one that left out no change is told by the next.
        let Ok(event) = tokio::time::timeout(TOLD_WITHIN, watch.next()).await else { return Ok(None) };
        seen = event.revision();
        if seen > last {
            return Ok(Some((last, keys)));
        }
        let Some(line) = changed(event) else { return Ok(None) };
        send(&lines, &line).await?;
    }
    // Of the last revision one change was told, and all others are there with it.
    while let Some(event) = watch.next().now_or_never()
        && event.revision() <= last
    {
        let Some(line) = changed(event) else { return Ok(None) };
        send(&lines, &line).await?;
    }
    Ok(Some((last, keys)))
}

/// What a change makes of a key. None: changes were missed.
fn changed(event: Event) -> Option<Line> {
    match event {
        Event::Put(entry) => Some(Line::of(&entry.key, Some(&entry.value))),
        Event::Delete { key, .. } => Some(Line::of(&key, None)),
        Event::Reset { .. } => None,
    }
}

async fn send(lines: &mpsc::Sender<Vec<u8>>, line: &Line) -> Result<()> {
    if is_left_out(&line.key) {
        return Ok(());
    }
    // Whoever takes them has stopped by an error of its own, which is the one that counts.
    let stopped = |_| Error::internal("nobody takes the lines of the store");
    lines.send(json(line)?).await.map_err(stopped)
}

fn is_left_out(key: &str) -> bool {
    LEFT_OUT.iter().any(|prefix| key.starts_with(prefix))
}

fn json(line: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(line).map_err(Error::internal)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads lines of a store back into its keys, in order.
///
/// # Errors
/// They are no such lines, or of a newer build; which one is named.
pub fn read_own_state(lines: &[u8]) -> Result<Vec<OwnEntry>> {
    let wrong = |number: usize, what: String| {
        let message = format!("line {number} of the control plane's state {what}");
        Error::new(Kind::Internal, Reason::RecordDamaged, message)
    };
    let mut parts = lines.split(|byte| *byte == b'\n').zip(1..).filter(|(line, _)| !line.is_empty());
    let (head, number) = parts.next().ok_or_else(|| wrong(1, "is missing".to_owned()))?;
    let head: Head = serde_json::from_slice(head).map_err(|error| wrong(number, error.to_string()))?;
    if head.seaworthy_store > VERSION {
        let message = format!(
            "the control plane's state is of version {}, and {VERSION} is the newest that is known",
            head.seaworthy_store
        );
        return Err(Error::new(Kind::FailedPrecondition, Reason::RecordTooNew, message));
    }
    let mut keys: BTreeMap<String, Bytes> = BTreeMap::new();
    for (line, number) in parts {
        let line: Line = serde_json::from_slice(line).map_err(|error| wrong(number, error.to_string()))?;
        match (line.text, line.base64) {
            (Some(text), None) => {
                keys.insert(line.key, Bytes::from(text));
            }
            (None, Some(coded)) => {
                let value = STANDARD.decode(coded).map_err(|error| wrong(number, error.to_string()))?;
                keys.insert(line.key, Bytes::from(value));
            }
            (None, None) => {
                keys.remove(&line.key);
            }
            (Some(_), Some(_)) => return Err(wrong(number, "has two values".to_owned())),
        }
    }
    Ok(keys.into_iter().map(|(key, value)| OwnEntry { key, value }).collect())
}

/// Begins a backup of the control plane's own state where it has changed since the last one.
pub(super) async fn back_up_if_changed(shared: &Shared, handle: &Handle) {
    let begun = async {
        let digest = digest(&shared.store).await?;
        if *shared.own_digest.lock() == Some(digest) {
            return Ok(None);
        }
        let create = Create {
            subject: Subject::OwnState,
            wish: Wish::default(),
            max_quiesce: Duration::ZERO,
            by: "the control plane".to_owned(),
            request_id: String::new(),
        };
        Ok::<_, Error>(Some(handle.create(create).await?.id))
    };
    match begun.await {
        Ok(Some(id)) => debug!(component = "backup", operation = "own state", %id, "begun"),
        Ok(None) => {}
        Err(error) => {
            warn!(component = "backup", operation = "own state", %error, "could not be begun; it is tried again");
        }
    }
}

/// What the store holds, as far as it is a reason for a backup.
pub(super) async fn digest(store: &Store) -> Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.list("", after.as_deref(), PAGE).await?;
        for entry in &page.entries {
            if !is_left_out(&entry.key) && !NO_REASON.iter().any(|prefix| entry.key.starts_with(prefix)) {
                hasher.update(entry.key.as_bytes());
                hasher.update(&entry.revision.to_le_bytes());
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(*hasher.finalize().as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        store::{Commit, embedded},
        time::Clock,
        vault::{Domain, Draft, Kek, KeyItself, Options, Place, Secret, Vault, Writing},
    };

    #[tokio::test]
    async fn a_store_becomes_lines_and_lines_become_its_keys() {
        let dir = tempfile::tempdir().unwrap();
        let (store, engine) = embedded::open(embedded::Options::new(dir.path(), Clock::start())).unwrap();
        let binary = vec![0xff, 0, 0xfe];
        let commit = Commit::new().put("a/1", r#"{"v":1}"#).put("b", binary.clone()).put("elections/x", "me");
        store.commit(commit).await.unwrap();
        store.commit(Commit::new().put("a/1", r#"{"v":2}"#)).await.unwrap();
        let (sender, mut taken) = mpsc::channel(QUEUE);
        assert_eq!(write(&store, sender).await.unwrap().unwrap().1, 2);
        let mut lines = Vec::new();
        while let Some(line) = taken.recv().await {
            lines.extend_from_slice(&line);
        }
        let read = read_own_state(&lines).unwrap();
        let of =
            |key: &str, value: &[u8]| OwnEntry { key: key.to_owned(), value: Bytes::copy_from_slice(value) };
        assert_eq!(read, [of("a/1", br#"{"v":2}"#), of("b", &binary)]);
        engine.close().await.unwrap();
    }

    #[tokio::test]
    async fn what_changes_while_it_is_read_is_there_as_of_one_moment() {
        let dir = tempfile::tempdir().unwrap();
        let (store, engine) = embedded::open(embedded::Options::new(dir.path(), Clock::start())).unwrap();
        let count = 2 * PAGE.get();
        let all = |value: &'static str| {
            (0..count).step_by(100).fold(Commit::new(), |commit, n| commit.put(format!("k/{n:05}"), value))
        };
        for from in (0..count).step_by(PAGE.get() / 2) {
            let some = (from..from + PAGE.get() / 2).fold(Commit::new(), |commit, n| {
                commit.put(format!("k/{n:05}"), if n % 100 == 0 { "0" } else { "other" })
            });
            store.commit(some).await.unwrap();
        }
        // Nobody takes lines yet: the first page has been read, and the second has not.
        let (sender, mut taken) = mpsc::channel(QUEUE);
        let reading = crate::task::spawn("read", crate::task::OnEnd::Fine, {
            let store = store.clone();
            async move { write(&store, sender).await }
        });
        let mut lines = taken.recv().await.unwrap();
        for value in ["1", "2", "3"] {
            store.commit(all(value)).await.unwrap();
        }
        while let Some(line) = taken.recv().await {
            lines.extend_from_slice(&line);
        }
        assert!(reading.await.unwrap().unwrap().is_some());
        let read = read_own_state(&lines).unwrap();
        assert_eq!(read.len(), count);
        for one in read.iter().step_by(100) {
            assert_eq!(one.value, "3", "{}", one.key);
        }
        engine.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_vault_that_takes_nothing_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        let (store, engine) = embedded::open(embedded::Options::new(dir.path(), Clock::start())).unwrap();
        for page in 0..10 {
            let value = vec![b'x'; 10_000];
            let some = (0..100).fold(Commit::new(), |commit, n| {
                commit.put(format!("k/{page}/{n:05}"), [value.clone(), vec![page, n]].concat())
            });
            store.commit(some).await.unwrap();
        }
        let place = Place::open("memory:///", &[]).unwrap();
        let key = Arc::new(KeyItself::new(Kek::new(Secret::new([1; 32])), "test"));
        let vault = Vault::open(Options { place, key, clock: Clock::start() }).await.unwrap();
        let domain = Domain::of_service("_seaworthy").unwrap();
        let writing = Writing::begin(&vault, &domain, vault.new_id().unwrap()).await.unwrap();
        let intake = writing.intake();
        // What comes after it has begun to commit is refused.
        let draft = Draft {
            backup: vault.new_id().unwrap(),
            components: Vec::new(),
            consistent: true,
            cause: None,
            request_id: None,
        };
        drop(writing.commit(draft, || async { true }).await);
        let captured =
            tokio::time::timeout(Duration::from_secs(30), try_to(&store, &intake, false, |_| {})).await;
        assert!(captured.expect("it ends").is_err());
        engine.close().await.unwrap();
    }

    #[test]
    fn later_lines_count_and_what_is_wrong_is_named() {
        let head = "{\"seaworthy_store\":1,\"revision\":7}\n";
        let read = |lines: &str| read_own_state(format!("{head}{lines}").as_bytes());
        let keys = read("{\"key\":\"a\",\"text\":\"1\"}\n{\"key\":\"b\",\"text\":\"2\"}\n{\"key\":\"a\"}\n")
            .unwrap();
        assert_eq!(keys.len(), 1);
        for (lines, words) in [
            ("nonsense\n", "line 2"),
            ("{\"key\":\"a\",\"base64\":\"%\"}\n", "line 2"),
            ("{\"key\":\"a\",\"text\":\"1\"}\n{\"key\":\"a\",\"text\":\"1\",\"base64\":\"\"}\n", "line 3 of"),
        ] {
            assert!(read(lines).unwrap_err().to_string().contains(words), "{lines}");
        }
        assert!(read_own_state(b"").is_err());
        let newer = read_own_state(b"{\"seaworthy_store\":2,\"revision\":7}\n").unwrap_err();
        assert_eq!(newer.reason(), Reason::RecordTooNew);
    }
}
