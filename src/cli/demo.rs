//! `seaworthy demo`: a control plane with a small simulated fleet whose parts fail and recover, to look at.
//!
//! One process and no shortcuts: the control plane listens as `serve` does, and each instance attaches by the
//! client library over loopback. It takes no configuration and no data folder: everything is in a temporary
//! folder, which is gone at the end.

mod cast;
mod player;
mod script;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{
    HealthState, WatchFleetResponse, fleet_change::Change, watch_fleet_response::Message,
};
use tokio::time::{sleep, sleep_until, timeout};

use self::{
    cast::{Role, Trouble, cast},
    player::Player,
    script::{Event, Script},
};
use super::{
    Context,
    access::{Access, USUAL},
    args::value,
    exit::Exit,
    failure::Failure,
    follow::{Place, follow_telling},
    output::{Output, note},
    remote::Remote,
    render::{instance::short, when, words},
};
use crate::{
    config::{Config, LogFormat},
    error::{Error, Reason},
    server::{Addresses, Server, signals::Stop},
    task::{self, OnEnd},
    telemetry::log::{self, LogHandle},
    text::counted,
    time::Clock,
};

/// Its end is not to be waited for.
const STOP: Duration = Duration::from_secs(5);

/// Its flags.
#[derive(Args, Debug)]
#[command(
    after_help = "Ends with 0 by Ctrl-C, SIGTERM or --duration. Nothing that it shows is real, and nothing \
                        of it stays."
)]
pub(crate) struct Demo {
    /// How many times faster things happen
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=100))]
    speed: u32,
    /// What happens: the same seed at the same speed, the same story
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    seed: u64,
    /// Instances of the fleet
    #[arg(long, value_name = "NUMBER", default_value = "10", value_parser = clap::value_parser!(u16).range(4..=64))]
    instances: u16,
    /// End after this time [default: at Ctrl-C]
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    duration: Option<Duration>,
    /// Take free ports, even where the usual ones are free
    #[arg(long)]
    free_ports: bool,
    /// File that is written, as JSON with the addresses, once it serves [default: none]
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

/// Runs it.
pub(crate) async fn run(flags: Demo, context: &mut Context) -> Result<Exit, Failure> {
    let mut stop = Stop::on_signals().map_err(Failure::Start)?;
    let abandoned = abandoned()?;
    let log = log::install("error", LogFormat::Human).map_err(Failure::Start)?;
    let folder = tempfile::Builder::new()
        .prefix("seaworthy-demo-")
        .tempdir()
        .map_err(|cause| Failure::Internal(format!("cannot make a temporary folder: {cause}")))?;
    let server = bind(&flags, folder.path(), &log).await?;
    let addresses = server.addresses();
    let (stopper, told) = Stop::by_hand();
    let mut serving = task::spawn("server", OnEnd::Fine, server.run(told));
    let ended = {
        let mut stage = Stage::new(&flags, addresses.grpc);
        let playing = stage.play(&flags, &addresses, context);
        tokio::select! {
            ended = playing => ended,
            _ = stop.asked() => Ok(()),
            () = abandoned => Ok(()),
            () = time_is_up(flags.duration) => Ok(()),
            _ = &mut serving => Err(Failure::Internal("the control plane ended by itself".to_owned())),
        }
        .map(|()| stage)
    };
    // The players first, without a word: nobody waits for their good-byes.
    let ended = match ended {
        Ok(stage) => stage.empty().await,
        Err(failure) => Err(failure),
    };
    stopper.ask("the demo ends");
    if !serving.is_finished() {
        let closing = async {
            tokio::select! {
                _ = &mut serving => {}
                _ = stop.times(2) => stopper.ask("a second signal"),
            }
        };
        drop(timeout(STOP, closing).await);
    }
    drop(serving);
    if let Err(cause) = folder.close() {
        note(format_args!("cannot remove the temporary folder: {cause}"));
    }
    ended.map(|()| Exit::Done)
}

/// The terminal was closed, or Ctrl-\ pressed: then nothing may stay either.
#[cfg(unix)]
fn abandoned() -> Result<impl Future<Output = ()>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen =
        |kind| signal(kind).map_err(|cause| Failure::Internal(format!("cannot listen to signals: {cause}")));
    let (mut hangup, mut quit) = (listen(SignalKind::hangup())?, listen(SignalKind::quit())?);
    Ok(async move {
        tokio::select! {
            _ = hangup.recv() => {}
            _ = quit.recv() => {}
        }
    })
}

/// The console's end is among what stops every program there.
#[cfg(not(unix))]
fn abandoned() -> Result<impl Future<Output = ()>, Failure> {
    Ok(std::future::pending())
}

