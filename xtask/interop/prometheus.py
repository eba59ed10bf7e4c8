"""Prometheus scrapes an agent; promtool takes its metrics and the alerts; every query of the dashboard runs."""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from agent import agent
from common import equal, findings

DIST = pathlib.Path(__file__).parents[2] / "dist"
BIN = pathlib.Path(os.environ["COWTRACE_PROMETHEUS"]) / "usr/bin"
RECORDING = "lost-5.10.cow"


def promtool(*words, **options):
    done = subprocess.run([BIN / "promtool", *words], capture_output=True, text=True, **options)
    said = done.stdout + done.stderr
    # `check metrics` says what is bad style, and succeeds.
    if done.returncode or words[1] == "metrics" and said:
        sys.exit(f"promtool {' '.join(words)}: {said}")


def get(url, **headers):
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10).read().decode()


def free_port():
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return any_port.getsockname()[1]


class Prometheus:
    """One that scrapes an agent each second."""

    def __init__(self, folder, target):
        self.url = f"http://127.0.0.1:{free_port()}"
        config = (DIST / "prometheus/prometheus.yml").read_text()
        config = config.replace("15s", "1s").replace("127.0.0.1:9435", target)
        config = config.replace("alerts.yml", str(DIST / "prometheus/alerts.yml"))
        (folder / "prometheus.yml").write_text(config)
        self.log = open(folder / "log", "w+")
        self.running = subprocess.Popen([
            BIN / "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={self.url[7:]}", "--log.level=warn",
        ], stdout=self.log, stderr=self.log)

    def query(self, query):
        answer = json.loads(get(f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"))
        return answer["data"]["result"]

    def wait_for(self, query):
        """The first answer that is not empty."""
        for _ in range(300):
            try:
                if result := self.query(query):
                    return result
            except (urllib.error.URLError, ConnectionError):
                pass
            if self.running.poll() is not None:
                break
            time.sleep(0.2)
        self.log.seek(0)
        sys.exit(f"Prometheus never answered {query}: {self.log.read()}")

    def end(self):
        self.running.terminate()
        self.running.wait(60)


def dashboard_queries():
    """Its queries, as they are when somebody looks at all hosts."""
    def queries(node):
        if isinstance(node, dict):
            yield from ([node["expr"]] if "expr" in node else [])
            node = list(node.values())
        for child in node if isinstance(node, list) else []:
            yield from queries(child)
    dashboard = json.loads((DIST / "grafana/cowtrace.json").read_text())
    return [query.replace("$instance", ".*").replace("$__rate_interval", "1m") for query in queries(dashboard)]


def check_alerts():
    """Each says what it costs and what to do, and has a test that wants it."""
    groups = yaml.safe_load((DIST / "prometheus/alerts.yml").read_text())["groups"]
    tests = (DIST / "prometheus/alerts_test.yml").read_text()
    for rule in [rule for group in groups for rule in group["rules"]]:
        equal(f"annotations of {rule['alert']}", set(rule["annotations"]), {"summary", "description"})
        if not re.search(rf"\b{rule['alert']}\b", tests):
            sys.exit(f"{rule['alert']}: no test")


check_alerts()
promtool("check", "config", str(DIST / "prometheus/prometheus.yml"))
promtool("check", "rules", str(DIST / "prometheus/alerts.yml"))
promtool("test", "rules", str(DIST / "prometheus/alerts_test.yml"))

with agent(RECORDING) as metrics, tempfile.TemporaryDirectory() as temporary:
    promtool("check", "metrics", input=get(metrics))
    # The reference parser is strict where Prometheus is not.
    families = list(text_string_to_metric_families(get(metrics, Accept="application/openmetrics-text")))
    found = next(family for family in families if family.name == "cowtrace_findings")
    wanted = {finding["verdict"] for finding in findings(RECORDING).values()}
    had = {sample.labels["verdict"] for sample in found.samples}
    if not wanted <= had:
        sys.exit(f"verdicts: {had} without some of {wanted}")

    prometheus = Prometheus(pathlib.Path(temporary), re.search(r"//(.*)/", metrics)[1])
    try:
        lost = prometheus.wait_for('cowtrace_findings_total{verdict="lost"}')
        labels = {name: lost[0]["metric"][name] for name in ("cause", "site", "driver", "process", "job")}
        equal("the labels of what is lost", labels, {
            "cause": "mprotect", "site": "xdp_umem_create", "driver": "kernel", "process": "provoke", "job": "cowtrace",
        })
        equal("how much is lost", lost[0]["value"][1], "1")
        equal("whether it is up", prometheus.query('up{job="cowtrace"}')[0]["value"][1], "1")
        for query in dashboard_queries():
            prometheus.query(query)
    finally:
        prometheus.end()
