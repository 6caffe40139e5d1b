"""The sampled check of owners' recorders: whose turn it is, one round of asking, what is written down of it.

The rounds run in a process of their own (`gateway.processes.owners`), which the keeper starts: the keeper opens no
camera's socket. A person asks by `POST /cameras/{id}/owner-checks`. Both write the same rows.

Belongs here: due cameras, a round, rows and audit. Does not belong here: the draw and the verdicts (`storage.sampled`),
how a recorder is asked (`gateway.cameras.owner_recorder`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection

from config.clock import Clock, wall_ms
from config.errors import TiergateError
from config.reasons import Reason
from config.redact import Secret
from config.settings import Settings
from config.weekly import parse_week
from gateway.access.ids import fresh_id
from gateway.access.secrets import Secrets
from gateway.cameras.owner_recorder import Answered, OwnerRecorders, Target
from storage.audit import log as audit
from storage.catalog import cameras, facts, owner_checks
from storage.catalog.engine import Catalog
from storage.reach_view import kept_elsewhere
from storage.sampled import (
    KEEP_MS,
    Check,
    draw,
    is_due,
    promised,
    promised_since_ms,
    to_confirm,
    turn_ms,
)
from storage.sampled_view import assessments
from storage.sweeper import Policies

_log = logging.getLogger(__name__)

ACTOR = "keeper"
#: fact: hex of the secret from which the instants are drawn
SEED = "owner_checks.seed"
#: Cameras of one round, and recorders that are asked at the same time: after a day away a district has all its
#: cameras due at once.
MOST_CAMERAS = 50
AT_ONCE = 4
_REFUSED = frozenset({"camera.onvif_credentials", "camera.bad_login"})
_AWAY = frozenset({"camera.onvif_unreachable", "camera.owner_replay_silent"})


@dataclass(frozen=True, slots=True)
class Due:
    """One camera whose owner's recorder is to be asked now."""

    camera_id: str
    instants: tuple[int, ...]


def seed_of(connection: Connection) -> bytes:
    """Made on first use, in the caller's write transaction."""
    known = facts.get(connection, SEED)
    if known is None:
        known = secrets.token_hex(32)
        facts.set(connection, SEED, known)
    return bytes.fromhex(known)


def due(connection: Connection, settings: Settings, now_ms: int, seed: bytes) -> list[Due]:
    """Whose turn has come, those that wait longest first, at most `MOST_CAMERAS`; with them, and without waiting for
    a turn, what has to be asked for a second time."""
    count = settings.retention.owner_check_instants
    if count == 0:
        return []
    known = {id_: row for id_, row in cameras.cameras(connection).items() if row.enabled and row.recorded_by == "owner"}
    standing = kept_elsewhere(connection, Policies.read(connection), now_ms, list(known))
    last_asked = owner_checks.last_asked(connection, ACTOR, now_ms)
    since_ms = {one.camera_id: promised_since_ms(one, known[one.camera_id].created_ms, now_ms) for one in standing}
    # Few cameras have an instant that was found missing: only their rows are read.
    doubted = owner_checks.with_absent(connection, min(since_ms.values(), default=now_ms))
    asked = owner_checks.since(connection, doubted & since_ms.keys(), 0)
    found: list[tuple[int, Due]] = []
    for one in standing:
        row, last_ms = known[one.camera_id], last_asked.get(one.camera_id)
        again = to_confirm(asked.get(one.camera_id, ()), since_ms[one.camera_id], now_ms)
        turn = turn_ms(seed, one.camera_id, now_ms)
        what = promised(one, row.created_ms, now_ms)
        fresh: tuple[int, ...] = ()
        if what is not None and is_due(turn, last_ms):
            windows = None if row.schedule is None else parse_week(row.schedule)
            fresh = draw(seed, one.camera_id, turn, what, windows, count)
        if again or fresh:
            found.append((last_ms or 0, Due(one.camera_id, tuple(sorted({*again, *fresh})))))
    return [one for _, one in sorted(found, key=lambda pair: (pair[0], pair[1].camera_id))[:MOST_CAMERAS]]


def drawn_now(connection: Connection, settings: Settings, camera_id: str, now_ms: int, seed: bytes) -> Due | None:
    """What a person who asks now is shown: instants of their own, and those that wait for a second answer."""
    row = cameras.cameras(connection, [camera_id])[camera_id]
    (standing,) = kept_elsewhere(connection, Policies.read(connection), now_ms, [camera_id])
    asked = owner_checks.since(connection, [camera_id], 0).get(camera_id, [])
    again = to_confirm(asked, promised_since_ms(standing, row.created_ms, now_ms), now_ms)
    what = promised(standing, row.created_ms, now_ms)
    if what is None:
        return Due(camera_id, again) if again else None
    windows = None if row.schedule is None else parse_week(row.schedule)
    count = max(1, settings.retention.owner_check_instants)
    return Due(camera_id, tuple(sorted({*again, *draw(seed, camera_id, now_ms, what, windows, count)})))


