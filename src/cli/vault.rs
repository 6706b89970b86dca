//! `seaworthy vault`: a vault without any server, by its bucket and its key alone. No control plane is asked, and none has to be
//! there: it is the way back when nothing else is left.

pub(crate) mod key;
mod list;
mod meter;
mod own_state;
mod pick;
mod rebuild;
mod restore;
mod verify;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use self::key::Key;
use super::{
    Context,
    exit::Exit,
    failure::Failure,
    follow::{until_interrupted, until_told},
};
use crate::vault::{Listed, Options, Place, Problem, Vault};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List services and their backups
    List(list::List),
    /// Look whether backups could be restored; exits with 7 if something is wrong
    Verify(verify::Verify),
    /// Restore a component into a file, or the control plane's own state into a new data folder
    Restore(Box<restore::Restore>),
    /// Read every manifest and every note, and say what there is: the catalog is nothing but these, read when it is needed,
    /// so this shows that it can be made from the bucket alone; exits with 7 if something is wrong
    RebuildCatalog(rebuild::Rebuild),
}

/// Which vault, and what opens it.
#[derive(Args, Debug)]
#[command(next_help_heading = "Vault: flag, else environment, as `seaworthy serve` reads it, else default")]
struct Where {
    /// Folder or URL of the vault: s3://bucket/prefix, gs://..., az://..., file:///...
    #[arg(
        long,
        value_name = "PLACE",
        env = "SEAWORTHY_VAULT_PLACE",
        hide_env_values = true,
        default_value = "./seaworthy-data/vault"
    )]
    vault: String,
    /// A setting of the object store by its usual name, for example aws_region=eu-west-1; can be repeated. What is in
    /// variables of these names counts too (AWS_..., AZURE_..., GOOGLE_..., by the kind of the URL), and is the place for
    /// credentials
    #[arg(
        long = "vault-option",
        value_name = "NAME=VALUE",
        env = "SEAWORTHY_VAULT_OPTIONS",
        hide_env_values = true,
        value_delimiter = ',',
        value_parser = setting
    )]
    options: Vec<(String, String)>,
    #[command(flatten)]
    key: Key,
    /// File with the passphrase of the vault, instead of a key [default: that in SEAWORTHY_VAULT_PASSPHRASE_FILE]
    #[arg(long, value_name = "FILE", conflicts_with = "key_file")]
    passphrase_file: Option<PathBuf>,
}

/// Runs one.
pub(crate) async fn run(command: Command, context: &mut Context) -> Result<Exit, Failure> {
    let work = async {
        match command {
            Command::List(command) => list::run(command, context).await,
            Command::Verify(command) => verify::run(command, context).await,
            Command::Restore(command) => restore::run(*command, context).await,
            Command::RebuildCatalog(command) => rebuild::run(command, context).await,
        }
    };
    // What is half done is taken away as it is dropped.
    until_told(until_interrupted(Box::pin(work))).await
}

impl Where {
    /// The variables by which a control plane with this data folder finds the same vault and the same key, each with a space
    /// behind it. Options may be secret: whoever has set them knows them.
    fn variables(&self, data_dir: &Path) -> String {
        let place = match folder(&self.vault) {
            Some(folder) if absolute(folder) == absolute(&data_dir.join("vault")) => String::new(),
            Some(folder) => format!("SEAWORTHY_VAULT_PLACE='{}' ", absolute(folder).display()),
            None => format!("SEAWORTHY_VAULT_PLACE='{}' ", self.vault),
        };
        let key = match &self.passphrase_file {
            Some(file) => format!("{}='{}' ", key::PASSPHRASE_FILE, absolute(file).display()),
            None => self.key.variable(data_dir),
        };
        format!("{place}{key}")
    }

    /// Opens the vault to read it.
    async fn open(self, context: &Context) -> Result<Vault, Failure> {
        let Self { vault, options, key, passphrase_file } = self;
        if let Some(folder) = folder(&vault)
            && !folder.is_dir()
        {
            return Err(nothing_at(&vault));
        }
        let key = key.or_passphrase(passphrase_file)?;
        let place = Place::open(&vault, &options).map_err(|problem| wrong(&problem))?;
        match Vault::open_existing(Options { place, key, clock: context.clock }).await {
            Err(Problem::Missing { object }) if object == "vault.json" => Err(nothing_at(&vault)),
            opened => opened.map_err(|problem| wrong(&problem)),
        }
    }
}

/// The hash of the manifest of a backup, as people compare it.
fn hash(listed: &Listed) -> String {
    blake3::Hash::from_bytes(listed.hash).to_hex().to_string()
}

fn absolute(path: &Path) -> PathBuf {
    // Links are followed as far as it is there, so that one place has one name.
    let named = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    named.canonicalize().unwrap_or(named)
}

/// The folder that a place names. None: it is elsewhere.
fn folder(place: &str) -> Option<&Path> {
    match place.strip_prefix("file://") {
        Some(folder) => Some(Path::new(folder)),
        None => (!place.contains("://")).then(|| Path::new(place)),
    }
}

fn nothing_at(place: &str) -> Failure {
    let cause = format!("there is no vault at {place}; name its folder or URL with --vault");
    Failure::Vault { exit: Exit::NotFound, cause }
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.trim().split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE, for example aws_region=eu-west-1".to_owned()),
    }
}

/// What a problem of the engine means for whoever asked.
pub(crate) fn wrong(problem: &Problem) -> Failure {
    let exit = match problem {
        Problem::Missing { .. } | Problem::Damaged { .. } | Problem::Taken { .. } => Exit::Failed,
        Problem::TooNew { .. } | Problem::WrongKey { .. } | Problem::Condemned { .. } => Exit::Refused,
        Problem::NoKey { .. } | Problem::BadPlace { .. } => Exit::Usage,
        Problem::Place { .. } => Exit::Unreachable,
        Problem::GivenUp | Problem::Internal(_) => Exit::Internal,
    };
    let hint = match problem {
        Problem::WrongKey { .. } | Problem::NoKey { .. } => {
            "; name the file of its key with --key-file, or of its passphrase with --passphrase-file"
        }
        _ => "",
    };
    Failure::Vault { exit, cause: format!("{problem}{hint}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_folders_or_urls() {
        for (place, expected) in [
            ("./data/vault", Some("./data/vault")),
            ("file:///var/vault", Some("/var/vault")),
            ("s3://bucket/prefix", None),
        ] {
            assert_eq!(folder(place), expected.map(Path::new), "{place}");
        }
    }

    #[test]
    fn settings_have_a_name() {
        assert_eq!(setting("aws_region=a=b"), Ok(("aws_region".to_owned(), "a=b".to_owned())));
        assert!(setting("aws_region").is_err() && setting("=x").is_err());
    }

    #[test]
    fn what_is_wrong_has_an_exit_code_and_a_hint() {
        let key = wrong(&Problem::WrongKey { what: "it has another id".to_owned() });
        assert_eq!(key.exit(), Exit::Refused);
        assert!(key.to_string().contains("--key-file"), "{key}");
        assert_eq!(wrong(&Problem::damaged("packs/x", "is short")).exit(), Exit::Failed);
    }
}
