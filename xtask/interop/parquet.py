"""A folder of exported tables reads as one table each, and has the findings that a replay tells."""

import csv
import pathlib
import tempfile

import pyarrow.compute as pc
import pyarrow.dataset

from common import RECORDINGS, cowtrace, equal, findings

NAMES = ["lost-5.10.cow", "lost-6.12.cow", "inconclusive-6.12.cow"]
FILES = [RECORDINGS / name for name in NAMES]


def table(folder, name):
    return pyarrow.dataset.dataset(folder / name, partitioning="hive").to_table()


with tempfile.TemporaryDirectory() as temporary:
    folder = pathlib.Path(temporary) / "tables"
    cowtrace("export", "--to", "parquet", "-o", folder, *FILES)
    found, events = table(folder, "findings"), table(folder, "events")

    wanted = [finding for name in NAMES for finding in findings(name).values()]
    key = lambda row: (row["verdict"], row["address"], row["old_pfn"], row["new_pfn"], row["reason"])
    rows = found.select(["verdict", "address", "old_pfn", "new_pfn", "reason"]).to_pylist()
    equal("findings", sorted(map(key, rows)), sorted(map(key, wanted)))
    equal("hosts", set(found["host"].to_pylist()), {"lab"})

    # The known one: what the first recording lost, by the page that its device kept.
    known = found.filter((pc.field("verdict") == "lost") & (pc.field("old_pfn") == 0x64F6))
    equal("the known loss", known["cause"].to_pylist(), ["mprotect"])

    rows = list(csv.DictReader(cowtrace("export", "--to", "csv", *FILES).splitlines()))
    equal("events", events.num_rows, len(rows))
    equal("kinds", sorted(events["kind"].to_pylist()), sorted(row["kind"] for row in rows))
    equal("times", str(events.schema.field("time").type), "timestamp[ns, tz=UTC]")
    times = sorted(events["time"].cast("int64").to_pylist())
    equal("the first and the last time", [times[0], times[-1]], [
        min(int(row["time_ns"]) for row in rows),
        max(int(row["time_ns"]) for row in rows),
    ])
