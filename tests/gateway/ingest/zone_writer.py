"""Records around moments at which clocks change somewhere, and writes down every row, once per time zone. (FAULTS A27)

usage: zone_writer.py FOLDER ZONE... Each zone has a process of its own, forked after the imports and before anything is
built, with TZ set. The first line of FOLDER/<number>.txt is what local time says of those moments; the rest are rows of
the catalog, the journal and days of retention, in which ids come from a counter so that two zones can be compared.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select

from config.reasons import Reason
from config.units import format_time_ms
from gateway.ingest.source import GapCause
from storage import classes, journal
from storage.catalog.tables import gap, run, segment
from storage.gaps import days
from storage.objects.folder import FolderStore
from tests.gateway.ingest.test_recording import Bench
from tests.media import encode_h264

#: UTC: Europe and the United States to summer and winter, Lord Howe's half hour, Samoa's missing day, the last of a
#: month in Shanghai alone.
MOMENTS = (
    "2026-03-29T01:00:00", "2026-10-25T01:00:00", "2026-03-08T10:00:00", "2026-11-01T09:00:00",
    "2026-04-04T15:00:00", "2011-12-30T10:00:00", "2026-01-30T17:00:00",
)  # fmt: skip
SECONDS = 4


def write(folder: Path) -> None:
    counter = itertools.count(1)
    secrets.token_bytes = lambda nbytes=None: next(counter).to_bytes(nbytes or 32, "big")  # ids that can be compared
    moments = [int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) for text in MOMENTS]
    print([time.strftime("%F %T", time.localtime(moment)) for moment in moments])
    bench = Bench(folder)
    for moment in sorted(moments):
        bench.clock.step_wall(moment - SECONDS / 2 - bench.clock.wall_ns() / 1e9)
        bench.feed(SECONDS)
        bench.recording.end("moment")
        bench.recording.coverage.lost(GapCause.CLOCK, Reason("recorder.clock_step"), bench.clock.wall_ns() // 10**6)
    bench.settle()
    store = FolderStore(folder / "objects")
    store.ensure()
    journal.write(bench.catalog, store, "node", bench.clock.wall_ns() // 10**6)
    for found in store.list(""):
        print(found.key, store.read(found.key).decode())
    for table in (run, segment, gap):
        for row in bench.catalog.read(lambda c, table=table: c.execute(select(table).order_by(table.c.id)).all()):  # type: ignore[misc]  # a bound default
            print(json.dumps({k: v for k, v in row._mapping.items() if k != "volume"}, default=bytes.hex))
    for moment in moments:
        at_ms = moment * 1000
        print(format_time_ms(at_ms, local=True), classes.add_months_ms(at_ms, 1), days(at_ms - 1, at_ms + 1))
    bench.close()


def main() -> None:
    encode_h264(2.0)  # once for all
    for number, zone in enumerate(sys.argv[2:]):
        pid = os.fork()
        if pid == 0:
            os.environ["TZ"] = zone
            time.tzset()
            folder = Path(sys.argv[1]) / str(number)
            folder.mkdir()
            with folder.with_suffix(".txt").open("w") as file, contextlib.redirect_stdout(file):
                write(folder)
            os._exit(0)
        if os.waitpid(pid, 0)[1] != 0:
            sys.exit(f"{zone} failed")


if __name__ == "__main__":
    main()
