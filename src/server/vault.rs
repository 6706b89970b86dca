//! Opens the vault that the configuration names, before anybody is let in: a place that does not keep what it takes, or a key that
//! does not open what is there, ends the start. Where nothing was said of a key and there is no vault yet, one is made in the data
//! folder, and the start says where it is; beside a vault that is there none is made, since it would not open it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tracing::{info, warn};

use crate::{
    config::Config,
    error::{Error, Result},
    private::{self, Existing, Readers},
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

/// Opens the vault.
///
/// # Errors
/// The key cannot be had, the place does not keep what it takes, or the key does not open what is there.
pub(super) async fn open(config: &Config, clock: Clock) -> Result<Vault> {
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
        let key = match key {
            Some(key) => key,
            None => first_key(&place, own_key).await?,
        };
        Ok::<_, Error>(Vault::open(Options { place, key, clock }).await?)
    };
    let vault = tokio::time::timeout(OPENED_WITHIN, opened).await.map_err(|_| Problem::BadPlace {
        place: url.clone(),
        what: format!("it could not be opened within {} s", OPENED_WITHIN.as_secs()),
    })??;
    let place = url;
    info!(component = "vault", operation = "open", place, vault = vault.id(), key = vault.key_id(), "open");
    Ok(vault)
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

    #[tokio::test]
    async fn a_key_is_made_once_and_a_wrong_one_ends_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.data_dir = dir.path().to_owned();
        let first = open(&config, Clock::start()).await.unwrap();
        let again = open(&config, Clock::start()).await.unwrap();
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
        let wrong = open(&config, Clock::start()).await.unwrap_err();
        assert_eq!(wrong.reason(), crate::error::Reason::VaultKey, "{wrong}");
        assert!(wrong.message().contains("a new key would not open"), "{wrong}");
        assert!(!dir.path().join(KEY_FILE).exists(), "no key is made beside a vault that it does not open");
    }

    #[tokio::test]
    async fn a_place_that_is_none_ends_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.data_dir = dir.path().to_owned();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        config.vault.place = Some(file.join("below").display().to_string());
        let error = open(&config, Clock::start()).await.unwrap_err();
        assert_eq!(error.reason(), crate::error::Reason::VaultUnusable, "{error}");
    }
}
