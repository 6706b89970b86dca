//! `seaworthy vault restore`: a component into a file or to the standard output, or the control plane's own state.

use std::{
    fs,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use serde_json::json;
use tempfile::NamedTempFile;

use super::{
    Where,
    meter::{Meter, rate},
    own_state, pick, wrong,
};
use crate::{
    cli::{
        Context,
        exit::Exit,
        failure::Failure,
        output::{Raw, clean, note},
    },
    task, text,
    vault::{Component, Domain, Purpose, Reader, Vault},
};

/// Its flags.
#[derive(Args, Debug)]
#[command(
    override_usage = "seaworthy vault restore [OPTIONS] SERVICE BACKUP|latest COMPONENT --to FILE|-\n       \
                      seaworthy vault restore [OPTIONS] --control-plane --data-dir DIR [BACKUP|latest]",
    after_help = "\
Every byte is authenticated before it is written. A file is whole and on the disk, or not there at all; it is written beside as \
*.partial, and is readable by its owner alone. Nothing is written through a link: where FILE is one, --overwrite replaces the link \
itself, and what it led to stays as it is.

Exits with 0 where all of it was written, 2 where FILE is there already or cannot be made, 3 where there is no such vault, service, \
backup or component, 4 where the place cannot be reached, 5 where the key does not open it or the backup may not be relied on, and 7 \
where what is read is damaged or missing.

  seaworthy vault restore orders latest database --to orders.db
  seaworthy vault restore orders latest database --to - | sqlite3 check.db
  seaworthy vault restore --control-plane --data-dir ./seaworthy-data"
)]
pub(crate) struct Restore {
    /// Name of the service; with --control-plane the backup, or latest (the default)
    #[arg(value_name = "SERVICE", required_unless_present = "control_plane")]
    service: Option<String>,
    /// Id of the backup, or latest: the newest that can be restored
    #[arg(
        value_name = "BACKUP",
        required_unless_present = "control_plane",
        conflicts_with = "control_plane"
    )]
    backup: Option<String>,
    /// Name of the component
    #[arg(
        value_name = "COMPONENT",
        required_unless_present = "control_plane",
        conflicts_with = "control_plane"
    )]
    component: Option<String>,
    /// The instance that it was taken from, where there are several
    #[arg(long, value_name = "INSTANCE", conflicts_with = "control_plane")]
    instance: Option<String>,
    /// File to write; - for the standard output
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "control_plane",
        conflicts_with = "control_plane"
    )]
    to: Option<PathBuf>,
    /// Replace a file that is there, at one moment; of a link the link itself, never what it leads to
    #[arg(long, conflicts_with = "control_plane")]
    overwrite: bool,
    /// Restore the control plane's own state into a data folder without a store
    #[arg(long, requires = "data_dir")]
    control_plane: bool,
    /// The data folder, with --control-plane
    #[arg(long, value_name = "DIR", requires = "control_plane")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    at: Where,
}

/// Runs it.
pub(super) async fn run(flags: Restore, context: &mut Context) -> Result<Exit, Failure> {
    let Restore { service, backup, component, instance, to, overwrite, control_plane: _, data_dir, at } =
        flags;
    if let Some(dir) = data_dir {
        let backup = service.unwrap_or_else(|| pick::LATEST.to_owned());
        return own_state::run(&dir, &backup, at, context).await;
    }
    let (Some(service), Some(backup), Some(component), Some(to)) = (service, backup, component, to) else {
        return Err(Failure::Usage(
            "name the service, the backup, the component, and the file with --to".to_owned(),
        ));
    };
    let is_stdout = to == Path::new("-");
    if is_stdout && io::stdout().is_terminal() {
        return Err(Failure::Usage("the standard output is a terminal: name a file with --to".to_owned()));
    }
    // Told before anything is read; what counts is the last step.
    if !is_stdout && !overwrite && fs::symlink_metadata(&to).is_ok() {
        return Err(is_there(&to));
    }
    let vault = at.open(context).await?;
    let domain = pick::service(&vault, &service).await?;
    let found = pick::backup(&vault, &domain, &backup).await?;
    let component = pick::component(&found.manifest, &component, instance.as_deref())?;
    let what = clean(&format!("{service}/{}/{}", component.instance, component.name));
    let meter = Meter::new(what.clone(), context)?;
    if is_stdout {
        to_stdout(&vault, &domain, component, &meter).await?;
    } else {
        to_file(&vault, &domain, component, &meter, &to, overwrite).await?;
    }
    let took = meter.took();
    drop(meter);
    let said = Said { what, backup: found.manifest.id().to_string(), bytes: component.bytes, took };
    said.tell(&to, is_stdout, context)?;
    Ok(Exit::Done)
}

/// What was restored.
struct Said {
    what: String,
    backup: String,
    bytes: u64,
    took: Duration,
}

impl Said {
    fn tell(&self, to: &Path, is_stdout: bool, context: &mut Context) -> Result<(), Failure> {
        let Self { what, backup, bytes: size, took } = self;
        if context.output.is_json() && !is_stdout {
            let seconds = took.as_secs_f64();
            let document =
                json!({"component": what, "backup": backup, "file": to, "bytes": size, "seconds": seconds});
            return context.output.document(&document);
        }
        let line = format!(
            "restored {what} from backup {backup} to {}: {} in {:.1}s, {}, every byte verified",
            to.display(),
            text::bytes(*size),
            took.as_secs_f64(),
            rate(*size, *took),
        );
        if is_stdout {
            note(line);
            return Ok(());
        }
        context.output.line(line)
    }
}

