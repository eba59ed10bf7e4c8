"""What is in dist/ is what its programs take: systemd's unit, Kubernetes' manifests, the collector's configuration."""

import pathlib
import shutil
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

from common import COWTRACE, equal

DIST = pathlib.Path(__file__).parents[2] / "dist"

for manifest in yaml.safe_load_all((DIST / "kubernetes/daemonset.yaml").read_text()):
    kubernetes_validate.validate(manifest, "1.30", strict=True)

collector = yaml.safe_load((DIST / "otel/collector.yaml").read_text())
for name, pipeline in collector["service"]["pipelines"].items():
    for kind in ("receivers", "processors", "exporters"):
        missing = set(pipeline[kind]) - set(collector[kind])
        equal(f"what the pipeline of {name} has no {kind} for", missing, set())

if shutil.which("systemd-analyze"):
    with tempfile.TemporaryDirectory() as temporary:
        unit = pathlib.Path(temporary) / "cowtrace-agent.service"
        text = (DIST / "systemd/cowtrace-agent.service").read_text()
        unit.write_text(text.replace("/usr/bin/cowtrace", COWTRACE))
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
        said = [line for line in done.stderr.splitlines() if "cowtrace" in line]
        if done.returncode or said:
            sys.exit(f"systemd-analyze verify: {done.stderr}")
