//! The tokens in memory: by id, by the hash of the secret, and in the order in which they are listed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use super::{Listed, MOST, Token};
use crate::{
    error::{Error, Kind, Reason, Result},
    id::TokenHash,
};

/// Grain of the time of last use.
const MINUTE: u64 = 60;

/// Every token that is remembered.
#[derive(Debug, Default)]
pub(super) struct Table {
    by_hash: HashMap<TokenHash, Row>,
    /// By name, then by id.
    listed: BTreeMap<(String, String), TokenHash>,
    by_id: HashMap<String, TokenHash>,
}

#[derive(Debug)]
struct Row {
    token: Arc<Token>,
    /// Minutes since the epoch; 0: not used since the start.
    last_used: AtomicU64,
}

impl Table {
    /// Puts a token in, or in place of what it was before.
    pub(super) fn put(&mut self, token: Arc<Token>) {
        let last_used = self.by_hash.get(&token.hash).map_or(0, |row| row.last_used.load(Ordering::Relaxed));
        self.listed.insert((token.name.clone(), token.id.clone()), token.hash);
        self.by_id.insert(token.id.clone(), token.hash);
        self.by_hash.insert(token.hash, Row { token, last_used: AtomicU64::new(last_used) });
    }

    /// Takes a token out.
    pub(super) fn remove(&mut self, id: &str) {
        if let Some(row) = self.by_id.remove(id).and_then(|hash| self.by_hash.remove(&hash)) {
            self.listed.remove(&(row.token.name.clone(), row.token.id.clone()));
        }
    }

    /// The token of a hash, if it counts; it is used by that.
    pub(super) fn bearer(&self, hash: &TokenHash, now: SystemTime) -> Option<Arc<Token>> {
        let row = self.by_hash.get(hash).filter(|row| row.token.counts(now))?;
        let minute = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() / MINUTE);
        if row.last_used.load(Ordering::Relaxed) != minute {
            row.last_used.store(minute, Ordering::Relaxed);
        }
        Some(Arc::clone(&row.token))
    }

    /// The token of an id, or of a name among those that count.
    pub(super) fn named(&self, which: &str, now: SystemTime) -> Option<Arc<Token>> {
        let by_id = self.by_id.get(which).and_then(|hash| self.by_hash.get(hash));
        by_id.map(|row| Arc::clone(&row.token)).or_else(|| self.counting(which, now))
    }

    /// The token of a name that counts: there is one at the most.
    fn counting(&self, name: &str, now: SystemTime) -> Option<Arc<Token>> {
        let from = (name.to_owned(), String::new());
        let same = self.listed.range(from..).take_while(|((other, _), _)| other == name);
        let mut tokens = same.filter_map(|(_, hash)| self.by_hash.get(hash)).map(|row| &row.token);
        tokens.find(|token| token.counts(now)).map(Arc::clone)
    }

    /// Whether a token of this name may be made.
    pub(super) fn check_new(&self, name: &str, now: SystemTime) -> Result<()> {
        if let Some(other) = self.counting(name, now) {
            let message =
                format!("a token that counts is called {name:?}; choose another name, or revoke it first");
            return Err(Error::new(Kind::AlreadyExists, Reason::TokenNameTaken, message)
                .with("name", name)
                .with("token", &*other.id)
                .at("name", "is taken"));
        }
        Ok(())
    }

    /// Whether one more may count.
    pub(super) fn check_room(&self, now: SystemTime) -> Result<()> {
        if self.count(now) >= MOST {
            let message = format!("{MOST} tokens count already; revoke those that nobody needs");
            return Err(Error::new(Kind::ResourceExhausted, Reason::TooManyTokens, message));
        }
        Ok(())
    }

    /// How many count.
    pub(super) fn count(&self, now: SystemTime) -> usize {
        self.by_hash.values().filter(|row| row.token.counts(now)).count()
    }

    /// Whether any that counts has this power.
    pub(super) fn any(&self, now: SystemTime, wanted: impl Fn(&Token) -> bool) -> bool {
        self.by_hash.values().any(|row| row.token.counts(now) && wanted(&row.token))
    }

    /// Ids of those that have not counted for so long.
    pub(super) fn ended_before(&self, now: SystemTime, ago: Duration, limit: usize) -> Vec<String> {
        let old = |token: &Token| {
            token
                .ended(now)
                .and_then(|ended| now.duration_since(ended).ok())
                .is_some_and(|since| since >= ago)
        };
        let rows = self.by_hash.values().filter(|row| old(&row.token));
        rows.take(limit).map(|row| row.token.id.clone()).collect()
    }

    /// A page, and whether there are more.
    pub(super) fn list(
        &self,
        after: Option<&str>,
        limit: usize,
        ended: bool,
        now: SystemTime,
    ) -> (Vec<Listed>, bool) {
        let place = after.map(|place| place.split_once('/').unwrap_or((place, "")));
        let place = place.map(|(name, id)| (name.to_owned(), id.to_owned()));
        let rows = self.listed.iter().filter(|(at, _)| place.as_ref().is_none_or(|place| *at > place));
        let rows = rows.filter_map(|(_, hash)| self.by_hash.get(hash));
        let mut rows = rows.filter(|row| ended || row.token.counts(now));
        let page = rows.by_ref().take(limit).map(Row::listed).collect();
        (page, rows.next().is_some())
    }
}

impl Row {
    fn listed(&self) -> Listed {
        let last_used = Some(self.last_used.load(Ordering::Relaxed)).filter(|minutes| *minutes > 0);
        let time = |minutes| SystemTime::UNIX_EPOCH + Duration::from_secs(minutes * MINUTE);
        Listed { token: Arc::clone(&self.token), last_used: last_used.map(time) }
    }
}
