"""/metrics as Prometheus reads it, judged by promtool."""

import urllib.request

from seaworthy.v1 import health_pb2
from support import CALL, run

OPEN_METRICS = "application/openmetrics-text"

# Without the machine's proxies: the server is on the loopback interface.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def metrics(server, accept):
    request = urllib.request.Request(f"http://{server.http}/metrics", headers={"Accept": accept})
    with OPENER.open(request, timeout=CALL) as answer:
        assert answer.status == 200
        return answer.headers["Content-Type"], answer.read().decode()


def test_promtool_finds_nothing(server):
    # Something of each kind, so that more than the empty page is judged.
    server.report(server.register("measured"), health_pb2.HEALTH_STATE_UNHEALTHY, message='a "quoted"\ncause')
    kind, text = metrics(server, "text/plain;version=0.0.4")
    assert kind.startswith("text/plain; version=0.0.4")
    assert "\nseaworthy_" in text
    judged = run("promtool", "check", "metrics", stdin=text)
    assert (judged.returncode, judged.stdout, judged.stderr) == (0, "", "")


def test_promtool_would_find_something():
    """The control: what is wrong is reported, so that silence above means something."""
    assert run("promtool", "check", "metrics", stdin="# TYPE broken counter\nbroken 1\n").returncode != 0
    assert run("promtool", "check", "metrics", stdin="broken{ 1\n").returncode != 0


def test_openmetrics_on_request(server):
    kind, text = metrics(server, f"{OPEN_METRICS};version=1.0.0")
    assert kind.startswith(OPEN_METRICS)
    assert text.endswith("# EOF\n")
