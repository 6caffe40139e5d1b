"""Real segments for tests of storage: encoded pictures through the segmenter into a spool, as a recorder does it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, func, select

from config.clock import SystemClock
from config.ids import ulid
from storage import rows
from storage.catalog.engine import Catalog
from storage.catalog.segments import RunRow, SegmentRow, insert_run, insert_segments
from storage.catalog.tables import segment
from storage.segmenter import CloseSegment, OpenSegment, Segmenter, SegmenterPolicy, SegmentLabels, Write
from storage.spool import PartFile, Spool
from tests.media import WALL_NS, access_units, encode_g711, encode_h264, stream_config
from tests.parts.catalog import new_catalog

CAMERA = "21010000011320000001"
NODE = "0123456789abcdef"


def new_id(time_ms: int = WALL_NS // 1_000_000) -> str:
    return ulid(time_ms, os.urandom(10))


def make_spool(folder: Path) -> Spool:
    spool = Spool(folder / "spool", SystemClock(), NODE)
    spool.prepare()
    return spool


def make_catalog(folder: Path) -> Catalog:
    url = f"sqlite:///{folder / 'catalog.db'}"
    new_catalog(url)
    return Catalog(url)


def stored_count(connection: Connection) -> int:
    here = segment.c.state == "stored"
    return int(connection.execute(select(func.count()).select_from(segment).where(here)).scalar_one())


@dataclass(frozen=True, slots=True)
class Recorded:
    run: RunRow
    segment: SegmentRow
    path: Path


def commands(
    seconds: float = 3.0,
    *,
    camera: str = CAMERA,
    wall_ns: int = WALL_NS,
    segment_ms: int = 1_000,
    with_audio: bool = False,
    ids: Callable[[], str] = new_id,
    size: tuple[int, int] = (160, 120),
    node: str = NODE,
) -> Iterator[OpenSegment | Write | CloseSegment]:
    """What the segmenter orders for `seconds` of a camera."""
    packets = encode_h264(seconds, size=size)
    audio = encode_g711(seconds) if with_audio else None
    segmenter = Segmenter(SegmenterPolicy(fragment_ms=400, segment_ms=segment_ms), ids)
    orders = segmenter.begin(
        stream_config("h264", packets, audio[0] if audio else None),
        SegmentLabels(node=node, camera=camera, time_trust="synchronised"),
    )
    for unit in access_units("h264", packets, audio=audio, wall_ns=wall_ns):
        orders += segmenter.push(unit)
    orders += segmenter.end("ended")
    for order in orders:
        if isinstance(order, (OpenSegment, Write, CloseSegment)):
            yield order


def record(
    spool: Spool, seconds: float = 3.0, *, camera: str = CAMERA, wall_ns: int = WALL_NS, node: str = NODE
) -> list[Recorded]:
    """Sealed segments in the spool, not yet in a catalog."""
    made: list[Recorded] = []
    part: PartFile | None = None
    opened: OpenSegment | None = None
    for order in commands(seconds, camera=camera, wall_ns=wall_ns, node=node):
        if isinstance(order, OpenSegment):
            opened, part = order, spool.create(camera, order.segment_id)
            part.append(order.init)
        elif isinstance(order, Write):
            assert part is not None
            assert part.append(order.data) == order.entry.offset
        else:
            assert part is not None and opened is not None
            sealed = part.seal(order.index)
            now_ms = order.end_wall_ns // 1_000_000
            segment = rows.segment_row(opened, order, sealed.bytes, sealed.sha256, spool.volume_id, now_ms)
            made.append(Recorded(rows.run_row(opened), segment, sealed.path))
    return made


def insert(catalog: Catalog, recorded: list[Recorded]) -> None:
    for one in recorded:
        catalog.write(lambda c, one=one: insert_run(c, one.run))  # type: ignore[misc]  # a bound default
    catalog.write(lambda c: insert_segments(c, [one.segment for one in recorded]))
