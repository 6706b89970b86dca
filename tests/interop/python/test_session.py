"""The session stream with generated stubs: open, be heard, be refused, come back, leave."""

import grpc
import pytest
from seaworthy.v1 import fleet_service_pb2 as fleet
from seaworthy.v1 import health_pb2, instance_pb2
from seaworthy.v1 import health_service_pb2 as health
from support import CALL, Session, database, refused


def register(service):
    registration = instance_pb2.Registration(service=service, instance_id="i-1", components=[database()])
    return fleet.OpenSession(register=fleet.RegisterRequest(registration=registration))


def resume(opened, token):
    ref = instance_pb2.InstanceRef(
        service=opened.instance.registration.service,
        instance_id=opened.instance.registration.instance_id,
        incarnation=opened.instance.incarnation,
    )
    return fleet.OpenSession(resume=fleet.ResumeSession(instance=ref, session_token=token))


def report(component, state, sequence):
    reports = [health_pb2.ComponentReport(component=component, state=state)]
    return fleet.SessionHealth(reports=reports, sequence=sequence)


def get(server, service):
    request = fleet.GetInstanceRequest(service=service, instance_id="i-1")
    return server.fleet.GetInstance(request, timeout=CALL).instance


def test_a_whole_life_on_one_stream(server):
    session = Session(server)
    session.send(open=register("life"))
    opened = session.next("opened")
    assert opened.session_token.startswith("sws_")
    assert opened.heartbeat_interval.ToSeconds() == 5
    assert opened.boot_epoch
    assert get(server, "life").attached

    session.send(heartbeat=fleet.SessionHeartbeat(sequence=1))
    assert session.next("heartbeat_ack").sequence == 1

    session.send(health=report("cache", health_pb2.HEALTH_STATE_HEALTHY, 7))
    refusal = session.next("report_refused")
    assert refusal.sequence == 7
    assert refusal.field == "health.reports[0].component"

    # A watch, not a pause, tells when the report has counted.
    watch = server.health.WatchHealth(health.WatchHealthRequest(service="life"), timeout=CALL)
    session.send(health=report("database", health_pb2.HEALTH_STATE_UNHEALTHY, 8))
    assert any(answer.health.state == health_pb2.HEALTH_STATE_UNHEALTHY for answer in watch)
    watch.cancel()

    session.send(leave=fleet.LeaveSession(message="done"))
    assert session.next("closing").reason == fleet.CLOSE_REASON_LEFT
    session.close()
    refused(lambda: get(server, "life"), grpc.StatusCode.NOT_FOUND)


def test_a_session_is_taken_up_by_its_token(server):
    first = Session(server)
    first.send(open=register("back"))
    opened = first.next("opened")
    first.close()
    assert get(server, "back").incarnation == opened.instance.incarnation

    second = Session(server)
    second.send(open=resume(opened, opened.session_token))
    assert second.next("opened").session_token == ""
    third = Session(server)
    third.send(open=resume(opened, opened.session_token))
    third.next("opened")
    assert second.next("closing").reason == fleet.CLOSE_REASON_SUPERSEDED
    second.close()
    third.close()


def test_a_wrong_token_opens_nothing(server):
    first = Session(server)
    first.send(open=register("guarded"))
    opened = first.next("opened")
    thief = Session(server)
    thief.send(open=resume(opened, "sws_wrong"))
    refused(lambda: thief.next("opened"), grpc.StatusCode.UNAUTHENTICATED)
    first.send(heartbeat=fleet.SessionHeartbeat(sequence=1))
    assert first.next("heartbeat_ack").sequence == 1
    first.close()


FIRST = {"heartbeat": fleet.SessionHeartbeat(), "health": fleet.SessionHealth(), "leave": fleet.LeaveSession()}


@pytest.mark.parametrize("kind", FIRST)
def test_a_session_begins_with_open(server, kind):
    session = Session(server)
    session.send(**{kind: FIRST[kind]})
    refused(lambda: session.next("opened"), grpc.StatusCode.INVALID_ARGUMENT)
