"""What the catalog knows of the footage that goes into an evidence package, read in one transaction.

Belongs here: rows of cameras, segments, runs, gaps, deleted footage, classes and holds, and how they stand in a
manifest. Does not belong here: bytes (`gateway.evidence.sending`), permission and register
(`gateway.web.routers.exports`).

Of a hold a package names the id alone: its case is not that of the package. Where an object lies in the store is
nobody's business. What is not known is absent, never null.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.units import format_time_ms
from storage.catalog import cameras, gaps, retention_rows, segments
from storage.catalog.cameras import Camera
from storage.catalog.gaps import GapRow
from storage.catalog.segments import READABLE, RunRow, SegmentRow, SegmentSpan
from storage.classes import Membership, RetentionClass, class_of
from storage.holds import Hold, holds_on
from storage.media.playback_index import SEAM_MS

MOST_CAMERAS = 16
MOST_SEGMENTS = 20_000  #: of a package: a manifest of some 15 MB; two weeks of minutes
_MOST_GAPS = 10_000


@dataclass(frozen=True, slots=True)
class CameraContents:
    """One camera's part of a package."""

    camera: Camera
    segments: tuple[SegmentRow, ...]  #: whole ones that touch the range, oldest first
    marked: frozenset[str]  #: ids of those that are known to be damaged
    runs: tuple[RunRow, ...]
    gaps: tuple[GapRow, ...]
    deleted: tuple[SegmentSpan, ...]  #: of the range, whose bytes are not here any more
    memberships: tuple[Membership, ...]

    def covers(self, from_ms: int, to_ms: int) -> tuple[int, int]:
        """The range with what its first and last segment show beyond it: so much of the camera leaves."""
        starts, ends = [s.start_ms for s in self.segments], [s.end_ms for s in self.segments]
        return min([from_ms, *starts]), max([to_ms, *ends])

    def missing(self, from_ms: int, to_ms: int) -> Iterator[tuple[int, int]]:
        """Stretches of the range that no segment shows, whatever became of them."""
        shown_ms = from_ms
        for row in self.segments:
            if row.start_ms - shown_ms > SEAM_MS:
                yield shown_ms, row.start_ms
            shown_ms = max(shown_ms, row.end_ms)
        if to_ms - shown_ms > SEAM_MS:
            yield shown_ms, to_ms

    def damaged(self) -> Iterator[tuple[int, int]]:
        """Of segments that are known to be so. A package holds their second copy where that one is whole."""
        return ((row.start_ms, row.end_ms) for row in self.segments if row.id in self.marked)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a package of these cameras and this range is made of."""

    stream: str
    from_ms: int
    to_ms: int
    cameras: tuple[CameraContents, ...]
    classes: Mapping[str, RetentionClass]
    holds: tuple[Hold, ...]  #: that stand on any of it


def read(connection: Connection, camera_ids: Sequence[str], stream: str, from_ms: int, to_ms: int) -> Contents:
    """Raises media.play_nothing when none of the cameras has footage of that time, media.evidence_too_much."""
    known = cameras.cameras(connection, camera_ids)
    memberships = retention_rows.memberships(connection, camera_ids)
    parts: list[CameraContents] = []
    room = MOST_SEGMENTS
    for id_ in camera_ids:
        rows = segments.segments_between(connection, id_, stream, from_ms, to_ms, limit=room + 1)
        room -= len(rows)
        found_gaps = gaps.gaps_between(connection, id_, stream, from_ms, to_ms, limit=_MOST_GAPS + 1)
        if room < 0 or len(found_gaps) > _MOST_GAPS:
            raise TiergateError(Kind.TOO_LARGE, "media.evidence_too_much", most=MOST_SEGMENTS)
        runs = [segments.run_of(connection, run_id) for run_id in dict.fromkeys(row.run_id for row in rows)]
        spans = segments.spans_between(connection, id_, stream, from_ms, to_ms)
        standing = {gap.id: gap for gap in found_gaps if gap.to_ms != gap.from_ms}  # one without length was withdrawn
        marked = frozenset(row.id for row in rows if row.id in standing)
        parts.append(
            CameraContents(
                camera=known[id_],
                segments=tuple(rows),
                marked=marked,
                runs=tuple(run for run in runs if run is not None),
                gaps=tuple(gap for id_, gap in standing.items() if id_ not in marked),
                deleted=tuple(span for span in spans if span.state not in READABLE),
                memberships=tuple(memberships.get(id_, ())),
            )
        )
    if not any(part.segments for part in parts):
        raise TiergateError(Kind.NOT_FOUND, "media.play_nothing")
    rules = [row.rule() for row in retention_rows.holds(connection)]
    holds = tuple(rule for rule in rules if not rule.cameras.isdisjoint(camera_ids))
    return Contents(stream, from_ms, to_ms, tuple(parts), retention_rows.classes(connection), holds)


def file_of(row: SegmentRow) -> str:
    """Its place in the package: names that every system can write, in the order of time (UTC)."""
    moment = datetime.fromtimestamp(row.start_ms // 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"footage/{row.camera_id}/{moment}_{row.id}.mp4"


def camera_json(
    part: CameraContents, contents: Contents, register_id: str, differing: frozenset[str]
) -> dict[str, Any]:
    """A camera's part of the manifest; `differing` are ids of segments whose bytes are not what was recorded."""
    camera = part.camera
    whose = {
        "id": camera.id,
        "name": camera.name,
        "tier": camera.tier,
        "region": camera.region,
        "place": camera.place,
        "model": camera.model,
        "serial": camera.serial,
        "register": register_id,
    }
    return _known(whose) | {
        "segments": [_segment_json(row, part, contents, row.id in differing) for row in part.segments],
        "runs": [
            _known(
                {
                    "id": run.id,
                    "started_ms": run.started_ms,
                    "ended_ms": run.ended_ms,
                    "end_reason": run.end_reason,
                    "codec": run.codec,
                    "width": run.width,
                    "height": run.height,
                    "audio_codec": run.audio_codec,
                }
            )
            for run in part.runs
        ],
        "gaps": [
            _known(
                {
                    "id": gap.id,
                    "cause": gap.cause,
                    "detected_ms": gap.detected_ms,
                    "reason": gap.reason,
                    "from_ms": gap.from_ms,
                    "from_utc": format_time_ms(gap.from_ms),
                    "to_ms": gap.to_ms,
                    "to_utc": None if gap.to_ms is None else format_time_ms(gap.to_ms),
                }
            )
            for gap in part.gaps
        ],
        "deleted": [
            {"id": span.id, "state": span.state, "start_ms": span.start_ms, "end_ms": span.end_ms}
            for span in part.deleted
        ],
    }


