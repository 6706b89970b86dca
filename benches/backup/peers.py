#!/usr/bin/env python3
"""Measures backup programs: restic, kopia, borg and rustic, each as its users run it, and Seaworthy beside them.

One step, for a runner that takes turns between several programs:

    peers.py --work FOLDER --peer NAME --step init
    peers.py --work FOLDER --peer NAME --step first --data FILE
    peers.py --work FOLDER --peer NAME --step incremental --data CHANGED_FILE
    peers.py --work FOLDER --peer NAME --step restore
    peers.py --work FOLDER --peer NAME --step verify
    peers.py --work FOLDER --peer NAME --step clean

All of it, for some peers or all, in turns, with a line of medians for each step at the end:

    peers.py --work FOLDER --data FILE --changed CHANGED_FILE [--peer NAME,NAME] [--rounds N]

Each step prints one line of JSON. What a peer needs and makes (repository, the file it backs up, caches, home,
temporary files, what it restores) is below FOLDER/peer-NAME, so on one file system. The second form deletes
that at the end, also when a step fails; in the first the step `clean` does. After `peers.sh TOOLS`, the programs
are found with `--programs TOOLS/bin`; without it they are those in PATH.

  init         a new, encrypted repository
  first        the file is copied into place, then backed up
  incremental  the same for another file at the same path, renamed over the one before
  restore      the latest backup into an empty folder; it must be the same as the file, byte by byte
  verify       the peer reads, decrypts and checks all that its backups need

What is measured is the peer's own command, from start to exit:

  seconds                       wall time
  user_seconds, system_seconds  CPU of the command with what it started
  peak_rss_bytes                of its largest process; the kernel counts mapped files too
  stored_bytes                  sum of the lengths of all files in the repository after the step
  added_bytes                   how much more that is than before the step
  sync_seconds                  how long `sync -f` took after the command

The sync is part of `seconds` and of the CPU, and `sync_counted` is true, where the peer does not call fsync on
what it stores: kopia. The others do. What a restore writes is synced by none of them, and counted for none.

Not measured: copying files into place, which is synced before the clock starts; looking up the name of borg's
latest archive; emptying kopia's cache before `verify`; comparing what was restored; deleting. Files are warm in
the system's cache, for all alike. Caches of the peers are as they come. It does not say which peer is better,
and sets no priorities: run it under `nice` where that is wanted.

Seaworthy is measured end to end: a control plane with its defaults and a service of another process
(clients/rust/examples/backup_file.rs) run before the clock starts, as they do for its users; `backup create` and
`restore run` go through gRPC, and the clock runs from the start of the command to its end. `verify` is `vault
verify` over all that there is, as with the others, without a server. CPU and memory are the control plane's, the
service's and the command's; `control_plane_peak_rss_bytes` is the control plane's alone, or for `verify` that of
the command. It syncs what it restores too. Its programs are made by

    cargo build --release --locked --bin seaworthy
    cargo build --release --locked -p seaworthy-client --example backup_file

and are found in target/release.
"""

import argparse
import contextlib
import filecmp
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import time

STEPS = ["init", "first", "incremental", "restore", "verify"]
PASSWORD = "not a secret: the repository is deleted after the run"


class Failed(Exception):
    """A step that did not do what it should; the text is for whoever ran it."""


# === the peers ===


class Peer:
    """A program in one configuration. Each step is a list of commands."""

    name: str
    program: str
    version = ("--version",)
    sync_counted = False

    @contextlib.contextmanager
    def running(self, step, measured):
        """What has to run while a step does."""
        yield

    def __init__(self, work, programs):
        self.folder = work / f"peer-{self.name}"
        self.repository = self.folder / "repository"
        self.source = self.folder / "source"
        self.file = self.source / "database"
        self.restored = self.folder / "restored"
        self.log = self.folder / "log"
        path = os.environ["PATH"]
        self.environment = {
            "PATH": f"{programs}:{path}" if programs else path,
            "LANG": "C.UTF-8",
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "temporary"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "XDG_CONFIG_HOME": str(self.folder / "home"),
            **self.settings(),
        }


    def take_restored(self):
        """Puts what was restored where it is compared. Most write it there."""


class Restic(Peer):
    """As it comes."""

    name = "restic"
    program = "restic"
    version = ("version",)

    def settings(self):
        return {"RESTIC_REPOSITORY": str(self.repository), "RESTIC_PASSWORD": PASSWORD}

    def init(self):
        return [["restic", "init"]]

    def backup(self):
        return [["restic", "backup", self.source]]

    def restore(self):
        return [["restic", "restore", f"latest:{self.source}", "--target", self.restored]]

    def verify(self):
        return [["restic", "check", "--read-data"]]