async fn time_is_up(duration: Option<Duration>) {
    match duration {
        Some(duration) => sleep(duration).await,
        None => std::future::pending().await,
    }
}

/// A control plane on the usual ports, or on free ones where something else has those.
async fn bind(flags: &Demo, folder: &Path, log: &LogHandle) -> Result<Server, Failure> {
    let config = |free: bool| {
        // Defaults alone: no file and no environment may lead it to somebody's real data.
        let mut config = Config::default();
        config.data_dir = folder.join("data");
        config.ready_file.clone_from(&flags.ready_file);
        (config.shutdown.lame_duck, config.shutdown.total) = (Duration::ZERO, STOP);
        if free {
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            (config.grpc.listen, config.http.listen) = (any, any);
        }
        Arc::new(config)
    };
    let first = Server::bind(config(flags.free_ports), log.clone()).await;
    match first {
        Err(error) if error.reason() == Reason::AddressUnusable && !flags.free_ports => {
            note(format_args!("{error}; taking free ports instead"));
            Server::bind(config(true), log.clone()).await.map_err(Failure::Start)
        }
        bound => bound.map_err(Failure::Start),
    }
}

/// The players and where they attach.
struct Stage {
    control_plane: String,
    cast: Vec<(&'static Role, usize)>,
    players: Vec<Option<Player>>,
}

impl Stage {
    fn new(flags: &Demo, grpc: SocketAddr) -> Self {
        let cast = cast(flags.instances.into());
        Self { control_plane: format!("http://{grpc}"), cast, players: Vec::new() }
    }

    /// Starts everybody, and lets things happen for ever.
    async fn play(&mut self, flags: &Demo, at: &Addresses, context: &mut Context) -> Result<(), Failure> {
        greet(&mut context.output, flags, at)?;
        for player in 0..self.cast.len() {
            let started = self.start(player)?;
            self.players.push(Some(started));
        }
        let remote = Remote::connect(&Access::plain(&self.control_plane), context.timeout).await?;
        let (clock, output) = (context.clock, RefCell::new(&mut context.output));
        let begun = Cell::new(false);
        let happening = async {
            let mut script = Script::new(flags.seed, self.cast.clone(), player::LEASE * flags.speed);
            let began = clock.mono();
            loop {
                let (at, event) = script.next().map_err(failed)?;
                sleep_until(clock.instant(began + at / flags.speed)).await;
                begun.set(true);
                let line = self.act(&event)?;
                say(&mut output.borrow_mut(), clock, "happens", &line)?;
            }
        };
        let seeing = verdicts(&remote, clock, &output, &begun);
        tokio::select! {
            ended = happening => ended,
            ended = seeing => ended,
        }
    }

    fn start(&self, player: usize) -> Result<Player, Failure> {
        let (role, _) = self.role(player)?;
        Player::start(role, self.id(player)?, self.control_plane.clone())
            .map_err(|cause| Failure::Internal(format!("cannot start an instance: {cause}")))
    }

    fn role(&self, player: usize) -> Result<(&'static Role, usize), Failure> {
        self.cast.get(player).copied().ok_or_else(|| Failure::Internal(format!("nobody plays {player}")))
    }

    fn id(&self, player: usize) -> Result<String, Failure> {
        let (role, number) = self.role(player)?;
        Ok(format!("{}-{number}", role.service))
    }

    /// Lets an event happen, and says what it is.
    fn act(&mut self, event: &Event) -> Result<String, Failure> {
        match event {
            Event::Fails { players, part, trouble } => {
                let (role, _) = self.role(players.first().copied().unwrap_or_default())?;
                let Some(part) = role.parts.get(*part) else { return Ok(String::new()) };
                let trouble = part.troubles.get(*trouble).copied();
                self.push(players, part.name, trouble);
                let what = match trouble {
                    Some(Trouble::Slow(what)) => format!("is slow: {what}"),
                    Some(Trouble::Down(what)) => format!("fails: {what}"),
                    None => String::new(),
                };
                Ok(format!("{} of {} {what}", part.name, self.names(players)?))
            }
            Event::Recovers { players, part } => {
                let (role, _) = self.role(players.first().copied().unwrap_or_default())?;
                let Some(part) = role.parts.get(*part) else { return Ok(String::new()) };
                self.push(players, part.name, None);
                Ok(format!("{} of {} recovers", part.name, self.names(players)?))
            }
            Event::Dies { player } => {
                if let Some(player) = self.players.get_mut(*player) {
                    drop(player.take().map(Player::kill));
                }
                Ok(format!("{} dies without a word", self.names(&[*player])?))
            }
            Event::Returns { player } => {
                let started = self.start(*player)?;
                if let Some(player) = self.players.get_mut(*player) {
                    *player = Some(started);
                }
                Ok(format!("{} is started again", self.names(&[*player])?))
            }
        }
    }

