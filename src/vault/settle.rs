//! What has to be found out before a backup is relied on that nobody has vouched for: whether every chunk that it refers to is in
//! a pack that is there and that nobody has condemned. Lists first, then packs: the other order loses data.

use super::{
    catalog::{Listed, State},
    condemned,
    manifest::Status,
    names::{self, Domain, Id},
    note::Decision,
    open::Vault,
    problem::{Problem, Result},
    read::Reader,
    session::Purpose,
};

impl Vault {
    /// Looks whether an operation whose process died has committed, and whether that may be relied on: a note says so. None:
    /// it has not, and has left garbage alone. Its session ends.
    ///
    /// # Errors
    /// The bucket cannot be read or written; nothing is known then.
    pub async fn settle(&self, service: &Domain, backup: Id) -> Result<Option<Listed>> {
        let listed = match self.backup(service, backup).await {
            Ok(listed) => Some(listed),
            Err(Problem::Missing { object }) if object.starts_with("manifests/") => None,
            Err(problem) => return Err(problem),
        };
        let settled = match listed {
            None => None,
            // Its writer has found out itself that it cannot be relied on.
            Some(listed) if listed.state == State::Deleted => None,
            Some(listed) if listed.last(Decision::Checked).is_some() => Some(listed),
            Some(listed) => {
                let reader = self.strict_reader(service).await?;
                let why = self.closed(&reader, &listed).await;
                reader.close().await;
                let why = why?;
                let (decision, evidence) = match &why {
                    None => {
                        (Decision::Checked, "its writer died, and all that it needs was there".to_owned())
                    }
                    Some(why) => (Decision::Delete, format!("its writer died, and {why}")),
                };
                self.decide(service, backup, decision, "the control plane", &evidence).await?;
                match why {
                    None => Some(self.backup(service, backup).await?),
                    Some(_) => None,
                }
            }
        };
        // Where there is no manifest, one may still be on its way: until it would be late, its session has to stand.
        if settled.is_some() {
            for left in self.place().list(names::SESSIONS).await? {
                if left.last().split_once('.').is_some_and(|(operation, _)| operation == backup.to_string()) {
                    self.place().delete(&left.name).await?;
                }
            }
        }
        Ok(settled)
    }

    /// Brings a deleted backup back, if all that it needs is there and stays.
    ///
    /// # Errors
    /// Something of it is gone, or about to go; or the bucket cannot be read or written.
    pub async fn undelete(&self, service: &Domain, backup: Id, by: &str) -> Result<()> {
        // One session from the first look until the note is proven: whoever prunes meanwhile waits for it.
        let reader = self.strict_reader(service).await?;
        let undeleted = self.undelete_with(&reader, service, backup, by).await;
        reader.close().await;
        undeleted
    }

    async fn undelete_with(&self, reader: &Reader, service: &Domain, backup: Id, by: &str) -> Result<()> {
        let listed = self.backup(service, backup).await?;
        if let Some(what) = self.closed(reader, &listed).await? {
            return Err(Problem::Condemned { what });
        }
        self.decide(service, backup, Decision::Undelete, by, "").await?;
        // A note proves itself as a manifest does: whoever pruned meanwhile was seen by neither look, or by the second.
        if let Some(what) = self.closed(reader, &listed).await? {
            self.decide(service, backup, Decision::Delete, by, &what).await?;
            return Err(Problem::Condemned { what });
        }
        Ok(())
    }

    async fn strict_reader(&self, service: &Domain) -> Result<Reader> {
        Reader::open_strictly(self, service, self.new_id()?, Purpose::Undelete).await
    }

    /// Why a backup may not be relied on, by the lists and the packs as they are now. None: all that it needs is there and
    /// stays.
    async fn closed(&self, reader: &Reader, listed: &Listed) -> Result<Option<String>> {
        let backup = listed.manifest.id();
        if condemned::all(self.place(), self.vault_keys()).await?.backups.contains(&backup) {
            return Ok(Some(format!("{backup} itself is about to go")));
        }
        reader.shared().look_again().await?;
        for component in listed.manifest.components.iter().filter(|one| one.status == Status::Complete) {
            match reader.lacks(component).await {
                Ok(None) => {}
                Ok(Some(chunk)) => {
                    let name = &component.name;
                    return Ok(Some(format!("chunk {chunk} of {name} is gone, or about to go")));
                }
                Err(
                    problem @ (Problem::Missing { .. } | Problem::Damaged { .. } | Problem::TooNew { .. }),
                ) => {
                    return Ok(Some(problem.to_string()));
                }
                Err(problem) => return Err(problem),
            }
        }
        Ok(None)
    }
}