class Kopia(Peer):
    """With its fastest zstd: it compresses nothing by default."""

    name = "kopia"
    program = "kopia"
    sync_counted = True

    def settings(self):
        return {
            "KOPIA_PASSWORD": PASSWORD,
            "KOPIA_CONFIG_PATH": str(self.folder / "home" / "kopia.config"),
            "KOPIA_CACHE_DIRECTORY": str(self.folder / "cache" / "kopia"),
            "KOPIA_LOG_DIR": str(self.folder / "cache" / "kopia-logs"),
            "KOPIA_CHECK_FOR_UPDATES": "false",
            "KOPIA_USE_KEYRING": "false",
        }

    def init(self):
        return [
            ["kopia", "repository", "create", "filesystem", f"--path={self.repository}"],
            ["kopia", "policy", "set", "--global", "--compression=zstd-fastest"],
        ]

    def backup(self):
        return [["kopia", "snapshot", "create", self.source]]

    def restore(self):
        return [["kopia", "restore", "--snapshot-time=latest", self.source, self.restored]]

    def verify(self):
        """What a restore left in its cache it would read there, and not see what is damaged in the repository.

        The cache stays on: without one 0.22.3 crashes.
        """
        output(self, ["kopia", "cache", "clear"])
        return [["kopia", "snapshot", "verify", "--verify-files-percent=100"]]


class Borg(Peer):
    """With zstd 1, chunks of about 2 MiB as they come, and the faster of the two encryptions that it recommends."""

    name = "borg"
    program = "borg"
    options = ("--compression", "zstd,1")

    def settings(self):
        return {
            "BORG_REPO": str(self.repository),
            "BORG_PASSPHRASE": PASSWORD,
            "BORG_BASE_DIR": str(self.folder / "home"),
            "BORG_CACHE_DIR": str(self.folder / "cache" / "borg"),
        }

    def init(self):
        return [["borg", "init", "--encryption", "repokey" if hashes_sha_in_hardware() else "repokey-blake2"]]

    def backup(self):
        return [["borg", "create", *self.options, "::{utcnow:%Y-%m-%dT%H:%M:%S.%f}", self.source]]

    def restore(self):
        """Borg has no name for the latest archive: who restores looks it up."""
        archive = output(self, ["borg", "list", "--last", "1", "--short"]).strip()
        parts = len(self.source.relative_to("/").parts)
        return [["borg", "extract", "--strip-components", str(parts), f"::{archive}"]]

    def verify(self):
        return [["borg", "check", "--verify-data"]]


class BorgTuned(Borg):
    """With chunks of about 64 KiB, for databases: a changed page spoils less."""

    name = "borg-tuned"
    options = (*Borg.options, "--chunker-params", "buzhash,14,18,16,4095")


class Rustic(Peer):
    """As it comes, its level of zstd included."""

    name = "rustic"
    program = "rustic"

    def settings(self):
        return {"RUSTIC_REPOSITORY": str(self.repository), "RUSTIC_PASSWORD": PASSWORD}

    def init(self):
        return [["rustic", "init"]]

    def backup(self):
        return [["rustic", "backup", self.source]]

    def restore(self):
        return [["rustic", "restore", f"latest:{self.source}", self.restored]]

    def verify(self):
        return [["rustic", "check", "--read-data"]]


def hashes_sha_in_hardware():
    """Whether the processor has instructions for SHA-256 (Linux; x86 and Arm name them differently)."""
    return not {"sha_ni", "sha2"}.isdisjoint(pathlib.Path("/proc/cpuinfo").read_text().split())


