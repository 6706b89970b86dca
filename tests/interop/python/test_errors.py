"""Refusals carry the standard google.rpc details, and published packages can read them."""

import grpc
from google.rpc import error_details_pb2
from seaworthy.v1 import fleet_service_pb2 as fleet
from seaworthy.v1 import health_pb2, instance_pb2, service_pb2
from support import CALL, assert_reason, database, detail, refused


def test_every_wrong_field_is_named(server):
    wrong = [database(), health_pb2.Component(name="Not A Name")]
    error = refused(lambda: server.register("NOT A NAME", components=wrong), grpc.StatusCode.INVALID_ARGUMENT)
    assert_reason(error, "INVALID_FIELD")
    violations = detail(error, error_details_pb2.BadRequest).field_violations
    assert {v.field for v in violations} == {"registration.service", "registration.components[1].name"}
    assert all(v.description for v in violations)


def test_what_is_not_there(server):
    request = fleet.GetInstanceRequest(service="ghost", instance_id="i-1")
    error = refused(lambda: server.fleet.GetInstance(request, timeout=CALL), grpc.StatusCode.NOT_FOUND)
    assert_reason(error, "INSTANCE_NOT_FOUND")


def test_what_is_taken(server):
    server.register("held")
    error = refused(lambda: server.register("held"), grpc.StatusCode.ALREADY_EXISTS)
    assert_reason(error, "INSTANCE_ALIVE")


def test_what_is_not_in_the_right_state(server):
    def put(spec=None, **fields):
        return server.fleet.PutService(
            fleet.PutServiceRequest(name="kept", spec=spec or service_pb2.ServiceSpec(), **fields), timeout=CALL
        )

    put(service_pb2.ServiceSpec(protected=True))
    error = refused(lambda: put(if_revision=0), grpc.StatusCode.FAILED_PRECONDITION)
    assert_reason(error, "REVISION_MISMATCH")
    assert detail(error, error_details_pb2.PreconditionFailure).violations

    server.register("kept")
    removal = fleet.RemoveInstanceRequest(service="kept", instance_id="i-1")
    error = refused(lambda: server.fleet.RemoveInstance(removal, timeout=CALL), grpc.StatusCode.FAILED_PRECONDITION)
    assert_reason(error, "SERVICE_PROTECTED")


def test_a_circle_of_hard_dependencies(server):
    def depend(name, on):
        spec = service_pb2.ServiceSpec(depends_on=[service_pb2.Dependency(service=on)])
        return server.fleet.PutService(fleet.PutServiceRequest(name=name, spec=spec), timeout=CALL)

    depend("chicken", "egg")
    error = refused(lambda: depend("egg", "chicken"), grpc.StatusCode.FAILED_PRECONDITION)
    assert_reason(error, "DEPENDENCY_CYCLE")


def test_a_stolen_name(server):
    registered = server.register("mine")
    ref = instance_pb2.InstanceRef(service="mine", instance_id="i-1", incarnation=registered.instance.incarnation)
    request = fleet.DeregisterRequest(instance=ref, session_token="sws_wrong")
    error = refused(lambda: server.fleet.Deregister(request, timeout=CALL), grpc.StatusCode.UNAUTHENTICATED)
    assert_reason(error, "SESSION_TOKEN_INVALID")
