//! `seaworthy audit verify`: the chain from its first entry to its last, asked of the control plane or read from an
//! exported file.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
};

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::ListAuditEntriesRequest;
use serde_json::json;

use super::page;
use crate::{
    audit::{
        Link,
        verify::{Break, Verified, Verifier, read_exported},
    },
    cli::{
        Context,
        exit::Exit,
        failure::{self, Failure},
        output::note,
        pages::Pages,
        remote::Remote,
    },
};

/// How many entries are asked for at a time.
const PAGE: i32 = 1000;

/// Its flags.
#[derive(Args, Debug)]
#[command(
    after_help = "Prints the last entry as SEQUENCE:HASH. Keep that elsewhere, and give it with --expect the next time: \
                  a chain whose end was cut off, or that was written anew, shows by that alone."
)]
pub(crate) struct Verify {
    /// An entry that is known from elsewhere, as an earlier run has printed it
    #[arg(long, value_name = "SEQUENCE:HASH")]
    expect: Option<Link>,
    /// Verify this exported file instead of asking the control plane
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Runs it.
pub(crate) async fn run(flags: Verify, context: &mut Context) -> Result<Exit, Failure> {
    let verifier = Verifier::new(flags.expect);
    let found = match &flags.file {
        Some(file) => of_file(verifier, file)?,
        None => of_server(verifier, &context.connect().await?).await?,
    };
    let answer = if found.is_ok() { Exit::Done } else { Exit::No };
    failure::told(answer, show(&found, context))
}

fn show(found: &Result<Verified, Break>, context: &mut Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.output.document(&match found {
            Ok(Verified { entries, first, last }) => {
                json!({"whole": true, "entries": entries, "first_sequence": first, "last": last.to_string()})
            }
            Err(broken) => json!({"whole": false, "cause": broken.to_string()}),
        });
    }
    match found {
        Ok(Verified { entries: 0, last, .. }) => {
            context.output.line(format_args!("there are no entries after {last}"))
        }
        Ok(Verified { first, last, .. }) => context.output.line(format_args!(
            "entries {first} to {} are as they were written; the last one is {last}",
            last.sequence
        )),
        Err(broken) => context.output.line(format_args!("the audit is not as it was written: {broken}")),
    }
}

/// Asks for all entries.
async fn of_server(mut verifier: Verifier, remote: &Remote) -> Result<Result<Verified, Break>, Failure> {
    let mut request = ListAuditEntriesRequest { page_size: PAGE, ..ListAuditEntriesRequest::default() };
    let mut pages = Pages::default();
    loop {
        let answer = page(remote, &request).await?;
        let link = |sequence: u64, hash: &str| {
            let wrong = || Failure::Internal("the control plane answers with a hash that is none".to_owned());
            format!("{sequence}:{hash}").parse::<Link>().map_err(|_| wrong())
        };
        verifier.anchor(link(answer.oldest_sequence.saturating_sub(1), &answer.anchor_hash)?);
        for entry in &answer.entries {
            if let Err(broken) = verifier.take(&entry.line, &entry.hash) {
                return Ok(Err(broken));
            }
        }
        match pages.next(answer.next_page_token)? {
            Some(token) => request.page_token = token,
            None => return Ok(verifier.finish(Some(link(answer.newest_sequence, &answer.newest_hash)?))),
        }
    }
}

/// Reads all entries of an exported file.
fn of_file(mut verifier: Verifier, file: &Path) -> Result<Result<Verified, Break>, Failure> {
    let unreadable = |cause| Failure::Usage(format!("--file {}: cannot read it: {cause}", file.display()));
    let mut reader = BufReader::new(File::open(file).map_err(unreadable)?);
    let mut text = Vec::new();
    loop {
        text.clear();
        if reader.read_until(b'\n', &mut text).map_err(unreadable)? == 0 {
            return Ok(verifier.finish(None));
        }
        let Some(whole) = text.strip_suffix(b"\n") else {
            // What a crash has torn is written again by the next start.
            note("the last line of the file is not whole yet");
            return Ok(verifier.finish(None));
        };
        let entry = std::str::from_utf8(whole).ok().and_then(read_exported);
        // What is no line of this file was one, and was changed.
        let (line, hash) = entry.unwrap_or_default();
        if let Err(broken) = verifier.take(line, hash) {
            return Ok(Err(broken));
        }
    }
}
