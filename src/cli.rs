//! The command line: a file per subcommand.
//!
//! Every command but `serve` and the local half of `config` is an ordinary client of the API. Results
//! go to the standard output, and only there; everything else goes to the standard error. The exit
//! codes are a promise to scripts ([`Exit`]); `probe` has those of grpc-health-probe instead.

mod access;
mod args;
mod audit;
mod backup;
mod breakers;
mod certs;
mod check;
mod completions;
mod config;
mod confirm;
mod context;
mod contexts;
mod demo;
mod doctor;
mod exit;
mod explain;
mod failure;
mod file;
mod flags;
mod fleet;
mod follow;
mod health;
mod history;
mod key;
mod keygen;
mod limits;
mod live;
mod log_level;
mod login;
mod logout;
mod operations;
mod output;
mod pages;
mod policy;
mod probe;
mod prompt;
mod readiness;
mod remote;
mod render;
mod restore;
mod serve;
mod service;
mod status;
mod token;
mod vault;
mod whoami;

use std::{ffi::OsString, time::Duration};

use clap::{Args, Parser, Subcommand};

pub use self::exit::{Ending, Exit};
use self::{
    access::Access,
    failure::Failure,
    output::{Format, Output, note},
    remote::Remote,
    render::document::Contract,
};
use crate::{private, time::Clock};

const EXIT_CODES: &str = "\
Exit codes (those of `probe` differ, see its help):
  0    done
  1    the answer is no: unhealthy, not ready, not confirmed; or `serve` could not start
  2    wrong usage
  3    not found
  4    the server cannot be reached, or did not answer in time
  5    the server refused
  6    an operation that was followed to its end was done in part
  7    an operation that was followed failed, or something in a vault is damaged or missing
  8    an operation that was followed was cancelled
  64   the configuration is invalid
  70   internal error
  129  a view that was open when its terminal was closed (SIGHUP)
  130  stopped by Ctrl-C
  131  a view that was stopped by Ctrl-\\ (SIGQUIT)
  143  a view that was stopped by SIGTERM";

/// The production-readiness control plane: knows which instances of which services live, how healthy
/// each component is, and why.
#[derive(Debug, Parser)]
#[command(name = "seaworthy", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Line {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    access: access::Flags,
    #[command(subcommand)]
    command: Command,
}

