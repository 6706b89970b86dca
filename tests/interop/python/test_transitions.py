"""`ListTransitions` with generated stubs: whose changes, of when, page by page."""

import grpc
import pytest
from google.rpc import error_details_pb2
from seaworthy.v1 import health_pb2
from seaworthy.v1 import health_service_pb2 as health
from support import CALL, database, detail, refused

HEALTHY, UNHEALTHY = health_pb2.HEALTH_STATE_HEALTHY, health_pb2.HEALTH_STATE_UNHEALTHY


def ask(server, **wanted):
    return server.health.ListTransitions(health.ListTransitionsRequest(**wanted), timeout=CALL)


@pytest.fixture(scope="module")
def past(server):
    """Two instances whose two components became healthy and then ill; answers what is told of one component."""
    disk = health_pb2.Component(name="disk", essential=True, fail_threshold=1)
    for instance_id in ["i-1", "i-2"]:
        registered = server.register("orders", instance_id, components=[database(), disk])
        for state in [HEALTHY, UNHEALTHY]:
            for component in ["database", "disk"]:
                server.report(registered, state, component=component, message="gone")
    return list(ask(server, service="orders", component="disk").transitions)


def test_of_one_component_of_every_instance(past):
    told = [(it.instance_id, it.component, it.to) for it in past]
    assert told == [
        ("i-2", "disk", UNHEALTHY),
        ("i-2", "disk", HEALTHY),
        ("i-1", "disk", UNHEALTHY),
        ("i-1", "disk", HEALTHY),
    ]
    assert [it.cause for it in past] == ["gone", "", "gone", ""]
    assert [it.sequence for it in past] == sorted({it.sequence for it in past}, reverse=True)


def test_of_one_instance(server, past):
    assert list(ask(server, service="orders", instance_id="i-1", component="disk").transitions) == past[2:]
    of_all_parts = ask(server, service="orders", instance_id="i-1").transitions
    assert {it.component for it in of_all_parts} == {"", "database", "disk"}
    assert {it.instance_id for it in ask(server, service="orders").transitions} == {"", "i-1", "i-2"}
    assert list(ask(server, service="ghost").transitions) == []


def test_of_a_time_with_its_beginning_and_without_its_end(server, past):
    whole = ask(server, service="orders", component="disk", start_time=past[-1].time)
    assert list(whole.transitions) == past
    before = ask(server, service="orders", component="disk", end_time=past[0].time).transitions
    # Times of a clock: others may have the newest one's too, but what is left is the older part.
    assert len(before) < len(past) and list(before) == past[len(past) - len(before) :]


def test_page_by_page(server, past):
    first = ask(server, service="orders", component="disk", page_size=3)
    assert list(first.transitions) == past[:3]
    last = ask(server, service="orders", component="disk", page_size=3, page_token=first.next_page_token)
    assert (list(last.transitions), last.next_page_token) == (past[3:], "")


@pytest.mark.parametrize(
    "field, wanted",
    [
        ("service", {"component": "disk"}),
        ("service", {"instance_id": "i-1"}),
        ("end_time", {"start_time": {"seconds": 2}, "end_time": {"seconds": 1}}),
        ("page_token", {"page_token": "no such page"}),
    ],
)
def test_what_makes_no_sense_is_named(server, field, wanted):
    error = refused(lambda: ask(server, **wanted), grpc.StatusCode.INVALID_ARGUMENT)
    assert [it.field for it in detail(error, error_details_pb2.BadRequest).field_violations] == [field]
