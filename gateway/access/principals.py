"""From a credential to a `Principal` with its grants, and again from a running look's principal to a fresh one.

Belongs here: reading who it is. Does not belong here: what they may do (`tiering.access`), HTTP.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select

from config.clock import Clock, wall_ms
from config.errors import Kind, TiergateError
from gateway.access import break_glass, token_keys
from gateway.access.ids import hash_of
from gateway.access.sessions import PREFIX
from gateway.access.tokens import Claims, Tokens, standing
from gateway.access.watch import CatalogWatch
from storage.catalog import break_glass as break_glass_rows
from storage.catalog import grants as grant_rows
from storage.catalog import people, sessions, shifts, stream_passwords
from storage.catalog.engine import Catalog
from storage.catalog.grants import TokenRow
from storage.catalog.people import User
from storage.catalog.sessions import SessionRow
from storage.catalog.stream_passwords import StreamPasswordRow
from storage.catalog.tables import link
from tiering.access import narrowed
from tiering.grants import Conditions, Function, Grant, Grants, Posting, Principal, Resources, Wall

_UNIT_MAX = 58  #: of each of the two units of a person who is posted, so that a register's row names both
_CACHED = 2_000  #: principals kept between two moves of the catalog


class Principals:
    def __init__(self, catalog: Catalog, clock: Clock, tokens: Tokens, watch: CatalogWatch, home: str) -> None:
        """`home`: the unit of people without a department, as the register names it (the node's name)."""
        self._home = home
        self._catalog = catalog
        self._clock = clock
        self._tokens = tokens
        self._watch = watch
        self._cache: dict[bytes, Principal] = {}
        self._cached_stamp = -1
        self._learned_stamp = -1

    async def of(self, authorization: str | None, cookie: str | None) -> Principal | None:
        """Who asks; None without a credential. A header wins over the cookie. Raises UNAUTHENTICATED for a bad one."""
        credential = cookie
        if authorization is not None:
            scheme, _, credential = authorization.partition(" ")
            if scheme.lower() != "bearer" or not credential:
                raise TiergateError(Kind.UNAUTHENTICATED, "access.not_signed_in")
        if not credential:
            return None
        return await self.of_credential(credential.strip())

    async def of_credential(self, credential: str) -> Principal:
        """Raises UNAUTHENTICATED: access.session_over, user_disabled, token_bad, token_revoked, token_expired,
        token_key_over."""
        stamp, now_ms, key = self._watch.stamp, wall_ms(self._clock), hash_of(credential)
        if stamp != self._cached_stamp or len(self._cache) > _CACHED:
            self._cache.clear()
            self._cached_stamp = stamp
        known = self._cache.get(key)
        if known is not None and now_ms < _good_until_ms(known):
            return known
        if credential.startswith(PREFIX):
            found = await self._catalog.aread(lambda c: self.by_session(c, key, now_ms))
        else:
            claims = await self.claims_of(credential)
            rows = await self._catalog.aread(lambda c: grant_rows.tokens_by_jti(c, [claims.jti]))
            found = of_token(self._tokens.require(claims, rows.get(claims.jti)))
        if self._watch.stamp == stamp:
            self._cache[key] = found
        return found

    async def claims_of(self, text: str) -> Claims:
        """Of a token, by the keys that the catalog knows now. Raises what `Tokens.verify` raises."""
        stamp = self._watch.stamp
        if stamp != self._learned_stamp or not self._tokens.knows(text):
            self._tokens.learn(await self._catalog.aread(token_keys.read))
            self._learned_stamp = stamp
        return self._tokens.verify(text)

    def reload(self, connection: Connection, wanted: Iterable[Principal], now_ms: int) -> dict[Key, Principal]:
        """Fresh principals by `key_of`; who is disabled, revoked, expired or signed out is missing."""
        found: dict[Key, Principal] = {}
        for old in wanted:
            try:
                found[key_of(old)] = self.again(connection, old.as_json(), now_ms)
            except TiergateError:
                continue
        return found

    def again(self, connection: Connection, reference: Mapping[str, Any], now_ms: int) -> Principal:
        """The principal that `Principal.as_json` named. Raises UNAUTHENTICATED; at a wall access.shift_over where
        somebody else is on duty now, or nobody."""
        if reference.get("stream_password") is not None:
            return self.by_stream_password(connection, reference["stream_password"], now_ms)
        if reference.get("session") is not None:
            found = self.by_session(connection, bytes.fromhex(reference["session"]), now_ms)
            if found.id != reference["id"]:
                raise TiergateError(Kind.UNAUTHENTICATED, "access.shift_over")
            return found
        if reference["kind"] == "token":
            row = grant_rows.tokens_by_jti(connection, [reference["id"]]).get(reference["id"])
            if row is None:
                raise TiergateError(Kind.UNAUTHENTICATED, "access.token_bad")
            return of_token(standing(row, now_ms, token_keys.read(connection)))
        if reference["kind"] == "node":
            return of_node(connection, reference["id"])
        user = people.users(connection, [reference["id"]]).get(reference["id"])
        if user is None or user.disabled_ms is not None:
            raise TiergateError(Kind.UNAUTHENTICATED, "access.user_disabled")
        return self.of_user(connection, user, None, now_ms)

    def by_session(self, connection: Connection, id_hash: bytes, now_ms: int) -> Principal:
        """Raises access.session_over, access.user_disabled, access.token_revoked, access.token_expired,
        access.token_key_over."""
        row = sessions.sessions(connection, [id_hash]).get(id_hash)
        if row is None or row.ended_ms is not None or now_ms >= row.expires_ms:
            raise TiergateError(Kind.UNAUTHENTICATED, "access.session_over")
        if row.token_jti is not None:
            token = grant_rows.tokens_by_jti(connection, [row.token_jti]).get(row.token_jti)
            if token is None:
                raise TiergateError(Kind.UNAUTHENTICATED, "access.token_bad")
            return of_token(standing(token, now_ms, token_keys.read(connection)), row)
        user = people.users(connection, [row.user_id or ""]).get(row.user_id or "")
        if user is None or user.disabled_ms is not None:
            raise TiergateError(Kind.UNAUTHENTICATED, "access.user_disabled")
        return self.of_user(connection, user, row, now_ms)

    def by_stream_password(self, connection: Connection, id_: str, now_ms: int) -> Principal:
        """Its owner, within it. Raises access.stream_password_over, and what its owner's own end raises."""
        row = stream_passwords.by_id(connection, [id_]).get(id_)
        if row is None or row.revoked_ms is not None or now_ms >= row.expires_ms:
            raise TiergateError(Kind.UNAUTHENTICATED, "access.stream_password_over")
        return within(self.again(connection, {"kind": row.owner_kind, "id": row.owner}, now_ms), row)

    def of_user(self, connection: Connection, user: User, session: SessionRow | None, now_ms: int) -> Principal:
        """A person; of a shared wall who is on duty there, or the wall alone, which may nothing."""
        if not user.wall:
            return self._person(connection, user, session, now_ms)
        shift = None if session is None else shifts.running_on(connection, session.id_hash, now_ms)
        on_duty = None if shift is None else people.users(connection, [shift.user_id]).get(shift.user_id)
        if on_duty is not None and on_duty.disabled_ms is not None:
            on_duty = None
        wall = Wall(
            id=user.id,
            login=user.login,
            name=user.name,
            department_id=user.department_id,
            roles=frozenset(user.roles),
            grants=_grants(connection, _subjects(user, user.roles)),
            until_ms=shift.until_ms if shift is not None and on_duty is not None else None,
        )
        if on_duty is not None:
            return replace(self._person(connection, on_duty, session, now_ms), wall=wall)
        return Principal(
            kind="user",
            id=user.id,
            login=user.login,
            name=user.name,
            unit=user.unit or self._home,
            expires_ms=None if session is None else session.expires_ms,
            session=None if session is None else session.id_hash.hex(),
            wall=wall,
        )

    def _person(self, connection: Connection, user: User, session: SessionRow | None, now_ms: int) -> Principal:
        opened = break_glass_rows.running_of(connection, user.id, now_ms)
        roles = frozenset(user.roles) | (break_glass.ROLES_GIVEN if opened is not None else frozenset())
        unit, posting = user.unit or self._home, _posting(connection, user, now_ms)
        return Principal(
            kind="user",
            id=user.id,
            login=user.login,
            name=user.name,
            unit=unit if posting is None else f"{unit[:_UNIT_MAX]} → {posting.unit[:_UNIT_MAX]}",
            department_id=user.department_id,
            roles=roles,
            grants=_grants(connection, _subjects(user, roles)),
            expires_ms=None if session is None else session.expires_ms,
            session=None if session is None else session.id_hash.hex(),
            must_change=user.must_change,
            posting=posting if opened is None else None,
            opened_until_ms=None if opened is None else opened.until_ms,
        )


def _subjects(user: User, roles: Iterable[str]) -> list[tuple[str, str]]:
    """Whom a grant may name so that it is this account's."""
    subjects = [("user", user.id), *(("role", role) for role in sorted(roles))]
    return subjects if user.department_id is None else [*subjects, ("department", user.department_id)]


def _grants(connection: Connection, subjects: list[tuple[str, str]]) -> Grants:
    loaded = []
    for row in grant_rows.grants_of(connection, subjects):
        source = {"user": "user", "role": "role", "department": "department"}[row.subject_kind]
        loaded.append(Grant.from_json(row.id, source, row.value))  # type: ignore[arg-type]  # one of the three words above
    return Grants(loaded)


def _posting(connection: Connection, user: User, now_ms: int) -> Posting | None:
    if user.posted_to is None or user.posted_until_ms is None or now_ms >= user.posted_until_ms:
        return None
    grants = _grants(connection, [("department", user.posted_to)])
    return Posting(user.posted_to, user.posted_unit, grants, user.posted_until_ms)


def _good_until_ms(principal: Principal) -> float:
    """When what is kept of a principal must be read again at the latest."""
    posting, wall = principal.posting, principal.wall
    ends = [
        principal.expires_ms,
        principal.opened_until_ms,
        None if posting is None else posting.until_ms,
        None if wall is None else wall.until_ms,
    ]
    return min((end for end in ends if end is not None), default=math.inf)


Key = tuple[str, str, str | None, str | None]


def key_of(principal: Principal) -> Key:
    return principal.kind, principal.id, principal.session, principal.stream_password


def within(owner: Principal, row: StreamPasswordRow) -> Principal:
    """`owner` as far as a stream password reaches. Raises access.must_change."""
    if owner.must_change:
        raise TiergateError(Kind.FORBIDDEN, "access.must_change")
    conditions = Conditions(
        valid_to_ms=row.expires_ms, max_stream="sub" if row.max_stream == "sub" else "main", networks=row.networks
    )
    reach = Grant(row.id, "user", Resources(cameras=frozenset(row.cameras)), frozenset({Function.LIVE}), conditions)
    return replace(narrowed(owner, reach), stream_password=row.id, unmarked=bool(row.unmarked_basis))


def of_token(row: TokenRow, session: SessionRow | None = None) -> Principal:
    ends = [row.expires_ms] if session is None else [row.expires_ms, session.expires_ms]
    return Principal(
        kind="token",
        id=row.jti,
        login=row.label,
        name=row.label,
        unit=row.unit,
        department_id=row.department_id,
        grants=(Grant.from_json(row.jti, "token", row.grant),),
        expires_ms=min(ends),
        session=None if session is None else session.id_hash.hex(),
    )


def of_node(connection: Connection, node_id: str) -> Principal:
    """A paired node; its rights are the leases granted to it. Raises UNAUTHENTICATED for one that is not paired now."""
    row = connection.execute(
        select(link).where(link.c.peer_node == node_id, link.c.suspended_ms.is_(None), link.c.removed_ms.is_(None))
    ).first()
    if row is None:
        raise TiergateError(Kind.UNAUTHENTICATED, "access.not_signed_in")
    return Principal("node", node_id, row.peer_name, row.peer_name, row.peer_region)