/// Flags that every command takes.
#[derive(Args, Debug)]
#[command(next_help_heading = "Common options")]
struct Common {
    /// Longest wait for a connection, and for each answer, with its unit: 500ms, 10s, 1m30s
    #[arg(long, global = true, value_name = "TIME", env = "SEAWORTHY_TIMEOUT", default_value = "10s", value_parser = args::value::duration)]
    timeout: Duration,
    /// How results are written
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        env = "SEAWORTHY_OUTPUT",
        value_enum,
        default_value = "table"
    )]
    output: Format,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the control plane
    Serve(serve::Serve),
    /// See, follow and remove instances
    #[command(subcommand)]
    Fleet(fleet::Command),
    /// See, put and delete the specifications of services
    #[command(subcommand)]
    Service(service::Command),
    /// Show what is healthy and what is not, and why
    Health(health::Health),
    /// Run active checks of an instance now; exits with 1 if one finds it unhealthy
    Check(check::Check),
    /// Explain why something is as it is: the chain of causes, down to the root
    Explain(explain::Explain),
    /// List past changes of health, newest first
    History(history::History),
    /// See who did what, and verify that it is as it was written
    #[command(subcommand)]
    Audit(audit::Command),
    /// See, put and delete policies: limits, permits, breakers and retries, of operations and of the control plane
    #[command(subcommand)]
    Policy(policy::Command),
    /// Show how breakers are: which operations are refused for a while because they fail; and force them by hand
    Breakers(breakers::Breakers),
    /// Show how much is used of limits, permits and pools, and what became of operations
    Limits(limits::Limits),
    /// See, follow and cancel what takes its time: backups, restores, verifications
    Operations(operations::Operations),
    /// Take, see, verify and delete backups of services, and of the control plane's own state
    #[command(subcommand)]
    Backup(backup::Command),
    /// Give the state of components back from a backup; first shown as a plan
    #[command(subcommand)]
    Restore(restore::Command),
    /// Read a vault without any server, by its bucket and its key alone: list, verify, restore
    #[command(subcommand)]
    Vault(vault::Command),
    /// Make a key for a vault
    Keygen(keygen::Keygen),
    /// See which key of a vault it is; the key itself is never shown
    #[command(subcommand)]
    Key(key::Command),
    /// See, put, switch and delete feature flags
    #[command(subcommand)]
    Flags(flags::Command),
    /// Ask a gRPC server for its health, with the flags and exit codes of grpc-health-probe
    Probe(probe::args::Probe),
    /// Show how the control plane itself is
    Status(status::Status),
    /// Show whether the control plane is set up as production asks for; exits with 1 if a check fails
    Readiness(readiness::Readiness),
    /// Check and show the configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Change the log level of the running control plane, until the next change or restart
    LogLevel(log_level::LogLevel),
    /// Store who you are to a control plane, as a context: asks for a token where one is needed
    Login(login::Login),
    /// Forget the token or certificate of a context
    Logout(logout::Logout),
    /// See and choose contexts: control planes, with what proves there who you are
    #[command(subcommand)]
    Context(context::Command),
    /// Show who you are to the control plane, and what you may do
    Whoami(whoami::Whoami),
    /// Make, list and revoke tokens, which prove who calls
    #[command(subcommand)]
    Token(token::Command),
    /// Make an authority and certificates, for trying out and for small installations
    #[command(subcommand)]
    Certs(certs::Command),
    /// Print a script that completes commands and flags in a shell
    Completions(completions::Completions),
    /// Say what is wrong with this set-up and how to mend it, from the way to the control plane to the fleet
    Doctor(doctor::Doctor),
    /// Run a control plane with a small simulated fleet whose parts fail and recover, to look at
    Demo(demo::Demo),
}

/// What a command works with.
struct Context {
    flags: access::Flags,
    timeout: Duration,
    output: Output,
    clock: Clock,
}

impl Context {
    /// Whom to talk to, and as whom.
    fn access(&self) -> Result<Access, Failure> {
        self.flags.access()
    }

    /// A connection to the control plane.
    async fn connect(&self) -> Result<Remote, Failure> {
        Remote::connect(&self.access()?, self.timeout).await
    }

    /// Writes one message as a JSON document. `name` is its type in the contract.
    fn document(&mut self, name: &str, message: &impl prost::Message) -> Result<(), Failure> {
        let document = Contract::load()?.document(name, message)?;
        self.output.document(&document)
    }
}

/// How many threads a command needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Threads {
    /// It asks, waits and prints.
    One,
    /// It serves, or decrypts much.
    Many,
}

/// A command line that was understood.
#[derive(Debug)]
pub struct Invocation(Parsed);

#[derive(Debug)]
enum Parsed {
    Line(Box<Line>),
    Probe(Box<probe::args::Probe>),
}

/// Parses the command line. Help and version are printed here, and end with 0.
///
/// # Errors
/// There is nothing to run: how the process ends instead. What is wrong was written already.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, Exit> {
    let args: Vec<OsString> = args.into_iter().collect();
    if args.get(1).is_some_and(|word| word == "probe") {
        return probe::args::parse(&args[2..]).map(|probe| Invocation(Parsed::Probe(Box::new(probe))));
    }
    match Line::try_parse_from(args) {
        Ok(line) => Ok(Invocation(Parsed::Line(Box::new(line)))),
        Err(wrong) => {
            // Nobody reads it where it cannot be written; the exit code stays.
            drop(wrong.print());
            Err(if wrong.use_stderr() { Exit::Usage } else { Exit::Done })
        }
    }
}

