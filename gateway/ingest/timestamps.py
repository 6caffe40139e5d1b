"""Decode and presentation times of one track, made fit for a file. (pure)

Cameras send equal times, times that go back by a tick, 32-bit times that wrap, first packets without any time, and
jumps of hours. Small faults are mended here so that a B-frame's offset stays true; large ones begin a new epoch, which
the segmenter turns into a new run.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Where counters turn over: RTP timestamps (RFC 3550 §5.1) and MPEG-2 systems (ISO/IEC 13818-1 §2.4.3.6). libav unwraps
#: RTP itself; whatever else comes is mended here.
_TURNS = (1 << 32, 1 << 33)


@dataclass(slots=True)
class TimestampCounters:
    repaired: int = 0
    wraps: int = 0
    breaks: int = 0


class Timestamps:
    """State of one track. A step further than `break_s`, or than `back_s` into the past, is a new clock: pictures whose
    time was mended for ten seconds would all stand on one spot of the timeline."""

    __slots__ = ("_back", "_base", "_break", "_last", "_offset", "counters")

    def __init__(self, timescale: int, break_s: int = 30, back_s: int = 1) -> None:
        self._break = break_s * timescale
        self._back = back_s * timescale
        self._base: int | None = None
        self._last = -1
        self._offset = 0
        self.counters = TimestampCounters()

    def place(self, dts: int, pts: int) -> tuple[int, int, bool]:
        """(dts, pts, whether a new epoch begins): counted from the first unit, dts strictly increasing in an epoch."""
        if self._base is None:
            self._base = dts
        time = dts + self._offset - self._base
        step = time - self._last
        if step <= 0 or step > self._break:
            turn = next((turn for turn in _TURNS if abs(abs(step) - turn) <= self._break), None)
            if self._last >= 0 and turn is not None:
                self._offset += -turn if step > 0 else turn
                self.counters.wraps += 1
                return self.place(dts, pts)
            if self._last >= 0 and (step > self._break or step < -self._back):
                self._base, self._offset, self._last = dts, 0, 0
                self.counters.breaks += 1
                return 0, pts - dts, True
            if step <= 0 and self._last >= 0:
                self.counters.repaired += 1
                fixed = self._last + 1
                self._last = fixed
                # The picture keeps its moment on the screen; only the order of decoding is mended.
                return fixed, pts + self._offset - self._base, False
        self._last = time
        return time, pts + self._offset - self._base, False
