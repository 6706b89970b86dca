//! `seaworthy log-level`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::SetLogLevelRequest;

use super::{Context, exit::Exit, failure::Failure};

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct LogLevel {
    /// off, error, warn, info, debug, trace, or a filter like info,seaworthy::fleet=debug
    #[arg(value_name = "LEVEL")]
    level: String,
}

/// Runs it.
pub(crate) async fn run(flags: LogLevel, context: &mut Context) -> Result<Exit, Failure> {
    let remote = context.connect().await?;
    let mut system = remote.system();
    let request = SetLogLevelRequest { log_level: flags.level.clone() };
    let answer = remote
        .write(&format!("set the log level to {}", flags.level), async || {
            system.set_log_level(request.clone()).await
        })
        .await?;
    if context.output.is_json() {
        context.document("SetLogLevelResponse", &answer)?;
    } else {
        context.output.line(format_args!("{} (was {})", flags.level, answer.previous_log_level))?;
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;
    use crate::config::parse_filter;

    #[test]
    fn the_help_names_every_level() {
        let help = LogLevel::augment_args(Command::new("log-level")).render_help().to_string();
        for level in ["off", "error", "warn", "info", "debug", "trace"] {
            assert!(parse_filter(level).is_ok(), "{level}");
            assert!(help.split([' ', ',']).any(|word| word == level), "{level} is not in {help}");
        }
    }
}
