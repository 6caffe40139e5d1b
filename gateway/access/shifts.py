"""Shifts: a named person on duty at a shared wall, so that every look there is somebody's (R38).

Belongs here: signing on, off, handing over, ending, each with its line in the audit log. Does not belong here: whose
password it was (`gateway.web.signing`), what the two together may (`tiering.access.decide`).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.units import HOUR_MS
from storage.audit import log as audit
from storage.catalog import sessions
from storage.catalog import shifts as rows
from storage.catalog.people import User
from storage.catalog.shifts import Shift, Why
from tiering.access import Principal, Wall

HOURS = 8
#: As long as the longest usual turn of duty. Who stays on signs on again: whether the same person still sits there is
#: worth asking twice a day.
HOURS_MOST = 12


def sign_on(
    connection: Connection, principal: Principal, person: User, id_: str, hours: int, client: str, now_ms: int
) -> Shift:
    """`person`, as they are in this transaction, is on duty from now on, whoever was before is not any more. It ends
    with the wall's own sign-in at the latest. Raises access.not_a_wall, access.session_over, access.must_change."""
    id_hash, account = _of_wall(principal)
    session = sessions.sessions(connection, [id_hash]).get(id_hash)
    if session is None or session.ended_ms is not None or now_ms >= session.expires_ms:
        raise TiergateError(Kind.UNAUTHENTICATED, "access.session_over")
    if person.must_change:
        raise TiergateError(Kind.FORBIDDEN, "access.must_change")
    actor = f"user:{person.login} wall:{account.login}"
    before = rows.running_on(connection, id_hash, now_ms)
    if before is not None:
        _end(connection, before, "replaced", actor, now_ms)
    until_ms = min(now_ms + hours * HOUR_MS, session.expires_ms)
    rows.add(connection, Shift(id_, id_hash, account.id, person.id, now_ms, until_ms, client[:80]))
    details = {"person": person.name, "wall": account.name, "until_ms": until_ms, "client": client}
    audit.append(connection, now_ms, actor, "shift.start", id_, details)
    return _require(connection, id_)


def sign_off(connection: Connection, principal: Principal, now_ms: int) -> None:
    """Nobody is on duty at this wall any more. Raises access.not_a_wall, access.nobody_on_duty."""
    id_hash, _ = _of_wall(principal)
    running = rows.running_on(connection, id_hash, now_ms)
    if running is None:
        raise TiergateError(Kind.CONFLICT, "access.nobody_on_duty")
    _end(connection, running, "signed_off", principal.actor, now_ms)


def end(connection: Connection, administrator: Principal, shift_id: str, now_ms: int) -> Shift:
    """What is over already stays as it was. Raises access.shift_unknown."""
    found = _require(connection, shift_id)
    if found.runs(now_ms):
        _end(connection, found, "ended", administrator.actor, now_ms)
    return _require(connection, shift_id)


def _end(connection: Connection, shift: Shift, why: Why, actor: str, now_ms: int) -> None:
    rows.end(connection, shift.id, now_ms, why)
    details: dict[str, Any] = {"person": shift.person, "wall": shift.wall, "why": why}
    audit.append(connection, now_ms, actor, "shift.end", shift.id, details)


def _of_wall(principal: Principal) -> tuple[bytes, Wall]:
    """The hash of its sign-in, and its account."""
    if principal.wall is None or principal.session is None:
        raise TiergateError(Kind.CONFLICT, "access.not_a_wall")
    return bytes.fromhex(principal.session), principal.wall


def _require(connection: Connection, id_: str) -> Shift:
    found = rows.get(connection, id_)
    if found is None:
        raise TiergateError(Kind.NOT_FOUND, "access.shift_unknown", shift=id_[:40])
    return found
