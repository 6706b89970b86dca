//! `seaworthy flags put`.

use std::path::{Path, PathBuf};

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{Flag, PutFlagRequest};

use super::{
    get::{get, show},
    switch::Switch,
};
use crate::cli::{
    Context,
    exit::Exit,
    failure::Failure,
    file::{self, Wanted},
    remote::Remote,
};

/// What a file is to hold.
const FLAG: Wanted = Wanted { message: "Flag", noun: "flag" };

const HELP: &str = concat!(
    "\
Without --on, --off and --percentage the argument is a file with the whole flag; with them it is the name of a flag that is true
or false, and a new one is made where there is none. The rest of the flag stays; if somebody else changes it at the same
time, nothing is put. Switched for everybody, its rules rest (it is disabled) until something is said of some again:

  seaworthy flags put new-checkout --percentage 10 --service orders
  seaworthy flags put new-checkout --off

A whole file in TOML:

",
    include_str!("../../../deploy/flag.example.toml"),
    "
JSON has the same names. What counts now, to begin with: seaworthy flags get NAME -o json"
);

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Put {
    /// The whole flag: a .json or .toml file, as below, or - for JSON from the standard input; or a name
    #[arg(value_name = "FILE|NAME")]
    what: PathBuf,
    /// Only if this is the revision of the flag now; 0: only if there is none [default: any; with --on, --off and
    /// --percentage the one that was read]
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
    #[command(flatten)]
    switch: Switch,
}

/// Runs it.
pub(crate) async fn run(flags: Put, context: &mut Context) -> Result<Exit, Failure> {
    let Put { what, if_revision, switch } = flags;
    let (remote, flag, if_revision) = if switch.is_empty() {
        let flag = read(&what)?;
        (context.connect().await?, flag, if_revision)
    } else {
        let remote = context.connect().await?;
        let name = what.to_string_lossy();
        let found = current(&remote, &name).await?;
        let revision = found.as_ref().map_or(0, |flag| flag.revision);
        let flag = switch.apply(&name, found)?;
        (remote, flag, Some(if_revision.unwrap_or(revision)))
    };
    let action = format!("put flag {}", flag.name);
    let mut client = remote.policy();
    let request = PutFlagRequest { flag: Some(flag), if_revision };
    let put = remote.write(&action, async || client.put_flag(request.clone()).await).await?;
    show(&put.flag.unwrap_or_default(), context)?;
    Ok(Exit::Done)
}

fn read(path: &Path) -> Result<Flag, Failure> {
    file::read(path, FLAG).map_err(|failure| match failure {
        // It may be meant as a name.
        Failure::Usage(problem) if path != Path::new("-") && !path.exists() => Failure::Usage(format!(
            "{problem}; hint: a flag of that name is switched by --on, --off or --percentage"
        )),
        failure => failure,
    })
}

/// The flag as it is now, where there is one.
async fn current(remote: &Remote, name: &str) -> Result<Option<Flag>, Failure> {
    match get(remote, name).await {
        Ok(flag) => Ok(Some(flag)),
        Err(failure) if failure.exit() == Exit::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::{document::Contract, flag::says};

    fn example() -> Flag {
        let text = include_str!("../../../deploy/flag.example.toml");
        file::parse(text, Some("toml"), FLAG.message).unwrap()
    }

    #[test]
    fn the_example_of_the_help_is_a_flag() {
        assert_eq!(says(&example()), "off (false); 10% of orders instances i-1, i-2: on; shop: on");
    }

    /// What `get -o json` prints can be put.
    #[test]
    fn what_is_shown_as_json_can_be_read_again() {
        let flag = Flag {
            revision: 7,
            update_time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5 }),
            updater: "token:alice".into(),
            ..example()
        };
        let document = Contract::load().unwrap().document(FLAG.message, &flag).unwrap();
        let json = serde_json::to_string(&document).unwrap();
        assert_eq!(file::parse(&json, Some("json"), FLAG.message), Ok(flag), "{json}");
    }

    #[test]
    fn a_name_without_flags_is_told_what_is_lacking() {
        let refused = read(Path::new("/nowhere/new-checkout")).unwrap_err().to_string();
        assert!(refused.contains("--on, --off or --percentage"), "{refused}");
    }
}
