"""grpc.health.v1 with the published Python client: Check, Watch and List."""

import grpc
import pytest
from grpc_health.v1 import health_pb2 as standard
from seaworthy.v1 import fleet_service_pb2 as fleet
from seaworthy.v1 import health_pb2
from support import CALL, reference, refused

SERVING = standard.HealthCheckResponse.SERVING
NOT_SERVING = standard.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = standard.HealthCheckResponse.SERVICE_UNKNOWN

LIST_LIMIT = 100


def check(server, name):
    return server.standard_health.Check(standard.HealthCheckRequest(service=name), timeout=CALL).status


def watch(server, name):
    return server.standard_health.Watch(standard.HealthCheckRequest(service=name), timeout=CALL)


def until(stream, status):
    """Reads until this status comes. The call's deadline ends a wait in vain."""
    for answer in stream:
        if answer.status == status:
            return


@pytest.mark.parametrize("name", ["appears", "appears/i-1", "appears/i-1/database", "appears:readiness"])
def test_a_watched_name_may_appear_and_vanish(own_server, name):
    stream = watch(own_server, name)
    assert next(stream).status == SERVICE_UNKNOWN

    registered = own_server.register("appears")
    own_server.report(registered, health_pb2.HEALTH_STATE_HEALTHY)
    until(stream, SERVING)
    own_server.report(registered, health_pb2.HEALTH_STATE_UNHEALTHY)
    until(stream, NOT_SERVING)
    leave = fleet.DeregisterRequest(instance=reference(registered), session_token=registered.session_token)
    own_server.fleet.Deregister(leave, timeout=CALL)
    until(stream, SERVICE_UNKNOWN)
    assert stream.is_active()
    stream.cancel()


def test_check_of_an_unknown_name_is_not_found(server):
    refused(lambda: check(server, "nobody"), grpc.StatusCode.NOT_FOUND)


@pytest.mark.parametrize("name", ["NOT A NAME", "a/b/c/d", "a//b", "orders:sleepiness", "/", ":"])
def test_check_of_a_malformed_name_is_refused(server, name):
    refused(lambda: check(server, name), grpc.StatusCode.INVALID_ARGUMENT)


def test_the_control_plane_is_not_its_fleet(server):
    registered = server.register("patient")
    server.report(registered, health_pb2.HEALTH_STATE_UNHEALTHY)
    assert check(server, "patient") == NOT_SERVING
    assert check(server, "") == SERVING


def test_degraded_still_serves(server):
    registered = server.register("slow")
    server.report(registered, health_pb2.HEALTH_STATE_DEGRADED)
    assert check(server, "slow") == SERVING


def test_list_answers_every_name_and_knows_its_limit(own_server):
    def listed():
        return own_server.standard_health.List(standard.HealthListRequest(), timeout=CALL).statuses

    registered = own_server.register("listed")
    own_server.report(registered, health_pb2.HEALTH_STATE_HEALTHY)
    assert {"", "listed"} <= listed().keys()
    assert listed()["listed"].status == SERVING

    for number in range(LIST_LIMIT):
        own_server.register(f"s-{number}")
    error = refused(listed, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert "ListServices" in error.details()
