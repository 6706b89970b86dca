"""Mutual TLS and tokens, spoken by existing programs: grpcurl, grpc-health-probe, Prometheus and Python's gRPC.

The authority and its certificates are made by `seaworthy certs`, as README.md says.
"""

import contextlib
import json
import ssl
import subprocess
import urllib.error
import urllib.request

import grpc
import pytest
from seaworthy.v1 import (
    fleet_service_pb2 as fleet,
)
from seaworthy.v1 import (
    fleet_service_pb2_grpc as fleet_grpc,
)
from seaworthy.v1 import (
    identity_pb2,
    instance_pb2,
)
from seaworthy.v1 import (
    system_service_pb2 as system,
)
from seaworthy.v1 import (
    system_service_pb2_grpc as system_grpc,
)
from support import BINARY, CALL, OPTIONS, Server, refused, run, wait_until
from test_prometheus import Prometheus


def certs(folder, *arguments):
    """Runs `seaworthy certs`, and fails with what it says."""
    done = subprocess.run([BINARY, "certs", *arguments], cwd=folder, capture_output=True, text=True, timeout=CALL)
    assert done.returncode == 0, done.stderr


class Pki:
    """An authority with a server and three clients."""

    def __init__(self, folder):
        certs(folder, "init")
        certs(folder, "issue", "server")
        certs(folder, "issue", "role", "admin", "alice")
        certs(folder, "issue", "role", "viewer", "vera")
        certs(folder, "issue", "service", "orders")
        self.folder = folder / "seaworthy-certs"

    def file(self, name):
        return str(self.folder / name)

    def text(self, name):
        return (self.folder / name).read_bytes()

    def serve(self):
        """What makes a control plane ask for proofs."""
        return [
            "--auth",
            f"--tls-cert={self.file('server.pem')}",
            f"--tls-key={self.file('server.key')}",
            f"--tls-client-ca={self.file('ca.pem')}",
        ]

    def connect(self, address, who=None, token=None):
        """A channel of Python's gRPC, with a certificate, a token, both or neither."""
        key, cert = (self.text(f"{who}.key"), self.text(f"{who}.pem")) if who else (None, None)
        credentials = grpc.ssl_channel_credentials(self.text("ca.pem"), key, cert)
        if token:
            bearer = grpc.access_token_call_credentials(token)
            credentials = grpc.composite_channel_credentials(credentials, bearer)
        return grpc.secure_channel(address, credentials, OPTIONS)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def server(tmp_path_factory, pki):
    """A control plane that asks for proofs; its stubs call as an admin."""
    folder = tmp_path_factory.mktemp("server")
    with Server(folder, arguments=pki.serve(), connect=lambda at: pki.connect(at, "admin-alice")) as running:
        yield running


@pytest.fixture(scope="module")
def token(server):
    """The secret of a viewer's token."""
    request = system.CreateTokenRequest(name="scraper", role=identity_pb2.ROLE_VIEWER)
    return server.system.CreateToken(request, timeout=CALL).secret


@contextlib.contextmanager
def calling(channel):
    try:
        yield system_grpc.SystemServiceStub(channel)
    finally:
        channel.close()


def grpcurl(server, pki, who, *arguments, headers=(), data=None):
    own = ["-cert", pki.file(f"{who}.pem"), "-key", pki.file(f"{who}.key")] if who else []
    data = [] if data is None else ["-d", json.dumps(data)]
    named = [part for header in headers for part in ("-H", header)]
    flags = ["-cacert", pki.file("ca.pem"), *own, *named, "-max-time", "20", *data]
    return run("grpcurl", *flags, server.grpc, *arguments)


def test_grpcurl_by_certificate(server, pki):
    assert "seaworthy.v1.SystemService" in grpcurl(server, pki, "viewer-vera", "list").stdout
    answer = grpcurl(server, pki, "viewer-vera", "seaworthy.v1.SystemService/GetIdentity")
    who = json.loads(answer.stdout)["identity"]
    assert who["name"] == "spiffe://seaworthy.local/role/viewer/vera"
    assert (who["method"], who["role"]) == ("AUTHENTICATION_METHOD_CERTIFICATE", "ROLE_VIEWER")
    level = grpcurl(
        server, pki, "viewer-vera", "seaworthy.v1.SystemService/SetLogLevel", data={"log_level": "info"}
    )
    assert "PermissionDenied" in level.stderr and "PERMISSION_DENIED" in level.stderr


