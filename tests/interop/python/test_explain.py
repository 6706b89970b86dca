"""`Explain` with generated stubs: the chain of causes, from whoever asks down to the root."""

import grpc
from seaworthy.v1 import health_pb2, service_pb2
from seaworthy.v1 import health_service_pb2 as health
from support import CALL, assert_reason, refused


def explain(server, **asked):
    return server.health.Explain(health.ExplainRequest(**asked), timeout=CALL)


def test_a_cause_is_followed_to_the_service_that_is_needed(own_server):
    nothing = explain(own_server)
    assert nothing.headline == "no services are known; nothing to explain"
    assert (nothing.state, list(nothing.next_steps)) == (health_pb2.HEALTH_STATE_HEALTHY, [])

    needs = service_pb2.Dependency(service="payments", kind=service_pb2.DEPENDENCY_KIND_HARD)
    orders = own_server.register("orders", declared_spec=service_pb2.ServiceSpec(depends_on=[needs]))
    own_server.report(orders, health_pb2.HEALTH_STATE_UNHEALTHY, message="no answer")
    payments = own_server.register("payments", "p-1")
    own_server.report(payments, health_pb2.HEALTH_STATE_UNHEALTHY, message="connection refused")

    answer = explain(own_server, service="orders")
    assert answer.state == health_pb2.HEALTH_STATE_UNHEALTHY
    assert answer.HasField("since_time")
    assert "component database: no answer" in answer.headline
    chain = [(it.depth, it.service, it.instance_id, it.component, it.role, it.root) for it in answer.causes]
    assert chain == [
        (0, "orders", "", "", health.CAUSE_ROLE_CAUSE, False),
        (1, "orders", "i-1", "", health.CAUSE_ROLE_CAUSE, False),
        (2, "orders", "i-1", "database", health.CAUSE_ROLE_CAUSE, True),
        (1, "payments", "", "", health.CAUSE_ROLE_LIKELY_CAUSE, True),
    ]
    assert answer.next_steps[0] == "look at component database of orders/i-1 first"

    (cause,) = explain(own_server, service="payments", instance_id="p-1", component="database").causes
    assert cause.root and cause.text.startswith("connection refused")
    # Without a name: the fleet, and where to begin.
    fleet = explain(own_server)
    assert fleet.state == health_pb2.HEALTH_STATE_UNHEALTHY and not fleet.HasField("since_time")
    assert "begin with payments" in fleet.headline


def test_what_is_not_there_is_not_explained(server):
    for asked, reason in [
        ({"service": "ghost"}, "SERVICE_NOT_FOUND"),
        ({"service": "ghost", "instance_id": "i-1"}, "INSTANCE_NOT_FOUND"),
    ]:
        error = refused(lambda asked=asked: explain(server, **asked), grpc.StatusCode.NOT_FOUND)
        assert_reason(error, reason)
    error = refused(lambda: explain(server, service="NOT A NAME"), grpc.StatusCode.INVALID_ARGUMENT)
    assert_reason(error, "INVALID_FIELD")