class Seaworthy(Peer):
    """As it comes; what is cut is cut by content."""

    name = "seaworthy"
    program = "seaworthy"
    own = pathlib.Path(__file__).resolve().parents[2] / "target" / "release"
    service = "bench"

    def __init__(self, work, programs):
        super().__init__(work, programs)
        self.data = self.folder / "data"
        self.repository = self.data / "vault"
        self.original = self.folder / "original"
        self.environment["PATH"] = f"{self.own}:{self.environment['PATH']}"
        self.server = None

    def settings(self):
        return {}

    def init(self):
        """The first start makes a vault and its key."""
        return []

    def backup(self):
        return [["seaworthy", "backup", "create", self.service, "--server", self.server]]

    def restore(self):
        # The service's file is lost, and another one is in its place.
        self.file.rename(self.original)
        self.file.write_bytes(b"lost")
        forced = ["--force", "not-empty", "--force", "serving", "--force", "unverified", "--no-verify"]
        return [["seaworthy", "restore", "run", self.service, *forced, "--server", self.server]]

    def verify(self):
        place = ["--vault", str(self.repository), "--key-file", str(self.data / "vault.key")]
        return [["seaworthy", "vault", "verify", *place]]

    @contextlib.contextmanager
    def running(self, step, measured):
        """A control plane and a service that is attached to it; what they took is added at the end."""
        if step == "verify":
            yield
            measured.control_plane_peak_rss = measured.peak_rss
            return
        ready = self.folder / "ready"
        ready.unlink(missing_ok=True)
        log = open(self.log, "ab")
        started = []

        def start(command, **options):
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stderr=log, **options
            )
            started.append(process)
            return process

        def address():
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                if ready.exists() and (text := ready.read_text()):
                    return json.loads(text)["grpc"]
                time.sleep(0.01)
            raise Failed(f"{self.name}: the control plane is not ready after 30 s")

        try:
            nowhere = ["--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]
            serve = [self.own / "seaworthy", "serve", "--data-dir", self.data, "--ready-file", ready, *nowhere]
            control_plane = start(serve, stdout=log)
            self.server = f"http://{address()}"
            source = [self.own / "examples" / "backup_file", self.server, self.service, self.file]
            attached = start(source, stdout=subprocess.PIPE).stdout.readline()
            if attached != b"attached\n":
                raise Failed(f"{self.name}: the service did not attach: {attached!r}")
            yield
        finally:
            # The service first: it says goodbye to whom it is attached to.
            for process in reversed(started):
                process.terminate()
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                measured.user += usage.ru_utime
                measured.system += usage.ru_stime
                measured.peak_rss = max(measured.peak_rss, usage.ru_maxrss * 1024)
                if process is started[0]:
                    measured.control_plane_peak_rss = usage.ru_maxrss * 1024
            log.close()

    def take_restored(self):
        """What was restored is where the service has it."""
        self.file.replace(self.restored / "database")
        self.original.rename(self.file)


PEERS = {peer.name: peer for peer in (Restic, Kopia, Borg, BorgTuned, Rustic, Seaworthy)}


# === running ===


class Measured:
    """What commands took, added up; of memory the most."""

    def __init__(self):
        self.seconds = self.user = self.system = 0.0
        self.peak_rss = self.control_plane_peak_rss = 0

    def __iadd__(self, other):
        self.seconds += other.seconds
        self.user += other.user
        self.system += other.system
        self.peak_rss = max(self.peak_rss, other.peak_rss)
        return self


def run(peer, command, cwd):
    """Runs one command to its end. What it prints goes to the log, and is shown only if it fails."""
    measured = Measured()
    with open(peer.log, "a+b") as log:
        began_at = log.seek(0, os.SEEK_END)
        began = time.monotonic()
        process = subprocess.Popen(
            command, cwd=cwd, env=peer.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        measured.seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            log.seek(began_at)
            said = log.read()[-4000:].decode(errors="replace").strip()
            raise Failed(f"{peer.name}: `{' '.join(map(str, command))}` ended with {process.returncode}:\n{said}")
    measured.user = usage.ru_utime
    measured.system = usage.ru_stime
    measured.peak_rss = usage.ru_maxrss * 1024
    return measured


def output(peer, command):
    """What a command prints that is not measured."""
    done = subprocess.run(command, env=peer.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"{peer.name}: `{' '.join(command)}` ended with {done.returncode}:\n{done.stderr.strip()}")
    return done.stdout


def sync(peer):
    """All that is written to the file system, no matter by whom."""
    return run(peer, ["sync", "-f", peer.folder], peer.folder)


def stored(repository):
    return sum(path.stat().st_size for path in repository.rglob("*") if path.is_file())


def put_in_place(peer, data):
    """As a database that was written anew: another file at the same path."""
    written = peer.file.with_name("database.new")
    shutil.copyfile(data, written)
    written.replace(peer.file)


def check_restored(peer):
    restored = [path for path in peer.restored.rglob("*") if path.is_file()]
    if len(restored) != 1 or not filecmp.cmp(restored[0], peer.file, shallow=False):
        raise Failed(f"{peer.name}: what it restored is not what it backed up")


# === steps ===


def make_folders(peer):
    if peer.folder.exists():
        raise Failed(f"{peer.folder} is there already: the step clean deletes it")
    for folder in (peer.source, *(peer.folder / name for name in ("home", "temporary", "cache"))):
        folder.mkdir(parents=True)


def clean(peer):
    if peer.folder.exists():
        shutil.rmtree(peer.folder)


def do_step(peer, step, data):
    """Prepares, measures and checks one step; the result is what is printed."""
    result = {"peer": peer.name, "step": step}
    if shutil.which(peer.program, path=peer.environment["PATH"]) is None:
        raise Failed(f"{peer.program} is missing: peers.sh installs it, and --programs says where")
    if step == "init":
        make_folders(peer)
        result["version"] = output(peer, [peer.program, *peer.version]).splitlines()[0]
    elif not peer.repository.exists():
        raise Failed(f"{peer.name} has no repository below {peer.folder}: the step init makes it")
    if step in ("first", "incremental"):
        put_in_place(peer, data)
        result |= {"data": data.name, "data_bytes": peer.file.stat().st_size}
    if step == "restore":
        # It may be there from one that failed.
        shutil.rmtree(peer.restored, ignore_errors=True)
        peer.restored.mkdir()
    measured = Measured()
    with peer.running(step, measured):
        commands = {
            "init": peer.init,
            "first": peer.backup,
            "incremental": peer.backup,
            "restore": peer.restore,
            "verify": peer.verify,
        }[step]()
        stored_before = stored(peer.repository)
        sync(peer)
        for command in commands:
            measured += run(peer, command, peer.restored if step == "restore" else peer.folder)
        synced = sync(peer)
    sync_counted = peer.sync_counted and step in ("init", "first", "incremental")
    if sync_counted:
        measured += synced

    if step == "restore":
        peer.take_restored()
        check_restored(peer)
        shutil.rmtree(peer.restored)
    stored_after = stored(peer.repository)
    return result | {
        "seconds": round(measured.seconds, 3),
        "user_seconds": round(measured.user, 3),
        "system_seconds": round(measured.system, 3),
        "peak_rss_bytes": measured.peak_rss,
        "control_plane_peak_rss_bytes": measured.control_plane_peak_rss,
        "stored_bytes": stored_after,
        "added_bytes": stored_after - stored_before,
        "sync_seconds": round(synced.seconds, 3),
        "sync_counted": sync_counted,
    }


def report(result):
    print(json.dumps(result), flush=True)


# === rounds ===


def one_round(peer, data, changed):
    """Everything of one peer, from an empty folder back to none."""
    results = []
    try:
        for step in STEPS:
            if step == "incremental" and changed is None:
                continue
            results.append(do_step(peer, step, changed if step == "incremental" else data))
            yield results[-1]
    finally:
        clean(peer)


def median(results):
    """The line for one step of one peer over all rounds."""
    line = {"rounds": len(results)}
    for key, value in results[0].items():
        values = [result[key] for result in results]
        if type(value) is int:
            line[key] = round(statistics.median(values))
        elif type(value) is float:
            line[key] = round(statistics.median(values), 3)
        else:
            line[key] = value
    seconds = [result["seconds"] for result in results]
    return line | {"seconds_lowest": min(seconds), "seconds_highest": max(seconds)}


def all_rounds(peers, data, changed, rounds):
    """In turns: every peer once, then every peer again."""
    results = {}
    for number in range(1, rounds + 1):
        for peer in peers:
            for result in one_round(peer, data, changed):
                report({"round": number} | result)
                results.setdefault((result["peer"], result["step"]), []).append(result)
    for of_one_step in results.values():
        report(median(of_one_step))


# === arguments ===


def existing(is_right, what):
    def parse(text):
        path = pathlib.Path(text).absolute()
        if not is_right(path):
            raise argparse.ArgumentTypeError(f"{text} is no {what}")
        return path

    return parse


def peers_argument(text):
    names = text.split(",")
    unknown = set(names) - set(PEERS)
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    return [PEERS[name] for name in names]


def rounds_argument(text):
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rounds")
    return int(text)


def arguments():
    a_file, a_folder = existing(pathlib.Path.is_file, "file"), existing(pathlib.Path.is_dir, "folder")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=a_folder, required=True, help="an existing folder for all that the peers make")
    parser.add_argument("--programs", type=a_folder, help="a folder with the peers' programs, before those in PATH")
    parser.add_argument("--peer", type=peers_argument, default=",".join(PEERS), help="which (%(default)s)")
    parser.add_argument("--step", choices=[*STEPS, "clean"], help="one step of one peer; without it all steps")
    parser.add_argument("--data", type=a_file, help="what is backed up")
    parser.add_argument("--changed", type=a_file, help="without --step: what is backed up incrementally then")
    parser.add_argument("--rounds", type=rounds_argument, default=1, help="without --step: how often (1)")
    given = parser.parse_args()
    if given.step and len(given.peer) != 1:
        parser.error("--step is for one --peer")
    if given.data is None and given.step in (None, "first", "incremental"):
        parser.error("--data is missing")
    return given


def main():
    given = arguments()
    # As for an interrupt: what was started is ended, and in the second form deleted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    peers = [peer(given.work, given.programs) for peer in given.peer]
    try:
        if given.step == "clean":
            clean(peers[0])
        elif given.step:
            report(do_step(peers[0], given.step, given.data))
        else:
            all_rounds(peers, given.data, given.changed, given.rounds)
    except Failed as failed:
        sys.exit(str(failed))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