def _segment_json(row: SegmentRow, part: CameraContents, contents: Contents, differs: bool) -> dict[str, Any]:
    value = {
        "id": row.id,
        "file": file_of(row),
        "recorded_sha256": row.sha256.hex(),
        "recorded_bytes": row.bytes,
        "damaged": differs or None,
        "run": row.run_id,
        "kind": row.kind,
        "state": row.state,
        "salvaged": row.salvaged or None,
        "start_ms": row.start_ms,
        "start_utc": format_time_ms(row.start_ms),
        "start_wall_ns": row.start_wall_ns,
        "end_ms": row.end_ms,
        "end_utc": format_time_ms(row.end_ms),
        "time_trust": row.time_trust,
        "class_at_record": row.class_,
        "created_ms": row.created_ms,
        "stored_ms": row.stored_ms,
    }
    if row.time_trust != "unknown":  # of an unknown date nobody can say which class and holds its time had
        now = class_of(row.start_ms, row.end_ms, row.class_, part.memberships, contents.classes)
        value["class"] = now.name
        value["holds"] = [hold.id for hold in holds_on(row.camera_id, row.start_ms, row.end_ms, contents.holds)]
    return _known(value)


def classes_json(classes: Mapping[str, RetentionClass]) -> list[dict[str, Any]]:
    """How long each class keeps now; `permanent` has no months."""
    return [_known({"name": c.name, "months": c.months, "min_days": c.min_days}) for c in classes.values()]


def _known(value: dict[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in value.items() if one is not None}
