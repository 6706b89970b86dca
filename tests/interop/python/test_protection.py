"""Protection as other languages see it: all of a service is lost at once, and stays until it is heard."""

from google.protobuf import duration_pb2
from seaworthy.v1 import fleet_service_pb2 as fleet
from seaworthy.v1 import health_pb2, instance_pb2
from seaworthy.v1 import system_service_pb2 as system
from support import CALL, reference, wait_until


def test_many_that_are_lost_at_once_are_shown_under_protection(own_server):
    def instance(service, instance_id):
        request = fleet.GetInstanceRequest(service=service, instance_id=instance_id)
        return own_server.fleet.GetInstance(request, timeout=CALL).instance

    def service(name):
        return own_server.fleet.GetService(fleet.GetServiceRequest(name=name), timeout=CALL).service

    def protected():
        return own_server.system.GetStatus(system.GetStatusRequest(), timeout=CALL).protected_instances

    own_server.register("stays", lease_ttl=duration_pb2.Duration(seconds=600))
    short = duration_pb2.Duration(seconds=2)
    first = own_server.register("orders", "i-1", lease_ttl=short)
    own_server.register("orders", "i-2", lease_ttl=short)
    assert protected() == 0 and not service("orders").HasField("protection")

    wait_until(lambda: protected() == 2, "both to be lost under protection", 60)
    shown = service("orders")
    assert shown.protection.protected_instances == 2
    assert (shown.counts.lost, shown.health) == (2, health_pb2.HEALTH_STATE_UNHEALTHY)
    lost = [instance("orders", it) for it in ["i-1", "i-2"]]
    assert {it.lifecycle for it in lost} == {instance_pb2.LIFECYCLE_LOST}
    ends = [it.protection_end_time.ToDatetime() for it in lost]
    assert shown.protection.end_time.ToDatetime() == max(ends)
    assert shown.protection.start_time.ToDatetime() < min(ends)
    assert not service("stays").HasField("protection")
    assert not instance("stays", "i-1").HasField("protection_end_time")

    # Who is heard leaves it.
    beat = fleet.InstanceHeartbeat(instance=reference(first), session_token=first.session_token)
    assert own_server.heartbeat(beat) == [fleet.HEARTBEAT_OUTCOME_RENEWED]
    assert not instance("orders", "i-1").HasField("protection_end_time")
    assert service("orders").protection.protected_instances == protected() == 1
