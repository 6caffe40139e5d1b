"""What is missing of a camera, as the catalog tells it: rows of footage and gaps become an account of a stretch.

Belongs here: reading. Does not belong here: the arithmetic (`storage.gaps`), the timeline of the page
(`storage.media.timeline`), who may see which camera.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from storage.catalog import cameras, gaps, segments
from storage.catalog.cameras import Camera
from storage.catalog.gaps import GapRow
from storage.gaps import JOIN_MS, Ledger, Span, days, ledger, merged
from storage.media.timeline import open_end_ms

_STREAM = "main"
_GONE = "lost"


@dataclass(frozen=True, slots=True)
class Account:
    """A stretch of one camera in which something was due."""

    from_ms: int
    to_ms: int
    footage: list[Span]
    gaps: list[GapRow]

    def ledger(self) -> Ledger:
        told = [(gap.from_ms, gap.to_ms, gap.cause) for gap in self.gaps]
        return ledger(self.footage, told, self.from_ms, self.to_ms)


def open_spans(connection: Connection, camera_id: str, stream: str, now_ms: int) -> list[Span]:
    """The open segment has no row yet: it begins where its run's newest segment ends (`open_end_ms`)."""
    status = cameras.status_rows(connection, [camera_id]).get(camera_id, {}).get(stream)
    if status is None or status.state != "online" or status.last_media_ms is None:
        return []
    found = []
    for run in segments.open_runs(connection, camera_id):
        if run.stream == stream:
            start_ms = segments.last_end_of_run(connection, run) or run.started_ms
            found.append((start_ms, open_end_ms(start_ms, status.last_media_ms, now_ms)))
    return [(start, end) for start, end in found if start < end]


def account(
    connection: Connection, camera_id: str, known: Camera | None, from_ms: int, to_ms: int, now_ms: int
) -> Account | None:
    """None where nothing was due: before a camera was registered and after it was removed.

    Footage that was deleted in its time counts: it was recorded. Footage that is not as recorded does not: it has a
    gap row of its own id.
    """
    spans: list[Span] = []
    told: dict[str, GapRow] = {}
    for _, low_ms, high_ms in days(from_ms, to_ms):
        of_day = {row.id: row for row in gaps.gaps_between(connection, camera_id, _STREAM, low_ms, high_ms)}
        told |= of_day
        damaged = {row.id for row in of_day.values() if row.to_ms != row.from_ms}
        found = segments.spans_between(connection, camera_id, _STREAM, low_ms, high_ms)
        whole = [(s.start_ms, s.end_ms) for s in found if s.state != _GONE and s.id not in damaged]
        spans += merged(whole, low_ms, high_ms, JOIN_MS)
    if known is not None and known.created_ms > from_ms:  # before that nothing was missing
        seen_ms = [start for start, _ in spans] + [row.from_ms for row in told.values()]
        from_ms = max(from_ms, min([known.created_ms, *seen_ms]))
    if known is not None and known.removed_ms is not None:
        to_ms = min(to_ms, known.removed_ms)
    if from_ms >= to_ms:
        return None
    spans += open_spans(connection, camera_id, _STREAM, now_ms)
    return Account(from_ms, to_ms, spans, list(told.values()))
