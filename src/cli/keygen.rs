//! `seaworthy keygen`: makes the key of a vault. What is made is in one file, or on the standard output, and nowhere else.

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::json;

use super::{
    Context,
    exit::Exit,
    failure::Failure,
    output::note,
    private::{self, Existing, Readers},
};
use crate::vault::{Kek, SystemRandom};

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = "\
Without the key nobody reads a backup, its owner neither: keep it elsewhere too. The standard output has the key and nothing \
else.

  seaworthy keygen --out vault.key
  seaworthy keygen | pass insert --multiline seaworthy/vault")]
pub(crate) struct Keygen {
    /// File to write the key to, readable by its owner alone [default: the standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace a file that is there: what its key has encrypted can only be read with a copy of it
    #[arg(long, requires = "out")]
    force: bool,
}

/// Runs it.
pub(super) fn run(flags: &Keygen, context: &mut Context) -> Result<Exit, Failure> {
    let Keygen { out, force } = flags;
    let broken = |cause: crate::vault::Problem| Failure::Internal(format!("cannot make a key: {cause}"));
    let kek = Kek::new(SystemRandom::new().secret().map_err(broken)?);
    let id = kek.id().map_err(broken)?;
    match out {
        Some(file) => {
            write(file, &kek.to_file().map_err(broken)?, *force)?;
            if context.output.is_json() {
                context.output.document(&json!({"key_id": id, "file": file}))?;
            } else {
                context.output.line(format_args!("wrote key {id} to {}", file.display()))?;
            }
            note("keep it elsewhere too: without it nobody reads a backup");
        }
        None => {
            let text = kek.to_text();
            if context.output.is_json() {
                context.output.document(&json!({"key_id": id, "key": *text}))?;
            } else {
                context.output.line(&*text)?;
            }
            note(format_args!("made key {id}; it is not shown again, and without it nobody reads a backup"));
        }
    }
    Ok(Exit::Done)
}

fn write(file: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let existing = if force { Existing::IsReplaced } else { Existing::Stays };
    private::write(file, text.as_bytes(), Readers::Owner, existing).map_err(|cause| {
        let shown = file.display();
        Failure::Usage(match cause.kind() {
            io::ErrorKind::AlreadyExists => format!(
                "{shown} is there already, and is not overwritten: what its key has encrypted could not be read any \
                 more; name another file, or --force replaces it"
            ),
            _ => format!("cannot write {shown}: {cause}"),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::{KeyItself, Secret};

    #[test]
    fn what_is_written_is_read_back_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("vault.key");
        let kek = Kek::new(Secret::new([7; 32]));
        write(&file, &kek.to_file().unwrap(), false).unwrap();
        assert!(KeyItself::from_file(&file).is_ok());
        let refused = write(&file, "x", false).unwrap_err();
        assert_eq!(refused.exit(), Exit::Usage);
        assert!(refused.to_string().contains("--force"), "{refused}");
        write(&file, "x", true).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "x");
    }
}
