//! `seaworthy certs show`.

use std::{fs, path::PathBuf, time::SystemTime};

use clap::Args;
use serde::Serialize;
use x509_parser::{pem::Pem, prelude::FromDer as _, revocation_list::CertificateRevocationList};

use super::facts::{Facts, hex, shown, system};
use crate::cli::{
    Context,
    exit::Exit,
    failure::Failure,
    output::{Text, table::Table},
};

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct Show {
    /// Files in PEM
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// What a file has, in its order.
#[derive(Serialize)]
struct Content {
    file: PathBuf,
    parts: Vec<Part>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Part {
    Certificate(Box<Facts>),
    RevocationList(List),
    /// Its kind, and nothing of it.
    Other(String),
}

#[derive(Serialize)]
struct List {
    issuer: String,
    this_update: String,
    next_update: String,
    /// Serial numbers, in hexadecimal digits.
    revoked: Vec<String>,
}

/// Runs it.
pub(super) fn run(flags: &Show, context: &mut Context) -> Result<Exit, Failure> {
    let contents = flags.files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    if context.output.is_json() {
        context.output.document(&contents)?;
        return Ok(Exit::Done);
    }
    let now = context.clock.now().wall;
    for (number, (file, part)) in
        contents.iter().flat_map(|content| content.parts.iter().map(|part| (&content.file, part))).enumerate()
    {
        if number > 0 {
            context.output.line("")?;
        }
        context.output.table(&table(file.display().to_string(), part, now))?;
    }
    Ok(Exit::Done)
}

fn read(file: &PathBuf) -> Result<Content, Failure> {
    let wrong = |why: String| Failure::Usage(format!("{} {why}", file.display()));
    let bytes = fs::read(file).map_err(|cause| wrong(format!("cannot be read: {cause}")))?;
    let mut parts = Vec::new();
    for section in Pem::iter_from_buffer(&bytes) {
        let section = section.map_err(|cause| wrong(format!("is no PEM: {cause}")))?;
        parts.push(part(&section).map_err(wrong)?);
    }
    if parts.is_empty() {
        return Err(wrong("has nothing in PEM".to_owned()));
    }
    Ok(Content { file: file.clone(), parts })
}

fn part(section: &Pem) -> Result<Part, String> {
    Ok(match section.label.as_str() {
        "CERTIFICATE" => Part::Certificate(Box::new(Facts::of(&section.contents)?)),
        "X509 CRL" => {
            let (_, list) = CertificateRevocationList::from_der(&section.contents)
                .map_err(|cause| format!("has a revocation list that is none: {cause}"))?;
            let next = list.next_update().map_or_else(|| "-".to_owned(), |time| shown(system(time)));
            Part::RevocationList(List {
                issuer: list.issuer().to_string(),
                this_update: shown(system(list.last_update())),
                next_update: next,
                revoked: list.iter_revoked_certificates().map(|one| hex(one.raw_serial())).collect(),
            })
        }
        other => Part::Other(other.to_lowercase()),
    })
}

fn table(file: String, part: &Part, now: SystemTime) -> Table {
    let mut table = match part {
        Part::Certificate(facts) => facts.table(now),
        Part::RevocationList(list) => {
            let mut table = Table::new([]);
            let revoked = if list.revoked.is_empty() { "nobody".to_owned() } else { list.revoked.join(", ") };
            for (name, value) in [
                ("revocation list of", &list.issuer),
                ("from", &list.this_update),
                ("until", &list.next_update),
                ("revoked", &revoked),
            ] {
                table.row([Text::from(name), value.as_str().into()]);
            }
            table
        }
        Part::Other(kind) => {
            let mut table = Table::new([]);
            table.row([Text::from(kind.as_str()), "not shown".into()]);
            table
        }
    };
    table.row([Text::from("file"), file.into()]);
    table
}
