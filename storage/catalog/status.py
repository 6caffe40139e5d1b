"""What a recorder must do, and what it last knew: its reads of the register and its rows in `camera_status`.

Belongs here: statements of the recorder. Does not belong here: registering cameras (`storage.catalog.cameras`),
footage (`segments`), gaps (`gaps`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from config.errors import TiergateError
from config.weekly import parse_week, week_change_ms, week_end_ms
from storage.catalog.cameras import CredentialRow, credentials
from storage.catalog.retention_rows import classes, memberships
from storage.catalog.tables import camera, camera_status, camera_stream, gap, hold, hold_camera, segment

#: `idle`: a stream that nobody watches and that is not recorded.
STATES = ("connecting", "online", "offline", "idle")


@dataclass(frozen=True, slots=True)
class StreamDuty:
    """One stream of a camera of this shard, as the register has it."""

    camera_id: str
    stream: str
    url: str
    warm: bool
    recorded: bool  #: recorded_by = self and main
    enabled: bool
    audio: bool
    retention_class: str  #: the highest of the camera's areas now
    changed_ms: int
    credential: CredentialRow | None
    scheduled: bool = True  #: the week's windows want it recorded now
    schedule_ms: int | None = None  #: when that changes next
    held: bool = False  #: a hold covers what the camera shows now


def duties(connection: Connection, shard: int, now_ms: int) -> list[StreamDuty]:
    """Every stream of the cameras of `shard` that are not removed, disabled ones included."""
    rows = connection.execute(
        select(camera, camera_stream.c.stream, camera_stream.c.url, camera_stream.c.warm)
        .join(camera_stream, camera_stream.c.camera_id == camera.c.id)
        .where(camera.c.shard == shard, camera.c.removed_ms.is_(None))
        .order_by(camera.c.id, camera_stream.c.stream)
    ).all()
    wanted = {row.credential_id for row in rows if row.credential_id is not None}
    sealed = credentials(connection, wanted)
    highest = _classes_now(connection, {row.id for row in rows}, now_ms)
    held = _held_now(connection, now_ms)
    return [
        StreamDuty(
            camera_id=row.id, stream=row.stream, url=row.url, warm=bool(row.warm),
            recorded=row.recorded_by == "self" and row.stream == "main", enabled=bool(row.enabled),
            audio=bool(row.audio), retention_class=highest.get(row.id, "default"), changed_ms=row.changed_ms,
            credential=sealed.get(row.credential_id), scheduled=scheduled, schedule_ms=schedule_ms,
            held=row.id in held,
        )
        for row in rows
        for scheduled, schedule_ms in [_schedule(row.schedule, now_ms)]
    ]  # fmt: skip


def _schedule(text: str | None, now_ms: int) -> tuple[bool, int | None]:
    """(whether it is recorded now, when that changes). What cannot be read keeps nothing from being recorded."""
    if text is None:
        return True, None
    try:
        windows = parse_week(text)
    except TiergateError:
        return True, None
    return week_end_ms(windows, now_ms) is not None, week_change_ms(windows, now_ms)


def _held_now(connection: Connection, now_ms: int) -> set[str]:
    standing = hold.c.released_ms.is_(None), hold.c.from_ms <= now_ms, hold.c.to_ms >= now_ms
    query = select(hold_camera.c.camera_id).join(hold, hold.c.id == hold_camera.c.hold_id).where(*standing)
    return set(connection.execute(query).scalars())


def _classes_now(connection: Connection, camera_ids: Iterable[str], now_ms: int) -> dict[str, str]:
    known = classes(connection)
    highest: dict[str, str] = {}
    for camera_id, stretches in memberships(connection, camera_ids).items():
        standing = [
            known[m.class_name]
            for m in stretches
            if m.class_name in known and m.from_ms <= now_ms and (m.to_ms is None or m.to_ms > now_ms)
        ]
        if standing:
            highest[camera_id] = max(standing, key=lambda c: c.rank).name
    return highest


#: Fact by shard: sessions that a recorder's watchdog began anew since its start, by what it found; `hung`: threads
#: that do not end.
WATCHDOG_FACT = "recorder.watchdog."

#: Shards from here on hold one camera each: one that made its recorder crash.
ALONE = 1000


def shards(connection: Connection) -> list[int]:
    """Which recorders are needed: at least one, so that the first camera is recorded within seconds."""
    used = set(connection.execute(select(camera.c.shard).where(camera.c.removed_ms.is_(None)).distinct()).scalars())
    common = max((shard for shard in used if shard < ALONE), default=0)
    return [*range(common + 1), *sorted(shard for shard in used if shard >= ALONE)]


def set_alone(connection: Connection, camera_id: str, shard: int, now_ms: int) -> int | None:
    """Gives a camera of `shard` a recorder of its own; its shard, or None when it is not this shard's (any more)."""
    highest = connection.execute(select(func.max(camera.c.shard))).scalar_one() or 0
    alone = max(int(highest) + 1, ALONE)
    done = connection.execute(
        update(camera)
        .where(camera.c.id == camera_id, camera.c.shard == shard, camera.c.shard < ALONE)
        .values(shard=alone, changed_ms=now_ms)
    )
    return alone if done.rowcount else None


