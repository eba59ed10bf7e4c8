"""What the interop tests have in common: the binary under test and the recordings with known findings."""

import json
import pathlib
import subprocess
import sys

RECORDINGS = pathlib.Path(__file__).parents[2] / "cowtrace/tests/recordings"
COWTRACE = sys.argv[1]


def cowtrace(*words):
    """What a command prints; its exit status only says what was found."""
    done = subprocess.run([COWTRACE, *map(str, words)], capture_output=True, text=True)
    if done.returncode not in (0, 1, 3, 4):
        sys.exit(f"cowtrace {' '.join(map(str, words))} failed: {done.stderr}")
    return done.stdout


def replayed(name):
    """The JSON lines of a recording: the same facts by another way than the one that is tested."""
    text = cowtrace("replay", "--format", "json", RECORDINGS / name)
    return [json.loads(line) for line in text.splitlines()]


def findings(name):
    """Each finding as it ended, by its number."""
    ended = {}
    for line in replayed(name):
        if line["type"] in ("finding", "update"):
            ended[line["id"]] = line
    return ended


def equal(what, got, wanted):
    """Ends the test where two things differ that should not."""
    if got != wanted:
        sys.exit(f"{what}: {str(got)[:2000]}, and not {str(wanted)[:2000]}")
