"""Break-glass: for the night when who may is not there. A code that lies in a sealed envelope gives a signed-in person
the duty officer's rights for some hours, once; it is an alarm until somebody else has reviewed what was done.

Belongs here: sealing, opening, ending, reviewing, each with its line in the audit log. Does not belong here: what the
rights are (`tiering.grants.ROLES`), HTTP, the alarm (`gateway.ops.checks_catalog`).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.units import HOUR_MS
from gateway.access.ids import hash_of
from storage.approval_rules import Governance
from storage.audit import log as audit
from storage.catalog import break_glass as rows
from storage.catalog.break_glass import Seal
from tiering.access import Principal

ROLES_GIVEN = frozenset({"duty"})
HOURS_MOST = 12
_LETTERS = "ABCDEFGHJKMNPQRSTVWXYZ0123456789"  # Crockford's: none that a tired person mistakes for another
_GROUPS, _OF = 5, 5


def fresh_seal() -> str:
    """Five groups of five letters, 125 random bits: nobody guesses it, one person can type it."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(_OF)) for _ in range(_GROUPS))


def _hash(seal: str) -> bytes:
    plain = seal.upper().replace("O", "0").replace("I", "1").replace("L", "1")
    return hash_of("".join(letter for letter in plain if letter in _LETTERS))


def seal(connection: Connection, principal: Principal, id_: str, hours: int, now_ms: int) -> str:
    """The code, which is nowhere else."""
    code = fresh_seal()
    rows.add(connection, Seal(id_, now_ms, principal.actor, hours), _hash(code))
    audit.append(connection, now_ms, principal.actor, "breakglass.seal", id_, {"hours": hours})
    return code


def open_(
    connection: Connection, principal: Principal, code: str, reason: str, now_ms: int, governance: Governance
) -> Seal:
    """Raises access.seal_wrong: no such seal, or one that is void or was opened; under full governance
    access.seal_sealer, for who made it: it takes one who seals and another who opens."""
    found = rows.by_hash(connection, _hash(code))
    # The actor names the login, which is one person's for good.
    if found is not None and governance == "full" and found.sealed_by == principal.actor:
        raise TiergateError(Kind.FORBIDDEN, "access.seal_sealer")
    until_ms = now_ms + (found.hours if found else 0) * HOUR_MS
    if found is None or not rows.open_(connection, found.id, principal.id, reason, now_ms, until_ms):
        raise TiergateError(Kind.FORBIDDEN, "access.seal_wrong")
    details = {"reason": reason, "until_ms": until_ms}
    audit.append(connection, now_ms, principal.actor, "breakglass.open", found.id, details)
    return _require(connection, found.id)


def refused(connection: Connection, principal: Principal, now_ms: int) -> None:
    audit.append(connection, now_ms, principal.actor, "breakglass.refuse", principal.login, {})


def end(connection: Connection, principal: Principal, id_: str, now_ms: int) -> Seal:
    """Makes a sealed one void, and ends an opened one: who opened it, or the security administrator."""
    found = _require(connection, id_)
    mine = found.user_id == principal.id
    if not mine and "security_admin" not in principal.roles:
        raise _unknown(id_)
    if found.state == "sealed":
        rows.change(connection, id_, void_ms=now_ms)
        audit.append(connection, now_ms, principal.actor, "breakglass.void", id_, {})
    elif found.until_ms is not None and found.until_ms > now_ms:
        rows.change(connection, id_, until_ms=now_ms)
        audit.append(connection, now_ms, principal.actor, "breakglass.end", id_, {})
    return _require(connection, id_)


def review(connection: Connection, principal: Principal, id_: str, words: str, now_ms: int) -> Seal:
    """By somebody else than who opened it. Raises access.seal_own, seal_not_open, seal_running."""
    found = _require(connection, id_)
    if found.user_id == principal.id:
        raise TiergateError(Kind.FORBIDDEN, "access.seal_own")
    if found.state != "opened":
        raise TiergateError(Kind.CONFLICT, "access.seal_not_open")
    if found.until_ms is not None and found.until_ms > now_ms:
        raise TiergateError(Kind.CONFLICT, "access.seal_running")
    rows.change(connection, id_, reviewed_ms=now_ms, reviewed_by=principal.actor, words=words)
    audit.append(connection, now_ms, principal.actor, "breakglass.review", id_, {"words": words})
    return _require(connection, id_)


def visible_to(principal: Principal, found: Iterable[Seal]) -> list[Seal]:
    """All to who seals and who reviews; to others their own."""
    all_ = bool({"security_admin", "audit_admin"} & principal.roles)
    return [one for one in found if all_ or one.user_id == principal.id]


def _require(connection: Connection, id_: str) -> Seal:
    found = rows.get(connection, id_)
    if found is None:
        raise _unknown(id_)
    return found


def _unknown(id_: str) -> TiergateError:
    return TiergateError(Kind.NOT_FOUND, "access.seal_unknown", seal=id_[:40])