def test_grpcurl_by_token(server, pki, token):
    bearer = [f"authorization: Bearer {token}"]
    answer = grpcurl(server, pki, None, "seaworthy.v1.SystemService/GetIdentity", headers=bearer)
    assert json.loads(answer.stdout)["identity"]["name"] == "token:scraper"
    nobody = grpcurl(server, pki, None, "seaworthy.v1.SystemService/GetIdentity")
    assert nobody.returncode != 0 and "Unauthenticated" in nobody.stderr


def test_a_service_registers_with_its_certificate(server, pki):
    data = {"registration": {"service": "orders", "instance_id": "i-1"}}
    answer = grpcurl(server, pki, "service-orders", "seaworthy.v1.FleetService/Register", data=data)
    assert json.loads(answer.stdout)["sessionToken"].startswith("sws_"), answer.stderr
    other = {"registration": {"service": "payments", "instance_id": "i-1"}}
    answer = grpcurl(server, pki, "service-orders", "seaworthy.v1.FleetService/Register", data=other)
    assert "PermissionDenied" in answer.stderr


def test_grpc_health_probe(server, pki):
    flags = [f"-addr={server.grpc}", "-tls", f"-tls-ca-cert={pki.file('ca.pem')}", "-connect-timeout=10s"]
    own = [f"-tls-client-cert={pki.file('viewer-vera.pem')}", f"-tls-client-key={pki.file('viewer-vera.key')}"]
    for more in [[], own]:
        answer = run("grpc-health-probe", *flags, *more, "-rpc-timeout=10s")
        assert answer.returncode == 0, answer.stderr
    # Without TLS there is nobody to talk to: it cannot connect (2), or is hung up on in its call (3).
    assert run("grpc-health-probe", f"-addr={server.grpc}", "-connect-timeout=2s").returncode in (2, 3)


def test_python(server, pki, token):
    for how, name in [
        ({"who": "service-orders"}, "spiffe://seaworthy.local/service/orders"),
        ({"token": token}, "token:scraper"),
        # A token wins over the certificate of its connection.
        ({"who": "service-orders", "token": token}, "token:scraper"),
    ]:
        with calling(pki.connect(server.grpc, **how)) as stub:
            assert stub.GetIdentity(system.GetIdentityRequest(), timeout=CALL).identity.name == name
    with calling(pki.connect(server.grpc)) as stub:
        refused(lambda: stub.GetStatus(system.GetStatusRequest(), timeout=CALL), grpc.StatusCode.UNAUTHENTICATED)


def test_a_revoked_token_opens_nothing(server, pki):
    made = system.CreateTokenRequest(name="short", role=identity_pb2.ROLE_VIEWER)
    secret = server.system.CreateToken(made, timeout=CALL).secret
    with calling(pki.connect(server.grpc, token=secret)) as stub:
        stub.GetStatus(system.GetStatusRequest(), timeout=CALL)
        server.system.RevokeToken(system.RevokeTokenRequest(token_id="short"), timeout=CALL)
        refused(lambda: stub.GetStatus(system.GetStatusRequest(), timeout=CALL), grpc.StatusCode.UNAUTHENTICATED)


def page(server, pki, path, token=None):
    context = ssl.create_default_context(cadata=pki.text("ca.pem").decode())
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with opener.open(urllib.request.Request(f"https://{server.http}{path}", headers=headers), timeout=CALL) as got:
            return got.status, got.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_pages(server, pki, token):
    assert page(server, pki, "/ready")[0] == 200
    assert page(server, pki, "/metrics")[0] == 401
    status, text = page(server, pki, "/metrics", token)
    assert status == 200 and "seaworthy_build_info" in text


def test_prometheus_scrapes_with_a_token(server, pki, token, tmp_path):
    (tmp_path / "token").write_text(token)
    registration = instance_pb2.Registration(service="orders", instance_id="p-1", address="127.0.0.1:9")
    with contextlib.closing(pki.connect(server.grpc, "service-orders")) as channel:
        stub = fleet_grpc.FleetServiceStub(channel)
        stub.Register(fleet.RegisterRequest(registration=registration), timeout=CALL)
    with Prometheus(tmp_path, server.http, secure=(pki.file("ca.pem"), tmp_path / "token")) as prometheus:
        wait_until(lambda: prometheus.value('up{job="seaworthy"}') == 1, "the control plane up", 60)
        wait_until(lambda: "orders/p-1" in prometheus.targets("fleet"), "the fleet", 60)
