"""The known-bad twin: on PYTHONPATH, a recorder acknowledges a segment before its last bytes are on the disk.

Python imports it at start; in every process but a recorder it does nothing. The real code's order is `seal`, then the
row; here the row is committed while the segment's end still waits in memory, and stays so for some moments.
"""

from __future__ import annotations

import hashlib
import sys
import time
from functools import partial
from typing import Any

HELD_S = 0.5


def _spoil() -> None:
    from config.clock import wall_ms
    from gateway.ingest import recording
    from gateway.ingest.recording import Recording
    from gateway.ingest.spooling import Writing
    from storage.rows import segment_row
    from storage.segmenter import CloseSegment

    append = Writing.append

    def held_append(self: Any, data: bytes) -> None:
        """One fragment behind: the newest is in memory."""
        held, self._held = getattr(self, "_held", b""), data
        if held:
            append(self, held)

    def close_segment(self: Any, command: CloseSegment) -> None:
        opened = self._open
        self._since_key = []
        if opened is None:
            return
        self._prove(True)
        self._open = None
        volume, writing = self._volume, opened.writing
        writing.end_ms = command.end_wall_ns // 1_000_000
        self.coverage.ended(writing.end_ms)

        def row_first() -> None:
            held = writing._held
            whole = writing._part.path.read_bytes() + held + command.index
            digest, now_ms = hashlib.sha256(whole).digest(), wall_ms(writing._spool.clock)
            row = segment_row(opened.command, command, len(whole), digest, writing._volume_id, now_ms)
            self._ledger.put(partial(recording._insert_segment, row))
            self._ledger.flush(5.0)
            time.sleep(HELD_S)
            append(writing, held)
            writing.seal(command)

        self.lane.put(lambda: self._write_guarded(volume, writing, row_first), len(command.index))

    Writing.append = held_append  # type: ignore[method-assign]  # what this module is for
    Recording._close_segment = close_segment  # type: ignore[method-assign]  # what this module is for


if "gateway.processes.recorder" in sys.orig_argv:
    _spoil()
