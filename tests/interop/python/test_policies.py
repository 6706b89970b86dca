"""Policies, breakers and flags by grpcurl, unmodified; and what a service in another language says of its own."""

import json
import re

import pytest
from seaworthy.v1 import fleet_service_pb2 as fleet
from seaworthy.v1 import instance_pb2, policy_pb2
from support import Session, run, wait_until

POLICIES = "seaworthy.v1.PolicyService"
# What the tests limit: cheap, and asked for by nobody else.
LIMITED = "seaworthy.v1.FleetService/ListServices"
# Longer than any test takes, so that what is used up stays used up.
HOUR = "3600s"

ALGORITHMS = ["TOKEN_BUCKET", "LEAKY_BUCKET", "SLIDING_WINDOW", "FIXED_WINDOW"]
SCOPES = ["GLOBAL", "OPERATION", "CALLER"]
STATES = ["CLOSED", "OPEN", "HALF_OPEN", "FORCED_OPEN", "FORCED_CLOSED", "METRICS_ONLY"]


def call(server, method, **data):
    arguments = ["-plaintext", "-max-time", "20", "-d", json.dumps(data), server.grpc, method]
    return run("grpcurl", *arguments)


def ask(server, method, **data):
    answer = call(server, f"{POLICIES}/{method}", **data)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def put(server, name, target, **parts):
    return ask(server, "PutPolicy", policy={"name": name, "target": target, **parts})["policy"]


def operation(service, name):
    return {"operations": {"service": service, "operation": name}}


def attach(server, service):
    """A session of an instance that takes policies and flags; what it is to go by comes without being asked for."""
    registration = instance_pb2.Registration(service=service, instance_id="i-1")
    session = Session(server)
    session.send(open=fleet.OpenSession(register=fleet.RegisterRequest(registration=registration), takes_policies=True))
    session.next("opened")
    assert session.next("policies").revision > 0
    return session


def refusal(answer, code, *parts):
    """It was refused, and grpcurl shows the details decoded, not as base64: reflection knows their types."""
    assert answer.returncode != 0, answer.stdout
    for part in [f"Code: {code}", *parts]:
        assert part in answer.stderr, answer.stderr


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_limit_of_every_algorithm_and_scope(server, algorithm, scope):
    limit = {
        "scope": f"POLICY_SCOPE_{scope}",
        "algorithm": f"RATE_ALGORITHM_{algorithm}",
        "amount": 1,
        "period": HOUR,
    }
    put(server, "limited", {"rpcs": {"method": LIMITED}}, limits=[limit])
    answer = call(server, LIMITED)
    assert answer.returncode == 0, answer.stderr
    answer = call(server, LIMITED)
    refusal(
        answer,
        "ResourceExhausted",
        "google.rpc.ErrorInfo",
        '"RATE_LIMITED"',
        '"policy": "limited"',
        f'"scope": "{scope}"',
        '"caller": "127.0.0.1"',
        "google.rpc.QuotaFailure",
        "google.rpc.RetryInfo",
    )
    # A sliding window is counted in 32nds, and is stricter by one of them at most.
    pause = float(re.search(r'"retryDelay": "([0-9.]+)s"', answer.stderr)[1])
    assert 3600 - 60 < pause <= 3600 * 33 / 32
    # What changes policies is never limited, and is in force at once.
    assert ask(server, "DeletePolicy", name="limited") == {}
    assert call(server, LIMITED).returncode == 0


def test_a_policy_is_put_read_explained_and_deleted(server):
    target = operation("orders", "charge-card")
    shown = put(server, "cards", target, breaker={"consecutiveFailures": 3}, retry={"attempts": 2})
    assert shown["origin"] == "POLICY_ORIGIN_PUT"
    assert ask(server, "GetPolicy", name="cards")["policy"] == shown
    listed = ask(server, "ListPolicies")["policies"]
    assert [policy["name"] for policy in listed] == sorted(policy["name"] for policy in listed)
    assert shown in listed

    parts = ask(server, "ExplainPolicy", call=target)["parts"]
    decides = {part["part"]: part["policy"] for part in parts}
    assert (decides["breaker"], decides["retry"]) == ("cards", "cards")
    assert "exempt" not in ask(server, "ExplainPolicy", call={"rpcs": {"method": LIMITED}})
    exempt = ask(server, "ExplainPolicy", call={"rpcs": {"method": "seaworthy.v1.FleetService/Heartbeat"}})
    assert exempt["exempt"]

    stale = {"policy": {"name": "cards", "target": target, "retry": {"attempts": 3}}, "ifRevision": 0}
    refusal(call(server, f"{POLICIES}/PutPolicy", **stale), "FailedPrecondition", '"REVISION_MISMATCH"')
    assert ask(server, "DeletePolicy", name="cards") == {}
    refusal(call(server, f"{POLICIES}/GetPolicy", name="cards"), "NotFound", "cards")


def test_what_is_wrong_is_named_by_its_field(server):
    wrong = {"name": "wrong", "limits": [{"scope": "POLICY_SCOPE_CALLER", "amount": 0}], "retry": {"attempts": 11}}
    answer = call(server, f"{POLICIES}/PutPolicy", policy=wrong)
    refusal(answer, "InvalidArgument", "policy.limits[0].amount", "policy.retry.attempts", '"INVALID_FIELD"')


def test_every_state_of_breakers_is_seen_and_one_is_forced(server):
    session = attach(server, "fulfilment")
    breakers = [
        policy_pb2.Breaker(operation=f"op-{state.lower()}", state=f"BREAKER_STATE_{state}") for state in STATES
    ]
    session.send(operations=fleet.OperationReport(breakers=breakers))

    def seen():
        found = ask(server, "GetBreakers", service="fulfilment").get("breakers", [])
        return {breaker["operation"]: breaker["state"] for breaker in found}

    wait_until(lambda: len(seen()) == len(STATES), "what the service reported")
    assert seen() == {f"op-{state.lower()}": f"BREAKER_STATE_{state}" for state in STATES}
    assert ask(server, "GetBreakers", operation="store")["breakers"][0]["state"] == "BREAKER_STATE_CLOSED"

    forced = {"service": "fulfilment", "operation": "op-closed", "state": "BREAKER_STATE_FORCED_OPEN", "ttl": "60s"}
    answer = ask(server, "OverrideBreaker", **forced)
    assert (answer["instances"], answer["override"]["creator"]) == (1, "local")
    held = session.next("policies").overrides
    assert [(it.operation, it.state) for it in held] == [("op-closed", policy_pb2.BREAKER_STATE_FORCED_OPEN)]
    assert 0 < held[0].ttl.ToSeconds() <= 60
    session.close()


def test_a_flag_is_put_and_comes_over_the_session(server):
    session = attach(server, "shop")
    variants = [{"name": "on", "value": {"boolValue": True}}, {"name": "off", "value": {"boolValue": False}}]
    flag = {"name": "new-checkout", "variants": variants, "defaultVariant": "off"}
    flag["rules"] = [{"services": ["shop"], "percentage": 100, "variant": "on"}]
    shown = ask(server, "PutFlag", flag=flag)["flag"]
    assert ask(server, "GetFlag", name="new-checkout")["flag"] == shown
    assert shown in ask(server, "ListFlags")["flags"]
    assert "new-checkout" in [it.name for it in session.next("policies").flags]
    ask(server, "DeleteFlag", name="new-checkout")
    session.close()
