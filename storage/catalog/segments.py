"""Runs and segments: rows of what was recorded, and the moves between spool and store.

Belongs here: statements about `run` and `segment`. Does not belong here: deletion's moves
(`storage.catalog.retention_rows`), bytes (`storage.spool`, `storage.objects`), fragments inside the blob
(`storage.media.fragment_index`).

Inserting is idempotent by id: the recorder, salvage and rebuild may all bring the same segment (FAULTS B33).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, bindparam, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from storage.catalog.tables import run, segment

Blob = bytes  #: inside a class with a field `bytes` the type needs another name

#: States in which the bytes are somewhere to be read.
READABLE = ("spooled", "stored", "condemned")
#: Segments in these states are drawn; whether their bytes are there.
_DRAWN = {**dict.fromkeys(READABLE, True), "deleting": False, "deleted": False}

#: A segment is never longer than this (`SegmenterPolicy.segment_max_ms` and a fragment): how far before a window its
#: first segment may start. It makes the timeline one range scan of the index.
SEGMENT_MAX_MS = 15 * 60_000


@dataclass(frozen=True, slots=True)
class RunRow:
    """An unbroken stretch of one camera's stream."""

    id: str
    camera_id: str
    stream: str
    started_ms: int
    codec: str  #: RFC 6381 of the video
    width: int
    height: int
    audio_codec: str | None
    init: bytes
    ended_ms: int | None = None
    end_reason: str | None = None


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """One recorded segment, everything a reader of its bytes needs."""

    id: str
    camera_id: str
    stream: str
    run_id: str
    kind: str
    state: str
    start_ms: int
    end_ms: int
    start_wall_ns: int
    time_trust: str
    bytes: int
    sha256: Blob
    init_bytes: int
    fragments: Blob
    object_key: str
    volume: str | None
    class_: str
    created_ms: int
    salvaged: bool = False
    lease_id: str | None = None
    stored_ms: int | None = None


class SegmentSpan(NamedTuple):
    """What a list names of a segment: exactly what ix_segment_timeline covers."""

    id: str
    run_id: str
    state: str
    class_: str
    start_ms: int
    end_ms: int


class Stretch(NamedTuple):
    """What a timeline draws: neighbours that say the same, each of which begins before or where the last one ends."""

    readable: bool  #: else deleted, or about to be
    class_: str
    mark: str | None
    start_ms: int
    end_ms: int


_SEGMENT = tuple(segment.c[f.name] for f in fields(SegmentRow))
_DRAWN_OF = (segment.c.id, segment.c.state, segment.c.class_, segment.c.start_ms, segment.c.end_ms)
_RUN = tuple(run.c[f.name] for f in fields(RunRow))
_SPAN = tuple(segment.c[name] for name in SegmentSpan._fields)


def _insert_new(connection: Connection, table: Any, rows: Sequence[dict[str, Any]]) -> None:
    """INSERT … ON CONFLICT DO NOTHING: a row of that id that is there already stays as it is."""
    if not rows:
        return
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    connection.execute(dialect.insert(table).on_conflict_do_nothing(index_elements=["id"]), list(rows))


# --- runs ---


def insert_run(connection: Connection, row: RunRow) -> None:
    _insert_new(connection, run, [asdict(row)])


def insert_runs(connection: Connection, rows: Iterable[RunRow]) -> None:
    _insert_new(connection, run, [asdict(row) for row in rows])


def end_run(connection: Connection, run_id: str, ended_ms: int, reason: str) -> None:
    """Closes a run; one that is closed already keeps its first end."""
    connection.execute(
        update(run).where(run.c.id == run_id, run.c.ended_ms.is_(None)).values(ended_ms=ended_ms, end_reason=reason)
    )


def run_of(connection: Connection, run_id: str) -> RunRow | None:
    row = connection.execute(select(*_RUN).where(run.c.id == run_id)).first()
    return RunRow(*row) if row is not None else None


def open_runs(connection: Connection, camera_id: str | None = None) -> list[RunRow]:
    """Runs without an end; after a crash they are those of the dead process."""
    query = select(*_RUN).where(run.c.ended_ms.is_(None))
    if camera_id is not None:
        query = query.where(run.c.camera_id == camera_id)
    return [RunRow(*row) for row in connection.execute(query.order_by(run.c.started_ms))]


def last_end_of_run(connection: Connection, row: RunRow) -> int | None:
    """End of the newest segment of a run, by the camera's time index."""
    end_ms: int | None = connection.execute(
        select(func.max(segment.c.end_ms)).where(
            segment.c.camera_id == row.camera_id,
            segment.c.stream == row.stream,
            segment.c.start_ms >= row.started_ms,
            segment.c.run_id == row.id,
        )
    ).scalar_one()
    return end_ms


# --- segments ---


def insert_segments(connection: Connection, rows: Iterable[SegmentRow]) -> None:
    """This transaction's commit acknowledges the segments (I1): their files must be sealed and synced before."""
    _insert_new(connection, segment, [_values(row) for row in rows])


