"""Active checks with generated stubs: the control plane asks real servers of another make, when it is told to."""

import concurrent.futures
import contextlib
import http.server
import socket
import threading

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2
from grpc_health.v1 import health as published
from grpc_health.v1 import health_pb2 as standard
from grpc_health.v1 import health_pb2_grpc
from seaworthy.v1 import health_pb2
from seaworthy.v1 import health_service_pb2 as health
from support import CALL, assert_reason, database, detail, refused

# Due once in an hour: only `CheckNow` runs it.
HOUR = duration_pb2.Duration(seconds=3600)
HEALTHY, UNHEALTHY = health_pb2.HEALTH_STATE_HEALTHY, health_pb2.HEALTH_STATE_UNHEALTHY


def checked(server, service, **check):
    """Registers an instance whose only component is asked over the network; one bad answer counts."""
    component = database()
    component.check.CopyFrom(health_pb2.ActiveCheck(interval=HOUR, timeout=duration_pb2.Duration(seconds=20), **check))
    return server.register(service, components=[component])


def check_now(server, service):
    """What the check found just now; asked again where the control plane could not ask."""
    request = health.CheckNowRequest(service=service, instance_id="i-1")
    for left in reversed(range(5)):
        try:
            (found,) = server.health.CheckNow(request, timeout=CALL).components
            return found
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE or left == 0:
                raise


@contextlib.contextmanager
def web():
    """Serves HTTP with a status that can be set, and answers the server."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(self.server.status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    target = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    target.status = 200
    thread = threading.Thread(target=target.serve_forever)
    thread.start()
    try:
        yield target
    finally:
        target.shutdown()
        target.server_close()
        thread.join(CALL)


def test_http_by_its_status(server):
    with web() as target:
        checked(server, "web", port=target.server_port, http=health_pb2.HttpCheck(path="/health"))
        found = check_now(server, "web")
        assert (found.state, found.details["status"]) == (HEALTHY, "200")
        assert found.HasField("last_response_time")
        target.status = 503
        found = check_now(server, "web")
        assert (found.state, found.details["status"]) == (UNHEALTHY, "503")
        assert found.cause.endswith("/health answered 503")


def test_the_published_grpc_health_server(server):
    servicer = published.HealthServicer()
    target = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=2))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, target)
    port = target.add_insecure_port("127.0.0.1:0")
    target.start()
    try:
        servicer.set("orders", standard.HealthCheckResponse.SERVING)
        checked(server, "speaks-grpc", port=port, grpc=health_pb2.GrpcCheck(service="orders"))
        assert check_now(server, "speaks-grpc").state == HEALTHY
        servicer.set("orders", standard.HealthCheckResponse.NOT_SERVING)
        found = check_now(server, "speaks-grpc")
        assert (found.state, found.cause) == (UNHEALTHY, "it says NOT_SERVING")
    finally:
        target.stop(None).wait(CALL)


def test_tcp_by_whether_it_is_taken(server):
    with socket.socket() as target:
        target.bind(("127.0.0.1", 0))
        checked(server, "listens", port=target.getsockname()[1], tcp=health_pb2.TcpCheck())
        # Bound, so that nobody else gets the port, and not listening yet.
        found = check_now(server, "listens")
        assert found.state == UNHEALTHY and found.cause
        target.listen()
        assert check_now(server, "listens").state == HEALTHY


@pytest.mark.parametrize(
    "field, check",
    [
        ("host", {"host": "10.1.2.3", "port": 80}),
        ("host", {"host": "169.254.169.254", "port": 80}),
        ("port", {"port": 0}),
    ],
)
def test_whom_it_may_not_ask_is_refused_when_it_registers(server, field, check):
    error = refused(
        lambda: checked(server, "nosy", tcp=health_pb2.TcpCheck(), **check), grpc.StatusCode.INVALID_ARGUMENT
    )
    assert_reason(error, "INVALID_FIELD")
    (violation,) = detail(error, error_details_pb2.BadRequest).field_violations
    assert violation.field == f"registration.components[0].check.{field}"


def test_the_control_planes_own_ports_are_refused(server):
    for address in (server.grpc, server.http):
        port = int(address.rpartition(":")[2])
        error = refused(
            lambda port=port: checked(server, "looks-in", port=port, tcp=health_pb2.TcpCheck()),
            grpc.StatusCode.INVALID_ARGUMENT,
        )
        (violation,) = detail(error, error_details_pb2.BadRequest).field_violations
        assert violation.field == "registration.components[0].check.port"


def test_who_has_no_check_is_not_checked(server):
    server.register("reports")
    error = refused(lambda: check_now(server, "reports"), grpc.StatusCode.FAILED_PRECONDITION)
    assert_reason(error, "NO_ACTIVE_CHECK")
    error = refused(lambda: check_now(server, "ghost"), grpc.StatusCode.NOT_FOUND)
    assert_reason(error, "INSTANCE_NOT_FOUND")
