"""Backups and restores by grpcurl, unmodified, of a service in Python that speaks by generated code alone."""

import hashlib
import json
import queue
import threading

import grpc
from seaworthy.v1 import backup_service_pb2 as backup
from seaworthy.v1 import backup_service_pb2_grpc as backup_grpc
from seaworthy.v1 import directive_pb2 as directive
from seaworthy.v1 import fleet_service_pb2 as fleet
from seaworthy.v1 import health_pb2, instance_pb2
from seaworthy.v1 import restore_service_pb2 as restore
from seaworthy.v1 import restore_service_pb2_grpc as restore_grpc
from support import CALL, Session, run, wait_until

SHA256 = backup.DIGEST_ALGORITHM_SHA256
# Several messages, and no multiple of anything.
STATE = b"anchor,2\nrope,7\n" * 150_001
PIECE = 1 << 20


def call(server, method, **data):
    return run("grpcurl", "-plaintext", "-max-time", "20", "-d", json.dumps(data), server.grpc, f"seaworthy.v1.{method}")


def ask(server, method, **data):
    answer = call(server, method, **data)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


class Ledger:
    """A service with one component, `ledger`, that captures and restores it as the contract says."""

    def __init__(self, server, service):
        self._channel = grpc.insecure_channel(server.grpc)
        self._uploads = backup_grpc.BackupServiceStub(self._channel)
        self._downloads = restore_grpc.RestoreServiceStub(self._channel)
        self.state = STATE
        both = [health_pb2.CAPABILITY_BACKUP, health_pb2.CAPABILITY_RESTORE]
        component = health_pb2.Component(name="ledger", kind="csv", capabilities=both)
        registration = instance_pb2.Registration(service=service, instance_id="i-1", components=[component])
        self._session = Session(server)
        request = fleet.RegisterRequest(registration=registration)
        self._session.send(open=fleet.OpenSession(register=request, takes_directives=True))
        opened = self._session.next("opened")
        self._instance = instance_pb2.InstanceRef(
            service=service, instance_id="i-1", incarnation=opened.instance.incarnation
        )
        self._worker = threading.Thread(target=self._work, daemon=True)
        self._worker.start()

    def close(self):
        self._session.abandon()
        self._worker.join(CALL)
        self._channel.close()

    def _work(self):
        for answer in self._session.answers():
            if answer.WhichOneof("message") != "directive":
                continue
            asked = answer.directive
            report = directive.DirectiveReport(directive_id=asked.id, state=directive.DIRECTIVE_STATE_STARTED)
            self._session.send(directive=report)
            report = directive.DirectiveReport(directive_id=asked.id, state=directive.DIRECTIVE_STATE_DONE)
            match asked.WhichOneof("ask"):
                case "capture":
                    self._capture(asked.capture)
                case "restore":
                    self._restore(asked.restore)
                case "inspect":
                    found = directive.Inspection(component="ledger", bytes=len(self.state), empty=not self.state)
                    report.inspections.append(found)
                case _:
                    report.state = directive.DIRECTIVE_STATE_REFUSED
            self._session.send(directive=report)

    def _capture(self, asked):
        outbox = queue.SimpleQueue()
        answers = self._uploads.Upload(iter(outbox.get, None), timeout=CALL)
        opening = backup.UploadOpen(ticket=asked.ticket, instance=self._instance, digest_algorithm=SHA256)
        outbox.put(backup.UploadRequest(open=opening))
        assert next(answers).opened.offset == 0
        for at in range(0, len(self.state), PIECE):
            data = backup.UploadData(offset=at, data=self.state[at : at + PIECE])
            outbox.put(backup.UploadRequest(data=data))
        digest = hashlib.sha256(self.state).digest()
        evidence = {"rows": str(self.state.count(b"\n"))}
        outbox.put(backup.UploadRequest(finish=backup.UploadFinish(length=len(self.state), digest=digest, evidence=evidence)))
        # Durable offsets never go back, and the end comes after all is durable.
        durable = 0
        for answer in answers:
            if answer.WhichOneof("message") == "done":
                assert answer.done.length == len(self.state)
                break
            assert durable <= answer.progress.durable_offset <= len(self.state), answer
            durable = answer.progress.durable_offset
        outbox.put(None)

    def _restore(self, asked):
        request = restore.DownloadRequest(ticket=asked.ticket, instance=self._instance, digest_algorithm=SHA256)
        came = bytearray()
        for answer in self._downloads.Download(request, timeout=CALL):
            if answer.WhichOneof("message") == "finish":
                assert answer.finish.length == len(came) == asked.length
                assert answer.finish.digest == hashlib.sha256(came).digest()
                self.state = bytes(came)
                return
            assert answer.data.offset == len(came)
            came += answer.data.data
        raise AssertionError("the download ended without a finish")


