"""A real Prometheus discovers the fleet and scrapes it, by the configuration that README.md names."""

import contextlib
import http.server
import json
import re
import signal
import socket
import subprocess
import threading
import urllib.parse
import urllib.request

import pytest
from seaworthy.v1 import (
    fleet_service_pb2 as fleet,
)
from support import CALL, ROOT, STOP, program, reference, run, wait_until

EXAMPLE = ROOT / "deploy" / "prometheus.example.yml"

# Without the machine's proxies: everything is on the loopback interface.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Instance(http.server.BaseHTTPRequestHandler):
    """A process of a service with metrics of its own."""

    def do_GET(self):
        known = self.path == "/metrics"
        body = b"# TYPE orders_taken counter\norders_taken_total 7\n" if known else b""
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def instance():
    """Serves /metrics on a free port, and answers the address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Instance)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(CALL)


class Prometheus:
    """The real one, with the example's configuration: only addresses and paces are the test's."""

    def __init__(self, folder, http_address, secure=None):
        example = EXAMPLE.read_text()
        assert example.count("127.0.0.1:8080") == 2
        text = example.replace("127.0.0.1:8080", http_address)
        text, paces = re.subn(r"_interval: \w+", "_interval: 1s", text)
        assert paces == 2
        if secure:
            # As the comments of the example say.
            ca, token = secure
            proof = [f"tls_config: {{ca_file: {ca}}}", f"authorization: {{type: Bearer, credentials_file: {token}}}"]
            own = "".join(f"    {line}\n" for line in ["scheme: https", *proof])
            found = "".join(f"        {line}\n" for line in proof)
            text = text.replace("  - job_name: seaworthy\n", f"  - job_name: seaworthy\n{own}")
            text, urls = re.subn(r"( {6}- url: )http(://.*\n)", rf"\1https\2{found}", text)
            assert urls == 1
        self._config = folder / "prometheus.yml"
        self._config.write_text(text)
        self._folder = folder

    def __enter__(self):
        # Prometheus takes no port 0 that it would tell of; the kernel gives this one to nobody else so soon.
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._address = f"127.0.0.1:{free.getsockname()[1]}"
        command = [program("prometheus"), f"--config.file={self._config}"]
        command += [f"--storage.tsdb.path={self._folder / 'data'}"]
        command += [f"--web.listen-address={self._address}", "--log.level=warn"]
        with open(self._folder / "log", "wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_until(self._is_ready, "Prometheus")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP)

    def _is_ready(self):
        assert self._process.poll() is None, (self._folder / "log").read_text()
        with contextlib.suppress(OSError):
            return OPENER.open(f"http://{self._address}/-/ready", timeout=CALL).status == 200
        return False

    def ask(self, path, **query):
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with OPENER.open(url, timeout=CALL) as answer:
            found = json.load(answer)
        assert found["status"] == "success"
        return found["data"]

    def targets(self, job):
        """The labels and the health of every target of a job, by the name of its instance."""
        found = self.ask("targets", state="active")["activeTargets"]
        return {it["labels"]["instance"]: (it["labels"], it["health"]) for it in found if it["labels"]["job"] == job}

    def value(self, query):
        """The one value that a query finds; None if it finds nothing."""
        found = self.ask("query", query=query)["result"]
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None


@pytest.fixture
def prometheus(own_server, tmp_path):
    folder = tmp_path / "prometheus"
    folder.mkdir()
    with Prometheus(folder, own_server.http) as running:
        yield running


def test_the_example_is_one_that_prometheus_takes(tmp_path):
    judged = run("promtool", "check", "config", str(EXAMPLE))
    assert judged.returncode == 0, judged.stdout + judged.stderr
    # The control: a mistake is told.
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(EXAMPLE.read_text().replace("http_sd_configs", "http_sd_konfigs"))
    assert run("promtool", "check", "config", str(wrong)).returncode != 0


def plain(text):
    """A configuration without its comments and empty lines."""
    lines = [re.sub(r"\s*#.*", "", line) for line in text.splitlines()]
    return "\n".join(line for line in lines if line)


def test_the_readme_shows_the_example():
    shown = (ROOT / "README.md").read_text().split("```yaml\n")[1].split("```")[0]
    assert "http_sd_configs" in shown
    assert plain(EXAMPLE.read_text()).endswith(shown.strip())


def test_the_fleet_is_discovered_and_scraped(own_server, prometheus):
    with instance() as first, instance() as second:
        labels = {"team": "checkout", "cost-centre": "42"}
        stays = own_server.register(
            "orders", "i-1", address=first, version="1.2.0", zone="eu-west-1a", labels=labels
        )
        leaves = own_server.register("orders", "i-2", address=second, version="1.1.0")
        own_server.register("orders", "silent")  # it gave no address, and is no target

        def all_up():
            return [health for _, health in prometheus.targets("fleet").values()] == ["up", "up"]

        wait_until(all_up, "both targets up", 60)
        targets = prometheus.targets("fleet")
        assert set(targets) == {"orders/i-1", "orders/i-2"}
        assert targets["orders/i-1"][0] == {
            "job": "fleet",
            "instance": "orders/i-1",
            "service": "orders",
            "version": "1.2.0",
            "zone": "eu-west-1a",
            "team": "checkout",
            "cost_centre": "42",
        }
        wait_until(lambda: prometheus.value('sum(orders_taken_total{service="orders"})') == 14, "both figures", 60)

        # Who leaves is no target any more.
        request = fleet.DeregisterRequest(instance=reference(leaves), session_token=leaves.session_token)
        own_server.fleet.Deregister(request, timeout=CALL)
        wait_until(lambda: set(prometheus.targets("fleet")) == {"orders/i-1"}, "the one that left to go", 60)
        assert stays.instance.incarnation == 1


def test_what_is_lost_shows_until_it_is_removed(own_server, prometheus):
    with instance() as address:
        ttl = {"seconds": 2}
        own_server.register("payments", "i-1", address=address, lease_ttl=ttl)
        wait_until(lambda: "payments/i-1" in prometheus.targets("fleet"), "the target", 60)
    # It dies: its lease runs out, and its scrapes fail, which is what a lease cannot show.
    wait_until(lambda: prometheus.value('up{instance="payments/i-1"}') == 0, "a scrape that fails", 60)
    wait_until(lambda: lifecycle(own_server, "payments") == "lost", "the instance to be lost", 60)
    assert "payments/i-1" in prometheus.targets("fleet")
    request = fleet.RemoveInstanceRequest(service="payments", instance_id="i-1", message="gone for good")
    own_server.fleet.RemoveInstance(request, timeout=CALL)
    wait_until(lambda: prometheus.targets("fleet") == {}, "the target to go", 60)


def lifecycle(server, service):
    """What service discovery says of the only instance of a service."""
    with OPENER.open(f"http://{server.http}/sd/prometheus?service={service}", timeout=CALL) as answer:
        (group,) = json.load(answer)
    return group["labels"]["__meta_seaworthy_lifecycle"]


def test_the_control_plane_itself_is_scraped(own_server, prometheus):
    own_server.register("orders")
    wait_until(lambda: prometheus.value('up{job="seaworthy"}') == 1, "the control plane up", 60)
    wait_until(lambda: prometheus.value('seaworthy_instances{job="seaworthy"}') is not None, "its figures", 60)
    series = prometheus.value('scrape_samples_scraped{job="seaworthy"}')
    assert series and series > 20
