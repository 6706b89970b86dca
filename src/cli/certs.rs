//! `seaworthy certs`: a small authority and its certificates, for trying out and for small installations. Files alone:
//! no control plane is asked.
//!
//! Who has an authority already uses that, and needs nothing from here but `show`.

mod authority;
pub(crate) mod facts;
mod init;
mod issue;
mod revocation;
mod revoke;
mod show;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{
    Context,
    exit::Exit,
    failure::Failure,
    private::{self, Existing, Readers},
};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make an authority: ca.pem, which everybody trusts, and ca.key, which nobody else may have
    Init(init::Init),
    /// Issue a certificate with its key, for a server, for a service or for somebody with a role
    #[command(subcommand)]
    Issue(issue::Issue),
    /// Show certificates and revocation lists from files in PEM; keys are never shown
    Show(show::Show),
    /// Revoke certificates, and renew the revocation list: crl.pem
    Revoke(revoke::Revoke),
}

/// Where the authority is.
#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    /// Folder of the authority
    #[arg(long, value_name = "FOLDER", default_value = "./seaworthy-certs")]
    dir: PathBuf,
}

/// Runs one.
pub(crate) fn run(command: Command, context: &mut Context) -> Result<Exit, Failure> {
    match command {
        Command::Init(command) => init::run(command, context),
        Command::Issue(command) => issue::run(command, context),
        Command::Show(command) => show::run(&command, context),
        Command::Revoke(command) => revoke::run(&command, context),
    }
}

/// Writes one of the files that are made here.
fn write(path: &Path, text: &str, readers: Readers, existing: Existing) -> Result<(), Failure> {
    private::write(path, text.as_bytes(), readers, existing).map_err(|cause| match cause.kind() {
        std::io::ErrorKind::AlreadyExists => is_there(path),
        _ => Failure::Usage(format!("cannot write {}: {cause}", path.display())),
    })
}

fn is_there(path: &Path) -> Failure {
    Failure::Usage(format!("{} is there already, and is not overwritten", path.display()))
}

fn cannot(what: &str, cause: impl std::fmt::Display) -> Failure {
    Failure::Internal(format!("cannot {what}: {cause}"))
}
