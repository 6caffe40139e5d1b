"""Where recorded bytes are read from: spool copy, then store; of a lower tier's camera, the relay.

Belongs here: what footage a window has (sealed segments and the one being written) and reading ranges of it.
Does not belong here: playlists and cutting (`gateway.playback.hls`, `gateway.playback.clip`), permission.

Nothing reads a whole segment where a range will do: an entry of two seconds of 4 Mbit/s is one megabyte of thirty.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from sqlalchemy import Connection

from config.clock import wall_ms
from config.errors import Kind, TiergateError
from config.units import HOUR_MS
from storage import damage
from storage.catalog import gaps, segments
from storage.catalog.engine import Catalog
from storage.catalog.segments import SegmentRow
from storage.evidence import EvidenceSource, SecondCopy
from storage.media import fragment_index
from storage.media.access_unit import StreamConfig
from storage.media.boxes import HEAD_MAX_BYTES, parse_init, parse_moof, salvage
from storage.media.fragment_index import FragmentEntry
from storage.media.playback_index import PlaybackSegment
from storage.objects.asked import AskedStore
from storage.objects.base import ObjectStore
from storage.spool import OpenPart
from storage.spools import ReadAt, Spools

CHUNK_BYTES = 1 << 20
WINDOW_SEGMENTS = 50_000  #: 24 h of the shortest segments (2 s) are 43 200; the rest is for the breaks of a bad line
_CONFIGS = 256
_SECOND = 4_096
_ACTOR = "system:web"


@dataclass(frozen=True, slots=True)
class Piece:
    """A segment that can be read now: sealed, or still growing."""

    segment_id: str
    run_id: str
    camera_id: str
    stream: str
    start_ms: int
    end_ms: int
    start_wall_ns: int
    fragments: tuple[FragmentEntry, ...]
    object_key: str | None = None  #: None while it has no row
    open: bool = False
    lease_id: str | None = None  #: of a lower tier: read through the relay under this lease
    sha256: bytes | None = None  #: of the whole file, as recorded; None while it grows, or where another node has it
    damaged: bool = False  #: known not to be what was recorded
    verified: bool = False  #: its bytes were compared with `sha256` just now

    def as_playback(self) -> PlaybackSegment:
        return PlaybackSegment(self.segment_id, self.run_id, self.start_ms, self.end_ms, self.fragments)


class LowerFootage(Protocol):
    """A lower tier's footage under a lease: index first, ranges on demand through the relay's cache."""

    async def window(self, lease_id: str, camera_id: str, stream: str, from_ms: int, to_ms: int) -> list[Piece]:
        """Pieces that touch the window, with `lease_id` set. Raises media.play_lower_away."""
        ...

    async def config(self, piece: Piece) -> StreamConfig: ...

    async def read(self, piece: Piece, offset: int, length: int) -> bytes: ...


class Footage:
    """Reads footage. Methods that touch disk or store run in threads."""

    def __init__(
        self,
        catalog: Catalog,
        spool: Spools,
        store: ObjectStore,
        lower: LowerFootage | None = None,
        evidence: EvidenceSource | None = None,
    ) -> None:
        self._catalog = catalog
        self._spool = spool
        self._store = AskedStore(store)
        self.lower = lower
        self._evidence = evidence
        #: Segments whose main copy is gone, damaged or not given, and whose second copy was compared whole.
        self._second: OrderedDict[str, SecondCopy] = OrderedDict()
        self._configs: OrderedDict[str, StreamConfig] = OrderedDict()

    # -- what there is -----------------------------------------------------------------------------------------------

    async def window(
        self, camera_id: str, stream: str, from_ms: int, to_ms: int, lease_id: str | None = None
    ) -> list[Piece]:
        """All pieces that touch ``[from_ms, to_ms)``, oldest first. Raises time.range_too_long rather than leave the
        end out: it would look as if nothing had been recorded."""
        if lease_id is not None:
            return await self._below().window(lease_id, camera_id, stream, from_ms, to_ms)
        # Open parts first: one that is sealed in between then comes from its row, and is not missing in both.
        parts = await self._parts_that_show(camera_id, stream)
        pieces = await self._catalog.aread(
            partial(_sealed, camera_id=camera_id, stream=stream, from_ms=from_ms, to_ms=to_ms)
        )
        for part in parts:
            if part.start_ms < to_ms and part.end_ms > from_ms:
                pieces.setdefault(part.segment_id, part)
        return sorted(pieces.values(), key=lambda piece: (piece.start_ms, piece.segment_id))

    async def piece(
        self, camera_id: str, stream: str, segment_id: str, from_ms: int, to_ms: int, lease_id: str | None = None
    ) -> Piece | None:
        """One segment by its name, if it is of that camera."""
        if lease_id is not None:
            pieces = await self._below().window(lease_id, camera_id, stream, from_ms, to_ms)
            return next((piece for piece in pieces if piece.segment_id == segment_id), None)
        row = await self._catalog.aread(lambda c: segments.segment_of(c, segment_id))
        if row is not None:
            mine = row.camera_id == camera_id and row.stream == stream and row.state in segments.READABLE
            return piece_of(row) if mine else None
        parts = await self._parts_that_show(camera_id, stream)
        return next((part for part in parts if part.segment_id == segment_id), None)

    async def growing(self, camera_id: str, stream: str, from_ms: int, to_ms: int) -> Piece | None:
        """The first segment of ``[from_ms, to_ms)`` that is still being recorded. Raises media.play_bytes_away: with a
        disk that does not answer nobody knows."""
        try:
            parts = await asyncio.to_thread(self._open_pieces, camera_id, stream)
        except OSError as exc:
            raise TiergateError(Kind.UNAVAILABLE, "media.play_bytes_away") from exc
        touching = (part for part in parts if part.start_ms < to_ms and part.end_ms > from_ms)
        return min(touching, key=lambda part: part.start_ms, default=None)

    def _below(self) -> LowerFootage:
        if self.lower is None:
            raise TiergateError(Kind.UNAVAILABLE, "media.play_lower_away")
        return self.lower

    async def _parts_that_show(self, camera_id: str, stream: str) -> list[Piece]:
        """None where the disk does not answer: what is in the store is shown all the same."""
        try:
            return await asyncio.to_thread(self._open_pieces, camera_id, stream)
        except OSError:
            return []

    def _open_pieces(self, camera_id: str, stream: str) -> list[Piece]:
        found = self._spool.of_open_parts(camera_id, self._open_piece)
        return [piece for piece in found if piece is not None and piece.stream == stream]

    def _open_piece(self, part: OpenPart, read: ReadAt) -> Piece | None:
        """A part file by its own box headers; None of one that has nothing to show yet."""
        whole = salvage(read, part.bytes, check_samples=False)
        if whole.init is None or whole.init.identity is None or not whole.fragments:
            return None
        identity = whole.init.identity
        self._remember(identity.run, whole.init.config)
        start_ms = identity.wall_start_ns // 1_000_000
        return Piece(
            segment_id=part.segment_id,
            run_id=identity.run,
            camera_id=part.camera_id,
            stream=identity.stream,
            start_ms=start_ms,
            end_ms=start_ms + whole.duration * 1000 // whole.init.config.video.timescale,
            start_wall_ns=identity.wall_start_ns,
            fragments=whole.fragments,
            open=True,
        )

    async def config(self, piece: Piece) -> StreamConfig:
        """Parameters of the piece's run. Raises media.play_bytes_away."""
        known = self._configs.get(piece.run_id)
        if known is not None:
            return known
        if piece.lease_id is not None:
            config = await self._below().config(piece)
        else:
            row = await self._catalog.aread(lambda c: segments.run_of(c, piece.run_id))
            head = row.init if row is not None else await self.read(piece, 0, HEAD_MAX_BYTES)
            try:
                config = parse_init(head).config
            except ValueError as exc:
                raise TiergateError(Kind.UNAVAILABLE, "media.play_bytes_away") from exc
        self._remember(piece.run_id, config)
        return config

    def _remember(self, run_id: str, config: StreamConfig) -> None:
        self._configs[run_id] = config
        while len(self._configs) > _CONFIGS:
            self._configs.popitem(last=False)

    # -- bytes -------------------------------------------------------------------------------------------------------

    async def read(self, piece: Piece, offset: int, length: int) -> bytes:
        """A range; shorter only at the end of the file. Raises media.play_bytes_away, media.store_unavailable."""
        if piece.lease_id is not None:
            return await self._below().read(piece, offset, length)
        second = self._second.get(piece.segment_id)
        if second is not None and self._evidence is not None:
            try:
                return await asyncio.to_thread(self._evidence.read, second, offset, length)
            except TiergateError:
                self._second.pop(piece.segment_id, None)  # away, or gone since: the main copy is asked again
        with contextlib.suppress(OSError):  # a spool disk that is sick: most of what there is, the store has
            data = await asyncio.to_thread(self._spool.read, piece.camera_id, piece.segment_id, offset, length)
            if data is not None:
                return data
        key = piece.object_key
        if key is None:  # it was open when it was found, and has gone to the store since
            row = await self._catalog.aread(lambda c: segments.segment_of(c, piece.segment_id))
            key = row.object_key if row is not None else None
        if key is None:
            raise TiergateError(Kind.UNAVAILABLE, "media.play_bytes_away")
        try:
            return await asyncio.to_thread(self._store.read, key, offset, length)
        except TiergateError as exc:
            if exc.reason.code not in ("media.object_missing", "media.store_unavailable"):
                raise
            # Another reader of the same piece may have found it whole meanwhile.
            second = self._second.get(piece.segment_id) or await self._find_second(piece)
            if self._evidence is not None and second is not None:
                return await asyncio.to_thread(self._evidence.read, second, offset, length)
            if exc.reason.code == "media.store_unavailable":
                raise
            raise TiergateError(Kind.UNAVAILABLE, "media.play_bytes_away") from exc

    async def _find_second(self, piece: Piece) -> SecondCopy | None:
        """The copy that the evidence store has whole; the piece is read from there from now on."""
        evidence, key, sha256 = self._evidence, piece.object_key, piece.sha256
        if evidence is None or key is None or sha256 is None or piece.segment_id in self._second:
            return None
        found = await asyncio.to_thread(evidence.whole, piece.segment_id, key, sha256)
        if found is None:
            return None
        self._second[piece.segment_id] = found
        while len(self._second) > _SECOND:
            self._second.popitem(last=False)
        return found

    async def examine(self, piece: Piece) -> Piece:
        """The piece, its bytes compared with what was recorded. One that is found damaged is marked for everybody, and
        keeps those fragments that can still be cut."""
        if piece.sha256 is None or piece.verified:
            return piece
        digest, whole = hashlib.sha256(), bytearray()
        while True:
            data = await self.read(piece, len(whole), CHUNK_BYTES * 4)
            if not data:
                break
            whole += data
            await asyncio.to_thread(digest.update, data)
        if digest.digest() == piece.sha256:
            return replace(piece, verified=True, damaged=False)
        if not piece.damaged:
            await self._catalog.awrite(
                lambda c: damage.mark_found(c, piece.segment_id, _ACTOR, wall_ms(self._spool.clock))
            )
        if await self._find_second(piece) is not None:
            return replace(piece, verified=True, damaged=False)
        kept = tuple(f for f in piece.fragments if _is_fragment(whole[f.offset : f.offset + f.size], f.size))
        return replace(piece, verified=True, damaged=True, fragments=kept)

    async def stream(self, piece: Piece, ranges: Sequence[tuple[int, int]]) -> AsyncIterator[bytes]:
        """The bytes of `ranges` ((offset, size)) one after another, in chunks. Raises when one is not whole."""
        for offset, size in ranges:
            end = offset + size
            while offset < end:
                data = await self.read(piece, offset, min(CHUNK_BYTES, end - offset))
                if not data:
                    raise TiergateError(Kind.UNAVAILABLE, "media.play_bytes_away")
                offset += len(data)
                yield data


