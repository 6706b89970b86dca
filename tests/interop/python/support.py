"""Starts the real binary, and says the few things that every test says."""

import json
import os
import pathlib
import queue
import re
import shutil
import subprocess
import time

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2_grpc
from grpc_status import rpc_status
from seaworthy.v1 import (
    fleet_service_pb2 as fleet,
)
from seaworthy.v1 import (
    fleet_service_pb2_grpc as fleet_grpc,
)
from seaworthy.v1 import (
    health_pb2,
    instance_pb2,
)
from seaworthy.v1 import (
    health_service_pb2 as health,
)
from seaworthy.v1 import (
    health_service_pb2_grpc as health_grpc,
)
from seaworthy.v1 import (
    system_service_pb2_grpc as system_grpc,
)

ROOT = pathlib.Path(__file__).resolve().parents[3]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BINARY = pathlib.Path(os.environ.get("SEAWORTHY_BIN", TARGET / "debug" / "seaworthy"))

# Deadline of one call, in seconds. Generous: it only has to end a test that would hang.
CALL = 20
# Without the machine's proxies: everything is on the loopback interface.
OPTIONS = [("grpc.enable_http_proxy", 0)]
# Longer than the control plane's own deadline for stopping.
STOP = 60

# A session token or a bearer token: no log may have one.
SECRET = re.compile(r"\bsw[st]_[0-9a-z]{52}\b")

# What tests/interop/install has to be told to bring a program.
BROUGHT_BY = {
    "grpc-health-probe": "go-tools",
    "grpcurl": "go-tools",
    "prometheus": "prometheus",
    "promtool": "prometheus",
}


class Server:
    """One control plane on free ports of the loopback interface, with a data folder of its own."""

    def __init__(self, folder, lame_duck="0s", arguments=(), connect=None):
        self._folder = folder
        self._lame_duck = lame_duck
        self._arguments = list(arguments)
        self._connect = connect or (lambda address: grpc.insecure_channel(address, OPTIONS))
        self._asked = False

    def __enter__(self):
        config = self._folder / "seaworthy.toml"
        config.write_text(f'[shutdown]\nlame_duck = "{self._lame_duck}"\n')
        ready = self._folder / "ready.json"
        command = [BINARY, "serve", "--config", config, "--data-dir", self._folder / "data", "--ready-file", ready]
        command += ["--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", *self._arguments]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SEAWORTHY_")}
        # The child has its own copy of the file.
        with open(self._folder / "log", "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            wait_until(lambda: ready.exists() or self.process.poll() is not None, "the ready file")
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log()}")
            addresses = json.loads(ready.read_text())
        except BaseException:
            self._end()
            raise
        self.grpc, self.http = addresses["grpc"], addresses["http"]
        assert addresses["pid"] == self.process.pid
        self.channel = self._connect(self.grpc)
        self.fleet = fleet_grpc.FleetServiceStub(self.channel)
        self.health = health_grpc.HealthServiceStub(self.channel)
        self.system = system_grpc.SystemServiceStub(self.channel)
        self.standard_health = health_pb2_grpc.HealthStub(self.channel)
        return self

    def __exit__(self, *error):
        self.channel.close()
        self.ask_to_stop()
        try:
            code = self.process.wait(STOP)
        finally:
            self._end()
        assert not SECRET.search(self.log()), "the log has a token: " + SECRET.sub("[TOKEN]", self.log())
        if error[0] is None:
            assert code == 0, f"the server ended with {code} when it was asked to stop:\n{self.log()}"

    def _end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(STOP)

    def ask_to_stop(self):
        """Asks for an orderly end, once: a second signal would cut it short."""
        if not self._asked:
            self._asked = True
            self.process.terminate()

    def log(self):
        """What the server has said so far."""
        return (self._folder / "log").read_text(errors="replace")

    def register(self, service, instance_id="i-1", **fields):
        """Registers an instance with one essential component, `database`; one bad report counts."""
        fields.setdefault("components", [database()])
        registration = instance_pb2.Registration(service=service, instance_id=instance_id, **fields)
        return self.fleet.Register(fleet.RegisterRequest(registration=registration), timeout=CALL)

    def report(self, registered, state, lifecycle=None, component="database", message=""):
        """Reports the state of one component, and optionally the lifecycle."""
        request = health.ReportHealthRequest(
            instance=reference(registered),
            session_token=registered.session_token,
            reports=[health_pb2.ComponentReport(component=component, state=state, message=message)],
            lifecycle=lifecycle,
        )
        return self.health.ReportHealth(request, timeout=CALL).instance

    def heartbeat(self, *heartbeats):
        """Sends heartbeats in one call and answers their outcomes."""
        request = fleet.HeartbeatRequest(heartbeats=heartbeats)
        return [result.outcome for result in self.fleet.Heartbeat(request, timeout=CALL).results]


