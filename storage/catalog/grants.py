"""Rows of grants and of departments' tokens. What their JSON means is `tiering.grants`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, tuple_, update

from storage.catalog.tables import department, grant, token


@dataclass(frozen=True, slots=True)
class GrantRow:
    id: str
    subject_kind: str  #: user, department, role
    subject: str
    value: dict[str, Any]  #: effect, resources, functions, conditions
    created_ms: int
    created_by: str
    revoked_ms: int | None = None


@dataclass(frozen=True, slots=True)
class TokenRow:
    jti: str
    department_id: str
    unit: str  #: the department's name
    label: str
    grant: dict[str, Any]  #: exactly what was signed
    issued_ms: int
    expires_ms: int
    issued_by: str
    revoked_ms: int | None = None
    revoked_by: str | None = None


def _grant(row: Row[Any]) -> GrantRow:
    value = {
        "effect": row.effect,
        "resources": row.resources,
        "functions": row.functions,
        "conditions": row.conditions,
    }
    return GrantRow(row.id, row.subject_kind, row.subject, value, row.created_ms, row.created_by, row.revoked_ms)


def grants_of(connection: Connection, subjects: Iterable[tuple[str, str]]) -> list[GrantRow]:
    """Standing grants of these (subject kind, subject)."""
    query = select(grant).where(
        tuple_(grant.c.subject_kind, grant.c.subject).in_(list(subjects)), grant.c.revoked_ms.is_(None)
    )
    return [_grant(row) for row in connection.execute(query.order_by(grant.c.id))]


def grants(connection: Connection, after: str | None = None, limit: int = 1000) -> list[GrantRow]:
    """All, newest first, revoked ones included; `after` is the id of the last one already shown."""
    query = select(grant).order_by(grant.c.id.desc()).limit(limit)
    return [_grant(row) for row in connection.execute(query if after is None else query.where(grant.c.id < after))]


def add_grant(connection: Connection, row: GrantRow) -> None:
    connection.execute(
        insert(grant).values(
            id=row.id, subject_kind=row.subject_kind, subject=row.subject, effect=row.value["effect"],
            resources=row.value["resources"], functions=row.value["functions"], conditions=row.value["conditions"],
            created_ms=row.created_ms, created_by=row.created_by,
        )
    )  # fmt: skip


def standing(connection: Connection, id_: str) -> GrantRow | None:
    row = connection.execute(select(grant).where(grant.c.id == id_, grant.c.revoked_ms.is_(None))).first()
    return None if row is None else _grant(row)


def revoke_grant(connection: Connection, id_: str, now_ms: int) -> bool:
    """False when there is no such standing grant."""
    done = connection.execute(
        update(grant).where(grant.c.id == id_, grant.c.revoked_ms.is_(None)).values(revoked_ms=now_ms)
    )
    return done.rowcount == 1


# --- tokens ----------------------------------------------------------------------------------------------------------

_TOKENS = select(token, department.c.name.label("unit"), department.c.removed_ms.label("unit_removed_ms")).join(
    department, department.c.id == token.c.department_id
)


def _token(row: Row[Any]) -> TokenRow:
    revoked_ms = row.revoked_ms if row.revoked_ms is not None else row.unit_removed_ms
    return TokenRow(
        row.jti, row.department_id, row.unit, row.label, row.grant_, row.issued_ms, row.expires_ms, row.issued_by,
        revoked_ms, row.revoked_by,
    )  # fmt: skip


def tokens_by_jti(connection: Connection, jtis: Iterable[str]) -> dict[str, TokenRow]:
    """A token of a removed department counts as revoked."""
    return {r.jti: _token(r) for r in connection.execute(_TOKENS.where(token.c.jti.in_(list(jtis))))}


def tokens(connection: Connection, after: str | None = None, limit: int = 1000) -> list[TokenRow]:
    """Newest first."""
    query = _TOKENS.order_by(token.c.jti.desc()).limit(limit)
    return [_token(r) for r in connection.execute(query if after is None else query.where(token.c.jti < after))]


def last_issued_ms(connection: Connection) -> int:
    """0 without any token."""
    return int(connection.execute(select(func.max(token.c.issued_ms))).scalar_one() or 0)


def tokens_between(connection: Connection, issued_before_ms: int, end_after_ms: int) -> int:
    """How many tokens, those revoked aside, were issued before the one moment and end after the other."""
    found = (token.c.revoked_ms.is_(None), token.c.issued_ms < issued_before_ms, token.c.expires_ms > end_after_ms)
    return int(connection.execute(select(func.count()).select_from(token).where(*found)).scalar_one())


def add_token(connection: Connection, row: TokenRow) -> None:
    connection.execute(
        insert(token).values(
            jti=row.jti, department_id=row.department_id, label=row.label, grant_=row.grant,
            issued_ms=row.issued_ms, expires_ms=row.expires_ms, issued_by=row.issued_by,
        )
    )  # fmt: skip


def revoke_token(connection: Connection, jti: str, by: str, now_ms: int) -> bool:
    """False when there is no such standing token."""
    done = connection.execute(
        update(token).where(token.c.jti == jti, token.c.revoked_ms.is_(None)).values(revoked_ms=now_ms, revoked_by=by)
    )
    return done.rowcount == 1
