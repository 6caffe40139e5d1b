"""One segment's way through the spool, as a writer lane walks it: create, append, seal or abandon.

Belongs here: the lane's side of a segment. Does not belong here: files (`storage.spool`), the receiving side
(`gateway.ingest.recording`).
"""

from __future__ import annotations

import contextlib

from config.clock import Clock, wall_ms
from config.errors import TiergateError
from storage.catalog.segments import SegmentRow
from storage.rows import segment_row
from storage.salvage import Recovered, drop_empty, salvage_part
from storage.segmenter import CloseSegment, OpenSegment
from storage.spool import PART, SEALED, PartFile, Spool, SyncGroup


class SpoolWriter:
    """What all recordings of a process share: the spool's volume and its syncing."""

    def __init__(self, spool: Spool, group: SyncGroup, clock: Clock) -> None:
        self.spool = spool
        self.group = group
        self.clock = clock
        self.volume_id = spool.prepare()

    def begin(self, opened: OpenSegment) -> Writing:
        return Writing(self, opened)


class Writing:
    """Used in one lane, from `create` to `seal` or `abandon`. `broken` once anything failed: nothing is tried then."""

    def __init__(self, shared: SpoolWriter, opened: OpenSegment) -> None:
        self._shared = shared
        self._opened = opened
        self._part: PartFile | None = None
        self.broken = False
        self.proven = False  #: a fragment has been written

    def create(self) -> None:
        """Raises TiergateError media.part_failed, media.volume_missing."""
        labels = self._opened.labels
        part = self._shared.spool.create(labels.camera, self._opened.segment_id)
        try:
            part.append(self._opened.init)
        except TiergateError:
            part.close()
            part.path.unlink(missing_ok=True)  # ours, a moment old, and without a picture
            raise
        self._part = part
        self._shared.group.add(part)

    def append(self, data: bytes) -> None:
        if self._part is not None:
            self._part.append(data)
            self.proven = True

    def seal(self, closed: CloseSegment) -> SegmentRow:
        """Durable under its final name; the row that acknowledges it. Raises media.part_failed."""
        part = self._part
        if part is None:
            raise ValueError("a segment sealed before it was created")
        self._shared.group.discard(part)
        sealed = part.seal(closed.index)
        now_ms = wall_ms(self._shared.clock)
        return segment_row(
            self._opened, closed, sealed.bytes, bytes(sealed.sha256), self._shared.volume_id, now_ms
        )  # fmt: skip

    def abandon(self) -> None:
        """The file stays as it is, for salvage."""
        self.broken = True
        if self._part is not None:
            self._shared.group.discard(self._part)
            with contextlib.suppress(TiergateError, OSError):
                self._part.close()

    def salvage(self) -> Recovered | None:
        """An abandoned segment, made whole up to its last fragment once the disk is well again. Raises OSError."""
        part = self._part
        if part is None or not part.path.exists():
            return None
        path = part.path
        if path.suffix == SEALED:
            # Its folder would not sync. The name is given anew, so that there is something to sync.
            path = path.rename(path.with_suffix(PART))
        elif drop_empty(path):
            return None
        return salvage_part(self._shared.spool, path)

    def read(self, offset: int, length: int) -> bytes:
        """What is there of a range; in the lane, so that everything appended before is there."""
        labels = self._opened.labels
        return self._shared.spool.read(labels.camera, self._opened.segment_id, offset, length) or b""
