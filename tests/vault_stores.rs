//! The vault on object stores that speak the protocols of the large ones: moto for S3, azurite for Azure, each a process of its
//! own; and S3 that fails, hangs and forgets to answer. `tests/interop/install stores` brings both programs; where they are
//! missing, these tests say so, and fail only where `TEST_STORES=required`, as `tests/run` sets it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test"
)]

#[path = "vault_support/mod.rs"]
mod vault_support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    response::Response,
};
use seaworthy::vault::{Depth, Place, Problem, Vault, fuzzing};
use vault_support::{back_up, key, noise, options, orders, programs, restore};

fn strings<const N: usize>(options: [(&str, &str); N]) -> Vec<(String, String)> {
    options.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn s3(endpoint: &str, bucket: &str, timeout: &str) -> Place {
    let options = strings([
        ("aws_endpoint", endpoint),
        ("allow_http", "true"),
        ("aws_access_key_id", "test"),
        ("aws_secret_access_key", "test"),
        ("timeout", timeout),
    ]);
    Place::open(&format!("s3://{bucket}/some/prefix"), &options).unwrap()
}

async fn all_of_it(place: Place) {
    fuzzing::create(&place, "probes/x", b"one").await.unwrap();
    fuzzing::create(&place, "probes/x", b"one").await.unwrap();
    for other in [&b"two"[..], b"other"] {
        let taken = fuzzing::create(&place, "probes/x", other).await;
        assert!(matches!(taken, Err(Problem::Taken { .. })), "{taken:?}");
    }
    let vault = Vault::open(options(place.clone(), key(1))).await.unwrap();
    let first = noise(1, 20 << 20);
    let second = [&first[..10 << 20], &noise(2, 100_000)].concat();
    let mut backups = Vec::new();
    for bytes in [&first, &second] {
        backups.push((back_up(&vault, bytes).await.unwrap(), bytes));
    }
    // By a process that has the bucket and the key alone.
    let vault = Vault::open_existing(options(place.clone(), key(1))).await.unwrap();
    for (backup, bytes) in backups {
        assert!(restore(&vault, backup).await.unwrap() == *bytes);
    }
    for depth in [Depth::Presence, Depth::Structure, Depth::Data] {
        let id = vault.new_id().unwrap();
        let verified = vault.verify(&orders(), None, depth, id, |_, _| {}).await.unwrap();
        assert!(verified.is_sound() && verified.packs > 1, "{verified:?}");
    }
    let wrong = Vault::open_existing(options(place, key(2))).await;
    assert!(matches!(wrong, Err(Problem::WrongKey { .. })), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vault_on_s3() {
    let Some(moto) = programs::moto("a-vault").await else { return };
    all_of_it(s3(&moto.url, "a-vault", "60 seconds")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vault_on_azure() {
    let Some(azurite) = programs::azurite("a-vault").await else { return };
    let options = strings([
        ("azure_storage_account_name", programs::ACCOUNT),
        ("azure_storage_account_key", programs::ACCOUNT_KEY),
        ("azure_storage_endpoint", &format!("{}/{}", azurite.url, programs::ACCOUNT)),
        ("allow_http", "true"),
    ]);
    all_of_it(Place::open("az://a-vault/some/prefix", &options).unwrap()).await;
}

/// What the bucket does from now on.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Mood {
    Good,
    /// Every third request is answered 500 or 503, in turn, and not done.
    Fails,
    /// Every second creation is done, and its answer comes too late.
    Late,
    /// Every request is answered 503.
    Down,
}

/// What stands before the bucket.
struct Proxy {
    behind: String,
    client: reqwest::Client,
    mood: AtomicU8,
    asked: AtomicUsize,
}

async fn pass(State(proxy): State<Arc<Proxy>>, request: Request) -> Response {
    let number = proxy.asked.fetch_add(1, Ordering::SeqCst);
    let mood = proxy.mood.load(Ordering::SeqCst);
    let refuse = |status: u16| Response::builder().status(status).body(Body::empty()).unwrap();
    if mood == Mood::Down as u8 || (mood == Mood::Fails as u8 && number % 3 == 0) {
        return refuse(if number % 2 == 0 { 500 } else { 503 });
    }
    let is_late = mood == Mood::Late as u8 && request.method() == "PUT" && number % 2 == 0;
    let (head, body) = request.into_parts();
    let url = format!("{}{}", proxy.behind, head.uri);
    let body: Bytes = to_bytes(body, 64 << 20).await.unwrap();
    let passed = proxy.client.request(head.method, url).headers(head.headers).body(body).send();
    let answer = passed.await.unwrap();
    if is_late {
        // Whoever waits for it gives up first, by its own deadline.
        std::future::pending::<()>().await;
    }
    let mut response = Response::builder().status(answer.status());
    *response.headers_mut().unwrap() = answer.headers().clone();
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_fails_hangs_and_forgets_to_answer() {
    let Some(moto) = programs::moto("a-vault").await else { return };
    let proxy = Arc::new(Proxy {
        behind: moto.url.clone(),
        client: programs::client(),
        mood: AtomicU8::new(Mood::Good as u8),
        asked: AtomicUsize::new(0),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(pass).with_state(Arc::clone(&proxy));
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let vault = Vault::open(options(s3(&endpoint, "a-vault", "2 seconds"), key(1))).await.unwrap();
    let mut acknowledged = Vec::new();
    for (seed, mood) in [(1, Mood::Good), (2, Mood::Fails), (3, Mood::Late)] {
        proxy.mood.store(mood as u8, Ordering::SeqCst);
        let bytes = noise(seed, 300_000);
        let backup = back_up(&vault, &bytes).await;
        proxy.mood.store(Mood::Good as u8, Ordering::SeqCst);
        acknowledged.push((backup.unwrap_or_else(|problem| panic!("{seed}: {problem}")), bytes));
    }
    proxy.mood.store(Mood::Down as u8, Ordering::SeqCst);
    let begun = Instant::now();
    let failed = back_up(&vault, &noise(4, 300_000)).await;
    assert!(matches!(failed, Err(Problem::Place { .. })), "{failed:?}");
    assert!(begun.elapsed() < Duration::from_secs(90), "{:?}", begun.elapsed());
    proxy.mood.store(Mood::Good as u8, Ordering::SeqCst);
    for (backup, bytes) in acknowledged {
        assert!(restore(&vault, backup).await.unwrap() == bytes);
    }
    assert_eq!(vault.backups(&orders()).await.unwrap().len(), 3);
    serving.abort();
}
