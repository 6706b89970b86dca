//! The p99 of a good client beside each kind of hostile one, against a bare tonic server with the same limits.
//!
//! Who does harm is a process of its own, at a fixed pace: a generator that takes a whole core would measure the
//! scheduler. The good client is a closed loop on a connection of its own, with a pause after each answer: one that
//! takes all that there is would measure itself.
#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

#[allow(dead_code, unreachable_pub, missing_docs, clippy::expect_used)]
#[path = "../tests/hostile/hpack.rs"]
mod hpack;
#[allow(dead_code, unreachable_pub, missing_docs, clippy::expect_used)]
#[path = "../tests/hostile/spelled.rs"]
mod spelled;
mod support;

use std::{
    env,
    net::SocketAddr,
    process::{Child, Command},
    time::{Duration, Instant},
};

use spelled::{call, frame, message, number, stream};
use support::{
    Result, bare, fleet,
    load::{Meter, Sample, measure},
    process::Server,
    report::{self, Goal},
    settings::Settings,
    wire::{Connection, framed},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time,
};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus};

/// The argument that makes the bench do harm: the kind and the address follow.
const ARGUMENT: &str = "do-harm";
/// Time between two bursts.
const PACE: Duration = Duration::from_millis(5);
const IN_FLIGHT: usize = 4;
/// Time between an answer and the next question: the least that the timer knows.
const PAUSE: Duration = Duration::from_millis(1);
/// Answers in a window below which its p99 says nothing.
const ENOUGH: f64 = 2000.0;
const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// What one burst says. Its number counts those on one connection, from 0.
type Burst = fn(u32) -> Vec<u8>;

