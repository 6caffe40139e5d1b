"""Single pictures: of now from the live stream, of a time from the footage. JPEG by the worker.

Belongs here: finding the key frame, a small cache of finished pictures. Does not belong here: decoding (the worker),
permission (`gateway.web.routers.playback`).

A finished picture of own footage is kept in memory for a minute, and is never handed out after its source: each request
finds the footage again before the cache is asked. One of a lower tier is not kept at all: it ends with its lease, and
what is purged is gone everywhere (I11).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from config.errors import Kind, TiergateError
from gateway.live.hub import Hub, Notice, Picture, Started, StreamKey
from gateway.playback.footage import Footage, Piece
from gateway.processes.worker_client import WorkerClient
from storage.media.boxes import parse_moof
from storage.media.playback_index import PlaybackEntry, segment_entries

FIRST_PICTURE_S = 10.0
LOOK_BACK_MS = 15_000  #: a moment between two key frames; the longest GOP worth having
CACHE_BYTES = 16 * 1024 * 1024
CACHE_S = 60.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    jpeg: bytes
    at_ms: int  #: when the picture was taken


class Snapshots:
    """One per web process."""

    def __init__(self, hub: Hub, footage: Footage, worker: WorkerClient, cache_s: float = CACHE_S) -> None:
        self._hub = hub
        self._footage = footage
        self._worker = worker
        self._cache: OrderedDict[tuple[str, int, int | None], Snapshot] = OrderedDict()
        self._cached_bytes = 0
        self._cache_s = cache_s

    @property
    def cached_bytes(self) -> int:
        return self._cached_bytes

    async def now(self, key: StreamKey, width_max: int | None = None) -> Snapshot:
        """The last key frame of a live stream. Raises media.live_no_picture, or the camera's own reason."""
        async with self._hub.viewer(key) as viewer:
            started: Started | None = None
            why: Notice | None = None
            try:
                async with asyncio.timeout(FIRST_PICTURE_S):
                    while entries := await viewer.take():
                        for entry in entries:
                            if isinstance(entry, Started):
                                started = entry
                            elif isinstance(entry, Notice):
                                why = entry
                            elif entry.key and started is not None:
                                return await self._of_live(entry, started, width_max)
            except TimeoutError:
                pass
        if why is not None and why.reason is not None and isinstance(code := why.reason.get("code"), str):
            params = why.reason.get("params")
            raise TiergateError(Kind.UNAVAILABLE, code, **(params if isinstance(params, dict) else {}))
        raise TiergateError(Kind.UNAVAILABLE, "media.live_no_picture", seconds=int(FIRST_PICTURE_S))

    async def _of_live(self, picture: Picture, started: Started, width_max: int | None) -> Snapshot:
        jpeg = await self._worker.snapshot(started.config.video, picture.unit.data, width_max)
        return Snapshot(jpeg, picture.unit.wall_ns // 1_000_000)

    async def at(
        self, camera_id: str, stream: str, at_ms: int, lease_id: str | None = None, width_max: int | None = None
    ) -> Snapshot:
        """The key frame shown at a time. Raises media.play_no_picture_at."""
        pieces = await self._footage.window(camera_id, stream, at_ms - LOOK_BACK_MS, at_ms + 1, lease_id)
        found = newest_before(pieces, at_ms)
        if found is None:
            raise TiergateError(Kind.NOT_FOUND, "media.play_no_picture_at")
        piece, entry = found
        name = (piece.segment_id, entry.ordinal, width_max)
        known = self._cache.get(name)
        if known is not None:
            self._cache.move_to_end(name)
            return known
        data = await self._footage.read(piece, *entry.key_range)
        try:
            sample = parse_moof(data).samples[0]
        except ValueError as exc:
            raise TiergateError(Kind.UNAVAILABLE, "media.play_bytes_away") from exc
        config = await self._footage.config(piece)
        unit = data[sample.offset : sample.offset + sample.size]
        shot = Snapshot(await self._worker.snapshot(config.video, unit, width_max), entry.start_ms)
        if lease_id is None:
            self._keep(name, shot)
        return shot

    def _keep(self, name: tuple[str, int, int | None], shot: Snapshot) -> None:
        self._forget(name, self._cache.get(name))
        self._cache[name] = shot
        self._cached_bytes += len(shot.jpeg)
        while self._cached_bytes > CACHE_BYTES:
            self._forget(*next(iter(self._cache.items())))
        asyncio.get_running_loop().call_later(self._cache_s, self._forget, name, shot)

    def _forget(self, name: tuple[str, int, int | None], shot: Snapshot | None) -> None:
        if shot is not None and self._cache.get(name) is shot:
            del self._cache[name]
            self._cached_bytes -= len(shot.jpeg)


def newest_before(pieces: list[Piece], at_ms: int) -> tuple[Piece, PlaybackEntry] | None:
    """The entry that shows `at_ms`: its key frame is at or before it and the next one is behind it."""
    for piece in reversed(pieces):
        for entry in reversed(segment_entries(piece.as_playback())):
            if entry.start_ms <= at_ms:
                # A picture stands until the next one; a second more allows for the seam to a segment being written.
                return (piece, entry) if at_ms < entry.end_ms + 1000 else None
    return None
