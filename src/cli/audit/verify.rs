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
/// How many places are named, beside what was expected and what is found at the end of the chain.
const NAMED: usize = 10;

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

/// What is not as it was written, the first place first.
#[derive(Debug, Default)]
struct Breaks {
    named: Vec<Break>,
    /// How many more there are.
    more: u64,
}

impl Breaks {
    /// Remembers what was found of an entry.
    fn note(&mut self, found: Result<(), Break>) {
        match found {
            // What was expected is always named.
            Err(broken @ Break::Unexpected { .. }) => self.named.push(broken),
            Err(broken) if self.named.len() < NAMED => self.named.push(broken),
            Err(_) => self.more += 1,
            Ok(()) => {}
        }
    }

    /// All that was found, with what was found at the end.
    fn finish(mut self, end: Result<Verified, Break>) -> Result<Verified, Self> {
        match end {
            Ok(verified) if self.named.is_empty() => return Ok(verified),
            Ok(_) => {}
            Err(broken) => self.named.push(broken),
        }
        Err(self)
    }

    /// A sentence for each.
    fn sentences(&self) -> Vec<String> {
        let more =
            (self.more > 0).then(|| format!("{} more entries are not as they were written", self.more));
        self.named.iter().map(ToString::to_string).chain(more).collect()
    }
}

fn show(found: &Result<Verified, Breaks>, context: &mut Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.output.document(&match found {
            Ok(Verified { entries, first, last }) => {
                json!({"whole": true, "entries": entries, "first_sequence": first, "last": last.to_string()})
            }
            Err(breaks) => {
                let causes = breaks.sentences();
                json!({"whole": false, "cause": causes.first(), "causes": causes})
            }
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
        Err(breaks) => breaks.sentences().iter().try_for_each(|cause| {
            context.output.line(format_args!("the audit is not as it was written: {cause}"))
        }),
    }
}

/// Asks for all entries.
async fn of_server(mut verifier: Verifier, remote: &Remote) -> Result<Result<Verified, Breaks>, Failure> {
    let mut request = ListAuditEntriesRequest { page_size: PAGE, ..ListAuditEntriesRequest::default() };
    let (mut pages, mut breaks) = (Pages::default(), Breaks::default());
    loop {
        let answer = page(remote, &request).await?;
        let link = |sequence: u64, hash: &str| {
            let wrong = || Failure::Internal("the control plane answers with a hash that is none".to_owned());
            format!("{sequence}:{hash}").parse::<Link>().map_err(|_| wrong())
        };
        verifier.anchor(link(answer.oldest_sequence.saturating_sub(1), &answer.anchor_hash)?);
        for entry in &answer.entries {
            breaks.note(verifier.take(&entry.line, &entry.hash));
        }
        match pages.next(answer.next_page_token)? {
            Some(token) => request.page_token = token,
            None => {
                let newest = link(answer.newest_sequence, &answer.newest_hash)?;
                return Ok(breaks.finish(verifier.finish(Some(newest))));
            }
        }
    }
}

/// Reads all entries of an exported file.
fn of_file(mut verifier: Verifier, file: &Path) -> Result<Result<Verified, Breaks>, Failure> {
    let unreadable = |cause| Failure::Usage(format!("--file {}: cannot read it: {cause}", file.display()));
    let mut reader = BufReader::new(File::open(file).map_err(unreadable)?);
    let (mut text, mut breaks) = (Vec::new(), Breaks::default());
    loop {
        text.clear();
        if reader.read_until(b'\n', &mut text).map_err(unreadable)? == 0 {
            return Ok(breaks.finish(verifier.finish(None)));
        }
        let Some(whole) = text.strip_suffix(b"\n") else {
            // What a crash has torn is written again by the next start.
            note("the last line of the file is not whole yet");
            return Ok(breaks.finish(verifier.finish(None)));
        };
        let entry = std::str::from_utf8(whole).ok().and_then(read_exported);
        // What is no line of this file was one, and was changed.
        let (line, hash) = entry.unwrap_or_default();
        breaks.note(verifier.take(line, hash));
    }
}