/// Every kind of harm.
const KINDS: [(&str, Burst); 14] = [
    ("nothing", |_| Vec::new()),
    ("rapid reset", |n| {
        let one =
            |n| [call(stream(n), CHECK), number(spelled::RST_STREAM, stream(n), spelled::CANCEL)].concat();
        (n * 100..n * 100 + 100).flat_map(one).collect()
    }),
    ("resets that the server is made to send", |n| {
        let one =
            |n| [call(stream(n), CHECK), number(spelled::WINDOW_UPDATE, stream(n), 0x7fff_ffff)].concat();
        (n * 50..n * 50 + 50).flat_map(one).collect()
    }),
    ("streams beyond the limit", |n| (n * 50..n * 50 + 50).flat_map(|n| call(stream(n), WATCH)).collect()),
    ("heads without end", |n| {
        let more = frame(spelled::CONTINUATION, 0, 1, &hpack::literal("x", "y")).repeat(100);
        if n == 0 { [frame(spelled::HEADERS, 0, 1, &hpack::call(CHECK)), more].concat() } else { more }
    }),
    ("headers that unpack to far more", |n| {
        let bomb = hpack::kept("x-bomb", &"b".repeat(4000));
        let block = [hpack::call(CHECK), bomb, vec![hpack::again(); 10_000]].concat();
        frame(spelled::HEADERS, spelled::END_HEADERS, stream(n), &block)
    }),
    ("pings", |_| frame(spelled::PING, 0, 0, &[7; 8]).repeat(200)),
    ("settings", |_| frame(spelled::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).repeat(200)),
    ("empty pieces", |n| {
        let more = frame(spelled::DATA, 0, 1, &[]).repeat(200);
        if n == 0 { [call(1, WATCH), more].concat() } else { more }
    }),
    ("frames that say nothing", |_| frame(spelled::PRIORITY, 0, 99, &[0, 0, 0, 0, 16]).repeat(400)),
    ("garbage", |_| vec![0xff; 1024]),
    ("bytes beyond the window", |n| [call(stream(n), CHECK), large(stream(n), 80)].concat()),
    ("messages that do not end", |n| {
        (n * 4..n * 4 + 4).flat_map(|n| [call(stream(n), CHECK), large(stream(n), 1)].concat()).collect()
    }),
    ("answers that are not read", |n| {
        let none = frame(spelled::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
        let ask = |n| [call(stream(n), CHECK), message(stream(n), &[])].concat();
        none.into_iter().chain((n * 20..n * 20 + 20).flat_map(ask)).collect()
    }),
];

/// The head of the largest message that is taken, and so many pieces of 16 KiB of it.
fn large(stream: u32, pieces: usize) -> Vec<u8> {
    let head = frame(spelled::DATA, 0, stream, &[0, 0, 0x40, 0, 0]);
    [head, frame(spelled::DATA, 0, stream, &[0; 16 * 1024]).repeat(pieces)].concat()
}

fn main() -> Result<()> {
    if bare::serve_if_asked()? {
        return Ok(());
    }
    let mut arguments = env::args().skip(1);
    if arguments.next().as_deref() == Some(ARGUMENT) {
        let kind: usize = arguments.next().ok_or("which harm?")?.parse()?;
        let to = arguments.next().ok_or("to whom?")?.parse()?;
        return support::run(harm(KINDS.get(kind).ok_or("no such harm")?.1, to));
    }
    support::run(async {
        let settings = Settings::read()?;
        report::head("p99 of Health/Check, 4 in flight, beside a hostile client", "bare tonic, same limits");
        for &threads in &settings.threads {
            for (kind, (name, _)) in KINDS.iter().enumerate() {
                let (mut ours, mut theirs) = (Vec::new(), Vec::new());
                for number in 0..settings.rounds {
                    // Who was second is the first of the next pair: what the machine does meanwhile falls on both.
                    for ours_is_next in [number % 2 == 0, number % 2 == 1] {
                        if ours_is_next {
                            ours.push(round(&fleet::start(threads).await?, kind, &settings).await?);
                        } else {
                            theirs.push(round(&bare::start_limited(threads).await?, kind, &settings).await?);
                        }
                    }
                }
                let of = |samples: &[Sample], figure: fn(&Sample) -> f64| {
                    samples.iter().map(figure).collect::<Vec<_>>()
                };
                let what = format!("beside {name}, {threads} server thread(s)");
                let line = |what: &str, unit: &str, figure, goal| {
                    report::line(what, unit, &of(&ours, figure), &of(&theirs, figure), goal);
                };
                line(&what, " µs", |one| one.p99_us, Goal::AtMost(1.5, 1.1));
                line("(median)", " µs", |one| one.p50_us, Goal::Shown);
                line("(cores that the server kept busy)", "", |one| one.busy, Goal::Shown);
            }
        }
        Ok(())
    })
}

async fn round(server: &Server, kind: usize, settings: &Settings) -> Result<Sample> {
    let connections = server.connect_thin(1).await?;
    let _harm = Harm::start(kind, server.address())?;
    let (meter, mut workers) = (Meter::default(), JoinSet::new());
    for worker in 0..IN_FLIGHT {
        workers.spawn(check(connections.nth(worker), meter.clone()));
    }
    let sample = measure(server, settings, &meter, workers).await?;
    let answered = sample.rate * settings.window.as_secs_f64();
    if answered < ENOUGH {
        return Err(
            format!("{answered:.0} answers in a window, {ENOUGH} are the least; see BENCH_SECONDS").into()
        );
    }
    Ok(sample)
}

async fn check(connection: Connection, meter: Meter) -> Result<()> {
    let request = framed(&HealthCheckRequest { service: String::new() })?;
    while meter.running() {
        let start = Instant::now();
        let answer: HealthCheckResponse = connection.unary(CHECK, request.clone()).await?;
        if answer.status() != ServingStatus::Serving {
            return Err(format!("answered {:?}", answer.status()).into());
        }
        meter.answered_since(start);
        time::sleep(PAUSE).await;
    }
    Ok(())
}

/// The process that does harm, until this is dropped.
struct Harm(Child);

impl Harm {
    fn start(kind: usize, to: SocketAddr) -> Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        Ok(Self(command.args([ARGUMENT, &kind.to_string(), &to.to_string()]).spawn()?))
    }
}

impl Drop for Harm {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Says burst after burst at its pace, and connects anew when it is let go.
async fn harm(burst: Burst, to: SocketAddr) -> Result<()> {
    let mut pace = time::interval(PACE);
    pace.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let Ok(stream) = TcpStream::connect(to).await else { continue };
        stream.set_nodelay(true)?;
        let (mut read, mut write) = stream.into_split();
        // What it is told it takes, and does not look at.
        let mut told = tokio::spawn(async move {
            let mut bytes = vec![0; 64 * 1024];
            while matches!(read.read(&mut bytes).await, Ok(1..)) {}
        });
        let first = [spelled::PREFACE, &frame(spelled::SETTINGS, 0, 0, &[])].concat();
        let mut number = 0;
        if write.write_all(&first).await.is_ok() {
            while !told.is_finished() && write.write_all(&burst(number)).await.is_ok() {
                number += 1;
                pace.tick().await;
            }
        }
        told.abort();
        drop((&mut told).await);
    }
}
