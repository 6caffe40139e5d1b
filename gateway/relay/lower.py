"""A lower tier's footage as playback reads it: `gateway.playback.footage.LowerFootage` over the relay's socket."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from config.errors import Kind, TiergateError
from gateway.playback.footage import Piece
from gateway.relay.control import RelayControl
from storage.media import fragment_index
from storage.media.access_unit import StreamConfig
from storage.media.boxes import parse_init
from tiering.wire import FootageIndex

#: A player asks for each entry of one playlist by itself; the index they come from crosses the line once in this time.
FRESH_S = 5.0
_WINDOWS = 64
_RUNS = 256


@dataclass(frozen=True, slots=True)
class _Window:
    pieces: list[Piece]
    at_s: float


class RelayFootage:
    def __init__(self, control: RelayControl) -> None:
        self._control = control
        self._windows: OrderedDict[tuple[str, str, str, int, int], _Window] = OrderedDict()
        self._inits: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    async def window(self, lease_id: str, camera_id: str, stream: str, from_ms: int, to_ms: int) -> list[Piece]:
        """Raises media.play_lower_away, or the lease's own reason when it does not allow the range."""
        key, now_s = (lease_id, camera_id, stream, from_ms, to_ms), asyncio.get_running_loop().time()
        known = self._windows.get(key)
        if known is not None and now_s - known.at_s < FRESH_S:
            return list(known.pieces)
        try:
            index = await self._control.index(lease_id, camera_id, stream, from_ms, to_ms)
        except TiergateError as exc:
            if exc.kind is Kind.UNAVAILABLE:
                raise TiergateError(Kind.UNAVAILABLE, "media.play_lower_away") from exc
            raise
        pieces = self._pieces(lease_id, index)
        self._windows[key] = _Window(pieces, now_s)
        while len(self._windows) > _WINDOWS:
            self._windows.popitem(last=False)
        return list(pieces)

    def _pieces(self, lease_id: str, index: FootageIndex) -> list[Piece]:
        for run in index.runs:
            self._inits[lease_id, run.id] = run.init
        while len(self._inits) > _RUNS:
            self._inits.popitem(last=False)
        try:
            return [
                Piece(
                    s.id, s.run_id, index.camera, index.stream, s.start_ms, s.end_ms, s.start_wall_ns,
                    fragment_index.decode(s.fragments), lease_id=lease_id,
                )
                for s in index.segments
            ]  # fmt: skip
        except ValueError as exc:
            raise TiergateError(Kind.UNAVAILABLE, "tier.peer_garbled") from exc

    async def config(self, piece: Piece) -> StreamConfig:
        init = self._inits.get((piece.lease_id or "", piece.run_id))
        if init is None:
            await self.window(piece.lease_id or "", piece.camera_id, piece.stream, piece.start_ms, piece.end_ms)
            init = self._inits.get((piece.lease_id or "", piece.run_id))
        try:
            return parse_init(init or b"").config
        except ValueError as exc:
            raise TiergateError(Kind.UNAVAILABLE, "media.play_lower_away") from exc

    async def read(self, piece: Piece, offset: int, length: int) -> bytes:
        lease_id = piece.lease_id or ""
        return await self._control.read(lease_id, piece.segment_id, piece.camera_id, piece.stream, offset, length)
