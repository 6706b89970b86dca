//! How a token stands in the store: everything but its secret.

use std::{
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Power, Token, table::Table};
use crate::{
    error::{Error, Kind, Reason, Result},
    fleet::names::ServiceName,
    id::TokenHash,
    identity::Role,
    store::{Entry, Store, record},
};

const PREFIX: &str = "tokens/";
/// Newest version of the record that this build writes and reads.
const VERSION: u32 = 1;
/// Records that are read at once.
const PAGE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(499);
/// The word for a token that is bound to a service, in place of a role.
const SERVICE: &str = "service";

#[derive(Deserialize, Serialize)]
struct TokenRecord {
    name: String,
    role: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    created_ms: u64,
    creator: String,
    expires_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked_ms: Option<u64>,
    hash: String,
}

/// Where a token is stored.
pub(super) fn key(id: &str) -> String {
    format!("{PREFIX}{id}")
}

/// Writes a token's record.
pub(super) fn encode(token: &Token) -> Result<Bytes> {
    let Token { id: _, name, power, created, creator, expires, revoked, hash } = token;
    let (role, service) = match power {
        Power::Role(role) => (role.as_str(), None),
        Power::Service(service) => (SERVICE, Some(service.to_string())),
    };
    record::encode(
        VERSION,
        &TokenRecord {
            name: name.clone(),
            role: role.to_owned(),
            service,
            created_ms: to_millis(*created),
            creator: creator.clone(),
            expires_ms: to_millis(*expires),
            revoked_ms: revoked.map(to_millis),
            hash: hash.to_hex(),
        },
    )
}

fn decode(entry: &Entry) -> Result<Token> {
    let stored: TokenRecord = record::decode(&entry.key, VERSION, &entry.value)?;
    let TokenRecord { name, role, service, created_ms, creator, expires_ms, revoked_ms, hash } = stored;
    let power = match (role.as_str(), service) {
        (SERVICE, Some(service)) => ServiceName::parse(&service).ok().map(Power::Service),
        (role, None) => Role::parse(role).map(Power::Role),
        (_, Some(_)) => None,
    };
    let id = entry.key.strip_prefix(PREFIX).unwrap_or_default().to_owned();
    Ok(Token {
        id,
        name,
        power: power.ok_or_else(|| damaged(&entry.key, "role"))?,
        created: from_millis(created_ms),
        creator,
        expires: from_millis(expires_ms),
        revoked: revoked_ms.map(from_millis),
        hash: TokenHash::from_hex(&hash).ok_or_else(|| damaged(&entry.key, "hash"))?,
    })
}

/// Reads all tokens.
///
/// # Errors
/// The store cannot be read, or a record is damaged or from a newer build.
pub(super) async fn load(store: &Store) -> Result<Table> {
    let mut table = Table::default();
    let mut after: Option<String> = None;
    loop {
        let page = store.list(PREFIX, after.as_deref(), PAGE).await?;
        for entry in &page.entries {
            table.put(Arc::new(decode(entry)?));
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(table),
        }
    }
}

fn damaged(key: &str, field: &str) -> Error {
    let message =
        format!("the record at key {key:?} is damaged in {field}; restore it from a backup or delete it");
    Error::new(Kind::Internal, Reason::RecordDamaged, message).with("key", key)
}

fn to_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn from_millis(stored: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(stored)
}
