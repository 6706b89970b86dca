"""WatchFleet with generated stubs: full state, changes, and going on where one stopped."""

from seaworthy.v1 import fleet_service_pb2 as fleet
from support import CALL


def watch(server, service, cursor=None):
    return server.fleet.WatchFleet(fleet.WatchFleetRequest(service=service, resume_after=cursor), timeout=CALL)


def full_state(stream):
    """Reads reset and snapshot: answers the reason, the instances and the cursor after them."""
    first = next(stream)
    assert first.WhichOneof("message") == "reset", first
    instances = []
    for answer in stream:
        instances += answer.snapshot.instances
        if answer.snapshot.complete:
            return first.reset.reason, instances, answer.cursor


def next_instance(stream, instance_id):
    """Reads until this instance changes: answers it and the cursor."""
    for answer in stream:
        if answer.change.instance.registration.instance_id == instance_id:
            return answer.change.instance, answer.cursor


def test_state_first_then_changes(server):
    server.register("followed", "i-1")
    stream = watch(server, "followed")
    reason, instances, before = full_state(stream)
    assert reason == fleet.RESET_REASON_INITIAL
    assert [i.registration.instance_id for i in instances] == ["i-1"]

    server.register("followed", "i-2")
    _, after = next_instance(stream, "i-2")
    assert after.boot_epoch == before.boot_epoch
    assert after.revision > before.revision
    stream.cancel()


def test_a_cursor_goes_on_without_a_gap(server):
    server.register("resumed", "i-1")
    stream = watch(server, "resumed")
    _, _, cursor = full_state(stream)
    stream.cancel()

    server.register("resumed", "i-2")
    server.register("resumed", "i-3")
    stream = watch(server, "resumed", cursor)
    seen = []
    for answer in stream:
        assert answer.WhichOneof("message") in ("change", "bookmark_time"), answer
        if answer.change.WhichOneof("change") == "instance":
            seen.append(answer.change.instance.registration.instance_id)
        if "i-3" in seen:
            break
    assert list(dict.fromkeys(seen)) == ["i-2", "i-3"]
    stream.cancel()


def test_a_cursor_of_another_life_is_told_so(server):
    server.register("elsewhere", "i-1")
    stream = watch(server, "elsewhere", fleet.WatchCursor(boot_epoch="another", revision=1))
    reason, instances, _ = full_state(stream)
    assert reason == fleet.RESET_REASON_OTHER_EPOCH
    assert len(instances) == 1
    stream.cancel()