def _sealed(connection: Connection, camera_id: str, stream: str, from_ms: int, to_ms: int) -> dict[str, Piece]:
    """By id. Unpacking the fragments of a day takes a second, so it is done in the thread that reads the rows."""
    rows = segments.segments_between(connection, camera_id, stream, from_ms, to_ms, limit=WINDOW_SEGMENTS + 1)
    if len(rows) > WINDOW_SEGMENTS:
        fit_hours = (rows[-1].start_ms - from_ms) // HOUR_MS
        raise TiergateError(Kind.TOO_LARGE, "time.range_too_long", limit_hours=max(1, fit_hours))
    found = gaps.gaps_between(connection, camera_id, stream, from_ms, to_ms, limit=WINDOW_SEGMENTS)
    marked = {gap.id for gap in found if gap.to_ms != gap.from_ms}
    return {row.id: piece_of(row, damaged=row.id in marked) for row in rows}


def _is_fragment(data: bytearray, size: int) -> bool:
    try:
        parse_moof(bytes(data))
    except ValueError:
        return False
    return len(data) == size


def piece_of(row: SegmentRow, damaged: bool = False) -> Piece:
    """A sealed segment as it can be read."""
    return Piece(
        row.id, row.run_id, row.camera_id, row.stream, row.start_ms, row.end_ms, row.start_wall_ns,
        fragment_index.decode(row.fragments), row.object_key, lease_id=row.lease_id if row.kind == "cache" else None,
        sha256=row.sha256, damaged=damaged,
    )  # fmt: skip
