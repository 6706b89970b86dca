//! `seaworthy certs issue`.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand};
use rcgen::SanType;
use rustls::pki_types::DnsName;
use serde::Serialize;

use super::{
    Place,
    authority::{Authority, Purpose, Subject, first, uri},
    cannot,
    facts::{Facts, shown},
    is_there, write,
};
use crate::{
    cli::{
        Context,
        args::value,
        exit::Exit,
        failure::Failure,
        output::{Text, note, table::Table},
        private::{Existing, Readers},
    },
    fleet::names::ServiceName,
    identity::Role,
};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Longest that a certificate may count: programs of others refuse more of a server.
const LONGEST: Duration = DAY.saturating_mul(825);
const OF_A_SERVER: Duration = DAY.saturating_mul(90);
const OF_A_CLIENT: Duration = DAY.saturating_mul(30);

/// Who a certificate is for.
#[derive(Debug, Subcommand)]
pub(crate) enum Issue {
    /// For a server: server.pem and server.key, for 90 days
    Server(Server),
    /// For the instances of a service: service-NAME.pem and .key, for 30 days; proves spiffe://DOMAIN/service/NAME
    Service(Service),
    /// For a person or program with a role: ROLE-NAME.pem and .key, for 30 days; proves
    /// spiffe://DOMAIN/role/ROLE/NAME
    Role(OfRole),
}

/// How it is issued.
#[derive(Args, Debug)]
struct How {
    #[command(flatten)]
    place: Place,
    /// How long it counts, with its unit: 12h, 30d [default: 90d for a server, 30d for others]
    #[arg(long, value_name = "TIME", value_parser = value::lifetime)]
    lifetime: Option<Duration>,
    /// Folder for the certificate and its key [default: that of the authority]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Replace files that are there: first the key, then the certificate, each at one moment
    #[arg(long)]
    force: bool,
}

/// For a server.
#[derive(Args, Debug)]
pub(crate) struct Server {
    /// DNS name or IP address by which clients call it; can be repeated [default: localhost, 127.0.0.1, ::1 and the
    /// name of this machine]
    #[arg(long = "name", value_name = "NAME", value_parser = server_name)]
    names: Vec<String>,
    #[command(flatten)]
    how: How,
}

/// For a service.
#[derive(Args, Debug)]
pub(crate) struct Service {
    /// Name of the service
    #[arg(value_name = "SERVICE", value_parser = service_name)]
    name: String,
    #[command(flatten)]
    how: How,
}

/// For somebody with a role.
#[derive(Args, Debug)]
pub(crate) struct OfRole {
    /// What its holder may do
    #[arg(value_name = "ROLE", value_parser = clap::builder::PossibleValuesParser::new(Role::ALL.map(Role::as_str)))]
    role: String,
    /// What its holder is called
    #[arg(value_name = "NAME", value_parser = holder)]
    name: String,
    #[command(flatten)]
    how: How,
}

/// What was issued, as programs read it.
#[derive(Serialize)]
struct Issued {
    certificate_file: PathBuf,
    key_file: PathBuf,
    certificate: Facts,
}

/// Runs it.
pub(super) fn run(command: Issue, context: &mut Context) -> Result<Exit, Failure> {
    match command {
        Issue::Server(Server { names, how }) => {
            let names = if names.is_empty() { usual_names() } else { names };
            let authority = Authority::open(&how.place.dir)?;
            let proves = names.iter().map(|name| server_san(name)).collect::<Result<_, _>>()?;
            let name = names.first().cloned().unwrap_or_default();
            let subject = Subject { name, proves, purpose: Purpose::Server };
            issue(&authority, subject, "server", &how, OF_A_SERVER, context)?;
        }
        Issue::Service(Service { name, how }) => {
            let authority = Authority::open(&how.place.dir)?;
            let proves = vec![spiffe(&authority, &format!("service/{name}"))?];
            let subject = Subject { name: name.clone(), proves, purpose: Purpose::Client };
            issue(&authority, subject, &format!("service-{name}"), &how, OF_A_CLIENT, context)?;
        }
        Issue::Role(OfRole { role, name, how }) => {
            let authority = Authority::open(&how.place.dir)?;
            let proves = vec![spiffe(&authority, &format!("role/{role}/{name}"))?];
            let subject = Subject { name: name.clone(), proves, purpose: Purpose::Client };
            issue(&authority, subject, &format!("{role}-{name}"), &how, OF_A_CLIENT, context)?;
        }
    }
    Ok(Exit::Done)
}

