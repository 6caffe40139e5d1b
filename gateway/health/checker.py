"""The picture check: one key frame of each camera now and then, judged, written down when the verdict changes.

Belongs here: taking samples and keeping a short history of numbers per camera. Does not belong here: the verdict
(`gateway.health.judge`), decoding (a child of the worker), what becomes of a verdict (page, metrics).

No picture is kept: of each camera the last 320 x 180 luma bytes stay in memory until its next look, whether that gives
a sample or not; nothing goes to disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np

from config.clock import Clock, wall_ms
from config.errors import TiergateError
from gateway.health.judge import HISTORY, Judgement, Sample, Verdict, is_suspicious, judge
from gateway.live.hub import StreamKey, Watch
from gateway.live.wire import Config, Unit
from storage.catalog import health
from storage.catalog.engine import CHUNK_ROWS, UNAVAILABLE, Catalog
from storage.catalog.health import HealthRow, Watched
from storage.media.access_unit import VideoConfig

_log = logging.getLogger(__name__)

KEY_FRAME_S = 6.0  #: a key frame comes at once from what is cached; a stream that gives none is offline
AT_ONCE = 4
PAUSE_S = 1.0  #: between rounds, most of which find no camera due
SUSPICIOUS_S = 5.0  #: the next look at a camera that looked black or still

#: (parameters, key access unit) -> 320 x 180 luma bytes. Raises TiergateError.
Examine = Callable[[VideoConfig, bytes], Awaitable[bytes]]


@dataclass(slots=True)
class _Camera:
    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=HISTORY))
    luma: bytes = b""
    digest: bytes = b""
    wall_ns: int = 0
    written: tuple[str, int] | None = None  #: (verdict, since_ms) as the catalog has it
    due_ns: int = 0


class Checker:
    """Runs in the worker process."""

    def __init__(self, catalog: Catalog, clock: Clock, watch: Watch, examine: Examine, interval_s: int) -> None:
        self._catalog = catalog
        self._clock = clock
        self._watch = watch
        self._examine = examine
        self._interval_ns = interval_s * 1_000_000_000
        self._cameras: dict[str, _Camera] = {}
        self.checks = 0

    async def run(self) -> None:
        """Until cancelled. A failure of one round is logged and the next one comes.

        No round comes before it is known what the catalog has: a trouble that goes on keeps its beginning.
        """
        recalled = False
        while True:
            try:
                if not recalled:
                    await self._recall()
                    recalled = True
                await self.round()
            except UNAVAILABLE as exc:
                _log.warning("picture checks wait for the catalog: %s", type(exc).__name__)
            except (TiergateError, OSError, ValueError):
                _log.exception("a round of picture checks failed")
            await asyncio.sleep(PAUSE_S)

    async def _recall(self) -> None:
        rows = await self._catalog.aread(health.read)
        for id_, row in rows.items():
            self._cameras.setdefault(id_, _Camera()).written = (row.verdict, row.since_ms)

    async def round(self) -> int:
        """Checks the cameras that are due; how many gave a sample."""
        now_ns = self._clock.monotonic_ns()
        cameras = await self._catalog.aread(health.watched)
        known = {camera.camera_id for camera in cameras}
        for gone in set(self._cameras) - known:
            del self._cameras[gone]
        due = [c for c in cameras if self._cameras.setdefault(c.camera_id, _Camera()).due_ns <= now_ns]
        limit = asyncio.Semaphore(AT_ONCE)

        async def one(camera: Watched) -> HealthRow | None:
            async with limit:
                return await self._check(camera)

        rows = [row for row in await asyncio.gather(*map(one, due)) if row is not None]
        changed = [row for row in rows if self._is_news(row)]
        for at in range(0, len(changed), CHUNK_ROWS):
            chunk = changed[at : at + CHUNK_ROWS]
            await self._catalog.awrite(lambda c, chunk=chunk: health.write(c, chunk))  # type: ignore[misc]  # bound now
        for row in changed:
            self._cameras[row.camera_id].written = (row.verdict, row.since_ms)
        return len(rows)

    def _is_news(self, row: HealthRow) -> bool:
        written = self._cameras[row.camera_id].written
        if written is None or row.verdict != written[0]:
            return True
        return row.verdict != Verdict.OK.value and row.since_ms != written[1]

    async def _check(self, camera: Watched) -> HealthRow | None:
        state = self._cameras[camera.camera_id]
        state.due_ns = self._clock.monotonic_ns() + self._interval_ns
        try:
            found = await self._key_frame(StreamKey(camera.camera_id, camera.stream))
            if found is None:
                state.samples.clear()  # offline is said elsewhere; what was seen before says nothing about after
                state.luma = b""
                return None
            video, data, wall_ns = found
            if wall_ns == state.wall_ns:
                return None  # the same key frame still: a long GOP
            luma = await self._examine(video, data)
        except (TiergateError, OSError, EOFError, *UNAVAILABLE) as exc:  # which socket it is, the catalog knows
            _log.info("no sample of %s: %s", camera.camera_id, type(exc).__name__)
            state.luma = b""
            return None
        self.checks += 1
        sample = _sample(state, luma, data, wall_ns)
        state.samples.append(sample)
        if is_suspicious(state.samples):
            soon_ns = min(self._interval_ns, int(SUSPICIOUS_S * 1e9))
            state.due_ns = self._clock.monotonic_ns() + soon_ns
        judgement = judge(tuple(state.samples))
        return None if judgement is None else self._row(camera.camera_id, judgement, sample)

    def _row(self, camera_id: str, judgement: Judgement, sample: Sample) -> HealthRow:
        written = self._cameras[camera_id].written
        since_ms = judgement.since_ms
        if written is not None and written[0] == judgement.verdict.value:
            since_ms = min(since_ms, written[1])  # the history is short, the trouble may be old
        difference = None if sample.difference is None else f"{sample.difference:.3f}"
        return HealthRow(
            camera_id, judgement.verdict.value, since_ms, wall_ms(self._clock), f"{sample.mean:.1f}", difference
        )

    async def _key_frame(self, key: StreamKey) -> tuple[VideoConfig, bytes, int] | None:
        """(parameters, key access unit, its arrival); None when none comes in time."""
        video: VideoConfig | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KEY_FRAME_S), contextlib.aclosing(self._watch(key)) as messages:
                async for message in messages:
                    if isinstance(message, Config):
                        video = message.stream.video
                    elif isinstance(message, Unit):
                        unit = message.unit
                        if unit.opens_group and video is not None:
                            return video, unit.data, unit.wall_ns
        return None


def _sample(state: _Camera, luma: bytes, data: bytes, wall_ns: int) -> Sample:
    """Numbers of the new picture; `state` keeps it for the next one."""
    picture = np.frombuffer(luma, np.uint8).astype(np.int16)
    digest = hashlib.sha256(data).digest()
    difference: float | None = None
    identical = False
    if len(state.luma) == len(luma) and state.samples:
        before = np.frombuffer(state.luma, np.uint8).astype(np.int16)
        difference = float(np.abs(picture - before).mean())
        identical = digest == state.digest
    state.luma, state.digest, state.wall_ns = luma, digest, wall_ns
    return Sample(wall_ns // 1_000_000, float(picture.mean()), float(picture.std()), difference, identical)
