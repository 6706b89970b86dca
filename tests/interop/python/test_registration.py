"""Registration with generated stubs: what any language can do in a few lines."""

import grpc
from seaworthy.v1 import fleet_service_pb2 as fleet
from seaworthy.v1 import health_pb2, instance_pb2
from seaworthy.v1 import health_service_pb2 as health
from support import CALL, database, reference, refused


def beat(registered, **changes):
    """A heartbeat of a registered instance, with parts of it changed."""
    ref = reference(registered)
    token = changes.pop("session_token", registered.session_token)
    for field, value in changes.items():
        setattr(ref, field, value)
    return fleet.InstanceHeartbeat(instance=ref, session_token=token)


def get(server, service):
    request = fleet.GetInstanceRequest(service=service, instance_id="i-1")
    return server.fleet.GetInstance(request, timeout=CALL).instance


def test_what_registers_can_be_read_back(server):
    answer = server.register("readback", version="1.2.3", zone="a", labels={"team": "shop"})
    assert answer.instance.incarnation == 1
    assert answer.session_token.startswith("sws_")
    assert answer.lease_ttl.ToSeconds() == 15
    assert answer.heartbeat_interval.ToSeconds() == 5

    instance = get(server, "readback")
    assert instance.registration.version == "1.2.3"
    assert instance.registration.labels == {"team": "shop"}
    assert instance.lifecycle == instance_pb2.LIFECYCLE_READY


def test_each_heartbeat_has_an_outcome_of_its_own(server):
    first = server.register("beats")
    again = fleet.RegisterRequest(registration=first.instance.registration, session_token=first.session_token)
    second = server.fleet.Register(again, timeout=CALL)
    assert second.instance.incarnation == 2

    outcomes = server.heartbeat(
        beat(second),
        beat(second, instance_id="i-9"),
        beat(first),
        beat(second, session_token="sws_wrong"),
        beat(second, service="NOT A NAME"),
    )
    assert outcomes == [
        fleet.HEARTBEAT_OUTCOME_RENEWED,
        fleet.HEARTBEAT_OUTCOME_NOT_FOUND,
        fleet.HEARTBEAT_OUTCOME_STALE_INCARNATION,
        fleet.HEARTBEAT_OUTCOME_UNAUTHENTICATED,
        fleet.HEARTBEAT_OUTCOME_INVALID,
    ]


def test_a_living_instance_keeps_its_name(server):
    server.register("taken")
    refused(lambda: server.register("taken"), grpc.StatusCode.ALREADY_EXISTS)


def test_a_lost_answer_is_asked_for_again(server):
    registration = instance_pb2.Registration(service="again", instance_id="i-1", components=[database()])
    request = fleet.RegisterRequest(registration=registration, request_id="5d1c8a38-6f0e-4b1f-8a55-0f5a4b1c9d02")
    server.fleet.Register(request, timeout=CALL)
    repeated = server.fleet.Register(request, timeout=CALL)
    assert server.heartbeat(beat(repeated)) == [fleet.HEARTBEAT_OUTCOME_RENEWED]


def test_a_report_changes_health_and_names_the_cause(server):
    registered = server.register("sick")
    server.report(registered, health_pb2.HEALTH_STATE_HEALTHY)
    assert get(server, "sick").health == health_pb2.HEALTH_STATE_HEALTHY

    server.report(registered, health_pb2.HEALTH_STATE_UNHEALTHY, message="disk is gone")
    found = server.health.GetHealth(health.GetHealthRequest(service="sick"), timeout=CALL).health
    assert found.state == health_pb2.HEALTH_STATE_UNHEALTHY
    assert found.cause

    past = server.health.ListTransitions(health.ListTransitionsRequest(service="sick"), timeout=CALL).transitions
    changed = [t for t in past if t.component == "database" and t.to == health_pb2.HEALTH_STATE_UNHEALTHY]
    assert len(changed) == 1
    assert "disk is gone" in changed[0].cause


def test_who_leaves_is_gone_and_remembered(server):
    registered = server.register("leaver")
    request = fleet.DeregisterRequest(
        instance=reference(registered), session_token=registered.session_token, message="scaled down"
    )
    tombstone = server.fleet.Deregister(request, timeout=CALL).tombstone
    assert tombstone.reason == instance_pb2.REMOVAL_REASON_DEREGISTERED
    refused(lambda: get(server, "leaver"), grpc.StatusCode.NOT_FOUND)

    listed = fleet.ListInstancesRequest(service="leaver", show_removed=True)
    answer = server.fleet.ListInstances(listed, timeout=CALL)
    assert not answer.instances
    assert [t.message for t in answer.removed] == ["scaled down"]


def test_pages_end_and_miss_nothing(server):
    for number in range(5):
        server.register("paged", f"i-{number}")
    seen, token = [], ""
    for _ in range(3):
        request = fleet.ListInstancesRequest(service="paged", page_size=2, page_token=token)
        page = server.fleet.ListInstances(request, timeout=CALL)
        seen += [instance.registration.instance_id for instance in page.instances]
        token = page.next_page_token
    assert seen == [f"i-{number}" for number in range(5)]
    assert token == ""
