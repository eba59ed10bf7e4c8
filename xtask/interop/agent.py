"""An agent that tells of a recording, for the tests of its metrics and of what it exports."""

import contextlib
import re
import subprocess
import sys

from common import COWTRACE, RECORDINGS


@contextlib.contextmanager
def agent(name, *options):
    """Runs it; the address of its metrics. It is ready when the recording has been read."""
    command = [COWTRACE, "agent", "--listen", "127.0.0.1:0", "--replay", RECORDINGS / name, *options]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        line = running.stderr.readline()
        address = re.search(r"http://\S+", line)
        if not address:
            sys.exit(f"the agent did not start: {line}{running.stderr.read()}")
        yield address[0]
    finally:
        running.terminate()
        running.wait(60)
    if running.returncode != 0:
        sys.exit(f"the agent ended with {running.returncode}: {running.stderr.read()}")
