//! Views that redraw in place, on a real terminal: a pseudo-terminal whose other end a terminal emulator reads,
//! so that what is asserted is what a person would see.

use std::{
    fs::File,
    io::Read as _,
    num::NonZero,
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};
use seaworthy_client::{
    Agent, Component, Report,
    proto::{
        grpc::health::v1::health_check_response::ServingStatus,
        seaworthy::v1::{PutServiceRequest, RegisterRequest, Registration},
    },
};

use super::{PATIENCE, harness::TestServer};

/// The binary on a terminal of its own.
pub(crate) struct Terminal {
    child: Child,
    /// Our end.
    master: OwnedFd,
    /// The program's end, held so that it can be looked at once the program is gone.
    slave: OwnedFd,
    said: Receiver<Vec<u8>>,
    emulator: vt100::Parser,
    raw: Vec<u8>,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn size(width: u16, height: u16) -> Winsize {
    Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 }
}

fn emulator(width: u16, height: u16) -> vt100::Parser {
    vt100::Parser::new(NonZero::new(height).unwrap(), NonZero::new(width).unwrap(), 0)
}

impl Terminal {
    pub(crate) fn start(width: u16, height: u16, args: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        tcsetwinsize(&master, size(width, height)).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        let child = Command::new(env!("CARGO_BIN_EXE_seaworthy"))
            .args(args)
            .env_clear()
            .env("TERM", "xterm-256color")
            .env("LANG", "C.UTF-8")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let (sender, said) = sync_channel(1024);
        let mut reader = File::from(master.try_clone().unwrap());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, master, slave, said, emulator: emulator(width, height), raw: Vec::new() }
    }

    /// What is on the screen.
    fn picture(&self) -> String {
        self.emulator.screen().contents()
    }

    /// Waits until the screen shows what is wanted, and answers the picture.
    pub(crate) fn until(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        while !wanted(&self.picture()) {
            assert!(began.elapsed() < PATIENCE, "never {what}:\n{}", self.picture());
            if let Ok(said) = self.said.recv_timeout(Duration::from_millis(50)) {
                self.emulator.process(&said);
                self.raw.extend(said);
            }
        }
        self.picture()
    }

    /// Types.
    pub(crate) fn type_in(&self, text: &str) {
        rustix::io::write(&self.master, text.as_bytes()).unwrap();
    }

    /// Everything that was ever shown.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.raw).into_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn resize(&mut self, width: u16, height: u16) {
        tcsetwinsize(&self.master, size(width, height)).unwrap();
        let cells = |number| NonZero::new(number).unwrap();
        self.emulator.screen_mut().set_size(cells(height), cells(width));
        // The terminal tells its foreground group by itself; here nobody made it anybody's.
        self.signal(Signal::WINCH);
    }

    /// Waits until the program is stopped, as job control stops it.
    fn until_stopped(&self) {
        let (file, began) = (format!("/proc/{}/stat", self.child.id()), Instant::now());
        while !std::fs::read_to_string(&file).unwrap().contains(") T ") {
            assert!(began.elapsed() < PATIENCE, "it never stopped");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether what is typed is shown.
    pub(crate) fn echoes(&self) -> bool {
        tcgetattr(&self.slave).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    /// Waits for the end; everything it said is on the screen then.
    pub(crate) fn ended(&mut self) -> i32 {
        let began = Instant::now();
        let code = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code().unwrap();
            }
            assert!(began.elapsed() < PATIENCE, "it never ended");
            std::thread::sleep(Duration::from_millis(5));
        };
        while let Ok(said) = self.said.recv_timeout(Duration::from_millis(100)) {
            self.emulator.process(&said);
            self.raw.extend(said);
        }
        code
    }
}

/// The line that shows a name, without trailing space.
fn line(picture: &str, name: &str) -> String {
    let found = picture.lines().find(|line| line.trim_start_matches(['*', ' ']).starts_with(name));
    found.unwrap_or_else(|| panic!("no {name} in\n{picture}")).trim_end().to_owned()
}

async fn register(server: &TestServer, service: &str, id: &str) {
    let registration =
        Registration { service: service.into(), instance_id: id.into(), ..Registration::default() };
    let request = RegisterRequest { registration: Some(registration), ..RegisterRequest::default() };
    server.fleet().await.register(request).await.unwrap();
}

