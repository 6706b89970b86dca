"""grpcurl, unmodified: it lists, describes and calls by reflection alone."""

import json

import pytest
from support import run


def grpcurl(server, *arguments, data=None):
    data = [] if data is None else ["-d", json.dumps(data)]
    return run("grpcurl", "-plaintext", "-max-time", "20", *data, server.grpc, *arguments)


def test_list(server):
    answer = grpcurl(server, "list")
    assert answer.returncode == 0, answer.stderr
    assert set(answer.stdout.split()) >= {
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "seaworthy.v1.FleetService",
        "seaworthy.v1.HealthService",
        "seaworthy.v1.SystemService",
    }


@pytest.mark.parametrize(
    "symbol, comment",
    [
        ("seaworthy.v1.FleetService", "// Registers an instance and starts a new incarnation of it."),
        ("seaworthy.v1.FleetService.Heartbeat", "// Who may call: instances of the service, by the session token of each"),
        ("seaworthy.v1.RegisterRequest", "// What registers."),
        ("seaworthy.v1.HealthState", "// Works, less well than it should"),
        ("grpc.health.v1.Health", "stream stays open, in case the name appears."),
    ],
)
def test_describe_shows_the_comments(server, symbol, comment):
    answer = grpcurl(server, "describe", symbol)
    assert answer.returncode == 0, answer.stderr
    assert comment in answer.stdout


def test_call(server):
    registration = {"service": "curled", "instance_id": "i-1", "version": "1.0.0"}
    answer = grpcurl(server, "seaworthy.v1.FleetService/Register", data={"registration": registration})
    assert answer.returncode == 0, answer.stderr
    registered = json.loads(answer.stdout)

    instance = {"service": "curled", "instance_id": "i-1", "incarnation": registered["instance"]["incarnation"]}
    beat = {"heartbeats": [{"instance": instance, "session_token": registered["sessionToken"]}]}
    answer = grpcurl(server, "seaworthy.v1.FleetService/Heartbeat", data=beat)
    assert json.loads(answer.stdout) == {"results": [{"outcome": "HEARTBEAT_OUTCOME_RENEWED"}]}

    answer = grpcurl(server, "seaworthy.v1.SystemService/GetStatus")
    assert json.loads(answer.stdout)["phase"] == "PHASE_RUNNING"


def test_refusal_explains_itself(server):
    answer = grpcurl(server, "seaworthy.v1.FleetService/Register", data={"registration": {"service": "NOT A NAME"}})
    assert answer.returncode != 0
    # Decoded, not as base64: reflection knows the types of the details.
    for part in ["InvalidArgument", "registration.service", "INVALID_FIELD", "seaworthy.dev"]:
        assert part in answer.stderr
