//! What backups there are, for whoever asks: read from the vault, which alone knows, and kept for a moment, so that a page that
//! is asked for again and again does not read the bucket each time.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{Handle, Shared, Subject};
use crate::{
    error::{Error, Kind, Reason, Result},
    id::Ordered,
    time::Mono,
    vault::{Decision, Domain, Listed, Looked, Problem, State},
};

/// For how long what was read counts, unless something changes here.
const FRESH: Duration = Duration::from_secs(5);
/// Backups that are kept for that long at the most.
const MOST_KEPT: usize = 1000;
/// Backups that are looked at at a time for the newest that can be restored.
const LATEST: usize = 4;

/// Backups as they were read last.
#[derive(Debug, Default)]
pub(super) struct Catalog(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// The ids of a service's backups, newest first, and when they were listed.
    ids: HashMap<Domain, (Mono, Arc<[Ordered]>)>,
    /// Backups, and when they were read.
    found: HashMap<(Domain, Ordered), (Mono, Found)>,
    /// Rises with each change: what was begun to be read before is not kept.
    changes: u64,
}

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

impl Kept {
    /// Lets go of what counts no more, and of all where that is too much.
    fn shrink(&mut self, now: Mono) {
        self.ids.retain(|_, (at, _)| now.since(*at) < FRESH);
        self.found.retain(|_, (at, _)| now.since(*at) < FRESH);
        if self.found.len() >= MOST_KEPT {
            self.found.clear();
        }
    }
}

impl Shared {
    /// Something changed: what was read counts no more.
    pub(crate) fn catalog_changed(&self) {
        let mut kept = self.catalog.0.lock();
        *kept = Kept { changes: kept.changes + 1, ..Kept::default() };
    }

    /// The ids of a service's backups, newest first.
    async fn ids(&self, domain: &Domain) -> Result<Arc<[Ordered]>> {
        let now = self.clock.mono();
        let changes = {
            let kept = self.catalog.0.lock();
            if let Some((at, ids)) = kept.ids.get(domain)
                && now.since(*at) < FRESH
            {
                return Ok(Arc::clone(ids));
            }
            kept.changes
        };
        let ids: Arc<[Ordered]> = self.vault.backup_ids(domain).await?.into();
        let mut kept = self.catalog.0.lock();
        if kept.changes == changes {
            kept.shrink(now);
            kept.ids.insert(domain.clone(), (now, Arc::clone(&ids)));
        }
        Ok(ids)
    }

    /// These backups, in this order.
    async fn found(&self, which: &[(Domain, Ordered)]) -> Result<Vec<Found>> {
        let now = self.clock.mono();
        let (mut found, changes) = {
            let kept = self.catalog.0.lock();
            let fresh = |one: &(Domain, Ordered)| {
                let (at, found) = kept.found.get(one)?;
                (now.since(*at) < FRESH).then(|| found.clone())
            };
            (which.iter().map(fresh).collect::<Vec<_>>(), kept.changes)
        };
        let unknown = which.iter().zip(&found).filter(|(_, found)| found.is_none());
        let unknown: Vec<_> = unknown.map(|(one, _)| one.clone()).collect();
        let read = self.vault.read_backups(unknown.iter().cloned()).await?;
        let read: Vec<Found> = unknown
            .iter()
            .zip(read)
            .map(|((domain, _), (id, listed))| Found {
                id,
                service: domain.as_str().to_owned(),
                listed: listed.map_err(|problem| problem.to_string()),
            })
            .collect();
        {
            let mut kept = self.catalog.0.lock();
            if kept.changes == changes {
                kept.shrink(now);
                for (which, one) in unknown.into_iter().zip(&read) {
                    kept.found.insert(which, (now, one.clone()));
                }
            }
        }
        let mut read = read.into_iter();
        for place in &mut found {
            if place.is_none() {
                *place = read.next();
            }
        }
        Ok(found.into_iter().flatten().collect())
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

    /// The newest backup that can be restored, and was not found to be damaged.
    ///
    /// # Errors
    /// There is none, or the vault cannot be read.
    pub async fn latest(&self, subject: &Subject) -> Result<Listed> {
        let domain = Domain::of_service(subject.as_str())?;
        let ids = self.shared.ids(&domain).await?;
        for some in ids.chunks(LATEST) {
            let which: Vec<_> = some.iter().map(|id| (domain.clone(), *id)).collect();
            for found in self.shared.found(&which).await? {
                if let Ok(listed) = found.listed
                    && matches!(listed.state, State::Complete | State::Partial)
                    && !matches!(listed.looked(), Some(Looked::Damaged(_)))
                {
                    return Ok(listed);
                }
            }
        }
        Err(not_found(subject, "latest"))
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
        let mut all: Vec<(Domain, Ordered)> = Vec::new();
        for domain in domains.iter().filter(|domain| is_seen(domain.as_str())) {
            let ids = self.shared.ids(domain).await?;
            let wanted = ids.iter().filter(|id| before.is_none_or(|before| **id < before));
            all.extend(wanted.map(|id| (domain.clone(), *id)));
        }
        all.sort_unstable_by_key(|(_, id)| std::cmp::Reverse(*id));
        // One more than the page has says whether there are more; deleted ones are known when they are read.
        let mut page: Vec<Found> = Vec::new();
        for some in all.chunks(limit.max(1) + 1) {
            let found = self.shared.found(some).await?;
            page.extend(found.into_iter().filter(|one| {
                show_deleted || one.listed.as_ref().map_or(true, |listed| listed.state != State::Deleted)
            }));
            if page.len() > limit {
                break;
            }
        }
        let more = page.len() > limit;
        page.truncate(limit);
        Ok((page, more))
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
