//! Tokens against a store in memory, on paused time.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use super::*;
use crate::{
    store::simulated::{Engine, Fate, Medium},
    task::{self, OnEnd, Task},
};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A run of the control plane, as far as it concerns tokens.
struct Run {
    tokens: Handle,
    revoked: Arc<AtomicU64>,
    _engine: Engine,
    _running: Task<()>,
    _drain: drain::Signal,
}

async fn run(medium: &Medium, clock: Clock, bootstrap: Option<&Path>) -> Run {
    run_on(medium, clock, bootstrap, Fate::Written(Duration::ZERO)).await
}

async fn run_on(medium: &Medium, clock: Clock, bootstrap: Option<&Path>, fate: Fate) -> Run {
    let (store, engine) = medium.open(clock, Box::new(move || fate));
    let revoked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&revoked);
    let on_revoked = OnRevoked::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let options = Options { bootstrap: bootstrap.map(Path::to_owned), on_revoked };
    let (tokens, service) = open(options, clock, Entropy::system(), store).await.unwrap();
    let (signal, watch) = drain::channel();
    let running = task::spawn("tokens", OnEnd::Fine, service.run(watch));
    Run { tokens, revoked, _engine: engine, _running: running, _drain: signal }
}

fn clock() -> Clock {
    Clock::start_at(SystemTime::UNIX_EPOCH + 20_000 * DAY)
}

fn wanted(name: &str, power: Power) -> Wanted {
    Wanted { name: name.to_owned(), power, lifetime: DAY, creator: "local".to_owned() }
}

fn names(listed: &[Listed]) -> Vec<&str> {
    listed.iter().map(|listed| listed.token.name.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_token_counts_until_it_is_revoked_also_after_a_restart() {
    let (medium, clock) = (Medium::default(), clock());
    let first = run(&medium, clock, None).await;
    let service = Power::Service(ServiceName::parse("orders").unwrap());
    let (token, secret) = first.tokens.create(wanted("orders", service)).await.unwrap();
    let (_, other) = first.tokens.create(wanted("alice", Power::Role(Role::Viewer))).await.unwrap();
    assert_eq!(first.tokens.bearer(&secret.hash()), Some(Arc::clone(&token)));
    for entry in medium.entries("tokens/") {
        let text = String::from_utf8(entry.value.to_vec()).unwrap();
        assert!(!text.contains(&secret.reveal()[4..]) && !text.contains(&other.reveal()[4..]), "{text}");
    }
    drop(first);

    let second = run(&medium, clock, None).await;
    assert_eq!(second.tokens.bearer(&secret.hash()), Some(Arc::clone(&token)), "the same as before");
    let revoked = second.tokens.revoke("orders").await.unwrap();
    assert_eq!((revoked.id.as_str(), revoked.revoked.is_some()), (token.id.as_str(), true));
    assert_eq!(second.tokens.bearer(&secret.hash()), None);
    assert_eq!(second.revoked.load(Ordering::Relaxed), 1, "told once");
    assert_eq!(second.tokens.revoke(&token.id).await.unwrap(), revoked, "again is no error");
    let missing = second.tokens.revoke("orders").await.unwrap_err();
    assert_eq!(missing.reason(), Reason::TokenNotFound, "by name only those that count are found");
    drop(second);

    let third = run(&medium, clock, None).await;
    assert_eq!(third.tokens.bearer(&secret.hash()), None);
    assert!(third.tokens.bearer(&other.hash()).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_token_expires_is_listed_as_ended_and_forgotten() {
    let (medium, clock) = (Medium::default(), clock());
    let run = run(&medium, clock, None).await;
    let viewer = || Power::Role(Role::Viewer);
    let (_, secret) = run.tokens.create(wanted("alice", viewer())).await.unwrap();
    let taken = run.tokens.create(wanted("alice", viewer())).await.unwrap_err();
    assert_eq!(taken.reason(), Reason::TokenNameTaken);
    tokio::time::advance(DAY - Duration::from_secs(1)).await;
    assert!(run.tokens.bearer(&secret.hash()).is_some());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(run.tokens.bearer(&secret.hash()).is_none());
    assert_eq!(names(&run.tokens.list(None, 10, false).0), Vec::<&str>::new());
    // The name is free again, and the old one is still told apart.
    run.tokens.create(wanted("alice", viewer())).await.unwrap();
    assert_eq!(names(&run.tokens.list(None, 10, true).0), ["alice", "alice"]);
    tokio::time::sleep(REMEMBERED - DAY).await;
    assert_eq!(names(&run.tokens.list(None, 10, true).0), ["alice", "alice"]);
    tokio::time::sleep(DAY + FORGET_EVERY).await;
    assert_eq!(run.tokens.list(None, 10, true).0.len(), 1, "the second has ended, but not for so long");
    assert_eq!(medium.entries("tokens/").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn pages_have_every_token_once() {
    let run = run(&Medium::default(), clock(), None).await;
    for name in ["e", "a", "d", "b", "c"] {
        run.tokens.create(wanted(name, Power::Role(Role::Viewer))).await.unwrap();
    }
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let (page, more) = run.tokens.list(after.as_deref(), 2, false);
        assert!(page.len() <= 2);
        after = page.last().map(|last| format!("{}/{}", last.token.name, last.token.id));
        all.extend(page);
        if !more {
            break;
        }
    }
    assert_eq!(names(&all), ["a", "b", "c", "d", "e"]);
}

#[tokio::test(start_paused = true)]
async fn last_use_is_known_to_the_minute() {
    let run = run(&Medium::default(), clock(), None).await;
    let (_, secret) = run.tokens.create(wanted("alice", Power::Role(Role::Viewer))).await.unwrap();
    let used = || run.tokens.list(None, 1, false).0[0].last_used;
    assert_eq!(used(), None);
    tokio::time::advance(Duration::from_secs(90)).await;
    run.tokens.bearer(&secret.hash());
    assert_eq!(used(), Some(SystemTime::UNIX_EPOCH + 20_000 * DAY + Duration::from_secs(60)));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_written_does_not_count() {
    let refused = Fate::Refused { after: Duration::ZERO, lasts: Duration::from_secs(3600) };
    let run = run_on(&Medium::default(), clock(), None, refused).await;
    let error = run.tokens.create(wanted("alice", Power::Role(Role::Admin))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert_eq!(run.tokens.count(), 0);
}

#[cfg(unix)]
#[tokio::test]
async fn the_first_admins_token_is_for_its_owner_alone_and_made_only_where_there_is_none() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bootstrap-token");
    let (medium, clock) = (Medium::default(), clock());
    // What a crash left, and somebody made readable.
    let part = folder.path().join("bootstrap-token.part");
    std::fs::write(&part, "old").unwrap();
    std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o644)).unwrap();

    let first = run(&medium, clock, Some(&file)).await;
    let read = || std::fs::read_to_string(&file).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let hash = BearerToken::hash_of(read().trim()).expect("a token");
    let token = first.tokens.bearer(&hash).expect("it counts");
    assert_eq!((token.name.as_str(), &token.power), ("bootstrap", &Power::Role(Role::Admin)));
    let before = read();
    drop(first);
    let second = run(&medium, clock, Some(&file)).await;
    assert_eq!(read(), before, "there is one that counts");
    second.tokens.revoke("bootstrap").await.unwrap();
    drop(second);
    let third = run(&medium, clock, Some(&file)).await;
    assert_ne!(read(), before, "none counts any more");
    assert!(third.tokens.bearer(&hash).is_none());
    assert_eq!(third.tokens.count(), 1);
}