/// A fleet of one real instance whose database can be pushed about.
fn agent(server: &TestServer) -> Agent {
    Agent::builder(server.url(), "orders")
        .instance_id("i-1")
        .version("1.2.0")
        .component(Component::new("database").essential())
        .attach()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_is_redrawn_in_place_and_what_changed_is_marked() {
    let server = TestServer::start().await;
    let agent = agent(&server);
    agent.push("database", Report::healthy()).unwrap();
    // What comes before the first look is no news.
    server.until("orders/i-1", ServingStatus::Serving).await;
    let url = server.url();
    let mut terminal = Terminal::start(100, 12, &["--server", &url, "fleet", "watch"]);
    let picture = terminal.until("healthy", |it| it.contains("1 healthy"));
    assert!(
        picture.starts_with(&format!("seaworthy {url}  ")) && picture.contains("  connected  "),
        "{picture}"
    );
    assert!(line(&picture, "INSTANCE").starts_with("   INSTANCE    LIFECYCLE  HEALTH"), "{picture}");
    let row = line(&picture, "orders/i-1");
    assert!(row.starts_with("   orders/i-1  ready      healthy"), "{row:?}");
    assert!(terminal.emulator.screen().alternate_screen() && terminal.emulator.screen().hide_cursor());
    assert!(!terminal.echoes());

    agent.push("database", Report::unhealthy("disk is gone")).unwrap();
    let picture = terminal.until("unhealthy", |it| it.contains("1 unhealthy") && it.contains("disk is gone"));
    let row = line(&picture, "orders/i-1");
    assert!(row.starts_with("*  orders/i-1  ready      unhealthy"), "{row:?}");
    // In place: what it was before is nowhere on the screen, and there is one line of it.
    assert_eq!(picture.matches("orders/i-1").count(), 1, "{picture}");
    assert!(!picture.contains("1 healthy") && picture.contains("last change "), "{picture}");

    terminal.signal(Signal::INT);
    assert_eq!(terminal.ended(), 130);
    let screen = terminal.emulator.screen();
    assert!(!screen.alternate_screen() && !screen.hide_cursor(), "the terminal is as before");
    assert!(terminal.echoes());
    assert_eq!(terminal.picture().trim(), "", "nothing is left on it");
    agent.leave("done").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worst_stay_in_sight_and_lines_are_cut_to_the_width() {
    let server = TestServer::start().await;
    for number in 0..30 {
        register(&server, "quiet", &format!("i-{number:02}")).await;
    }
    let agent = agent(&server);
    agent
        .push("database", Report::unhealthy("a cause that is much longer than any line of this terminal"))
        .unwrap();
    agent.attached().await.unwrap();
    let mut terminal = Terminal::start(60, 12, &["--server", &server.url(), "fleet", "watch"]);
    let picture = terminal.until("the worst first", |it| it.contains("orders/i-1") && it.contains(" more"));
    let lines: Vec<&str> = picture.lines().collect();
    assert_eq!(lines.len(), 12, "{picture}");
    // Head, summary, heading, then the worst; the last line counts the rest.
    assert!(lines[5].contains("orders/i-1") && lines[5].trim_end().ends_with('…'), "{picture}");
    assert_eq!(lines[5].chars().count(), 60, "{picture}");
    assert_eq!(lines[11].trim(), "and 25 more, none of them worse", "{picture}");

    // With more room there is more to see, and nothing of the old picture stays.
    terminal.resize(140, 40);
    let picture = terminal.until("all of it", |it| it.contains("quiet/i-29"));
    assert!(!picture.contains(" more") && picture.contains("than any line of this terminal"), "{picture}");
    terminal.resize(50, 8);
    let picture = terminal.until("less of it", |it| it.contains("and 29 more"));
    assert!(picture.lines().all(|line| line.chars().count() <= 50), "{picture}");
    agent.leave("done").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_server_is_told_in_place_and_found_again() {
    let server = TestServer::start().await;
    let put = |name: &str| PutServiceRequest {
        name: name.into(),
        spec: Some(Default::default()),
        ..PutServiceRequest::default()
    };
    server.fleet().await.put_service(put("orders")).await.unwrap();
    let mut terminal = Terminal::start(100, 12, &["--server", &server.url(), "health", "--watch"]);
    let picture = terminal.until("the service", |it| it.contains("  orders  "));
    assert!(line(&picture, "SERVICE").contains("AVAILABLE  NEEDED"), "{picture}");

    let (addresses, kept) = (server.addresses, server.keep());
    let config = server.config.clone();
    server.stop().await;
    let picture = terminal.until("reconnecting", |it| it.contains("  reconnecting: "));
    assert!(picture.contains("  orders  "), "what was known stays in sight:\n{picture}");
    assert!(!picture.contains("not connected"), "{picture}");

    let again = TestServer::start_with(|it| {
        *it = config;
        (it.grpc.listen, it.http.listen) = (addresses.grpc, addresses.http);
    })
    .await;
    again.fleet().await.put_service(put("payments")).await.unwrap();
    let picture = terminal.until("both", |it| it.contains("  connected  ") && it.contains("payments"));
    assert!(picture.contains("  orders  "), "{picture}");
    // SIGTERM puts the terminal back as well.
    terminal.signal(Signal::TERM);
    assert_eq!(terminal.ended(), 143);
    assert!(!terminal.emulator.screen().alternate_screen());
    again.stop().await;
    drop(kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instance_is_shown_with_its_components() {
    let server = TestServer::start().await;
    let agent = agent(&server);
    agent.push("database", Report::degraded("slow")).unwrap();
    agent.attached().await.unwrap();
    let mut terminal =
        Terminal::start(100, 20, &["--server", &server.url(), "health", "orders/i-1", "--watch"]);
    terminal.until("the component", |it| it.contains("database") && it.contains("slow"));
    agent.push("database", Report::healthy()).unwrap();
    terminal.until("the component is well", |it| it.contains("database") && !it.contains("slow"));
    agent.leave("done").await;
    terminal.until("it is gone", |it| it.contains("nobody is known as orders/i-1"));
    // Ctrl-\ puts the terminal back too.
    terminal.signal(Signal::QUIT);
    assert_eq!(terminal.ended(), 131);
    assert!(!terminal.emulator.screen().alternate_screen() && terminal.echoes());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_stopped_gives_the_terminal_back_until_it_goes_on() {
    let server = TestServer::start().await;
    register(&server, "orders", "i-1").await;
    let mut terminal = Terminal::start(80, 12, &["--server", &server.url(), "fleet", "watch"]);
    terminal.until("the instance", |it| it.contains("orders/i-1"));
    terminal.signal(Signal::TSTP);
    terminal.until("nothing", |it| it.trim().is_empty());
    assert!(terminal.echoes() && !terminal.emulator.screen().alternate_screen());
    // What goes on before it has stopped would stop after that.
    terminal.until_stopped();
    terminal.signal(Signal::CONT);
    terminal.until("the instance again", |it| it.contains("orders/i-1"));
    assert!(terminal.emulator.screen().alternate_screen());
    terminal.signal(Signal::HUP);
    assert_eq!(terminal.ended(), 129);
    assert!(!terminal.emulator.screen().alternate_screen() && terminal.echoes());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_and_json_are_lines_on_a_terminal_too() {
    let server = TestServer::start().await;
    register(&server, "orders", "i-1").await;
    for args in [
        &["fleet", "watch", "--lines"][..],
        &["fleet", "watch", "-o", "json"],
        &["health", "--watch", "--lines"],
    ] {
        let url = server.url();
        let mut terminal = Terminal::start(100, 12, &[&["--server", &url], args].concat());
        terminal.until("a line", |it| it.contains("orders"));
        assert!(!terminal.emulator.screen().alternate_screen(), "{args:?}");
        terminal.signal(Signal::INT);
        assert_eq!(terminal.ended(), 130);
        let raw = String::from_utf8_lossy(&terminal.raw).into_owned();
        assert!(!raw.contains("\x1b[?1049") && !raw.contains("\x1b[H"), "{args:?}: {raw:?}");
    }
    server.stop().await;
}
