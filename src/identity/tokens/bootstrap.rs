//! The token that a start makes where no admin's token counts: without one nobody could make any.
//!
//! Its secret is written to a file that only its owner can read, before the token counts: a crash between the two
//! leaves a file that opens nothing, and the next start makes another. Whoever can read the file could change the
//! store as well, so that it gives no power that its reader has not got. Where it cannot be made the control plane goes on all
//! the same, for those who prove who they are otherwise.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use tracing::warn;

use super::{Power, Service, Token, Wanted};
use crate::{
    error::{Error, Kind, Reason, Result},
    id::BearerToken,
    identity::Role,
    task,
};

/// What it is called, and who made it.
const NAME: &str = "bootstrap";
/// How long it counts: long enough to make others, and not so long that it is forgotten.
const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// Makes it, unless an admin's token counts.
///
/// # Errors
/// The file or the store cannot be written.
pub(super) async fn provide(service: &Service, file: PathBuf) -> Result<()> {
    let shared = &service.handle.shared;
    let admins = |token: &Token| token.power == Power::Role(Role::Admin);
    if shared.table.read().any(shared.clock.now().wall, admins) {
        return Ok(());
    }
    let secret = service.entropy.bearer_token()?;
    let (path, copy) = (file.clone(), secret.clone());
    let written = task::blocking("bootstrap token", move || write(&path, &copy)).await;
    written.map_err(Error::internal)?.map_err(|cause| unwritable(&file, cause))?;
    let power = Power::Role(Role::Admin);
    let wanted = Wanted { name: free_name(service), power, lifetime: LIFETIME, creator: NAME.to_owned() };
    service.write_new(wanted, &secret).await?;
    warn!(
        component = "identity",
        operation = "start",
        file = %file.display(),
        "no admin's token counts, so that one was made, which counts for 7 days; make tokens of your own with it, then revoke it"
    );
    Ok(())
}

/// Its name, which somebody may have given to a token of another role.
fn free_name(service: &Service) -> String {
    let shared = &service.handle.shared;
    let (table, now) = (shared.table.read(), shared.clock.now().wall);
    let mut names = std::iter::once(NAME.to_owned()).chain((2_u32..).map(|n| format!("{NAME}-{n}")));
    names.find(|name| table.named(name, now).is_none()).unwrap_or_else(|| NAME.to_owned())
}

/// Writes the file whole, and for its owner alone from its first byte on.
fn write(file: &Path, secret: &BearerToken) -> io::Result<()> {
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    // One that was left by a crash has the rights that somebody may have given it meanwhile.
    match fs::remove_file(&part) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut open = options.open(&part)?;
    open.write_all(format!("{}\n", secret.reveal()).as_bytes())?;
    open.sync_all()?;
    fs::rename(&part, file)?;
    // Its name, too: a token that counts and that nobody has would keep another one from being made.
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

fn unwritable(file: &Path, cause: io::Error) -> Error {
    let file = file.display();
    let message = format!("cannot write the first admin's token to {file} (auth.bootstrap_file): {cause}");
    Error::new(Kind::FailedPrecondition, Reason::DataDirUnusable, message).because(cause)
}