def ended(server, operation):
    """Waits until it has ended, and answers the operation."""

    def look():
        return ask(server, "OperationService/GetOperation", id=operation["id"])["operation"]

    wait_until(lambda: look()["state"] not in ("OPERATION_STATE_PENDING", "OPERATION_STATE_RUNNING"), "its end", 60)
    return look()


def test_a_service_in_python_is_backed_up_verified_and_restored(server):
    ledger = Ledger(server, "ledgers")
    try:
        begun = ask(server, "BackupService/CreateBackup", service="ledgers", request_id="once")["operation"]
        again = ask(server, "BackupService/CreateBackup", service="ledgers", request_id="once")["operation"]
        assert begun["id"] == again["id"]
        assert ended(server, begun)["state"] == "OPERATION_STATE_SUCCEEDED"

        (made,) = ask(server, "BackupService/ListBackups", service="ledgers")["backups"]
        assert made["state"] == "BACKUP_STATE_COMPLETE" and int(made["bytes"]) == len(STATE)
        assert int(made["storedBytes"]) < len(STATE) // 4, "it can be compressed, and is"
        (component,) = made["components"]
        assert component["evidence"] == {"rows": str(STATE.count(b"\n"))}

        depth = "VERIFY_DEPTH_DATA"
        verified = ask(server, "BackupService/VerifyBackup", service="ledgers", id=made["id"], depth=depth)
        assert ended(server, verified["operation"])["state"] == "OPERATION_STATE_SUCCEEDED"
        seen = ask(server, "BackupService/GetBackup", service="ledgers", id=made["id"])["backup"]
        assert seen["verifyDepth"] == depth and "verifyCause" not in seen

        # What is there stands in the way, until it is said by name that it may be overwritten.
        ledger.state = b"something else\n"
        plan = ask(server, "RestoreService/PlanRestore", service="ledgers", backupId=made["id"])
        guards = {one["guard"] for one in plan["items"][0]["obstacles"] + plan.get("obstacles", [])}
        assert "RESTORE_GUARD_NOT_EMPTY" in guards and int(plan["bytes"]) == len(STATE)
        refused = call(server, "RestoreService/StartRestore", service="ledgers", backupId=made["id"])
        assert refused.returncode != 0 and "FailedPrecondition" in refused.stderr, refused.stderr
        assert "google.rpc.PreconditionFailure" in refused.stderr, refused.stderr
        assert ledger.state == b"something else\n"
        request = {"service": "ledgers", "backupId": made["id"], "force": sorted(guards)}
        started = ask(server, "RestoreService/StartRestore", **request)
        assert ended(server, started["operation"])["state"] == "OPERATION_STATE_SUCCEEDED"
        assert ledger.state == STATE
    finally:
        ledger.close()


def test_what_is_wrong_is_named(server):
    answer = call(server, "BackupService/CreateBackup", service="Not A Label")
    assert answer.returncode != 0 and "InvalidArgument" in answer.stderr, answer.stderr
    assert '"field": "service"' in answer.stderr, answer.stderr
    answer = call(server, "BackupService/GetBackup", service="ledgers", id="01arz3ndektsv4rrffq69g5fav")
    assert answer.returncode != 0 and "NotFound" in answer.stderr, answer.stderr
    answer = call(server, "RestoreService/PlanRestore", service="ledgers", backupId="nothing")
    assert answer.returncode != 0 and '"field": "backup_id"' in answer.stderr, answer.stderr
