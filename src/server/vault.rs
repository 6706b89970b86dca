//! Opens the vault that the configuration names, before anybody is let in: a place that does not keep what it takes, or a key that
//! does not open what is there, ends the start. Where nothing was said of a key, one is made in the data folder, and the start
//! says where it is.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tracing::{info, warn};

use crate::{
    config::Config,
    error::{Error, Result},
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
    let opened = task::blocking("vault open", move || {
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
        let key: Arc<dyn KeySource> = match (&settings.key, &settings.passphrase_file, &settings.key_file) {
            (Some(key), ..) => Arc::new(KeyItself::from_text(&key.0, "vault.key")?),
            (None, Some(file), _) => Arc::new(passphrase(file)?),
            (None, None, Some(file)) => Arc::new(KeyItself::from_file(file)?),
            (None, None, None) => Arc::new(own_key(&data_dir.join(KEY_FILE))?),
        };
        Ok::<_, Problem>(Options { place, key, clock })
    });
    let options = opened.await.map_err(Error::internal)??;
    let place = options.place.url().to_owned();
    let vault = tokio::time::timeout(OPENED_WITHIN, Vault::open(options)).await.map_err(|_| {
        Problem::BadPlace {
            place: place.clone(),
            what: format!("it could not be opened within {} s", OPENED_WITHIN.as_secs()),
        }
    })??;
    info!(component = "vault", operation = "open", place, vault = vault.id(), key = vault.key_id(), "open");
    Ok(vault)
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn passphrase(file: &Path) -> Result<Passphrase, Problem> {
    let place = file.display().to_string();
    let text = fs::read_to_string(file)
        .map_err(|error| Problem::NoKey { place: place.clone(), what: error.to_string() })?;
    Passphrase::new(text.trim_end_matches(['\r', '\n']), place)
}

/// The key in the data folder, made where there is none.
fn own_key(file: &PathBuf) -> Result<KeyItself, Problem> {
    if file.exists() {
        return KeyItself::from_file(file);
    }
    let no_key =
        |error: std::io::Error| Problem::NoKey { place: file.display().to_string(), what: error.to_string() };
    let kek = Kek::new(SystemRandom::new().secret()?);
    let id = kek.id()?;
    write_secret(file, &kek_file(&kek, &id)).map_err(no_key)?;
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

/// What a file with a key says.
fn kek_file(kek: &Kek, id: &str) -> zeroize::Zeroizing<String> {
    zeroize::Zeroizing::new(format!(
        "# Key {id} of a Seaworthy vault. Without it no backup can be restored: keep a copy elsewhere too.\n{}\n",
        *kek.to_text()
    ))
}

/// Writes a file that its owner alone reads, whole or not at all.
fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    // Of mode 0600 from the beginning.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
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
