//! The ten commands of README.md, from nothing to a fleet under mutual TLS, as they stand there: typed one after the other
//! in an empty folder, with real programs.

#![cfg(unix)]
#![allow(missing_docs, clippy::disallowed_methods, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// No wait is longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The commands, a line each.
fn commands() -> Vec<String> {
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("README.md");
    let section = readme.split("\n## A fleet under mutual TLS, from nothing\n").nth(1).expect("the section");
    let block = section.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block");
    block.lines().map(str::to_owned).collect()
}

/// Where cargo puts examples: beside the folder of the tests.
fn example() -> PathBuf {
    let test = std::env::current_exe().expect("a path");
    test.ancestors().nth(2).expect("the profile's folder").join("examples").join("orders")
}

/// A folder where nothing is yet, ports that are free, and what runs beside the others.
struct Terminal {
    folder: tempfile::TempDir,
    ports: [(&'static str, u16); 2],
    beside: Vec<Child>,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The last one first: the service leaves while its control plane is there.
        for child in self.beside.iter_mut().rev() {
            if let Ok(None) = child.try_wait() {
                kill_process(Pid::from_child(child), Signal::TERM).expect("our own child");
            }
            let began = Instant::now();
            while matches!(child.try_wait(), Ok(None)) && began.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(20));
            }
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Terminal {
    fn open() -> Self {
        let free = || {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            listener.local_addr().expect("an address").port()
        };
        let ports = [("50051", free()), ("8080", free())];
        Self { folder: tempfile::tempdir().expect("a folder"), ports, beside: Vec::new() }
    }

    fn command(&self, line: &str) -> Command {
        let here = |word: &str| {
            self.ports.iter().fold(word.to_owned(), |word, (usual, free)| {
                word.replace(&format!("127.0.0.1:{usual}"), &format!("127.0.0.1:{free}"))
            })
        };
        let mut words = line.split_whitespace().map(here);
        let program = match words.next().as_deref() {
            Some("seaworthy") => PathBuf::from(env!("CARGO_BIN_EXE_seaworthy")),
            Some("orders") => example(),
            other => panic!("{other:?} is no program of ours"),
        };
        let [(_, grpc), (_, http)] = self.ports;
        let mut command = Command::new(program);
        command.args(words).current_dir(self.folder.path()).env_clear();
        // Usual ports may be taken; a person would have a home.
        command.env("SEAWORTHY_GRPC_LISTEN", format!("127.0.0.1:{grpc}"));
        command.env("SEAWORTHY_HTTP_LISTEN", format!("127.0.0.1:{http}"));
        command.env("HOME", self.folder.path()).stdin(Stdio::null());
        command
    }

    /// Goes on beside the others.
    fn beside(&mut self, line: &str) {
        let log =
            fs::File::create(self.folder.path().join(format!("log-{}", self.beside.len()))).expect("a log");
        let mut command = self.command(line);
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        let started = command.spawn();
        self.beside.push(started.expect("built by a whole `cargo test`"));
    }

    /// To its end, again until it has succeeded: a person sees by the words of the control plane when it serves.
    fn run(&self, line: &str) -> Output {
        let began = Instant::now();
        loop {
            let output = self.command(line).output().expect("it runs");
            if output.status.success() {
                return output;
            }
            if began.elapsed() > PATIENCE {
                let logs: String = (0..self.beside.len())
                    .map(|at| {
                        fs::read_to_string(self.folder.path().join(format!("log-{at}"))).unwrap_or_default()
                    })
                    .collect();
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                panic!("{line}: {:?}\n{said}\n{logs}", output.status);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn eleven_commands_lead_from_nothing_to_a_fleet_under_mutual_tls() {
    let commands = commands();
    assert_eq!(commands.len(), 11, "{commands:#?}");
    let mut terminal = Terminal::open();
    let mut said = Vec::new();
    for line in &commands {
        match line.strip_suffix(" &") {
            Some(line) => terminal.beside(line),
            None => said.push((line, terminal.run(line))),
        }
    }
    let text = |begin: &str| {
        let found = said.iter().find(|(line, _)| line.starts_with(begin)).expect("it was run");
        String::from_utf8_lossy(&found.1.stdout).into_owned()
    };
    assert!(text("seaworthy health orders").contains("healthy"), "{}", text("seaworthy health orders"));
    // What an instance is asked for goes over connections like all else.
    let backed_up = terminal.run("seaworthy backup create orders");
    assert!(String::from_utf8_lossy(&backed_up.stdout).contains("succeeded"), "{backed_up:?}");
    let forced = "--force not-empty --force serving";
    let restored = terminal.run(&format!("seaworthy restore run orders {forced}"));
    assert!(String::from_utf8_lossy(&restored.stdout).contains("succeeded"), "{restored:?}");
    // Nothing was open to whoever brings nothing.
    let mut bare = terminal
        .command("seaworthy fleet list --server https://127.0.0.1:50051 --ca-cert seaworthy-certs/ca.pem");
    let refused =
        bare.env("SEAWORTHY_CONTEXTS_FILE", terminal.folder.path().join("none")).output().expect("it runs");
    assert_eq!(refused.status.code(), Some(5), "{refused:?}");
    // And keys are for their owner alone.
    for entry in fs::read_dir(terminal.folder.path().join("seaworthy-certs")).expect("the authority") {
        use std::os::unix::fs::PermissionsExt as _;
        let entry = entry.expect("an entry");
        if entry.path().extension().is_some_and(|end| end == "key") {
            let mode = entry.metadata().expect("its mode").permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", entry.path().display());
        }
    }
}