impl Invocation {
    /// How many threads it needs.
    pub fn threads(&self) -> Threads {
        match &self.0 {
            Parsed::Line(line)
                if matches!(line.command, Command::Serve(_) | Command::Demo(_) | Command::Vault(_)) =>
            {
                Threads::Many
            }
            Parsed::Line(_) | Parsed::Probe(_) => Threads::One,
        }
    }

    /// Does what was asked, and says how the process ends.
    pub async fn run(self) -> Exit {
        let line = match self.0 {
            Parsed::Line(line) => *line,
            Parsed::Probe(probe) => return Box::pin(probe::run(*probe)).await,
        };
        let Common { timeout, output } = line.common;
        let mut context =
            Context { flags: line.access, timeout, output: Output::stdout(output), clock: Clock::start() };
        let ended = Box::pin(run(line.command, &mut context)).await;
        let flushed = context.output.flush();
        match ended.and_then(|exit| failure::told(exit, flushed)) {
            Ok(exit) => exit,
            Err(failure) => {
                if !failure.is_quiet() {
                    note(format_args!("error: {failure}"));
                }
                failure.exit()
            }
        }
    }
}

async fn run(command: Command, context: &mut Context) -> Result<Exit, Failure> {
    match command {
        Command::Serve(command) => serve::run(command).await,
        Command::Fleet(command) => fleet::run(command, context).await,
        Command::Service(command) => service::run(command, context).await,
        Command::Health(command) => health::run(command, context).await,
        Command::Check(command) => check::run(command, context).await,
        Command::Explain(command) => explain::run(command, context).await,
        Command::History(command) => history::run(command, context).await,
        Command::Audit(command) => audit::run(command, context).await,
        Command::Policy(command) => policy::run(command, context).await,
        Command::Breakers(command) => breakers::run(command, context).await,
        Command::Limits(command) => limits::run(command, context).await,
        Command::Operations(command) => operations::run(command, context).await,
        Command::Backup(command) => backup::run(command, context).await,
        Command::Restore(command) => restore::run(command, context).await,
        Command::Vault(command) => vault::run(command, context).await,
        Command::Keygen(command) => keygen::run(&command, context),
        Command::Key(command) => key::run(command, context).await,
        Command::Flags(command) => flags::run(command, context).await,
        Command::Probe(command) => Ok(probe::run(command).await),
        Command::Status(command) => status::run(command, context).await,
        Command::Readiness(command) => readiness::run(command, context).await,
        Command::Config(command) => config::run(command, context).await,
        Command::LogLevel(command) => log_level::run(command, context).await,
        Command::Login(command) => login::run(command, context).await,
        Command::Logout(command) => logout::run(command, context),
        Command::Context(command) => context::run(command, context),
        Command::Whoami(command) => whoami::run(command, context).await,
        Command::Token(command) => token::run(command, context).await,
        Command::Certs(command) => certs::run(command, context),
        Command::Completions(command) => completions::run(&command, context),
        Command::Doctor(command) => doctor::run(command, context).await,
        Command::Demo(command) => demo::run(command, context).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        Line::command().debug_assert();
    }

    #[test]
    fn every_flag_and_command_says_what_it_does() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{} has no help", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Line::command());
    }

    #[test]
    fn the_documented_exit_codes_are_the_real_ones() {
        let documented: Vec<u8> = EXIT_CODES
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
            .collect();
        let real = [
            Exit::Done,
            Exit::No,
            Exit::Usage,
            Exit::NotFound,
            Exit::Unreachable,
            Exit::Refused,
            Exit::InPart,
            Exit::Failed,
            Exit::Cancelled,
            Exit::Config,
            Exit::Internal,
            Exit::Ended(Ending::Hangup),
            Exit::Interrupted,
            Exit::Ended(Ending::Quit),
            Exit::Ended(Ending::Terminate),
        ];
        assert_eq!(documented, real.map(Exit::code));
    }
}
