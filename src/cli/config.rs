//! `seaworthy config`: what `serve` would run with, and what the running control plane runs with.

mod flags;

use clap::{Args, Subcommand};
use seaworthy_client::proto::seaworthy::v1::{ConfigEntry, GetConfigRequest, GetConfigResponse};

pub(super) use self::flags::Flags;
use super::{
    Context,
    exit::Exit,
    failure::Failure,
    output::{Text, note, table::Table},
    render::instance::dash,
};
use crate::{
    api::declared,
    config::{Config, Environment, Origin, load},
    text::counted,
    time::Clock,
    tls,
};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check what `serve` would run with, the files of TLS included, and name every mistake; exits with 64 if there is
    /// one
    Check(Check),
    /// Show every value of the configuration, and where it came from; secrets are masked
    Show(Show),
}

/// Flags of `check`.
#[derive(Args, Debug)]
pub(crate) struct Check {
    #[command(flatten)]
    flags: Flags,
}

/// Flags of `show`.
#[derive(Args, Debug)]
pub(crate) struct Show {
    /// Ask the running control plane instead of reading what `serve` would use
    #[arg(long)]
    running: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Runs one.
pub(crate) async fn run(command: Command, context: &mut Context) -> Result<Exit, Failure> {
    match command {
        Command::Check(command) => {
            let config = read(command.flags)?;
            for doubt in tls::check(&config.tls, Clock::start()).map_err(Failure::Config)? {
                note(format_args!("doubtful: {doubt}"));
            }
            if context.output.is_json() {
                show(&entries(&config), context)?;
                return Ok(Exit::Done);
            }
            let set = config.entries().iter().filter(|entry| entry.origin != Origin::Default).count() as u64;
            context.output.line(format_args!("the configuration is valid; {} set", counted(set, "value")))?;
        }
        Command::Show(command) if command.running => {
            let remote = context.connect().await?;
            let mut system = remote.system();
            let ask = async || system.get_config(GetConfigRequest {}).await;
            show(&remote.read("get the configuration", ask).await?, context)?;
        }
        Command::Show(command) => show(&entries(&read(command.flags)?), context)?,
    }
    Ok(Exit::Done)
}

fn read(flags: Flags) -> Result<Config, Failure> {
    let config = load(&flags.into(), &Environment::of_process()).map_err(Failure::Config)?;
    declared::policies(&config.policies).map_err(Failure::Config)?;
    Ok(config)
}

/// The same message as the running control plane answers, so that both look the same.
fn entries(config: &Config) -> GetConfigResponse {
    let entries = config.entries().into_iter().map(|entry| ConfigEntry {
        key: entry.key.to_owned(),
        value: entry.value,
        origin: entry.origin.to_string(),
    });
    GetConfigResponse { entries: entries.collect() }
}

fn show(shown: &GetConfigResponse, context: &mut Context) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.document("GetConfigResponse", shown);
    }
    let mut table = Table::new(["KEY", "VALUE", "ORIGIN"]);
    for entry in &shown.entries {
        table.row([&entry.key, &entry.value, &entry.origin].map(|text| Text::new(dash(text))));
    }
    context.output.table(&table)
}
