//! What backups there are, for whoever asks: read from the vault, which alone knows, and kept for a moment, so that a page that
//! is asked for again and again does not read the bucket each time.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{Handle, Shared, Subject};
use crate::{
    error::{Error, Kind, Reason, Result},
    id::Ordered,
    time::Mono,
    vault::{Decision, Domain, Listed, Problem, State},
};

/// For how long what was read of a service counts, unless something changes here.
const FRESH: Duration = Duration::from_secs(5);

/// Backups of services as they were read last.
#[derive(Debug, Default)]
pub(super) struct Catalog(Mutex<HashMap<Domain, Known>>);

/// What was read of a service, and when.
type Known = (Mono, Arc<Vec<Found>>);

/// A backup that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its id.
    pub id: Ordered,
    /// The service that it is of.
    pub service: String,
    /// As it lies in the vault, or why it cannot be read.
    pub listed: Result<Listed, String>,
}

/// Which backup.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Which {
    /// The newest that can be restored.
    Latest,
    /// This one.
    Id(Ordered),
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Which::Latest => f.write_str("latest"),
            Which::Id(id) => write!(f, "{id}"),
        }
    }
}

/// Where a page begins: after this one, newest first.
pub type Cursor = Ordered;

impl Shared {
    /// Something changed: what was read counts no more.
    pub(crate) fn catalog_changed(&self) {
        self.catalog.0.lock().clear();
    }

    async fn of(&self, domain: &Domain) -> Result<Arc<Vec<Found>>> {
        let now = self.clock.mono();
        if let Some((at, found)) = self.catalog.0.lock().get(domain)
            && now.since(*at) < FRESH
        {
            return Ok(Arc::clone(found));
        }
        let listed = self.vault.backups(domain).await?;
        let service = domain.as_str();
        let found = listed.into_iter().map(|(id, listed)| Found {
            id,
            service: service.to_owned(),
            listed: listed.map_err(|problem| problem.to_string()),
        });
        let found = Arc::new(found.collect::<Vec<_>>());
        self.catalog.0.lock().insert(domain.clone(), (now, Arc::clone(&found)));
        Ok(found)
    }
}

impl Handle {
    /// One backup, or the newest that can be restored.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub async fn one(&self, subject: &Subject, which: Which) -> Result<Listed> {
        match which {
            Which::Latest => self.latest(subject).await,
            Which::Id(id) => self.backup(subject, id).await,
        }
    }

    /// One backup.
    ///
    /// # Errors
    /// There is none of this id, or it cannot be read.
    pub async fn backup(&self, subject: &Subject, id: Ordered) -> Result<Listed> {
        let domain = Domain::of_service(subject.as_str())?;
        self.shared.vault.backup(&domain, id).await.map_err(|problem| match problem {
            Problem::Missing { object } if object.starts_with("manifests/") => {
                not_found(subject, &id.to_string())
            }
            problem => problem.into(),
        })
    }

    /// The newest backup that can be restored.
    ///
    /// # Errors
    /// There is none, or the vault cannot be read.
    pub async fn latest(&self, subject: &Subject) -> Result<Listed> {
        let domain = Domain::of_service(subject.as_str())?;
        let found = self.shared.of(&domain).await?;
        let usable = |listed: &&Listed| matches!(listed.state, State::Complete | State::Partial);
        let listed = found.iter().filter_map(|one| one.listed.as_ref().ok()).find(usable);
        listed.cloned().ok_or_else(|| not_found(subject, "latest"))
    }

    /// Backups before a place, newest first, of one service or of all that are seen; and whether there are more.
    ///
    /// # Errors
    /// The vault cannot be read.
    pub async fn backups(
        &self,
        only: Option<&Subject>,
        is_seen: impl Fn(&str) -> bool,
        show_deleted: bool,
        before: Option<Cursor>,
        limit: usize,
    ) -> Result<(Vec<Found>, bool)> {
        let domains = match only {
            Some(subject) => vec![Domain::of_service(subject.as_str())?],
            None => self.shared.vault.services().await?,
        };
        let mut all: Vec<Found> = Vec::new();
        for domain in domains.iter().filter(|domain| is_seen(domain.as_str())) {
            let found = self.shared.of(domain).await?;
            let wanted =
                found.iter().filter(|one| before.is_none_or(|before| one.id < before)).filter(|one| {
                    show_deleted || one.listed.as_ref().map_or(true, |listed| listed.state != State::Deleted)
                });
            // One more than the page has says whether there are more.
            all.extend(wanted.take(limit + 1).cloned());
        }
        all.sort_by_key(|one| std::cmp::Reverse(one.id));
        let more = all.len() > limit;
        all.truncate(limit);
        Ok((all, more))
    }

    /// Deletes a backup: a note says so, and nothing else happens until the grace is over.
    ///
    /// # Errors
    /// It is not there, or the vault cannot write.
    pub async fn delete(&self, subject: &Subject, id: Ordered, by: &str, why: &str) -> Result<Listed> {
        self.decide(subject, id, Decision::Delete, by, why).await
    }

    /// Brings a deleted backup back.
    ///
    /// # Errors
    /// It is not there, something that it needs is gone or about to go, or the vault cannot write.
    pub async fn undelete(&self, subject: &Subject, id: Ordered, by: &str) -> Result<Listed> {
        self.backup(subject, id).await?;
        let domain = Domain::of_service(subject.as_str())?;
        self.shared.vault.undelete(&domain, id, by).await?;
        self.shared.catalog_changed();
        self.backup(subject, id).await
    }

    async fn decide(
        &self,
        subject: &Subject,
        id: Ordered,
        decision: Decision,
        by: &str,
        why: &str,
    ) -> Result<Listed> {
        self.backup(subject, id).await?;
        let domain = Domain::of_service(subject.as_str())?;
        self.shared.vault.decide(&domain, id, decision, by, why).await?;
        self.shared.catalog_changed();
        self.backup(subject, id).await
    }
}

fn not_found(subject: &Subject, id: &str) -> Error {
    let service = subject.as_str();
    let message = match id {
        "latest" => format!("{service} has no backup that can be restored"),
        id => format!("{service} has no backup {id}"),
    };
    Error::new(Kind::NotFound, Reason::BackupNotFound, message).with("service", service).with("backup_id", id)
}
