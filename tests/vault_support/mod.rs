//! What tests of the vault from outside share: backing bytes up, restoring them, and stores that are processes.
#![allow(dead_code, reason = "each test uses its part of it")]

pub(crate) mod programs;

use std::sync::Arc;

use bytes::Bytes;
use seaworthy::{
    time::Clock,
    vault::{
        Component, Cut, DigestKind, Domain, Draft, How, Id, Kek, KeyItself, Options, Place, Problem, Purpose,
        Reader, Result, Secret, Vault, Writing,
    },
};

pub(crate) fn key(byte: u8) -> Arc<KeyItself> {
    Arc::new(KeyItself::new(Kek::new(Secret::new([byte; 32])), "test"))
}

pub(crate) fn options(place: Place, key: Arc<KeyItself>) -> Options {
    Options { place, key, clock: Clock::start() }
}

pub(crate) fn orders() -> Domain {
    Domain::of_service("orders").unwrap()
}

pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

pub(crate) fn named(name: &str, cause: Option<&str>) -> Component {
    let component = Component::new(name, "test", "i-1");
    match cause {
        None => component,
        Some(cause) => component.failed(cause),
    }
}

pub(crate) async fn component(writing: &Writing, name: &str, cut: Cut, bytes: &[u8]) -> Result<Component> {
    let how = How { cut, incompressible: false, digest: DigestKind::Blake3 };
    let mut stream = writing.intake().stream(how);
    for piece in bytes.chunks(1 << 20) {
        stream.push(Bytes::copy_from_slice(piece)).await?;
    }
    let mut component = named(name, None);
    stream.finish().await?.fill(&mut component);
    Ok(component)
}

pub(crate) async fn back_up(vault: &Vault, bytes: &[u8]) -> Result<Id> {
    let writing = Writing::begin(vault, &orders(), vault.new_id()?).await?;
    let components = vec![component(&writing, "database", Cut::Content, bytes).await?];
    commit(vault, writing, components, None).await
}

pub(crate) async fn commit(
    vault: &Vault,
    writing: Writing,
    components: Vec<Component>,
    cause: Option<String>,
) -> Result<Id> {
    let backup = vault.new_id()?;
    let draft = Draft { backup, components, consistent: true, cause, request_id: None };
    writing.commit(draft, || async { true }).await?;
    Ok(backup)
}

pub(crate) async fn restore(vault: &Vault, backup: Id) -> Result<Vec<u8>> {
    restore_of(vault, &orders(), backup, "database").await
}

pub(crate) async fn restore_of(vault: &Vault, service: &Domain, backup: Id, name: &str) -> Result<Vec<u8>> {
    let listed = vault.backup(service, backup).await?;
    let reader = Reader::open(vault, service, vault.new_id()?, Purpose::Restore).await?;
    let component = listed.manifest.component(name, None).ok_or_else(|| Problem::missing(name))?;
    let mut reading = reader.read(component, 0)?;
    let mut bytes = Vec::new();
    while let Some(piece) = reading.next().await? {
        bytes.extend_from_slice(&piece);
    }
    reader.close().await;
    Ok(bytes)
}
