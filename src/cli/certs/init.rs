//! `seaworthy certs init`.

use std::time::Duration;

use clap::Args;

use super::{Place, authority, is_there, revocation, write};
use crate::cli::{
    Context,
    args::value,
    exit::Exit,
    failure::Failure,
    output::note,
    private::{self, Existing, Readers},
};

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = "\
ca.pem is what servers and clients trust; copy it to both. ca.key issues certificates and belongs to no server: whoever
has it can be anybody. An authority that is there is never overwritten.")]
pub(crate) struct Init {
    #[command(flatten)]
    place: Place,
    /// Trust domain of the SPIFFE ids that it issues: the one of `auth.trust_domain`
    #[arg(long, value_name = "NAME", default_value = "seaworthy.local", value_parser = trust_domain)]
    trust_domain: String,
    /// How long it counts, with its unit; every certificate of it ends earlier
    #[arg(long, value_name = "TIME", default_value = "5y", value_parser = value::lifetime)]
    lifetime: Duration,
}

/// Runs it.
pub(super) fn run(flags: Init, context: &mut Context) -> Result<Exit, Failure> {
    let Init { place: Place { dir }, trust_domain, lifetime } = flags;
    private::make_folder(&dir)
        .map_err(|cause| Failure::Usage(format!("cannot make the folder {}: {cause}", dir.display())))?;
    let (certificate, key) = (dir.join(authority::CERTIFICATE), dir.join(authority::KEY));
    if let Some(there) = [&certificate, &key].into_iter().find(|path| path.exists()) {
        return Err(is_there(there));
    }
    let now = context.clock.now().wall;
    let made = authority::make(&trust_domain, lifetime, now)?;
    write(&key, &made.key, Readers::Owner, Existing::Stays)?;
    write(&certificate, &made.certificate, Readers::Everybody, Existing::Stays)?;
    let opened = authority::Authority::open(&dir)?;
    // Nobody is on it; a server can be told of it from the beginning.
    revocation::publish(&opened, &dir, now)?;
    if context.output.is_json() {
        context.output.document(&opened.facts)?;
        return Ok(Exit::Done);
    }
    context.output.table(&opened.facts.table(now))?;
    let shown = dir.display();
    note(format_args!(
        "\nmade an authority in {shown}: ca.pem is to be trusted, ca.key to be kept, crl.pem has who is revoked\n\
         next:\n  seaworthy certs issue server --dir {shown}\n  seaworthy certs issue role admin NAME --dir {shown}\n  \
         seaworthy certs issue service NAME --dir {shown}"
    ));
    Ok(Exit::Done)
}

/// As `auth.trust_domain` has it (SPIFFE-ID 2.1).
fn trust_domain(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    if (1..=255).contains(&text.len()) && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    Err("write lower-case letters, digits, `.`, `-` and `_`, like prod.example.org".to_owned())
}