/// Hands every byte of a component on, in order.
pub(super) async fn read(
    vault: &Vault,
    domain: &Domain,
    component: &Component,
    meter: &Meter,
    mut take: impl AsyncFnMut(Bytes) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let operation = vault.new_id().map_err(|problem| wrong(&problem))?;
    let reader =
        Reader::open(vault, domain, operation, Purpose::Restore).await.map_err(|problem| wrong(&problem))?;
    if let Some(problem) = reader.unseen() {
        note(format_args!(
            "warning: the vault takes no writes, so nobody who prunes knows of this restore; let nothing be pruned until it is \
             done: {problem}"
        ));
    }
    let read = async {
        let mut reading = reader.read(component, 0).map_err(|problem| wrong(&problem))?;
        let mut done = 0;
        while let Some(piece) = reading.next().await.map_err(|problem| wrong(&problem))? {
            done += piece.len() as u64;
            take(piece).await?;
            meter.at(done, component.bytes);
        }
        if done != component.bytes {
            let cause =
                format!("component {} has {} bytes, and {done} were read", component.name, component.bytes);
            return Err(Failure::Vault { exit: Exit::Failed, cause });
        }
        Ok(())
    };
    let ended = read.await;
    reader.close().await;
    ended
}

/// Writes on a thread that may block: whoever reads slowly, or a disk that hangs, keeps nobody from ending it.
async fn write(work: impl FnOnce() -> Result<(), Failure> + Send + 'static) -> Result<(), Failure> {
    let written = task::blocking("restore write", work).await;
    written.map_err(|ended| Failure::Internal(ended.to_string()))?
}

async fn to_stdout(
    vault: &Vault,
    domain: &Domain,
    component: &Component,
    meter: &Meter,
) -> Result<(), Failure> {
    let cut = |failure: Failure| match failure {
        // Half of it is no restore, whoever has stopped reading.
        Failure::PipeClosed => {
            Failure::Internal("nobody reads the standard output any more; it is not whole".to_owned())
        }
        failure => failure,
    };
    let output = Raw::open()?;
    let take = async |piece: Bytes| {
        let output = output.clone();
        write(move || output.write(&piece).map_err(cut)).await
    };
    read(vault, domain, component, meter, take).await
}

async fn to_file(
    vault: &Vault,
    domain: &Domain,
    component: &Component,
    meter: &Meter,
    to: &Path,
    overwrite: bool,
) -> Result<(), Failure> {
    let cannot =
        |to: &Path, cause: io::Error| Failure::Internal(format!("cannot write {}: {cause}", to.display()));
    let (file, place) = (beside(to)?, to.to_owned());
    let handle = file.as_file().try_clone().map_err(|cause| cannot(to, cause))?;
    let shared = Arc::new((handle, place.clone()));
    let take = async |piece: Bytes| {
        let shared = Arc::clone(&shared);
        write(move || {
            let (handle, place) = &*shared;
            let mut handle: &fs::File = handle;
            handle.write_all(&piece).map_err(|cause| cannot(place, cause))
        })
        .await
    };
    read(vault, domain, component, meter, take).await?;
    write(move || {
        settle(file, &place, overwrite).map_err(|cause| match cause.kind() {
            io::ErrorKind::AlreadyExists => is_there(&place),
            _ => cannot(&place, cause),
        })
    })
    .await
}

fn folder(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// A file beside, which is gone once this is dropped.
fn beside(to: &Path) -> Result<NamedTempFile, Failure> {
    let wrong = |cause: String| Failure::Usage(format!("cannot write {}: {cause}", to.display()));
    let name = to.file_name().ok_or_else(|| wrong("it is no name of a file".to_owned()))?;
    let mut prefix = name.to_owned();
    prefix.push(".");
    let made = tempfile::Builder::new().prefix(&prefix).suffix(".partial").tempfile_in(folder(to));
    made.map_err(|cause| wrong(cause.to_string()))
}

/// Puts it in its place, once it is on the disk.
fn settle(file: NamedTempFile, to: &Path, overwrite: bool) -> io::Result<()> {
    file.as_file().sync_all()?;
    let placed = if overwrite { file.persist(to) } else { file.persist_noclobber(to) };
    placed.map_err(|failed| failed.error)?;
    fs::File::open(folder(to))?.sync_all()
}

fn is_there(file: &Path) -> Failure {
    let shown = file.display();
    Failure::Usage(format!("{shown} is there already; name another file, or --overwrite replaces it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_or_not_there_and_stays_unless_meant() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("orders.db");
        let mut file = beside(&to).unwrap();
        let name = file.path().file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.starts_with("orders.db.") && name.ends_with(".partial"), "{name}");
        file.write_all(b"one").unwrap();
        drop(file);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        for (text, overwrite, expected) in
            [("one", false, true), ("two", false, false), ("three", true, true)]
        {
            let mut file = beside(&to).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            assert_eq!(settle(file, &to, overwrite).is_ok(), expected, "{text}");
        }
        assert_eq!(fs::read_to_string(&to).unwrap(), "three");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn nothing_is_written_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (elsewhere, to) = (dir.path().join("elsewhere"), dir.path().join("orders.db"));
        for target in [&elsewhere, &dir.path().join("nowhere")] {
            fs::write(&elsewhere, "kept").unwrap();
            std::os::unix::fs::symlink(target, &to).unwrap();
            let refused = settle(beside(&to).unwrap(), &to, false).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
            let mut file = beside(&to).unwrap();
            file.write_all(b"restored").unwrap();
            settle(file, &to, true).unwrap();
            assert!(fs::symlink_metadata(&to).unwrap().is_file(), "the link itself is replaced");
            assert_eq!(fs::read_to_string(&to).unwrap(), "restored");
            assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "kept");
            assert!(!dir.path().join("nowhere").exists());
            fs::remove_file(&to).unwrap();
        }
    }
}