fn issue(
    authority: &Authority,
    subject: Subject,
    base: &str,
    how: &How,
    usual: Duration,
    context: &mut Context,
) -> Result<(), Failure> {
    let lifetime = how.lifetime.unwrap_or(usual);
    if lifetime > LONGEST {
        return Err(Failure::Usage(
            "a certificate may count for 825d at the most; renew it instead".to_owned(),
        ));
    }
    let folder = how.out.as_ref().unwrap_or(&how.place.dir);
    if !folder.is_dir() {
        return Err(Failure::Usage(format!("there is no folder {}; make it first", folder.display())));
    }
    let (certificate, key) = (folder.join(format!("{base}.pem")), folder.join(format!("{base}.key")));
    let existing = if how.force { Existing::IsReplaced } else { Existing::Stays };
    if let (Existing::Stays, Some(there)) =
        (existing, [&certificate, &key].into_iter().find(|path| path.exists()))
    {
        let Failure::Usage(why) = is_there(there) else { return Err(is_there(there)) };
        return Err(Failure::Usage(format!("{why}; --force replaces it")));
    }
    let now = context.clock.now().wall;
    let purpose = subject.purpose;
    let pair = authority.issue(subject, lifetime, now)?;
    // Whoever watches them reads again when the certificate changes: then both belong together.
    write(&key, &pair.key, Readers::Owner, existing)?;
    write(&certificate, &pair.certificate, Readers::Everybody, existing)?;
    let issued = first(&pair.certificate).map(|der| Facts::of(&der)).transpose();
    let facts =
        issued.ok().flatten().ok_or_else(|| cannot("read what was issued", "it is no certificate"))?;
    show(
        &Issued { certificate_file: certificate, key_file: key, certificate: facts },
        purpose,
        &how.place.dir,
        context,
    )
}

fn show(issued: &Issued, purpose: Purpose, dir: &Path, context: &mut Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.output.document(issued);
    }
    let (certificate, key) = (issued.certificate_file.display(), issued.key_file.display());
    let mut table = Table::new([]);
    for (name, value) in [
        ("certificate", certificate.to_string()),
        ("key", key.to_string()),
        ("names", issued.certificate.names.join(", ")),
        ("until", shown(issued.certificate.not_after)),
    ] {
        table.row([Text::from(name), value.into()]);
    }
    context.output.table(&table)?;
    let authority = dir.join(super::authority::CERTIFICATE);
    let authority = authority.display();
    note(match purpose {
        Purpose::Server => format!(
            "\nnext:\n  seaworthy serve --tls-cert {certificate} --tls-key {key} --tls-client-ca {authority} --auth"
        ),
        Purpose::Client => format!(
            "\nnext:\n  seaworthy whoami --server https://HOST:50051 --ca-cert {authority} --client-cert {certificate} \
             --client-key {key}"
        ),
    });
    Ok(())
}

fn spiffe(authority: &Authority, path: &str) -> Result<SanType, Failure> {
    uri(&format!("spiffe://{}/{path}", authority.trust_domain()?))
}

fn server_san(name: &str) -> Result<SanType, Failure> {
    Ok(match name.parse::<IpAddr>() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => {
            let dns =
                name.try_into().map_err(|cause| cannot(&format!("name {name} in a certificate"), cause));
            SanType::DnsName(dns?)
        }
    })
}

/// This machine, by every name that is its own for sure.
fn usual_names() -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    let machine = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    if server_name(&machine).is_ok() && !names.contains(&machine) {
        names.push(machine);
    }
    names
}

fn server_name(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("*.").unwrap_or(text);
    if text.parse::<IpAddr>().is_ok() || DnsName::try_from(host).is_ok() {
        return Ok(text.to_owned());
    }
    Err("write a DNS name or an IP address, without a port".to_owned())
}

fn service_name(text: &str) -> Result<String, String> {
    ServiceName::parse(text).map(|name| name.as_str().to_owned()).map_err(|invalid| invalid.to_string())
}

/// One segment of a path in a SPIFFE id that needs no care anywhere (SPIFFE-ID 2.2).
fn holder(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if (1..=63).contains(&text.len()) && text.chars().all(fits) && !text.starts_with('.') {
        return Ok(text.to_owned());
    }
    Err("write 1 to 63 letters, digits, `.`, `-` or `_`".to_owned())
}
