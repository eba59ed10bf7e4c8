"""A receiver reads what an agent exports with OpenTelemetry's own definitions, and finds in it what a replay tells.

What it rejects, the agent counts as dropped.
"""

import http.server
import re
import sys
import threading
import time
import urllib.request

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from agent import agent
from common import equal, replayed

RECORDING = "lost-5.10.cow"
KINDS = {"/v1/logs": ExportLogsServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}
REJECTS_ONE = ExportLogsServiceResponse(partial_success={"rejected_log_records": 1, "error_message": "too old"})


class Receiver(http.server.BaseHTTPRequestHandler):
    got = {path: [] for path in KINDS}
    # What it answers to log records.
    answer = b""

    def do_POST(self):
        equal("the media type", self.headers["Content-Type"], "application/x-protobuf")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Receiver.got[self.path].append(KINDS[self.path].FromString(body))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        answer = Receiver.answer if self.path == "/v1/logs" else b""
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def plain(pairs):
    """Attributes as a dictionary."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=receiver.serve_forever, daemon=True).start()
# When the agent has ended it has sent everything.
with agent(RECORDING, "--otlp", f"http://127.0.0.1:{receiver.server_port}"):
    pass

resources = [resource for request in Receiver.got["/v1/logs"] for resource in request.resource_logs]
equal("the service", plain(resources[0].resource.attributes)["service.name"], "cowtrace")
equal("the host", plain(resources[0].resource.attributes)["host.name"], "lab")
records = [record for resource in resources for scope in resource.scope_logs for record in scope.log_records]
told = [line for line in replayed(RECORDING) if line["type"] in ("finding", "update")]
seen = [plain(record.attributes) for record in records]
key = lambda line: (line["id"], line["verdict"], hex(line["address"]), line["old_pfn"], line["reason"])
names = ("cowtrace.finding.id", "cowtrace.verdict", "cowtrace.address", "cowtrace.pfn.old", "cowtrace.reason")
equal("findings", [tuple(one[name] for name in names) for one in seen], [key(line) for line in told])
equal("times", [record.time_unix_nano > 10**18 for record in records], [True] * len(told))
if not any(record.severity_text == "ERROR" for record in records):
    sys.exit("what is lost is no error")

scopes = [scope for request in Receiver.got["/v1/metrics"] for resource in request.resource_metrics
          for scope in resource.scope_metrics]
metrics = {metric.name: metric for metric in scopes[-1].metrics}
points = metrics["cowtrace_findings"].sum.data_points
verdicts = {plain(point.attributes)["verdict"]: point.as_double for point in points}
equal("findings counted", verdicts, {"armed": 1.0, "diverged": 1.0, "lost": 1.0})


def exported(metrics):
    """How many records were sent and dropped, so far."""
    text = urllib.request.urlopen(metrics, timeout=10).read().decode()
    return {result: int(count) for result, count in re.findall(r'exported_records_total{result="(\w+)"} (\d+)', text)}


Receiver.got["/v1/logs"].clear()
Receiver.answer = REJECTS_ONE.SerializeToString()
with agent(RECORDING, "--otlp", f"http://127.0.0.1:{receiver.server_port}") as metrics:
    # Of findings alone: the first report of metrics is due in a minute.
    for _ in range(300):
        if sum(exported(metrics).values()) >= len(told):
            break
        time.sleep(0.1)
    requests = len(Receiver.got["/v1/logs"])
    equal("what was rejected", exported(metrics), {"sent": len(told) - requests, "dropped": requests})
receiver.shutdown()
