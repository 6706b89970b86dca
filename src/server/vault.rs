//! Opens the vault that the configuration names, before anybody is let in: a place that does not keep what it takes, or a key that
//! does not open what is there, ends the start. Where nothing was said of a key and there is no vault yet, one is made in the data
//! folder, and the start says where it is; beside a vault that is there none is made, since it would not open it. The store keeps which
//! vault it is: another one, or none, where there was one ends the start, since a disk that is not mounted looks like that.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::{
    config::Config,
    error::{Error, Result},
    private::{self, Existing, Readers},
    store::{Commit, Store, record},
    task,
    time::Clock,
    vault::{Kek, KeyItself, KeySource, Options, Passphrase, Place, Problem, SystemRandom, Vault},
};

/// The folder of the vault in the data folder, where no place was named.
const FOLDER: &str = "vault";
/// The file of the key there.
const KEY_FILE: &str = "vault.key";
/// How long opening may take: a bucket that does not answer must not hold a start for ever.
const OPENED_WITHIN: Duration = Duration::from_mins(2);

/// Where the store keeps which vault it is.
const KNOWN: &str = "vault/known";
/// Newest version of the record that this build writes and reads.
const VERSION: u32 = 1;

/// The vault to which backups went so far.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Known {
    vault_id: String,
    place: String,
}

/// Opens the vault.
///
/// # Errors
/// The key cannot be had, the place does not keep what it takes, the key does not open what is there, or it is not the vault to
/// which backups went so far.
pub(super) async fn open(config: &Config, clock: Clock, store: &Store) -> Result<Vault> {
    let known = match store.get(KNOWN).await? {
        Some(entry) => Some(record::decode::<Known>(KNOWN, VERSION, &entry.value)?),
        None => None,
    };
    let may_be_another = config.vault.accept_other;
    let settings = config.vault.clone();
    let data_dir = config.data_dir.clone();
    let own_key = config.data_dir.join(KEY_FILE);
    let named = task::blocking("vault open", move || {
        let options: Vec<(String, String)> = settings
            .options
            .iter()
            .filter_map(|option| option.0.split_once('='))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        let place = match &settings.place {
            Some(place) => Place::open(place, &options)?,
            None => Place::folder(&absolute(&data_dir.join(FOLDER)))?,
        };
        let key: Option<Arc<dyn KeySource>> =
            match (&settings.key, &settings.passphrase_file, &settings.key_file) {
                (Some(key), ..) => Some(Arc::new(KeyItself::from_text(&key.0, "vault.key")?)),
                (None, Some(file), _) => Some(Arc::new(Passphrase::from_file(file)?)),
                (None, None, Some(file)) => Some(Arc::new(KeyItself::from_file(file)?)),
                (None, None, None) => {
                    let file = data_dir.join(KEY_FILE);
                    let is_there = file.try_exists().unwrap_or(true);
                    if is_there { Some(Arc::new(KeyItself::from_file(&file)?)) } else { None }
                }
            };
        Ok::<_, Problem>((place, key))
    });
    let (place, key) = named.await.map_err(Error::internal)??;
    let url = place.url().to_owned();
    let opened = async {
        if let Some(known) = known.as_ref().filter(|_| !may_be_another)
            && !Vault::is_at(&place).await?
        {
            return Err(another(known, &place, "there is none").into());
        }
        let key = match key {
            Some(key) => key,
            None => first_key(&place, own_key).await?,
        };
        let vault = Vault::open(Options { place, key, clock }).await?;
        match &known {
            Some(known) if known.vault_id != vault.id() && !may_be_another => {
                Err(another(known, vault.place(), &format!("that is vault {}", vault.id())).into())
            }
            _ => Ok::<_, Error>(vault),
        }
    };
    let vault = tokio::time::timeout(OPENED_WITHIN, opened).await.map_err(|_| Problem::BadPlace {
        place: url.clone(),
        what: format!("it could not be opened within {} s", OPENED_WITHIN.as_secs()),
    })??;
    let place = url;
    let now = Known { vault_id: vault.id(), place: place.clone() };
    if known.as_ref() != Some(&now) {
        if let Some(before) = &known {
            let (before, was_at) = (&before.vault_id, &before.place);
            warn!(
                component = "vault",
                operation = "open",
                place,
                vault = vault.id(),
                before,
                was_at,
                "another vault, or another place"
            );
        }
        store.commit(Commit::new().put(KNOWN, record::encode(VERSION, &now)?)).await?;
    }
    info!(component = "vault", operation = "open", place, vault = vault.id(), key = vault.key_id(), "open");
    Ok(vault)
}

