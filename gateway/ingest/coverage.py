"""The account of one recorded stream: every second is footage or a gap with a cause (I5).

Belongs here: when a gap begins, changes its cause and ends. Does not belong here: noticing (supervision, recording),
the statements (`storage.catalog.gaps`).

A gap begins where footage ended, not where somebody noticed. When a recorder starts, the time since the last footage is
`recorder_down` until the first picture is there; if instead the camera does not answer, the recorder's share ends where
the recorder began, and the rest is the camera's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from config.reasons import Reason
from gateway.ingest.ledger import Ledger
from gateway.ingest.source import GapCause
from storage.catalog.gaps import GapRow, close_gap, insert_gap, open_gap
from storage.catalog.status import Past

#: Less than this between two segments is the jitter of arrival, not a gap.
TOLERANCE_MS = 250


@dataclass(slots=True)
class _Standing:
    """The gap that is open. A change that is made twice must not end another one than this."""

    cause: GapCause
    id: str

    def open(self, connection: Connection, row: GapRow) -> None:
        self.id = open_gap(connection, row)  # one of the same cause may have stood already

    def close(self, connection: Connection, to_ms: int) -> None:
        close_gap(connection, self.id, to_ms)


class Coverage:
    """Used under the lock of its recording."""

    def __init__(
        self, camera_id: str, stream: str, ledger: Ledger, ids: Callable[[], str], since_ms: int | None = None
    ) -> None:
        """`since_ms`: from when on there should be footage, if there has never been any."""
        self._camera_id, self._stream = camera_id, stream
        self._since_ms = since_ms
        self._ledger = ledger
        self._ids = ids
        self._end_ms: int | None = None  #: up to here every second is accounted for
        self._open: _Standing | None = None
        self.footage_end_ms: int | None = None  #: what an earlier process recorded ends here
        self._waiting = False
        self._early: tuple[GapCause, Reason] | None = None  #: why there was nothing while we waited

    def wait(self) -> None:
        """Another process keeps this account until `resume`."""
        self._waiting = True

    def well(self) -> None:
        """There is footage while we wait."""
        self._early = None

    @property
    def open_cause(self) -> GapCause | None:
        return None if self._open is None else self._open.cause

    @property
    def end_ms(self) -> int | None:
        return self._end_ms

    def resume(self, past: Past, now_ms: int) -> None:
        """Once, before the stream is opened: what an earlier process left."""
        self.footage_end_ms = past.footage_end_ms
        ends = [end for end in (past.footage_end_ms, past.gap_end_ms) if end is not None]
        self._end_ms = max(ends, default=None)
        if past.open_cause is not None and past.open_id is not None:
            self._open = _Standing(GapCause(past.open_cause), past.open_id)
            self._end_ms = now_ms
        elif self._end_ms is not None:
            self._begin(GapCause.RECORDER_DOWN, Reason("recorder.was_down"), self._end_ms, now_ms)
            self._end_ms = now_ms
        self._waiting = False
        if self._early is not None:
            self.lost(*self._early, now_ms)

    def lost(self, cause: GapCause, reason: Reason, now_ms: int) -> None:
        """Footage is missing from where it ended, or from now on for another cause than before."""
        if self._waiting:
            self._early = (cause, reason)
            return
        if self.open_cause is cause:
            return
        if self._open is None:
            ends = (self._end_ms, self._since_ms, now_ms)
            from_ms = next(end for end in ends if end is not None)
        elif self.open_cause is GapCause.RECORDER_DOWN and self._end_ms is not None:
            from_ms = self._end_ms
        else:
            from_ms = now_ms
        self._begin(cause, reason, from_ms, now_ms)

    def replaced(self, now_ms: int) -> None:
        """The connection is made anew because its address or account was changed: that is nobody's fault outside."""
        if self._open is None and self._end_ms is not None:
            self.lost(GapCause.RECORDER_DOWN, Reason("recorder.camera_changed"), now_ms)
            self._end_ms = now_ms

    def footage(self, start_ms: int, now_ms: int) -> None:
        """Footage begins at `start_ms`."""
        if self._open is not None:
            self._close(start_ms)
        elif self._end_ms is not None and start_ms - self._end_ms > TOLERANCE_MS:
            row = self._row(
                GapCause.CAMERA_OFFLINE, Reason("recorder.stopped_sending"), self._end_ms, start_ms, now_ms
            )  # fmt: skip
            self._ledger.put(lambda connection: insert_gap(connection, row))
        elif self._end_ms is None and self._since_ms is not None and start_ms - self._since_ms > TOLERANCE_MS:
            reason = Reason("recorder.first_picture")
            self.lost_span(GapCause.RECORDER_DOWN, reason, self._since_ms, start_ms, now_ms)
        self._end_ms = start_ms

    def ended(self, end_ms: int) -> None:
        """A segment that began by `footage` reaches to `end_ms`."""
        self._end_ms = end_ms

    def jumped(self, now_ms: int) -> None:
        """The clock stepped forward to `now_ms`: nothing bears the times between, whatever the camera did."""
        if self._open is None and self._end_ms is not None:
            self.lost(GapCause.CLOCK, Reason("recorder.clock_step"), now_ms)

    def moved(self, moved_ms: Callable[[int], int]) -> None:
        """What is accounted for has been moved to its true time (`storage.restamp`)."""
        if self._end_ms is not None:
            self._end_ms = moved_ms(self._end_ms)

    def lost_segment(self, start_ms: int) -> None:
        """A segment could not be kept: its time is not accounted for after all."""
        self._end_ms = start_ms

    def lost_span(self, cause: GapCause, reason: Reason, from_ms: int, to_ms: int, now_ms: int) -> None:
        """A time in the past that no footage will come for; what came behind it may have been recorded."""
        row = self._row(cause, reason, from_ms, max(from_ms, to_ms), now_ms)
        self._ledger.put(lambda connection: insert_gap(connection, row))

    def close(self, now_ms: int) -> None:
        """The camera is no longer ours to record: an open gap ends here."""
        self._close(now_ms)

    def _close(self, to_ms: int) -> None:
        if self._open is not None:
            self._ledger.put(partial(self._open.close, to_ms=to_ms))
            self._open = None

    def _begin(self, cause: GapCause, reason: Reason, from_ms: int, now_ms: int) -> None:
        row = self._row(cause, reason, min(from_ms, now_ms), None, now_ms)
        self._open = _Standing(cause, row.id)
        self._ledger.put(partial(self._open.open, row=row))

    def _row(self, cause: GapCause, reason: Reason, from_ms: int, to_ms: int | None, now_ms: int) -> GapRow:
        return GapRow(
            self._ids(), self._camera_id, self._stream, cause.value, from_ms, to_ms, now_ms, reason.as_json()
        )  # fmt: skip