def target_of(connection: Connection, opener: Secrets, camera_id: str) -> Target:
    """Raises crypto.sealed_broken."""
    row = cameras.cameras(connection, [camera_id])[camera_id]
    streams = cameras.streams(connection, [camera_id]).get(camera_id, {})
    account = cameras.credentials(connection, [row.credential_id or ""]).get(row.credential_id or "")
    main = streams.get("main") or next(iter(streams.values()), None)
    return Target(
        camera_id,
        row.onvif_url,
        main.url if main else row.onvif_url or "",
        tuple(sorted(stream.profile for stream in streams.values() if stream.profile)),
        account.username if account else "",
        opener.open(account) if account else Secret(""),
        account.changed_ms if account else 0,
    )


def keep(connection: Connection, clock: Clock, camera_id: str, answers: Sequence[Answered], actor: str) -> list[Check]:
    """Rows of the answers, and the audit entry of having asked."""
    now_ms = wall_ms(clock)
    rows = [
        Check(
            fresh_id(clock), camera_id, one.at_ms, now_ms, one.answer[0], one.answer[1].as_json(), one.clock_offset_ms,
            actor,
        )
        for one in answers
    ]  # fmt: skip
    owner_checks.add(connection, rows)
    verdicts = Counter(row.verdict for row in rows)
    details = {
        **{verdict: verdicts[verdict] for verdict in ("present", "absent", "unknown")},
        "absent_ms": [row.at_ms for row in rows if row.verdict == "absent"],
    }
    audit.append(connection, now_ms, actor, "camera.owner_asked", camera_id, details)
    return rows


def told(connection: Connection, now_ms: int) -> dict[str, Any]:
    """What metrics need of it, as a fact of the catalog (`gateway.ops.job_state.OWNERS`)."""
    standing = kept_elsewhere(connection, Policies.read(connection), now_ms)
    found = assessments(connection, standing, now_ms).values()
    return {
        "cameras": dict(Counter(one.state for one in found)),
        "instants": {
            "present": sum(one.present for one in found),
            "missing": sum(len(one.missing) for one in found),
            "suspected": sum(len(one.suspected) for one in found),
            "unanswered": sum(one.unanswered for one in found),
        },
        "answered_ms": {one.camera_id: one.last_answered_ms for one in found if one.last_answered_ms is not None},
    }


class Round:
    """One round of all cameras that are due."""

    def __init__(
        self, settings: Settings, clock: Clock, catalog: Catalog, opener: Secrets, recorders: OwnerRecorders
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._catalog = catalog
        self._opener = opener
        self._recorders = recorders

    async def run(self) -> int:
        """How many cameras' recorders were asked. What one round cannot ask waits for the next."""
        now_ms = wall_ms(self._clock)
        seed = await self._catalog.awrite(seed_of)
        found = await self._catalog.aread(partial(due, settings=self._settings, now_ms=now_ms, seed=seed))
        by_device: dict[str, list[tuple[Due, Target]]] = {}
        for one in found:
            try:
                target = await self._catalog.aread(partial(target_of, opener=self._opener, camera_id=one.camera_id))
            except TiergateError as error:
                await self._keep(one.camera_id, [Answered(at, ("unknown", error.reason), None) for at in one.instants])
                continue
            by_device.setdefault(target.device, []).append((one, target))
        places = asyncio.Semaphore(AT_ONCE)

        async def visit(channels: list[tuple[Due, Target]]) -> None:
            async with places:
                await self._visit(channels)

        await asyncio.gather(*(visit(channels) for channels in by_device.values()))
        while await self._catalog.awrite(partial(owner_checks.drop_before, asked_ms=now_ms - KEEP_MS)):
            pass
        return len(found)

    async def _visit(self, channels: list[tuple[Due, Target]]) -> None:
        """All cameras behind one recorder, one after another. After a refused login none with the same account is
        tried: thirty channels would be thirty refusals, and the recorder would lock the account. A recorder that is
        away is away for all of them: thirty deadlines would be the time of other recorders."""
        refused: dict[tuple[str, Secret], Reason] = {}  #: by account
        away: Reason | None = None
        for one, target in channels:
            account = (target.username, target.password)
            known = away or refused.get(account)
            if known is not None:
                answers = [Answered(at_ms, ("unknown", known), None) for at_ms in one.instants]
            else:
                answers = await self._recorders.ask(target, one.instants)
            for reason in [answered.answer[1] for answered in answers]:
                if reason.code in _REFUSED:
                    refused[account] = reason
                elif reason.code in _AWAY:
                    away = reason
            await self._keep(one.camera_id, answers)

    async def _keep(self, camera_id: str, answers: Sequence[Answered]) -> None:
        rows = await self._catalog.awrite(
            partial(keep, clock=self._clock, camera_id=camera_id, answers=answers, actor=ACTOR)
        )
        told = Counter(row.verdict for row in rows)
        _log.info(
            "owner's recorder asked",
            extra={"camera": camera_id, **{str(verdict): count for verdict, count in told.items()}},
        )