class Session:
    """One Attach stream: `send` what the instance says, `next` what the control plane says."""

    def __init__(self, server):
        self._outbox = queue.SimpleQueue()
        self._stream = server.fleet.Attach(iter(self._outbox.get, None), timeout=CALL)

    def send(self, **message):
        self._outbox.put(fleet.AttachRequest(**message))

    def next(self, kind):
        """The next message, which has to be of this kind."""
        answer = next(self._stream)
        assert answer.WhichOneof("message") == kind, answer
        return getattr(answer, kind)

    def answers(self):
        """All further messages, until the stream ends or is abandoned."""
        try:
            yield from self._stream
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.CANCELLED:
                raise

    def abandon(self):
        """Hangs up, as a process that dies."""
        self._stream.cancel()

    def close(self):
        """Closes the sending side and waits until the server has ended the stream."""
        self._outbox.put(None)
        for _ in self._stream:
            pass


def database():
    """A component that counts as bad after a single bad report."""
    return health_pb2.Component(name="database", kind="sqlite", essential=True, fail_threshold=1)


def reference(registered):
    """Names the incarnation that a registration made."""
    instance = registered.instance
    return instance_pb2.InstanceRef(
        service=instance.registration.service,
        instance_id=instance.registration.instance_id,
        incarnation=instance.incarnation,
    )


def wait_until(condition, what, seconds=CALL):
    """Waits for a condition of another program, and fails after a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what}"
        time.sleep(0.01)


def program(name):
    """Where a program is that tests/interop/install brings; fails with its reason where it could not."""
    found = shutil.which(name)
    if found is None:
        tool = BROUGHT_BY[name]
        reason = TARGET / "tools" / f"{tool}.missing"
        said = reason.read_text().strip() if reason.exists() else "it has not been asked for"
        pytest.fail(f"{name} is missing; `tests/interop/install {tool}` brings it: {said}", pytrace=False)
    return found


def run(name, *arguments, stdin=None):
    """Runs a program to its end and answers its exit code and output."""
    command = [program(name), *arguments]
    return subprocess.run(command, check=False, input=stdin, capture_output=True, text=True, timeout=CALL)


def refused(call, code):
    """Runs a call that has to be refused with this code, and answers the error."""
    try:
        answer = call()
    except grpc.RpcError as error:
        assert error.code() == code, f"refused with {error.code()}: {error.details()}"
        return error
    raise AssertionError(f"should be refused with {code}, and was answered: {answer}")


def detail(error, kind):
    """The one detail of this kind; fails if there is none, or more."""
    found = []
    for packed in rpc_status.from_call(error).details:
        message = kind()
        if packed.Unpack(message):
            found.append(message)
    assert len(found) == 1, f"{kind.__name__}: {found}"
    return found[0]


def assert_reason(error, reason):
    """The error says why, as a constant that a program can compare."""
    info = detail(error, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == (reason, "seaworthy.dev")
