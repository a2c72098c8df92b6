"""What watches ballast from outside: a real Prometheus with the rules and queries that are delivered, and a real Alertmanager."""
import http.server
import json
import re
import shutil
import socket
import threading

import pytest
import requests

from conftest import Process, Replica, patience, root, wait_until

pytestmark = pytest.mark.skipif(not shutil.which("prometheus"), reason="no Prometheus here (package prometheus)")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Prometheus:
    """Scrapes several times a second, and goes by the rules that are delivered."""

    def __init__(self, folder, ballast, alertmanager=None, **scrape):
        self.port = free_port()
        target = ballast.stats.removeprefix("http://")
        # Rules as they are, but for how long something has to last.
        rules = (root / "Config/prometheus/ballast.rules.yml").read_text()
        (folder / "rules.yml").write_text(re.sub(r"for: \d+[smh]", "for: 1s", rules))
        config = {
            "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": "ballast", "static_configs": [{"targets": [target]}], **scrape}],
        }
        if alertmanager:
            config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]}
        (folder / "prometheus.yml").write_text(json.dumps(config))
        self.process = Process(
            ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address=127.0.0.1:{self.port}", "--alertmanager.notification-queue-capacity=100"], stream="stderr")

    def ask(self, expression):
        """What a query comes to; nothing while it does not answer yet."""
        try:
            found = requests.get(f"http://127.0.0.1:{self.port}/api/v1/query", params={"query": expression}, timeout=patience).json()
        except (requests.ConnectionError, ValueError):
            return []
        assert found["status"] == "success", f"{expression}: {found}"
        return found["data"]["result"]


def queries():
    """Every query of the dashboard, with its variables as Grafana fills them in."""
    board = json.loads((root / "Config/grafana/ballast.json").read_text())
    texts = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    return [re.sub(r"\$(job|instance|backend)\b", ".*", text).replace("$__rate_interval", "10s") for text in texts]


def test_every_query_of_the_dashboard_returns_data(start, replicas, tmp_path):
    ballast = start(replicas, "maxconn = 8", "[stats] auth = prometheus:x")
    prometheus = Prometheus(tmp_path, ballast, basic_auth={"username": "prometheus", "password": "x"})
    try:
        for _ in range(5):
            requests.get(ballast.url + "/predict", timeout=patience)
            requests.post(ballast.url + "/v1/chat/completions", json={"model": "m", "stream": True}, timeout=patience)
        wait_until(lambda: prometheus.ask('rate(ballast_requests_total{code="2xx"}[10s])'), "two scrapes")
        asked = queries()
        assert len(asked) >= 25
        for text in asked:
            assert wait_until(lambda: prometheus.ask(text), f"data for {text}")
        # What scaling asks for.
        for text in re.findall(r"\| `([^`]*ballast[^`]*)` \|", (root / "Config/autoscaling/README.md").read_text()):
            prometheus.ask(text)
        # It speaks OpenMetrics with it, whose counters have the same names.
        assert prometheus.ask('ballast_requests_total{backend="default",code="2xx"}')[0]["value"][1] == "10"
        assert prometheus.ask('up{job="ballast"}')[0]["value"][1] == "1"
        assert prometheus.ask("ALERTS") == []
    finally:
        prometheus.process.kill()


@pytest.mark.skipif(not shutil.which("prometheus-alertmanager"), reason="no Alertmanager here (package prometheus-alertmanager)")
def test_somebody_is_told_and_told_again(start, tmp_path):
    told = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told.extend((alert["status"], alert["labels"]["alertname"], alert) for alert in body["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    hook = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    ports = [free_port() for _ in range(2)]
    (tmp_path / "alertmanager.yml").write_text(json.dumps({
        "route": {"receiver": "hook", "group_wait": "1s", "group_interval": "1s", "group_by": ["alertname"]},
        "receivers": [{"name": "hook", "webhook_configs": [{"url": f"http://127.0.0.1:{hook.server_port}/", "send_resolved": True}]}]}))
    replicas = [Replica(name) for name in ("one", "two")]
    ballast = start(replicas, "health-every = 200ms", "health-fall = 1")
    processes = [Process(
        ["prometheus-alertmanager", f"--config.file={tmp_path}/alertmanager.yml", f"--storage.path={tmp_path}/alerts",
         f"--web.listen-address=127.0.0.1:{ports[0]}", "--cluster.listen-address="], stream="stderr")]
    prometheus = Prometheus(tmp_path, ballast, alertmanager=ports[0])
    processes.append(prometheus.process)

    def has(status):
        return next((alert for found, name, alert in told if (found, name) == (status, "BallastBackendDown")), None)

    try:
        wait_until(lambda: prometheus.ask('ballast_server_state{state="up"} == 1'), "a scrape")
        for replica in replicas:
            replica.process.kill()
        alert = wait_until(lambda: has("firing"), "the alert")
        assert alert["labels"]["severity"] == "critical" and alert["labels"]["backend"] == "default"
        assert alert["annotations"]["summary"] == "no server of default can serve" and alert["annotations"]["runbook"]
        for replica in list(replicas):
            replicas.append(Replica(replica.name, replica.port))
        wait_until(lambda: has("resolved"), "the word that it is over")
    finally:
        for process in processes:
            process.kill()
        for replica in replicas:
            replica.process.kill()
        hook.shutdown()
