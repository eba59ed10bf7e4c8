"""The HTML report opens in a browser: it says what was found, without script, without a request, without a complaint."""

import json
import pathlib
import subprocess
import sys
import tempfile

from common import RECORDINGS, cowtrace, equal

CHROMIUM = [
    "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--window-size=1000,1400", "--enable-logging=stderr", "--v=0",
]
FILES = [RECORDINGS / name for name in ["lost-5.10.cow", "snapshot-6.12.cow"]]


def chromium(folder, *words):
    """What a fresh browser prints, and what it complains of."""
    profile = tempfile.mkdtemp(dir=folder)
    done = subprocess.run(
        [*CHROMIUM, f"--user-data-dir={profile}", *words],
        capture_output=True, text=True, timeout=120,
    )
    equal("chromium's exit status", done.returncode, 0)
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE:" in line]


def requested(log):
    """The addresses that the page asked for."""
    log = json.loads(log.read_text())
    types = log["constants"]["logEventTypes"]
    jobs = [e["params"] for e in log["events"] if e["type"] == types["URL_REQUEST_START_JOB"] and "params" in e]
    # What the browser asks for of its own has no page that it comes from.
    of_pages = [job for job in jobs if job.get("initiator", "not an origin") != "not an origin"]
    return [job["url"] for job in of_pages if not job["url"].startswith(("data:", "file:"))]


with tempfile.TemporaryDirectory() as temporary:
    folder = pathlib.Path(temporary)
    page, log = folder / "report.html", folder / "net.json"
    cowtrace("report", "--format", "html", "-o", page, *FILES)
    dom, complaints = chromium(folder, f"--log-net-log={log}", "--dump-dom", page.as_uri())
    equal("console", complaints, [])
    equal("requests", requested(log), [])
    # That a request would be seen, and a complaint: of a page that has both.
    other = folder / "other.html"
    other.write_text("<img src='http://example.invalid/x.png'><script>console.log('heard')</script>")
    _, complaints = chromium(folder, f"--log-net-log={log}", "--dump-dom", other.as_uri())
    equal("requests of a page that has one", requested(log), ["http://example.invalid/x.png"])
    equal("complaints of a page that has one", len(complaints), 1)
    # No script runs, since its own policy forbids any.
    if "default-src 'none'" not in dom or "<script" in dom:
        sys.exit("the page may run scripts")
    for telling in ["LOST", "snapshot", "xdp_umem_create", "unpinned dirty", "<svg", "<details"]:
        if telling not in dom:
            sys.exit(f"the page does not have {telling!r}")
    image = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else folder / "report.png"
    chromium(folder, f"--screenshot={image.resolve()}", page.as_uri())
    equal("the screenshot", image.read_bytes()[:4], b"\x89PNG")
