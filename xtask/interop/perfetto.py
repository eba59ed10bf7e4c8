"""An exported trace decodes with Perfetto's own definitions, and has the pin and the finding that a replay tells."""

import pathlib
import sys
import tempfile

# This file has the name of the package.
sys.path.remove(str(pathlib.Path(__file__).parent))
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as proto  # noqa: E402

sys.path.append(str(pathlib.Path(__file__).parent))
from common import RECORDINGS, cowtrace, equal, findings  # noqa: E402

NAME = "lost-5.10.cow"
BEGIN, END, INSTANT = 1, 2, 3


def notes(event):
    return {note.name: note.string_value or note.uint_value for note in event.debug_annotations}


with tempfile.TemporaryDirectory() as temporary:
    path = pathlib.Path(temporary) / "x.pftrace"
    cowtrace("export", "--to", "perfetto", "-o", path, RECORDINGS / NAME)
    trace = proto.Trace.FromString(path.read_bytes())

tracks = {p.track_descriptor.uuid: p.track_descriptor for p in trace.packet if p.HasField("track_descriptor")}
events = [(p.timestamp, p.track_event) for p in trace.packet if p.HasField("track_event")]
equal("tracks that nobody describes", {e.track_uuid for _, e in events} - set(tracks), set())

wanted = next(finding for finding in findings(NAME).values() if finding["verdict"] == "lost")
lost = [notes(event) for _, event in events if event.name == "lost"]
equal("the known loss", [note["old_pfn"] for note in lost], [wanted["old_pfn"]])
equal("why it is lost", lost[0]["reason"], wanted["reason"])

pins = [(time, event) for time, event in events if "pin" in event.categories]
equal("slices", [event.type for _, event in pins], [BEGIN, END])
equal("their times", [time for time, _ in pins], [wanted["pinned_at"], wanted["unpinned_at"]])
equal("their tracks", len({event.track_uuid for _, event in pins}), 1)
track = tracks[pins[0][1].track_uuid]
process = tracks[track.parent_uuid].process
equal("whose they are", (process.pid, process.process_name), (wanted["holder"]["tgid"], wanted["holder"]["comm"]))