    fn push(&self, players: &[usize], part: &'static str, trouble: Option<Trouble>) {
        for player in players.iter().filter_map(|player| self.players.get(*player)?.as_ref()) {
            player.push(part, trouble);
        }
    }

    fn names(&self, players: &[usize]) -> Result<String, Failure> {
        let names: Vec<String> = players
            .iter()
            .map(|player| Ok(format!("{}/{}", self.role(*player)?.0.service, self.id(*player)?)))
            .collect::<Result<_, Failure>>()?;
        Ok(names.join(", "))
    }

    /// Ends everybody, and waits for their threads.
    async fn empty(self) -> Result<(), Failure> {
        let threads: Vec<_> = self.players.into_iter().flatten().map(Player::kill).collect();
        let joined = move || threads.into_iter().all(|thread| thread.join().is_ok());
        match timeout(STOP, task::blocking("demo end", joined)).await {
            Ok(Ok(true)) => Ok(()),
            _ => Err(Failure::Internal("an instance of the demo did not end".to_owned())),
        }
    }
}

#[allow(clippy::needless_pass_by_value)] // so that `map_err` takes it as it is
fn failed(error: Error) -> Failure {
    Failure::Internal(error.to_string())
}

fn greet(output: &mut Output, flags: &Demo, at: &Addresses) -> Result<(), Failure> {
    let server = format!("http://{}", at.grpc);
    let to = if server == USUAL { String::new() } else { format!(" --server {server}") };
    let instances = counted(flags.instances.into(), "instance");
    output.line(format_args!(
        "seaworthy {} demo: {instances} of {}, seed {}; nothing of it is real, and nothing stays\n  \
         gRPC  {}\n  HTTP  http://{}/\n\n\
         try, in another terminal:\n  \
         seaworthy fleet watch{to}\n  \
         seaworthy fleet list{to}\n  \
         seaworthy health orders{to}\n  \
         seaworthy explain orders{to}\n  \
         seaworthy doctor{to}\n  \
         curl http://{}/health/services/orders\n\n\
         Ctrl-C ends it\n",
        env!("CARGO_PKG_VERSION"),
        counted(cast::ROLES.len() as u64, "service"),
        flags.seed,
        at.grpc,
        at.http,
        at.http,
    ))?;
    output.flush()
}

fn say(output: &mut Output, clock: Clock, who: &str, what: &str) -> Result<(), Failure> {
    output.line(format_args!("{}  {who:<7}  {what}", when::clock(clock.now().wall)))?;
    output.flush()
}

/// Says what the control plane makes of it: each service whose health has changed, from when all were well for
/// the first time, or something has happened. How everybody comes up is not worth a line each.
async fn verdicts(
    remote: &Remote,
    clock: Clock,
    output: &RefCell<&mut Output>,
    begun: &Cell<bool>,
) -> Result<(), Failure> {
    let mut state = (Place::start(""), HashMap::<String, HealthState>::new());
    let open = |state: &(Place, HashMap<String, HealthState>)| {
        let (mut fleet, request) = (remote.fleet(), state.0.request());
        async move { fleet.watch_fleet(request).await }
    };
    let take = |(place, known): &mut (Place, HashMap<String, HealthState>), response: WatchFleetResponse| {
        place.pass(&response);
        let services = match response.message {
            Some(Message::Snapshot(part)) => part.services,
            Some(Message::Change(change)) => match change.change {
                Some(Change::Service(service)) => vec![service],
                _ => Vec::new(),
            },
            _ => Vec::new(),
        };
        for service in services {
            let health = service.health();
            if known.insert(service.name.clone(), health) == Some(health) {
                continue;
            }
            let mut output = output.borrow_mut();
            if !begun.get() {
                let well = known.values().filter(|health| **health == HealthState::Healthy).count();
                if well == cast::ROLES.len() {
                    begun.set(true);
                    say(&mut output, clock, "seen", "everybody is well")?;
                }
                continue;
            }
            let word = output.looks.paint(&words::health(health));
            let cause = if service.cause.is_empty() {
                String::new()
            } else {
                format!(": {}", short(&service.cause, false))
            };
            say(&mut output, clock, "seen", &format!("{} is {word}{cause}", service.name))?;
        }
        Ok(())
    };
    follow_telling(remote, "watch the fleet", &mut state, open, take, |_, _| {}).await
}
