//! Where the key of a vault comes from on the command line: a file, the environment, a file with a passphrase. What it is
//! stays here and in the engine; nothing prints it.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use zeroize::Zeroizing;

use super::{absolute, wrong};
use crate::{
    cli::{failure::Failure, output::note},
    private::exposed,
    vault::{Kdf, Kek, KeyItself, KeySource, Passphrase},
};

/// The variable with a key. No flag: what runs with which arguments is seen by everybody on a machine.
const KEY: &str = "SEAWORTHY_VAULT_KEY";
const KEY_FILE: &str = "SEAWORTHY_VAULT_KEY_FILE";
pub(super) const PASSPHRASE_FILE: &str = "SEAWORTHY_VAULT_PASSPHRASE_FILE";
/// Where a control plane with defaults keeps it.
const USUAL: &str = "./seaworthy-data/vault.key";

/// Which key.
#[derive(Args, Debug)]
pub(crate) struct Key {
    /// File with the key [default: the key itself in SEAWORTHY_VAULT_KEY, else the file in SEAWORTHY_VAULT_KEY_FILE, else
    /// ./seaworthy-data/vault.key]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl Key {
    /// What opens a vault: the key, or the passphrase that was named. What is in the environment is asked in the order in which
    /// the control plane does.
    pub(super) fn or_passphrase(&self, file: Option<PathBuf>) -> Result<Arc<dyn KeySource>, Failure> {
        let by_variable = || variable(PASSPHRASE_FILE).map(PathBuf::from);
        let by_variable = || by_variable().filter(|_| self.key_file.is_none() && variable(KEY).is_none());
        match file.or_else(by_variable) {
            Some(file) => {
                let phrase = Passphrase::from_file(&file).map_err(|problem| wrong(&problem))?;
                warn_if_exposed(&file);
                Ok(Arc::new(phrase))
            }
            None => Ok(Arc::new(self.source()?)),
        }
    }

    /// The variable by which a control plane with this data folder finds the same key, with a space behind it; empty where it
    /// does by itself.
    pub(super) fn variable(&self, data_dir: &Path) -> String {
        let file = match &self.key_file {
            Some(file) => file.clone(),
            // The environment is that of the control plane too.
            None if [KEY, KEY_FILE, PASSPHRASE_FILE].into_iter().any(|name| variable(name).is_some()) => {
                return String::new();
            }
            None => PathBuf::from(USUAL),
        };
        if absolute(&file) == absolute(&data_dir.join("vault.key")) {
            return String::new();
        }
        format!("{KEY_FILE}='{}' ", absolute(&file).display())
    }

    fn source(&self) -> Result<KeyItself, Failure> {
        match (&self.key_file, variable(KEY), variable(KEY_FILE)) {
            (Some(file), ..) => from_file(file),
            (None, Some(text), _) => {
                let text = Zeroizing::new(text.into_string().unwrap_or_default());
                KeyItself::from_text(&text, KEY).map_err(|problem| wrong(&problem))
            }
            (None, None, Some(file)) => from_file(Path::new(&file)),
            (None, None, None) => from_file(Path::new(USUAL)),
        }
    }

    /// The key itself.
    pub(crate) fn itself(&self) -> Result<Kek, Failure> {
        let kek = self.source()?.kek(&Kdf::AsItIs).map_err(|problem| wrong(&problem))?;
        kek.ok_or_else(|| Failure::Internal("a key that is kept as it is was not given".to_owned()))
    }
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn from_file(file: &Path) -> Result<KeyItself, Failure> {
    let key = KeyItself::from_file(file).map_err(|problem| wrong(&problem))?;
    warn_if_exposed(file);
    Ok(key)
}

fn warn_if_exposed(file: &Path) {
    if let Some(mode) = fs::metadata(file).ok().as_ref().and_then(exposed) {
        let shown = file.display();
        note(format_args!(
            "warning: others can read or change {shown} (mode {mode:03o}); run: chmod 600 '{shown}'"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::exit::Exit, vault::Secret};

    #[test]
    fn a_file_gives_its_key_and_one_that_is_not_there_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("vault.key");
        let missing = Key { key_file: Some(file.clone()) }.itself().unwrap_err();
        assert_eq!(missing.exit(), Exit::Usage);
        assert!(missing.to_string().contains("--key-file"), "{missing}");
        let kek = Kek::new(Secret::new([3; 32]));
        fs::write(&file, &*kek.to_text()).unwrap();
        let read = Key { key_file: Some(file) }.itself().unwrap();
        assert_eq!(read.id().unwrap(), kek.id().unwrap());
    }
}
