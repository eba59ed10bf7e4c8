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
        said = []
        # What its collector rejects it may tell first.
        for line in running.stderr:
            if address := re.search(r"metrics at (http://\S+)", line):
                break
            said.append(line)
        else:
            sys.exit(f"the agent did not start: {''.join(said)}")
        yield address[1]
    finally:
        running.terminate()
        running.wait(60)
    if running.returncode != 0:
        sys.exit(f"the agent ended with {running.returncode}: {running.stderr.read()}")
