//! `seaworthy vault rebuild-catalog`: the catalog is nothing but the manifests and notes of the bucket, read when it is needed.
//! This reads them all, and so shows that it can be made from the bucket alone, and what is wrong.

use clap::Args;
use serde_json::{Value, json};

use super::{Where, wrong};
use crate::{
    cli::{
        Context,
        exit::Exit,
        failure::{self, Failure},
        output::{Text, Tone, clean, note, table::Table},
    },
    vault::{Domain, State, Vault},
};

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = "\
There is no catalog beside the bucket that could be lost: whoever lists backups reads the bucket. Nothing is written.

Exits with 0 where all could be read, 3 where there is no vault, 4 where the place cannot be reached, 5 where the key does not open \
it, and 7 where something cannot be read.")]
pub(crate) struct Rebuild {
    #[command(flatten)]
    at: Where,
}

/// What there is of a service.
#[derive(Debug)]
struct Counts {
    service: Domain,
    complete: u64,
    partial: u64,
    late: u64,
    deleted: u64,
    notes: u64,
    /// Backups and notes that cannot be read, and why.
    wrong: Vec<(String, String)>,
}

/// Runs it.
pub(super) async fn run(flags: Rebuild, context: &mut Context) -> Result<Exit, Failure> {
    let vault = flags.at.open(context).await?;
    let mut all = Vec::new();
    for service in vault.services().await.map_err(|problem| wrong(&problem))? {
        all.push(count(&vault, service).await?);
    }
    let is_whole = all.iter().all(|counts| counts.wrong.is_empty());
    let exit = if is_whole { Exit::Done } else { Exit::Failed };
    failure::told(exit, show(&vault, &all, context))
}

async fn count(vault: &Vault, service: Domain) -> Result<Counts, Failure> {
    let found = vault.backups(&service).await.map_err(|problem| wrong(&problem))?;
    let mut counts =
        Counts { service, complete: 0, partial: 0, late: 0, deleted: 0, notes: 0, wrong: Vec::new() };
    for (id, listed) in found {
        match listed {
            Ok(listed) => {
                counts.notes += listed.notes.len() as u64;
                counts.wrong.extend(listed.unreadable.into_iter().map(|note| (note.object, note.what)));
                *match listed.state {
                    State::Complete => &mut counts.complete,
                    State::Partial => &mut counts.partial,
                    State::Late => &mut counts.late,
                    State::Deleted => &mut counts.deleted,
                } += 1;
            }
            Err(problem) => counts.wrong.push((id.to_string(), problem.to_string())),
        }
    }
    Ok(counts)
}

fn show(vault: &Vault, all: &[Counts], context: &mut Context) -> Result<(), Failure> {
    if context.output.is_json() {
        let services: Vec<Value> = all.iter().map(document).collect();
        return context.output.document(&json!({"vault": vault.place().url(), "services": services}));
    }
    if all.is_empty() {
        note("the vault has no backups");
        return Ok(());
    }
    context.output.table(&table(all))?;
    let wrong = all.iter().flat_map(|counts| counts.wrong.iter().map(|wrong| (&counts.service, wrong)));
    for (service, (id, cause)) in wrong {
        context.output.line(format_args!("{service} {id} cannot be read: {}", clean(cause)))?;
    }
    Ok(())
}

fn document(counts: &Counts) -> Value {
    let wrong: Vec<Value> =
        counts.wrong.iter().map(|(id, cause)| json!({"id": id, "cause": cause})).collect();
    let Counts { service, complete, partial, late, deleted, notes, .. } = counts;
    json!({
        "service": service.as_str(), "complete": complete, "partial": partial, "late": late, "deleted": deleted,
        "notes": notes, "unreadable": wrong,
    })
}

fn table(all: &[Counts]) -> Table {
    let mut table = Table::new(["SERVICE", "COMPLETE", "PARTIAL", "LATE", "DELETED", "UNREADABLE", "NOTES"]);
    for counts in all {
        let Counts { service, complete, partial, late, deleted, notes, wrong } = counts;
        let unreadable = wrong.len().to_string();
        let unreadable =
            if wrong.is_empty() { Text::new(&unreadable) } else { Text::toned(&unreadable, Tone::Bad) };
        let [complete, partial, late, deleted] =
            [complete, partial, late, deleted].map(|number| Text::from(number.to_string()));
        table.row([
            service.as_str().into(),
            complete,
            partial,
            late,
            deleted,
            unreadable,
            notes.to_string().into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Looks;

    #[test]
    fn what_there_is_is_counted_by_state() {
        let counts = Counts {
            service: Domain::of_service("orders").unwrap(),
            complete: 3,
            partial: 1,
            late: 0,
            deleted: 2,
            notes: 4,
            wrong: vec![("01".to_owned(), "it is damaged".to_owned())],
        };
        assert_eq!(
            table(std::slice::from_ref(&counts)).lines(Looks { colour: false, unicode: false }),
            [
                "SERVICE  COMPLETE  PARTIAL  LATE  DELETED  UNREADABLE  NOTES",
                "orders   3         1        0     2        1           4"
            ]
        );
        assert_eq!(document(&counts)["unreadable"][0]["cause"], "it is damaged");
    }
}
