"""Numbers of a running stream: frame rate, bit rate, key frame distance. (pure)"""

from __future__ import annotations

from storage.media.access_unit import VIDEO_TIMESCALE, AccessUnit

#: Shorter windows give numbers that jump with every key frame.
WINDOW_NS = 4_000_000_000
#: Further apart than this key frames are a fault of the camera's settings ("smart codec", H.264+): a viewer, a clip and
#: a new file can begin nowhere else. Cameras offer up to 10 s without meaning harm.
GOP_LONG_MS = 10_000
_NS = 1_000_000_000


class StreamStatistics:
    """`picture` for each picture; `measure` now and then."""

    __slots__ = (
        "_gop_ms", "_key_dts", "_last_dts", "_since_ns", "b_frames", "bit_rate_bps", "bytes", "fps", "last_wall_ns",
        "pictures",
    )  # fmt: skip

    def __init__(self) -> None:
        self.fps: str | None = None
        self.bit_rate_bps: int | None = None
        self._gop_ms: int | None = None
        self.b_frames = False
        self.last_wall_ns = 0
        self.restart(0)

    def restart(self, now_ns: int) -> None:
        """A session begins."""
        self._since_ns = now_ns
        self._key_dts: int | None = None
        self._last_dts = 0
        self.pictures = 0
        self.bytes = 0

    def picture(self, unit: AccessUnit) -> None:
        self.pictures += 1
        self.bytes += len(unit.data)
        self.last_wall_ns = unit.wall_ns
        if unit.pts != unit.dts:
            self.b_frames = True
        if unit.key:
            if self._key_dts is not None and unit.dts > self._key_dts:
                self._gop_ms = (unit.dts - self._key_dts) * 1000 // VIDEO_TIMESCALE
            self._key_dts = unit.dts
        self._last_dts = unit.dts

    @property
    def gop_ms(self) -> int | None:
        """From key frame to key frame; when the next one does not come for long, the time for which it has not."""
        since_ms = (self._last_dts - self._key_dts) * 1000 // VIDEO_TIMESCALE if self._key_dts is not None else 0
        return since_ms if since_ms > max(GOP_LONG_MS, self._gop_ms or 0) else self._gop_ms

    @property
    def gop_is_long(self) -> bool:
        return (self.gop_ms or 0) > GOP_LONG_MS

    def measure(self, now_ns: int) -> bool:
        """Takes the window's numbers when it is long enough; whether it was."""
        elapsed_ns = now_ns - self._since_ns
        if elapsed_ns < WINDOW_NS:
            return False
        self.fps = f"{self.pictures * _NS / elapsed_ns:.1f}"
        self.bit_rate_bps = self.bytes * 8 * _NS // elapsed_ns
        self._since_ns, self.pictures, self.bytes = now_ns, 0, 0
        return True
