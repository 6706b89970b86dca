//! `seaworthy certs revoke`.

use std::{fs, path::PathBuf};

use clap::Args;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::{Place, authority::Authority, authority::first, facts::Facts, revocation};
use crate::cli::{Context, exit::Exit, failure::Failure, output::note};

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = "\
Servers with `tls.crl_file` read crl.pem again as soon as it changes: copy it to them. Without a file the list is only
signed anew.")]
pub(crate) struct Revoke {
    /// Certificates of this authority, in PEM
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    place: Place,
}

/// Runs it.
pub(super) fn run(flags: &Revoke, context: &mut Context) -> Result<Exit, Failure> {
    let dir = &flags.place.dir;
    let authority = Authority::open(dir)?;
    let mut serials = Vec::new();
    for file in &flags.files {
        let wrong = |why: &str| Failure::Usage(format!("{} {why}", file.display()));
        let pem = fs::read_to_string(file).map_err(|cause| wrong(&format!("cannot be read: {cause}")))?;
        let der = first(&pem).ok_or_else(|| wrong("has no certificate in PEM"))?;
        if !issued_by(&der, &authority) {
            return Err(wrong(&format!("was not issued by the authority in {}", dir.display())));
        }
        serials.push(Facts::of(&der).map_err(|why| wrong(&why))?.serial);
    }
    let now = context.clock.now().wall;
    let new = if serials.is_empty() { Vec::new() } else { revocation::add(dir, &serials, now)? };
    let list = revocation::publish(&authority, dir, now)?;
    if context.output.is_json() {
        context.output.document(&serde_json::json!({"revoked": new, "list_file": list}))?;
        return Ok(Exit::Done);
    }
    for serial in &serials {
        let was = if new.contains(serial) { "revoked" } else { "was revoked before:" };
        context.output.line(format_args!("{was} {serial}"))?;
    }
    note(format_args!("signed {}; servers have to be given it (tls.crl_file)", list.display()));
    Ok(Exit::Done)
}

/// Whether the authority has signed it.
fn issued_by(der: &[u8], authority: &Authority) -> bool {
    let (Ok((_, certificate)), Ok((_, issuer))) =
        (X509Certificate::from_der(der), X509Certificate::from_der(&authority.der))
    else {
        return false;
    };
    certificate.issuer().as_raw() == issuer.subject().as_raw()
        && certificate.verify_signature(Some(issuer.public_key())).is_ok()
}
