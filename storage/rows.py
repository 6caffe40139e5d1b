"""Rows of a run and a segment, from what the segmenter said or from what a file says of itself.

Both ways lead to the same row (I9): so salvage, adoption and rebuild give what the recorder would have written.
Belongs here: that translation. Does not belong here: reading files, writing rows.
"""

from __future__ import annotations

from config.ids import is_ulid
from storage.catalog.segments import RunRow, SegmentRow
from storage.catalog.tables.footage import SEGMENT_KINDS, TIME_TRUSTS
from storage.keys import segment_key
from storage.media import fragment_index
from storage.media.access_unit import StreamConfig
from storage.media.boxes import Identity, Salvage
from storage.media.fmp4 import init_segment
from storage.segmenter import CloseSegment, OpenSegment

_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000


def run_row(opened: OpenSegment) -> RunRow:
    """The run of an opened segment; meant for the one with `starts_run`, right for any."""
    started_ns = opened.wall_start_ns - opened.media_start * _NS_PER_S // opened.config.video.timescale
    return _run(opened.run_id, opened.labels.camera, opened.labels.stream, started_ns, opened.config)


def _run(run_id: str, camera: str, stream: str, started_ns: int, config: StreamConfig) -> RunRow:
    return RunRow(
        id=run_id,
        camera_id=camera,
        stream=stream,
        started_ms=started_ns // _NS_PER_MS,
        codec=config.video.rfc6381,
        width=config.video.width,
        height=config.video.height,
        audio_codec=config.audio.rfc6381 if config.audio is not None else None,
        init=init_segment(config),
    )


def segment_row(
    opened: OpenSegment, closed: CloseSegment, size: int, sha256: bytes, volume: str, now_ms: int
) -> SegmentRow:
    """The row of a segment that was sealed just now."""
    labels = opened.labels
    start_ms = closed.wall_start_ns // _NS_PER_MS
    return SegmentRow(
        id=closed.segment_id,
        camera_id=labels.camera,
        stream=labels.stream,
        run_id=closed.run_id,
        kind=labels.kind,
        state="spooled",
        start_ms=start_ms,
        end_ms=max(start_ms, closed.end_wall_ns // _NS_PER_MS),
        start_wall_ns=closed.wall_start_ns,
        time_trust=labels.time_trust,
        bytes=size,
        sha256=sha256,
        init_bytes=len(opened.init),
        fragments=fragment_index.encode(closed.fragments),
        object_key=segment_key(labels.node, labels.camera, start_ms, closed.segment_id),
        volume=volume,
        class_=labels.retention_class,
        created_ms=now_ms,
    )


def is_sound(identity: Identity) -> bool:
    """Whether its words are ours. No checksum covers the box, and a bit that flipped in it must not reach a row."""
    return (
        identity.kind in SEGMENT_KINDS
        and identity.stream in ("main", "sub")
        and identity.time_trust in TIME_TRUSTS
        and is_ulid(identity.run)
        and 0 < len(identity.retention_class) <= 20
        and 0 <= identity.wall_start_ns < 1 << 63
    )


def rows_of_file(
    found: Salvage, size: int, sha256: bytes, now_ms: int, state: str, volume: str | None, salvaged: bool
) -> tuple[RunRow, SegmentRow]:
    """The rows of a sealed segment by its own identity box and fragments. Raises ValueError when it has none, or one
    that no recorder has written."""
    if found.init is None or found.init.identity is None or not found.fragments:
        raise ValueError("not a segment of tiergate")
    identity: Identity = found.init.identity
    if not is_sound(identity):
        raise ValueError("identity box is damaged")
    video = found.init.config.video
    start_ms = identity.wall_start_ns // _NS_PER_MS
    end_ns = identity.wall_start_ns + found.duration * _NS_PER_S // video.timescale
    run_started_ns = identity.wall_start_ns - found.media_start * _NS_PER_S // video.timescale
    row = SegmentRow(
        id=identity.segment,
        camera_id=identity.camera,
        stream=identity.stream,
        run_id=identity.run,
        kind=identity.kind,
        state=state,
        start_ms=start_ms,
        end_ms=max(start_ms, end_ns // _NS_PER_MS),
        start_wall_ns=identity.wall_start_ns,
        time_trust=identity.time_trust,
        bytes=size,
        sha256=sha256,
        init_bytes=found.init.size,
        fragments=fragment_index.encode(found.fragments),
        object_key=segment_key(identity.node, identity.camera, start_ms, identity.segment),
        volume=volume,
        class_=identity.retention_class,
        created_ms=now_ms,
        salvaged=salvaged,
        stored_ms=now_ms if state == "stored" else None,
    )
    return _run(identity.run, identity.camera, identity.stream, run_started_ns, found.init.config), row
