"""One segment's way through a spool volume, as a writer lane walks it: create, append, seal or abandon.

Belongs here: the lane's side of a segment. Does not belong here: files (`storage.spool`), which volume
(`gateway.ingest.volumes`), the receiving side (`gateway.ingest.recording`).
"""

from __future__ import annotations

import contextlib

from config.clock import wall_ms
from config.errors import TiergateError
from storage.catalog.segments import SegmentRow
from storage.rows import segment_row
from storage.salvage import Recovered, drop_empty, salvage_part
from storage.segmenter import CloseSegment, OpenSegment
from storage.spool import PART, SEALED, PartFile, Spool, SyncGroup


class Writing:
    """Used in one lane, from `create` to `seal` or `abandon`. `broken` once anything failed: nothing is tried then."""

    def __init__(self, spool: Spool, group: SyncGroup, opened: OpenSegment) -> None:
        self._spool = spool
        self._group = group
        self._opened = opened
        self._part: PartFile | None = None
        self._volume_id = ""
        self.broken = False
        self.proven = False  #: a fragment has been written
        self.end_ms: int | None = None  #: set by the receiving side when the segment is complete

    @property
    def start_ms(self) -> int:
        return self._opened.wall_start_ns // 1_000_000

    def create(self) -> None:
        """Raises TiergateError media.part_failed, media.volume_missing, media.volume_swapped."""
        labels = self._opened.labels
        self._volume_id = self._spool.volume_id
        part = self._spool.create(labels.camera, self._opened.segment_id)
        try:
            part.append(self._opened.init)
        except TiergateError:
            part.close()
            with contextlib.suppress(OSError):
                part.path.unlink(missing_ok=True)  # ours, a moment old, and without a picture
            raise
        self._part = part
        self._group.add(part)

    def append(self, data: bytes) -> None:
        if self._part is not None:
            self._part.append(data)
            self.proven = True

    def seal(self, closed: CloseSegment) -> SegmentRow:
        """Durable under its final name; the row that acknowledges it. Raises media.part_failed."""
        part = self._part
        if part is None:
            raise ValueError("a segment sealed before it was created")
        self._group.discard(part)
        sealed = part.seal(closed.index)
        now_ms = wall_ms(self._spool.clock)
        return segment_row(self._opened, closed, sealed.bytes, bytes(sealed.sha256), self._volume_id, now_ms)

    def abandon(self) -> None:
        """The file stays as it is, for salvage."""
        self.broken = True
        if self._part is not None:
            self._group.discard(self._part)
            with contextlib.suppress(TiergateError, OSError):
                self._part.close()

    def salvage(self) -> Recovered | None:
        """An abandoned segment, made whole up to its last fragment once the disk is well again.

        Raises OSError; TiergateError media.volume_missing, media.volume_swapped.
        """
        part = self._part
        _ = self._spool.volume_id
        if part is None or not part.path.exists():
            return None
        path = part.path
        if path.suffix == SEALED:
            # Its folder would not sync. The name is given anew, so that there is something to sync.
            path = path.rename(path.with_suffix(PART))
        elif drop_empty(path):
            return None
        return salvage_part(self._spool, path)

    def read(self, offset: int, length: int) -> bytes:
        """What is there of a range; in the lane, so that everything appended before is there."""
        labels = self._opened.labels
        return self._spool.read(labels.camera, self._opened.segment_id, offset, length) or b""
