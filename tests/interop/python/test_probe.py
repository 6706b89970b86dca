"""grpc-health-probe, unmodified: its exit codes on every form of name.

0 serving, 1 wrong arguments, 2 no connection, 3 the call was refused, 4 not serving.
"""

import itertools
import socket

import pytest
from google.protobuf import duration_pb2
from seaworthy.v1 import health_pb2, instance_pb2
from support import Server, run, wait_until

PROBE = "grpc-health-probe"

FORMS = [
    "".join(form)
    for form in itertools.product(["{0}", "{0}/i-1", "{0}/i-1/database"], ["", ":liveness", ":readiness", ":startup"])
]


# Nobody sends heartbeats here: the instances must not be lost before the last question.
LEASE = duration_pb2.Duration(seconds=600)


def probe(address, name, connect="10s"):
    return run(PROBE, f"-addr={address}", f"-service={name}", f"-connect-timeout={connect}", "-rpc-timeout=10s")


@pytest.fixture(scope="module")
def fleet(server):
    """One service of each kind: `well`; `ill`, whose database is gone; `failed`, which never started."""
    server.report(server.register("well", lease_ttl=LEASE), health_pb2.HEALTH_STATE_HEALTHY)
    server.report(server.register("ill", lease_ttl=LEASE), health_pb2.HEALTH_STATE_UNHEALTHY)
    failed = server.register("failed", lease_ttl=LEASE, lifecycle=instance_pb2.LIFECYCLE_STARTING)
    server.report(failed, health_pb2.HEALTH_STATE_UNHEALTHY, lifecycle=instance_pb2.LIFECYCLE_FAILED)
    return server


@pytest.mark.parametrize("form", ["", *FORMS])
def test_0_serving(fleet, form):
    answer = probe(fleet.grpc, form.format("well"))
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("form", ["", *FORMS])
def test_1_wrong_arguments(form):
    assert run(PROBE, f"-service={form.format('well')}").returncode == 1


@pytest.mark.parametrize("form", ["", *FORMS])
def test_2_no_connection(form):
    # Bound but not listening: nobody else can take the port meanwhile, and connections are refused.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        answer = probe(f"127.0.0.1:{taken.getsockname()[1]}", form.format("well"), connect="300ms")
    assert answer.returncode == 2, answer.stderr


@pytest.mark.parametrize("form", FORMS)
def test_3_unknown(fleet, form):
    answer = probe(fleet.grpc, form.format("nobody"))
    assert answer.returncode == 3, answer.stderr


@pytest.mark.parametrize("form", FORMS)
def test_4_not_serving(fleet, form):
    answer = probe(fleet.grpc, form.format("failed"))
    assert answer.returncode == 4, answer.stderr


def test_liveness_is_not_readiness(fleet):
    """A sick database takes an instance out of traffic; it must not get its process killed."""
    for name, code in [("ill/i-1", 4), ("ill/i-1:readiness", 4), ("ill/i-1:liveness", 0), ("ill/i-1:startup", 0)]:
        answer = probe(fleet.grpc, name)
        assert answer.returncode == code, f"{name}: {answer.stderr}"


def test_4_while_the_control_plane_drains(tmp_path):
    with Server(tmp_path, lame_duck="3s") as stopping:
        assert probe(stopping.grpc, "").returncode == 0
        stopping.ask_to_stop()
        wait_until(lambda: probe(stopping.grpc, "").returncode == 4, "NOT_SERVING while it drains")