def _values(row: SegmentRow) -> dict[str, Any]:
    return asdict(row)


def segment_of(connection: Connection, segment_id: str) -> SegmentRow | None:
    row = connection.execute(select(*_SEGMENT).where(segment.c.id == segment_id)).first()
    return SegmentRow(*row) if row is not None else None


def segments_of(connection: Connection, ids: Sequence[str]) -> list[SegmentRow]:
    return [SegmentRow(*row) for row in connection.execute(select(*_SEGMENT).where(segment.c.id.in_(ids)))]


_STATES = select(segment.c.id, segment.c.state).where(segment.c.id.in_(bindparam("among", expanding=True)))


def existing(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    """Of `ids`, those with a row, and its state."""
    return {row.id: row.state for row in connection.execute(_STATES, {"among": list(ids)})}


def _window(query: Select[Any], camera_id: str, stream: str, from_ms: int, to_ms: int) -> Select[Any]:
    """Segments that touch [from_ms, to_ms), oldest first: one range of ix_segment_timeline."""
    return query.where(
        segment.c.camera_id == camera_id,
        segment.c.stream == stream,
        segment.c.start_ms < to_ms,
        segment.c.start_ms > from_ms - SEGMENT_MAX_MS,
        segment.c.end_ms > from_ms,
    ).order_by(segment.c.start_ms)


def segments_between(
    connection: Connection, camera_id: str, stream: str, from_ms: int, to_ms: int, limit: int = 2_000,
    states: Sequence[str] = READABLE,
) -> list[SegmentRow]:  # fmt: skip
    """Readable segments that touch a window, with their fragment index."""
    query = (
        _window(select(*_SEGMENT), camera_id, stream, from_ms, to_ms).where(segment.c.state.in_(states)).limit(limit)
    )
    return [SegmentRow(*row) for row in connection.execute(query)]


def spans_between(
    connection: Connection, camera_id: str, stream: str, from_ms: int, to_ms: int, limit: int = 50_000
) -> list[SegmentSpan]:
    """The timeline: every segment that touches a window, in whatever state (deleted ones say "expired")."""
    query = _window(select(*_SPAN), camera_id, stream, from_ms, to_ms).limit(limit)
    return list(map(SegmentSpan._make, connection.execute(query).all()))  # not row by row: they are many


def stretches_between(
    connection: Connection, camera_id: str, stream: str, from_ms: int, to_ms: int, marks: Mapping[str, str],
    limit: int = 50_000,
) -> list[Stretch]:  # fmt: skip
    """The timeline, oldest first; `marks` is what is said of single segments, by id."""
    query = _window(select(*_DRAWN_OF), camera_id, stream, from_ms, to_ms).limit(limit)
    return stretches(connection.execute(query).all(), marks)  # not row by row: they are many


def stretches(found: Iterable[Sequence[Any]], marks: Mapping[str, str]) -> list[Stretch]:
    """Of id, state, class, start and end of each segment. A day is some 1 400 that mostly say the same."""
    joined: list[Stretch] = []
    said: tuple[bool, str, str | None] | None = None
    since = until = 0
    for id_, state, class_, start_ms, end_ms in found:
        readable = _DRAWN.get(state)
        if readable is None:
            continue
        says = (readable, class_, marks.get(id_))
        if says == said and start_ms <= until:
            until = max(until, end_ms)
            continue
        if said is not None:
            joined.append(Stretch(*said, since, until))
        said, since, until = says, start_ms, end_ms
    if said is not None:
        joined.append(Stretch(*said, since, until))
    return joined


def last_end_before(connection: Connection, camera_id: str, stream: str, start_ms: int) -> int | None:
    """End of the newest segment that begins before a moment, in whatever state."""
    end_ms: int | None = connection.execute(
        select(segment.c.end_ms)
        .where(segment.c.camera_id == camera_id, segment.c.stream == stream, segment.c.start_ms < start_ms)
        .order_by(segment.c.start_ms.desc())
        .limit(1)
    ).scalar_one_or_none()
    return end_ms


def all_segments(
    connection: Connection, states: Sequence[str], after_id: str = "", limit: int | None = None
) -> list[SegmentRow]:
    """Every segment in some states, by id. With `limit` a page of them: the next begins after the last id of this."""
    query = (
        select(*_SEGMENT)
        .where(segment.c.id > after_id, segment.c.state.in_(states))
        .order_by(segment.c.id)
        .limit(limit)
    )
    return [SegmentRow(*row) for row in connection.execute(query)]


# --- spool to store ---


#: As many ids as one statement is given; beyond that they are passed over here.
_WITHOUT_MAX = 400


def _spooled(
    connection: Connection, newest_first: bool, limit: int, without: Set[str], volumes: Sequence[str] | None
) -> list[SegmentRow]:
    order = segment.c.end_ms.desc() if newest_first else segment.c.end_ms
    # `kind` cannot be used by the index and is not asked: only own footage is ever spooled.
    query = select(*_SEGMENT).where(segment.c.state == "spooled").order_by(order)
    if volumes is not None:
        query = query.where(or_(segment.c.volume.in_(volumes), segment.c.volume.is_(None)))
    if len(without) <= _WITHOUT_MAX:
        query = query.where(segment.c.id.not_in(sorted(without))) if without else query
    else:
        ids = connection.execute(query.with_only_columns(segment.c.id).limit(limit + len(without))).scalars()
        query = query.where(segment.c.id.in_([id_ for id_ in ids if id_ not in without][:limit]))
    return [SegmentRow(*row) for row in connection.execute(query.limit(limit))]


def oldest_spooled(
    connection: Connection, limit: int, without: Set[str] = frozenset(), volumes: Sequence[str] | None = None
) -> list[SegmentRow]:
    """`volumes`: only those whose copy lies on one of them, or nobody knows where."""
    return _spooled(connection, False, limit, without, volumes)


def newest_spooled(
    connection: Connection, limit: int, without: Set[str] = frozenset(), volumes: Sequence[str] | None = None
) -> list[SegmentRow]:
    return _spooled(connection, True, limit, without, volumes)


def spooled_elsewhere(
    connection: Connection, volumes: Sequence[str], after_id: str = "", limit: int = 100
) -> list[SegmentRow]:
    """Spooled segments whose copy lies on a volume that is not one of `volumes`."""
    query = (
        select(*_SEGMENT)
        .where(segment.c.state == "spooled", segment.c.volume.not_in(volumes), segment.c.id > after_id)
        .order_by(segment.c.id)
        .limit(limit)
    )
    return [SegmentRow(*row) for row in connection.execute(query)]


def spooled_keys(connection: Connection, keys: Sequence[str]) -> set[str]:
    """Those of `keys` (at most 500) whose segment still waits in the spool."""
    query = select(segment.c.object_key).where(segment.c.object_key.in_(keys), segment.c.state == "spooled")
    return set(connection.execute(query).scalars())


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for the store."""

    count: int
    bytes: int
    oldest_end_ms: int | None


def spooled_bytes(connection: Connection) -> Backlog:
    row = connection.execute(
        select(func.count(), func.coalesce(func.sum(segment.c.bytes), 0), func.min(segment.c.end_ms)).where(
            segment.c.state == "spooled"
        )
    ).one()
    return Backlog(int(row[0]), int(row[1]), row[2])


def mark_stored(connection: Connection, ids: Sequence[str], now_ms: int) -> list[str]:
    """Spooled → stored; the ids that were still spooled. The spool copy stays named until `mark_freed`."""
    return _move(connection, ids, ("spooled",), state="stored", stored_ms=now_ms)


def mark_freed(connection: Connection, ids: Sequence[str]) -> None:
    """The spool copies of stored segments are gone."""
    connection.execute(update(segment).where(segment.c.id.in_(ids), segment.c.state != "spooled").values(volume=None))


def name_copies(connection: Connection, ids: Sequence[str], volume: str) -> None:
    """Of these segments beyond `spooled` a copy lies on `volume`, and their rows name none."""
    named = segment.c.id.in_(ids), segment.c.state != "spooled", segment.c.volume.is_(None)
    connection.execute(update(segment).where(*named).values(volume=volume))


def beyond_spool_on(connection: Connection, volume: str, after_id: str = "", limit: int = 100) -> list[SegmentRow]:
    """Segments beyond `spooled` whose spool copy is still named: a crash came between store and free."""
    query = (
        select(*_SEGMENT)
        .where(segment.c.volume == volume, segment.c.state != "spooled", segment.c.id > after_id)
        .order_by(segment.c.id)
        .limit(limit)
    )
    return [SegmentRow(*row) for row in connection.execute(query)]


def set_state(
    connection: Connection, ids: Sequence[str], from_states: Sequence[str], to_state: str, **values: Any
) -> list[str]:
    """Moves the rows that are in one of `from_states`; their ids."""
    return _move(connection, ids, from_states, state=to_state, **values)


def _move(connection: Connection, ids: Sequence[str], from_states: Sequence[str], **values: Any) -> list[str]:
    here = segment.c.id.in_(ids), segment.c.state.in_(from_states)
    found = list(connection.execute(select(segment.c.id).where(*here)).scalars())
    if found:
        connection.execute(update(segment).where(*here).values(**values))
    return found


def recorded_since(connection: Connection, since_ms: int) -> dict[str, tuple[int, int]]:
    """Per camera (bytes, milliseconds) of main-stream segments that began after `since_ms`."""
    length = func.sum(segment.c.end_ms - segment.c.start_ms)
    rows = connection.execute(
        select(segment.c.camera_id, func.sum(segment.c.bytes), length)
        .where(segment.c.stream == "main", segment.c.kind == "own", segment.c.start_ms > since_ms)
        .group_by(segment.c.camera_id)
    )
    return {camera_id: (int(size), int(ms)) for camera_id, size, ms in rows}