def recorded_time_fact(shard: int) -> str:
    """Name of the fact in which a recorder says how its time stands: {"trust", "held_s"}."""
    return f"recorder.time.{shard}"


def shard_cameras(connection: Connection, shard: int) -> list[str]:
    """All cameras of a shard, removed ones too: their unfinished files are this shard's to salvage. Those that are to
    be recorded come first."""
    first = (camera.c.removed_ms.is_not(None), camera.c.enabled.desc(), camera.c.id)
    return list(connection.execute(select(camera.c.id).where(camera.c.shard == shard).order_by(*first)).scalars())


@dataclass(frozen=True, slots=True)
class Past:
    """How far a stream is accounted for when a recorder starts."""

    footage_end_ms: int | None
    gap_end_ms: int | None  #: of the newest closed gap
    open_cause: str | None  #: cause of the gap that stands open
    open_from_ms: int | None = None
    trust: str | None = None  #: `time_trust` of the newest footage
    open_id: str | None = None

    @property
    def accounted_ms(self) -> int | None:
        """Up to here the stream has rows; None: it has none."""
        known = (self.footage_end_ms, self.gap_end_ms, self.open_from_ms)
        return max((end for end in known if end is not None), default=None)


def past(connection: Connection, camera_id: str, stream: str) -> Past:
    footage = connection.execute(
        select(segment.c.end_ms, segment.c.time_trust)
        .where(segment.c.camera_id == camera_id, segment.c.stream == stream)
        .order_by(segment.c.start_ms.desc())
        .limit(1)
    ).first()
    gaps = connection.execute(
        select(gap.c.to_ms, gap.c.cause, gap.c.from_ms, gap.c.id)
        .where(gap.c.camera_id == camera_id, gap.c.stream == stream)
        .order_by(gap.c.from_ms.desc())
        .limit(20)
    ).all()
    standing = next((row for row in gaps if row.to_ms is None), None)
    ends = [row.to_ms for row in gaps if row.to_ms is not None]
    return Past(
        footage.end_ms if footage is not None else None,
        max(ends, default=None),
        standing.cause if standing is not None else None,
        standing.from_ms if standing is not None else None,
        footage.time_trust if footage is not None else None,
        standing.id if standing is not None else None,
    )


@dataclass(frozen=True, slots=True)
class StatusRow:
    camera_id: str
    stream: str
    state: str
    since_ms: int
    updated_ms: int
    cause: str | None = None
    reason: dict[str, Any] | None = None
    last_media_ms: int | None = None
    codec: str | None = None
    audio_codec: str | None = None
    width: int | None = None
    height: int | None = None
    fps: str | None = None
    bit_rate_bps: int | None = None
    gop_ms: int | None = None
    b_frames: bool | None = None


def put_status(connection: Connection, rows: Sequence[StatusRow]) -> None:
    """Writes what is known now, whole rows. A camera removed meanwhile keeps its last row."""
    for row in rows:
        here = (camera_status.c.camera_id == row.camera_id, camera_status.c.stream == row.stream)
        done = connection.execute(update(camera_status).where(*here).values(**asdict(row)))
        if done.rowcount == 0:
            connection.execute(insert(camera_status).values(**asdict(row)))


def drop_status(connection: Connection, camera_id: str, stream: str) -> None:
    connection.execute(
        delete(camera_status).where(camera_status.c.camera_id == camera_id, camera_status.c.stream == stream)
    )