fn another(known: &Known, place: &Place, found: &str) -> Problem {
    let Known { vault_id, place: was_at } = known;
    Problem::BadPlace {
        place: place.url().to_owned(),
        what: format!(
            "backups of this control plane went to vault {vault_id} at {was_at} so far, and {found}: mount what is missing, mend \
             vault.place, or, if that is meant, start once with vault.accept_other = true"
        ),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The key of a vault that is not there yet, made in the data folder.
async fn first_key(place: &Place, file: PathBuf) -> Result<Arc<dyn KeySource>> {
    if Vault::is_at(place).await? {
        let what = format!(
            "it is not there, and a new key would not open the vault that is at {}: put its key back, from the copy that is \
             kept elsewhere, or name another file by vault.key_file",
            place.url()
        );
        return Err(Problem::NoKey { place: file.display().to_string(), what }.into());
    }
    let made =
        task::blocking("vault key", move || make_key(&file).map(|key| Arc::new(key) as Arc<dyn KeySource>));
    Ok(made.await.map_err(Error::internal)??)
}

fn make_key(file: &Path) -> Result<KeyItself, Problem> {
    let no_key =
        |error: std::io::Error| Problem::NoKey { place: file.display().to_string(), what: error.to_string() };
    let kek = Kek::new(SystemRandom::new().secret()?);
    let id = kek.id()?;
    private::write(file, kek.to_file()?.as_bytes(), Readers::Owner, Existing::Stays).map_err(no_key)?;
    let path = absolute(file).display().to_string();
    warn!(
        component = "vault",
        operation = "make key",
        file = path,
        key = id,
        "a key for backups was made: keep a copy elsewhere, without it no backup can be restored; then say so with `seaworthy key confirm`"
    );
    KeyItself::from_file(file)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::simulated::{Engine, Fate, Medium};

    fn memory(clock: Clock) -> (Store, Engine) {
        Medium::default().open(clock, Box::new(|| Fate::Written(Duration::ZERO)))
    }

    #[tokio::test]
    async fn a_key_is_made_once_and_a_wrong_one_ends_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.data_dir = dir.path().to_owned();
        let (store, _engine) = memory(Clock::start());
        let first = open(&config, Clock::start(), &store).await.unwrap();
        let again = open(&config, Clock::start(), &store).await.unwrap();
        assert_eq!((first.id(), first.key_id()), (again.id(), again.key_id()));
        let text = fs::read_to_string(dir.path().join(KEY_FILE)).unwrap();
        assert!(text.contains(&first.key_id()));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(dir.path().join(KEY_FILE)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::remove_file(dir.path().join(KEY_FILE)).unwrap();
        let wrong = open(&config, Clock::start(), &store).await.unwrap_err();
        assert_eq!(wrong.reason(), crate::error::Reason::VaultKey, "{wrong}");
        assert!(wrong.message().contains("a new key would not open"), "{wrong}");
        assert!(!dir.path().join(KEY_FILE).exists(), "no key is made beside a vault that it does not open");

        let other = Kek::new(SystemRandom::new().secret().unwrap());
        fs::write(dir.path().join(KEY_FILE), other.to_file().unwrap().as_bytes()).unwrap();
        let wrong = open(&config, Clock::start(), &store).await.unwrap_err();
        assert_eq!(wrong.reason(), crate::error::Reason::VaultKey, "{wrong}");
    }

    #[tokio::test]
    async fn a_place_that_is_none_ends_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.data_dir = dir.path().to_owned();
        let (store, _engine) = memory(Clock::start());
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        config.vault.place = Some(file.join("below").display().to_string());
        let error = open(&config, Clock::start(), &store).await.unwrap_err();
        assert_eq!(error.reason(), crate::error::Reason::VaultUnusable, "{error}");
    }

    /// As after a boot in which the disk of the backups was not mounted.
    #[tokio::test]
    async fn another_vault_or_none_ends_the_start_unless_that_is_meant() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.data_dir = dir.path().to_owned();
        let (store, _engine) = memory(Clock::start());
        let place = |name: &str| Some(dir.path().join(name).display().to_string());
        config.vault.place = place("mount");
        let first = open(&config, Clock::start(), &store).await.unwrap().id();
        fs::rename(dir.path().join("mount"), dir.path().join("moved")).unwrap();

        let gone = open(&config, Clock::start(), &store).await.unwrap_err();
        assert_eq!(gone.reason(), crate::error::Reason::VaultUnusable, "{gone}");
        assert!(gone.message().contains(&first) && gone.message().contains("vault.accept_other"), "{gone}");
        assert!(!dir.path().join("mount/vault.json").exists(), "no vault is begun where one is missed");

        config.vault.place = place("moved");
        assert_eq!(open(&config, Clock::start(), &store).await.unwrap().id(), first, "moved, it is the same");

        config.vault.place = place("new");
        config.vault.accept_other = true;
        let second = open(&config, Clock::start(), &store).await.unwrap().id();
        assert_ne!(first, second);
        config.vault.accept_other = false;
        assert_eq!(
            open(&config, Clock::start(), &store).await.unwrap().id(),
            second,
            "now it is the known one"
        );
        config.vault.place = place("moved");
        let other = open(&config, Clock::start(), &store).await.unwrap_err();
        assert!(other.message().contains(&format!("that is vault {first}")), "{other}");
    }
}
