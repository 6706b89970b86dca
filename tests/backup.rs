//! Backups and restores as a user has them: the real control plane as a process, the example service or the Rust client beside it, and
//! the command line. What was acknowledged is there, whoever was killed when; what is not whole is never shown as such.

#![allow(missing_docs, clippy::disallowed_methods, clippy::expect_used, clippy::unwrap_used, clippy::panic)]
#![cfg(unix)]

#[allow(dead_code)] // other tests use the rest of it
mod process;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use process::{Serving, until};
use seaworthy::vault::step::Step;
use seaworthy_client::{
    Agent, Component,
    backup::{self, Backup, CaptureWriter, Evidence, Inspection, RestoreReader, Restored},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Notify,
};

/// A control plane on a port that stays the same over restarts.
struct Plane {
    port: u16,
    arm: PathBuf,
    serving: Option<Serving>,
    data: PathBuf,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Plane {
    fn start(home: &Path) -> Self {
        let (data, arm) = (home.join("data"), home.join("abort-at"));
        let mut plane = Self { port: free_port(), arm, serving: None, data };
        plane.serve();
        plane
    }

    fn serve(&mut self) {
        let dir = tempfile::tempdir().unwrap();
        // What a full disk is played by ends nobody by a signal.
        let child = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_seaworthy"), "serve"])
            .args(["--http-listen", "127.0.0.1:0", "--log-level", "warn"])
            .args(["--grpc-listen", &format!("127.0.0.1:{}", self.port)])
            .arg("--data-dir")
            .arg(&self.data)
            .arg("--ready-file")
            .arg(dir.path().join("ready"))
            .env("TEST_ABORT_AT_STEP_IN", &self.arm)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.serving = Some(Serving::ready(dir, child));
    }

    /// Waits until the process has ended by itself.
    fn until_dead(&mut self) {
        let serving = self.serving.as_mut().unwrap();
        until("its end", || serving.child.try_wait().unwrap());
        self.serving = None;
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn cli(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_seaworthy"))
            .args(args)
            .args(["--server", &self.url(), "--timeout", "20s"])
            .output()
            .unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.cli(&[args, &["-o", "json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// The newest operation of the service, once it has ended.
    fn ended(&self) -> Value {
        until("the end of the operation", || {
            let found = self.json(&["operations", "--service", "orders"]);
            let last = &found["operations"][0];
            last["end_time"].as_str().map(|_| last.clone())
        })
    }

    /// Ids of the backups, once the newest operation has ended.
    fn settled_backups(&self) -> Vec<Value> {
        self.ended();
        self.backups().iter().map(|one| one["id"].clone()).collect()
    }

    fn backups(&self) -> Vec<Value> {
        let listed = self.json(&["backup", "list", "orders"]);
        listed["backups"].as_array().cloned().unwrap_or_default()
    }
}

fn assert_success(what: &str, output: &Output) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{out}\n{err}", output.status);
}

/// The example service, ended when dropped.
struct Orders {
    child: Child,
    port: u16,
}

impl Drop for Orders {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn example() -> PathBuf {
    let test = std::env::current_exe().expect("a path");
    test.ancestors().nth(2).expect("the profile's folder").join("examples").join("orders")
}

impl Orders {
    fn start(control_plane: &str, database: &Path) -> Self {
        let mut child = Command::new(example())
            .args([
                "--control-plane",
                control_plane,
                "--instance-id",
                "i-1",
                "--interval",
                "1s",
                "--database",
            ])
            .arg(database)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("built by a whole `cargo test`, or by `cargo build --example orders`");
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let port = ready["address"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
        // It goes on writing lines: whoever reads none of them would stop it.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Self { child, port }
    }

    fn http(&self, request: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split("\r\n\r\n").nth(1)?).ok()
    }

    fn post(&self, item: &str) -> Option<u64> {
        let body = json!({"item": item, "quantity": 1}).to_string();
        let length = body.len();
        self.http(&format!(
            "POST /orders HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        ))?["id"]
            .as_u64()
    }

    fn get(&self, id: u64) -> Option<String> {
        let order =
            self.http(&format!("GET /orders/{id} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))?;
        order["item"].as_str().map(str::to_owned)
    }
}

fn attached(plane: &Plane) {
    are_attached(plane, 1);
}

fn are_attached(plane: &Plane, count: usize) {
    until("so many instances that are attached", || {
        let instances = plane.json(&["fleet", "list", "--service", "orders"]);
        let attached = |one: &&Value| one["attached"].as_bool() == Some(true);
        let all = instances["instances"].as_array()?.iter().filter(attached).count();
        (all == count).then_some(())
    });
}

#[test]
fn the_orders_service_is_backed_up_while_it_writes_and_comes_back_row_for_row() {
    let home = tempfile::tempdir().unwrap();
    let mut plane = Plane::start(home.path());
    let database = home.path().join("orders.db");
    let orders = Orders::start(&plane.url(), &database);
    attached(&plane);
    for number in 1..=20 {
        assert_eq!(orders.post(&format!("item-{number}")), Some(number));
    }
    // It is written to before, during and after the capture.
    let (stop, written) = (AtomicUsize::new(0), AtomicUsize::new(20));
    let backed_up = std::thread::scope(|scope| {
        scope.spawn(|| {
            while stop.load(Ordering::SeqCst) == 0 {
                let number = written.fetch_add(1, Ordering::SeqCst) + 1;
                assert_eq!(orders.post(&format!("item-{number}")), Some(number as u64));
            }
        });
        let created = plane.cli(&["backup", "create", "orders"]);
        stop.store(1, Ordering::SeqCst);
        created
    });
    assert_success("backup create", &backed_up);
    let shown = plane.json(&["backup", "show", "orders", "latest"]);
    let component = &shown["backup"]["components"][0];
    let rows: u64 = component["evidence"]["rows"].as_str().unwrap().parse().unwrap();
    assert!(rows >= 20 && component["complete"] == true, "{shown}");

    for end in ["", "-wal", "-shm"] {
        drop(fs::remove_file(format!("{}{end}", database.display())));
    }
    until("the loss being seen", || {
        let planned = plane.json(&["restore", "plan", "orders"]);
        let obstacles = planned["items"][0]["obstacles"].as_array().map_or(0, Vec::len);
        (planned["items"][0]["present"]["empty"] == true && obstacles == 0).then_some(())
    });
    assert_success("restore run", &plane.cli(&["restore", "run", "orders"]));
    for number in 1..=rows {
        assert_eq!(orders.get(number), Some(format!("item-{number}")));
    }
    assert_eq!(orders.get(rows + 1), None);

    // A guard stands in the way of the next one, and says how it is forced.
    let guarded = plane.cli(&["restore", "run", "orders"]);
    let said = String::from_utf8_lossy(&guarded.stderr).into_owned();
    assert!(!guarded.status.success() && said.contains("--force not-empty"), "{said}");
    let forced =
        ["restore", "run", "orders", "--force", "not-empty", "--force", "serving", "--safety-backup"];
    assert_success("restore run by force", &plane.cli(&forced));
    assert_eq!(plane.backups().len(), 2, "what was overwritten was backed up");

    assert_success("backup create", &plane.cli(&["backup", "create", "_seaworthy"]));

    // With the server gone, the bucket and the key are enough.
    drop(orders);
    plane.serving.as_mut().unwrap().child.kill().unwrap();
    plane.until_dead();
    let id = shown["backup"]["id"].as_str().unwrap();
    let copy = home.path().join("copy.db");
    let vault = plane.data.join("vault").display().to_string();
    let key = plane.data.join("vault.key").display().to_string();
    let restored = Command::new(env!("CARGO_BIN_EXE_seaworthy"))
        .args(["vault", "restore", "orders", id, "database", "--vault", &vault, "--key-file", &key, "--to"])
        .arg(&copy)
        .output()
        .unwrap();
    assert_success("vault restore", &restored);
    let orders = Orders::start(&plane.url(), &copy);
    for number in 1..=rows {
        assert_eq!(orders.get(number), Some(format!("item-{number}")));
    }
    assert_eq!(orders.get(rows + 1), None);

    // The machine is lost, but for the bucket and the key: a control plane that serves comes back.
    let again = home.path().join("again");
    let restored = Command::new(env!("CARGO_BIN_EXE_seaworthy"))
        .args(["vault", "restore", "--control-plane", "--vault", &vault, "--key-file", &key, "--data-dir"])
        .arg(&again)
        .output()
        .unwrap();
    assert_success("vault restore --control-plane", &restored);
    fs::rename(plane.data.join("vault"), again.join("vault")).unwrap();
    fs::copy(&key, again.join("vault.key")).unwrap();
    fs::remove_dir_all(&plane.data).unwrap();
    plane.data = again;
    plane.serve();
    assert_eq!(plane.backups().len(), 2);
}

/// Whether a backup that is as far as this counts.
fn is_committed(step: Step) -> bool {
    matches!(step, Step::ManifestWritten | Step::ManifestChecked | Step::SessionEnded)
}

#[test]
fn killed_at_every_step_of_the_commit_nothing_acknowledged_is_lost_and_nothing_is_green_that_is_not() {
    let home = tempfile::tempdir().unwrap();
    let mut plane = Plane::start(home.path());
    let database = home.path().join("orders.db");
    let orders = Orders::start(&plane.url(), &database);
    attached(&plane);
    orders.post("item-1").unwrap();
    assert_success("backup create", &plane.cli(&["backup", "create", "orders"]));
    let first = plane.backups()[0]["id"].as_str().unwrap().to_owned();
    for (number, step) in (2..).zip(Step::ALL) {
        until("an order", || orders.post(&format!("item-{number}")));
        fs::write(&plane.arm, step.as_str()).unwrap();
        // Whoever follows it waits for the control plane to come back: here nobody does.
        drop(plane.cli(&["backup", "create", "orders", "--detach"]));
        plane.until_dead();
        fs::remove_file(&plane.arm).unwrap();
        plane.serve();

        let last = plane.ended();
        let committed = is_committed(step);
        let expected = if committed { "OPERATION_STATE_SUCCEEDED" } else { "OPERATION_STATE_FAILED" };
        assert_eq!(last["state"], expected, "{}: {last}", step.as_str());
        let backups = plane.backups();
        let is_listed = backups.iter().any(|one| one["id"] == last["id"]);
        assert_eq!(is_listed, committed, "{}", step.as_str());
        for backup in &backups {
            assert_eq!(backup["state"], "BACKUP_STATE_COMPLETE", "{}: {backup}", step.as_str());
            let verified = plane.cli(&["backup", "verify", "orders", backup["id"].as_str().unwrap()]);
            assert_success(step.as_str(), &verified);
        }
        assert!(backups.iter().any(|one| one["id"] == first.as_str()));
        attached(&plane);
    }
    assert_success("backup create", &plane.cli(&["backup", "create", "orders"]));
}

/// A file system in a file, whose power can be cut: what it has not been told to write down is in the kernel's memory alone,
/// and a copy of the file has nothing of it.
#[cfg(target_os = "linux")]
struct Disk {
    image: PathBuf,
    mounted: PathBuf,
}

#[cfg(target_os = "linux")]
impl Disk {
    /// None: this machine does not let us.
    fn new(home: &Path) -> Option<Self> {
        let image = home.join("image");
        fs::File::create(&image).unwrap().set_len(256 << 20).unwrap();
        let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image).output().ok()?;
        assert!(made.status.success(), "{made:?}");
        Self::mount(image, home.join("disk"))
    }

    fn mount(image: PathBuf, mounted: PathBuf) -> Option<Self> {
        fs::create_dir(&mounted).unwrap();
        // Nothing is written down by itself while a test lasts.
        let options = "loop,commit=3600,noauto_da_alloc";
        let done = Command::new("mount").args(["-o", options]).arg(&image).arg(&mounted).output().ok()?;
        done.status.success().then_some(Self { image, mounted })
    }

    /// What is left when the power goes now.
    fn cut(&self, name: &str) -> Self {
        let image = self.image.with_file_name(format!("image-{name}"));
        fs::copy(&self.image, &image).unwrap();
        Self::mount(image, self.mounted.with_file_name(format!("disk-{name}"))).expect("mounted as the first")
    }
}

#[cfg(target_os = "linux")]
impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.mounted).output());
        drop(fs::remove_file(&self.image));
    }
}

/// `required`: where no file can be mounted, its test fails.
#[cfg(target_os = "linux")]
const POWER_CUT: &str = "TEST_POWER_CUT";

#[cfg(target_os = "linux")]
#[test]
fn whenever_the_power_goes_what_was_acknowledged_is_there_and_nothing_is_green_that_is_not() {
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::new(home.path()) else {
        let needed = std::env::var_os(POWER_CUT).is_some_and(|value| value == "required");
        assert!(!needed, "no file can be mounted here, and {POWER_CUT} says that it has to be tested");
        eprintln!("not tested: this needs the right to mount a file, and mkfs.ext4");
        return;
    };
    // It does lose what nobody has synced.
    fs::write(disk.mounted.join("unsynced"), "lost").unwrap();
    let without = disk.cut("control");
    assert_ne!(fs::read(without.mounted.join("unsynced")).unwrap_or_default(), b"lost");
    drop(without);

    let mut plane = Plane::start(&disk.mounted);
    let orders = Orders::start(&plane.url(), &home.path().join("orders.db"));
    attached(&plane);
    orders.post("item-1").unwrap();
    let mut acknowledged = Vec::new();
    for (number, step) in (2..).zip([None].into_iter().chain(Step::ALL.into_iter().map(Some))) {
        let name = step.map_or("acknowledged", |step| step.as_str());
        until("an order", || orders.post(&format!("item-{number}")));
        if let Some(step) = step {
            fs::write(&plane.arm, step.as_str()).unwrap();
            drop(plane.cli(&["backup", "create", "orders", "--detach"]));
            plane.until_dead();
        } else {
            assert_success("backup create", &plane.cli(&["backup", "create", "orders"]));
        }
        let left = disk.cut(name);
        if step.is_some() {
            fs::remove_file(&plane.arm).unwrap();
            plane.serve();
            attached(&plane);
        } else {
            acknowledged.extend(plane.backups().iter().map(|one| one["id"].clone()));
        }

        let mut survivor = Plane {
            port: free_port(),
            arm: home.path().join("nowhere"),
            serving: None,
            data: left.mounted.join("data"),
        };
        survivor.serve();
        let state = survivor.ended()["state"].clone();
        let committed = step.is_none_or(is_committed);
        let expected = if committed { "OPERATION_STATE_SUCCEEDED" } else { "OPERATION_STATE_FAILED" };
        assert_eq!(state, expected, "{name}");
        let backups = survivor.backups();
        assert_eq!(backups.len(), acknowledged.len() + usize::from(committed && step.is_some()), "{name}");
        for backup in &backups {
            assert_eq!(backup["state"], "BACKUP_STATE_COMPLETE", "{name}: {backup}");
            let id = backup["id"].as_str().unwrap();
            assert_success(name, &survivor.cli(&["backup", "verify", "orders", id]));
        }
        for id in &acknowledged {
            assert!(backups.iter().any(|one| &one["id"] == id), "{name}: {id}");
        }
        drop(survivor);
        // What the one that goes on has made of it was told, and counts from now on.
        acknowledged = plane.settled_backups();
    }
}

/// Where the first capture stops on its way.
enum Stop {
    Nowhere,
    /// Half of it is sent; the other half never is.
    AtHalf,
    /// Until the hold that it stands in is over.
    UntilResumed,
}

/// State of 24 MiB, which is written a piece at a time.
struct Pieces {
    stop: Stop,
    captures: Arc<AtomicUsize>,
    resumed: Arc<Notify>,
}

const PIECES: u8 = 24;

impl Backup for Pieces {
    async fn capture(&self, into: &mut CaptureWriter) -> Result<Evidence, backup::Error> {
        let is_first = self.captures.fetch_add(1, Ordering::SeqCst) == 0;
        for piece in 0..PIECES {
            let mut bytes = vec![0; 1 << 20];
            blake3::Hasher::new().update(&[piece]).finalize_xof().fill(&mut bytes);
            into.write_all(&bytes).await?;
            if is_first && piece == PIECES / 2 {
                match self.stop {
                    Stop::Nowhere => {}
                    Stop::AtHalf => std::future::pending().await,
                    Stop::UntilResumed => self.resumed.notified().await,
                }
            }
        }
        Ok(Evidence::new().with("pieces", PIECES))
    }

    async fn restore(&self, from: &mut RestoreReader, _: &Restored) -> Result<(), backup::Error> {
        let mut all = Vec::new();
        from.read_to_end(&mut all).await?;
        Ok(())
    }

    async fn resume(&self) -> Result<(), backup::Error> {
        self.resumed.notify_one();
        Ok(())
    }
}

fn agent(plane: &Plane, stop: Stop, quiesces: bool) -> (Agent, Arc<AtomicUsize>) {
    let captures = Arc::new(AtomicUsize::new(0));
    let pieces = Pieces { stop, captures: Arc::clone(&captures), resumed: Arc::default() };
    (attach(plane, pieces, quiesces), captures)
}

fn attach(plane: &Plane, pieces: Pieces, quiesces: bool) -> Agent {
    let mut component = Component::new("state").backup(pieces).without_health();
    if quiesces {
        component = component.quiesces();
    }
    Agent::builder(plane.url(), "orders").instance_id("i-1").component(component).attach().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_holds_still_goes_on_when_the_backup_is_cancelled() {
    let home = tempfile::tempdir().unwrap();
    let plane = Plane::start(home.path());
    let (captures, resumed) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let pieces =
        Pieces { stop: Stop::AtHalf, captures: Arc::clone(&captures), resumed: Arc::clone(&resumed) };
    let _agent = attach(&plane, pieces, true);
    attached(&plane);
    // It would be let go by itself long after anybody waits here.
    let begun = plane.cli(&["backup", "create", "orders", "--detach", "--max-quiesce", "120s"]);
    assert_success("backup create", &begun);
    until("a capture", || (captures.load(Ordering::SeqCst) == 1).then_some(()));
    let id = String::from_utf8(begun.stdout).unwrap();
    assert_success("operations cancel", &plane.cli(&["operations", "cancel", id.trim()]));
    tokio::time::timeout(process::PATIENCE, resumed.notified()).await.expect("it is asked to go on");
    assert_eq!(plane.ended()["state"], "OPERATION_STATE_CANCELLED");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_dies_in_the_middle_is_captured_anew_and_stores_little_again() {
    let home = tempfile::tempdir().unwrap();
    let plane = Plane::start(home.path());
    let (first, captures) = agent(&plane, Stop::AtHalf, false);
    attached(&plane);
    let begun = plane.cli(&["backup", "create", "orders", "--detach"]);
    assert_success("backup create", &begun);
    until("half of a capture", || {
        let found = plane.json(&["operations", "--service", "orders"]);
        let done: u64 = found["operations"][0]["progress"]["done_bytes"].as_u64()?;
        (done > 8 << 20).then_some(())
    });
    assert_eq!(captures.load(Ordering::SeqCst), 1);
    // It goes without a word; then another life of it comes.
    drop(first);
    let (_second, again) = agent(&plane, Stop::Nowhere, false);
    plane.ended();
    let backups = plane.backups();
    assert_eq!(backups[0]["state"], "BACKUP_STATE_COMPLETE", "{backups:?}");
    let component = &backups[0]["components"][0];
    assert_eq!(component["bytes"], u64::from(PIECES) << 20);
    // What had come of the first life was not stored again.
    let new: u64 = component["new_bytes"].as_u64().unwrap();
    assert!(new < 18 << 20, "{component}");
    assert_eq!(again.load(Ordering::SeqCst), 1);
}

/// The example whose state is one file, as a process, killed when dropped.
struct FileService(Child);

impl Drop for FileService {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn file_service(plane: &Plane, file: &Path) -> FileService {
    let mut child = Command::new(example().with_file_name("backup_file"))
        .args([&plane.url(), "orders"])
        .arg(file)
        .stdout(Stdio::piped())
        .spawn()
        .expect("built by a whole `cargo test`, or by `cargo build --examples`");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "attached\n");
    FileService(child)
}

#[test]
fn a_process_that_is_killed_in_the_middle_of_its_upload_is_captured_anew() {
    let home = tempfile::tempdir().unwrap();
    let plane = Plane::start(home.path());
    let file = home.path().join("state");
    let mut bytes = vec![0; 48 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    fs::write(&file, &bytes).unwrap();
    let first = file_service(&plane, &file);
    let begun = plane.cli(&["backup", "create", "orders", "--detach"]);
    assert_success("backup create", &begun);
    let id = String::from_utf8(begun.stdout).unwrap().trim().to_owned();
    until("a part of the capture", || {
        let found = plane.json(&["operations", "--service", "orders"]);
        let done: u64 = found["operations"][0]["progress"]["done_bytes"].as_u64()?;
        (done > 0).then_some(())
    });
    drop(first);
    let _second = file_service(&plane, &file);
    // Its lease has to run out first.
    until("the loss being seen", || {
        let shown = plane.json(&["operations", &id]);
        shown.to_string().contains("waiting for it to come back").then_some(())
    });
    let ended = plane.ended();
    assert_eq!(ended["state"], "OPERATION_STATE_SUCCEEDED", "{ended}");
    assert_success("backup verify", &plane.cli(&["backup", "verify", "orders", "latest"]));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_fails_the_backup_and_nothing_else() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let home = tempfile::tempdir().unwrap();
    let plane = Plane::start(home.path());
    let (_agent, _) = agent(&plane, Stop::Nowhere, false);
    attached(&plane);
    assert_success("backup create", &plane.cli(&["backup", "create", "orders"]));
    // The kernel plays the full disk: no file may become larger than 256 KiB. All of this state is in the vault already, so
    // another one is backed up.
    let pid = Pid::from_child(&plane.serving.as_ref().unwrap().child);
    let limit = |current| Rlimit { current, maximum: None };
    prlimit(Some(pid), Resource::Fsize, limit(Some(256 << 10))).unwrap();
    let other = Component::new("other").backup_with(
        |mut into: CaptureWriter| async move {
            let mut bytes = vec![0; 4 << 20];
            blake3::Hasher::new().update(b"other").finalize_xof().fill(&mut bytes);
            into.write_all(&bytes).await?;
            Ok(Evidence::new())
        },
        |_: RestoreReader, _: Restored| async { Ok(()) },
    );
    let builder = Agent::builder(plane.url(), "orders").instance_id("i-2");
    let _other = builder.component(other.without_health()).attach().unwrap();
    are_attached(&plane, 2);
    let failed = plane.cli(&["backup", "create", "orders", "--component", "other"]);
    assert_eq!(failed.status.code(), Some(7), "{failed:?}");
    let backups = plane.backups();
    assert_eq!(backups.len(), 1, "{backups:?}");
    assert_success("backup verify", &plane.cli(&["backup", "verify", "orders", "latest"]));
    prlimit(Some(pid), Resource::Fsize, limit(None)).unwrap();
    assert_success("backup create", &plane.cli(&["backup", "create", "orders", "--component", "other"]));
    assert_eq!(plane.backups().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_ends_by_itself_makes_the_backup_partial() {
    let home = tempfile::tempdir().unwrap();
    let plane = Plane::start(home.path());
    let (_agent, _) = agent(&plane, Stop::UntilResumed, true);
    attached(&plane);
    let partial = plane.cli(&["backup", "create", "orders", "--max-quiesce", "1s"]);
    assert_eq!(partial.status.code(), Some(6), "{partial:?}");
    let backups = plane.backups();
    assert_eq!(backups[0]["state"], "BACKUP_STATE_PARTIAL", "{backups:?}");
    assert_eq!(backups[0]["consistent"], false);
    assert!(backups[0]["cause"].as_str().unwrap().contains("went on by itself"), "{backups:?}");
    let whole = plane.cli(&["backup", "create", "orders", "--max-quiesce", "30s"]);
    assert_success("backup create", &whole);
    assert_eq!(plane.backups()[0]["consistent"], true);
}

/// A component that says of itself whether it is empty, and whose second capture waits.
#[derive(Default)]
struct Held {
    full: AtomicBool,
    captures: AtomicUsize,
    waits: Notify,
    go: Notify,
}

impl Backup for Held {
    async fn capture(&self, into: &mut CaptureWriter) -> Result<Evidence, backup::Error> {
        into.write_all(b"state").await?;
        if self.captures.fetch_add(1, Ordering::SeqCst) == 1 {
            self.waits.notify_one();
            self.go.notified().await;
        }
        Ok(Evidence::new())
    }

    async fn restore(&self, from: &mut RestoreReader, _: &Restored) -> Result<(), backup::Error> {
        let mut all = Vec::new();
        from.read_to_end(&mut all).await?;
        Ok(())
    }

    async fn inspect(&self) -> Result<Inspection, backup::Error> {
        let holds = if self.full.load(Ordering::SeqCst) { 5 } else { 0 };
        Ok(if holds == 0 { Inspection::empty() } else { Inspection::holds(holds) })
    }
}

/// The newest restore, once it has ended.
fn restored(plane: &Plane) -> Value {
    let id = until("the end of the restore", || {
        let found = plane.json(&["operations", "--service", "orders", "--kind", "restore"]);
        let last = &found["operations"][0];
        last["end_time"].as_str()?;
        Some(last["id"].as_str().unwrap().to_owned())
    });
    plane.json(&["operations", &id])["operation"].clone()
}

/// What holds nothing is not backed up before, however much is forced: so it has to hold nothing then.
#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_by_the_time_of_the_overwriting_is_not_overwritten() {
    let home = tempfile::tempdir().unwrap();
    let plane = Plane::start(home.path());
    let (held, other) = (Arc::new(Held::default()), Arc::new(Held::default()));
    other.full.store(true, Ordering::SeqCst);
    let component =
        |name: &str, held: &Arc<Held>| Component::new(name).backup(Arc::clone(held)).without_health();
    let builder = Agent::builder(plane.url(), "orders").instance_id("i-1");
    let builder = builder.component(component("state", &held)).component(component("other", &other));
    let _agent = builder.attach().unwrap();
    attached(&plane);
    assert_success("backup create", &plane.cli(&["backup", "create", "orders"]));
    let run = ["restore", "run", "orders", "--safety-backup", "--force", "not-empty", "--detach"];
    assert_success("restore run", &plane.cli(&run));
    // It was empty when the restore was begun; while what the other one has is backed up, it is written to.
    tokio::time::timeout(process::PATIENCE, other.waits.notified()).await.unwrap();
    held.full.store(true, Ordering::SeqCst);
    other.go.notify_one();
    let last = restored(&plane);
    assert_eq!(last["state"], "OPERATION_STATE_PARTIAL", "{last}");
    let cause = last["cause"].as_str().unwrap();
    assert!(cause.contains("not-empty") && cause.contains("it was empty when"), "{last}");
    assert!(last["events"].to_string().contains("state of orders/i-1 holds nothing now"), "{last}");
    assert_eq!(held.captures.load(Ordering::SeqCst), 1);
}

/// A component that was destroyed: it holds nothing, and cannot be captured.
struct Destroyed(AtomicBool);

impl Backup for Destroyed {
    async fn capture(&self, into: &mut CaptureWriter) -> Result<Evidence, backup::Error> {
        if self.0.load(Ordering::SeqCst) {
            return Err("there is no such file".into());
        }
        into.write_all(b"state").await?;
        Ok(Evidence::new())
    }

    async fn restore(&self, from: &mut RestoreReader, _: &Restored) -> Result<(), backup::Error> {
        let mut all = Vec::new();
        from.read_to_end(&mut all).await?;
        Ok(())
    }

    async fn inspect(&self) -> Result<Inspection, backup::Error> {
        Ok(if self.0.load(Ordering::SeqCst) { Inspection::empty() } else { Inspection::holds(5) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_destroyed_is_restored_although_a_safety_backup_is_wanted() {
    let home = tempfile::tempdir().unwrap();
    let plane = Plane::start(home.path());
    let destroyed = Arc::new(Destroyed(AtomicBool::new(false)));
    let component = Component::new("state").backup(Arc::clone(&destroyed)).without_health();
    let builder = Agent::builder(plane.url(), "orders").instance_id("i-1");
    let _agent = builder.component(component).attach().unwrap();
    attached(&plane);
    assert_success("backup create", &plane.cli(&["backup", "create", "orders"]));
    destroyed.0.store(true, Ordering::SeqCst);
    assert_success("restore run", &plane.cli(&["restore", "run", "orders", "--safety-backup"]));
    let last = restored(&plane);
    assert!(last["events"].to_string().contains("holds nothing now, and is not backed up"), "{last}");
    assert_eq!(plane.backups().len(), 1);
}

/// State whose restore stops when half of it is there.
struct Slow(Arc<Notify>);

impl Backup for Slow {
    async fn capture(&self, into: &mut CaptureWriter) -> Result<Evidence, backup::Error> {
        into.write_all(b"state").await?;
        Ok(Evidence::new())
    }

    async fn restore(&self, from: &mut RestoreReader, _: &Restored) -> Result<(), backup::Error> {
        from.read_u8().await?;
        self.0.notify_one();
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_the_control_plane_did_not_outlive_has_failed_and_says_what_may_be_left() {
    let home = tempfile::tempdir().unwrap();
    let mut plane = Plane::start(home.path());
    let begun = Arc::new(Notify::new());
    let component = Component::new("state").backup(Slow(Arc::clone(&begun))).without_health();
    let builder = Agent::builder(plane.url(), "orders").instance_id("i-1");
    let _agent = builder.component(component).attach().unwrap();
    attached(&plane);
    assert_success("backup create", &plane.cli(&["backup", "create", "orders"]));
    let run = ["restore", "run", "orders", "--force", "not-empty", "--detach"];
    assert_success("restore run", &plane.cli(&run));
    tokio::time::timeout(process::PATIENCE, begun.notified()).await.unwrap();
    plane.serving.as_mut().unwrap().child.kill().unwrap();
    plane.until_dead();
    plane.serve();
    let last = restored(&plane);
    assert_eq!(last["state"], "OPERATION_STATE_FAILED", "{last}");
    assert!(last["cause"].as_str().unwrap().contains("half overwritten"), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_nobody_can_be_asked_for_makes_the_backup_partial() {
    let home = tempfile::tempdir().unwrap();
    let plane = Plane::start(home.path());
    let orders = Orders::start(&plane.url(), &home.path().join("orders.db"));
    let ledger = Component::new("ledger").backup(Arc::new(Held::default())).without_health();
    let builder = Agent::builder(plane.url(), "orders").instance_id("i-2");
    let _other = builder.component(ledger).attach().unwrap();
    are_attached(&plane, 2);
    // It goes without a word.
    drop(orders);
    are_attached(&plane, 1);
    let partial = plane.cli(&["backup", "create", "orders"]);
    assert_eq!(partial.status.code(), Some(6), "{partial:?}");
    let backups = plane.backups();
    assert_eq!(backups[0]["state"], "BACKUP_STATE_PARTIAL", "{backups:?}");
    let lacks = &backups[0]["components"][0];
    assert_eq!((&lacks["name"], &lacks["complete"]), (&json!("database"), &json!(false)), "{backups:?}");
    assert!(lacks["cause"].as_str().unwrap().contains("not attached"), "{lacks}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_a_backup_is_not_guessed_while_the_bucket_does_not_answer() {
    let home = tempfile::tempdir().unwrap();
    let mut plane = Plane::start(home.path());
    let (_agent, _) = agent(&plane, Stop::Nowhere, false);
    attached(&plane);
    fs::write(&plane.arm, Step::ManifestWritten.as_str()).unwrap();
    drop(plane.cli(&["backup", "create", "orders", "--detach"]));
    plane.until_dead();
    fs::remove_file(&plane.arm).unwrap();
    // A file in the place of a folder answers every question with an error.
    let (manifests, away) = (plane.data.join("vault/manifests"), home.path().join("away"));
    fs::rename(&manifests, &away).unwrap();
    fs::write(&manifests, "").unwrap();
    plane.serve();
    let again = plane.cli(&["backup", "create", "orders", "--detach"]);
    assert!(!again.status.success(), "the one before is still under way");
    fs::remove_file(&manifests).unwrap();
    fs::rename(&away, &manifests).unwrap();
    assert_eq!(plane.ended()["state"], "OPERATION_STATE_SUCCEEDED");
    assert_eq!(plane.backups()[0]["state"], "BACKUP_STATE_COMPLETE");
}

/// The manifest is in the bucket, and the next word about it cannot be had.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_there_does_not_fail_because_nobody_could_say_so() {
    let home = tempfile::tempdir().unwrap();
    let plane = Plane::start(home.path());
    let resumed = Arc::new(Notify::new());
    let pieces = Pieces { stop: Stop::UntilResumed, captures: Arc::default(), resumed: Arc::clone(&resumed) };
    let _agent = attach(&plane, pieces, false);
    attached(&plane);
    let begun = plane.cli(&["backup", "create", "orders", "--detach"]);
    assert_success("backup create", &begun);
    // A file in the place of the folder of its notes answers every question about these with an error.
    let (notes, id) = (plane.data.join("vault/notes"), String::from_utf8(begun.stdout).unwrap());
    fs::create_dir_all(&notes).unwrap();
    let notes = notes.join(id.trim());
    fs::write(&notes, "").unwrap();
    resumed.notify_one();
    let manifests = plane.data.join("vault/manifests/orders");
    until("the manifest", || fs::read_dir(&manifests).ok()?.flatten().next());
    fs::remove_file(&notes).unwrap();
    assert_eq!(plane.ended()["state"], "OPERATION_STATE_SUCCEEDED");
    let backup = &plane.backups()[0];
    assert_eq!((&backup["state"], &backup["id"]), (&"BACKUP_STATE_COMPLETE".into(), &id.trim().into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_was_found_is_told_and_stands_in_the_way() {
    let home = tempfile::tempdir().unwrap();
    let plane = Plane::start(home.path());
    let (_agent, _) = agent(&plane, Stop::Nowhere, false);
    attached(&plane);
    assert_success("backup create", &plane.cli(&["backup", "create", "orders"]));
    let id = plane.backups()[0]["id"].as_str().unwrap().to_owned();
    let unverified = || {
        let plan = plane.json(&["restore", "plan", "orders", &id]);
        let all = plan["obstacles"].as_array().cloned().unwrap_or_default();
        let one = all.into_iter().find(|one| one["guard"] == "RESTORE_GUARD_UNVERIFIED")?;
        Some(one["message"].as_str().unwrap().to_owned())
    };
    assert!(unverified().unwrap().contains("nobody"));
    assert_success("verify", &plane.cli(&["backup", "verify", "orders", &id, "--depth", "structure"]));
    assert!(unverified().unwrap().contains("structure alone"));
    assert_success("verify", &plane.cli(&["backup", "verify", "orders", &id]));
    assert_eq!(unverified(), None);

    let pack = until("a pack", || {
        let mut folders = fs::read_dir(plane.data.join("vault/packs/orders")).ok()?.flatten();
        fs::read_dir(folders.next()?.path()).ok()?.flatten().next().map(|pack| pack.path())
    });
    let mut bytes = fs::read(&pack).unwrap();
    bytes[1000] ^= 1;
    fs::write(&pack, bytes).unwrap();
    assert!(!plane.cli(&["backup", "verify", "orders", &id]).status.success());
    assert!(unverified().unwrap().contains("damaged"));
    let shown = plane.json(&["backup", "show", "orders", &id]);
    assert!(shown["backup"]["verify_cause"].as_str().unwrap().contains("cannot be restored"), "{shown}");
    let listed = String::from_utf8(plane.cli(&["backup", "list", "orders"]).stdout).unwrap();
    assert!(listed.contains("DAMAGED"), "{listed}");
    let latest = plane.cli(&["restore", "plan", "orders", "latest"]);
    assert_eq!(latest.status.code(), Some(3), "it is not the newest that can be restored: {latest:?}");
}
