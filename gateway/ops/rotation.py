"""Keys of the node exchanged while it runs. Audited as ``os:<login>``.

The sealing key: the key to come is on the disk before the catalog names it; from then on everything is sealed with it,
by every process; what the old key sealed is sealed anew in short transactions; only when nothing is left does the new
key take the old one's name. So at every moment each row names a key that is in the folder, and whoever meets a key that
is new to them reads the folder. Killed anywhere, the same command goes on where it was.

The key of tokens: in one transaction the catalog names the new key, which is on the disk by then, and the end of the
old one's window; processes learn of it as they learn of every change.

Belongs here: the order of steps. Does not belong here: files of keys (`gateway.access.keys`), sealing
(`gateway.access.secrets`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection

from config.clock import make_clock, wall_ms
from config.crypto import DEFAULT_SUITE, key_id
from config.errors import Kind, TiergateError
from config.settings import Settings
from config.units import DAY_MS
from gateway.access import token_keys
from gateway.access.keys import load_keys, make_next, read_both, require_owner, sealing_id, take_next
from gateway.access.secrets import SEALING, Secrets
from gateway.access.token_keys import KeyBook, TokenKey
from gateway.access.tokens import MOST_MS
from gateway.ops.locks import KEYS_LOCK, alone
from gateway.ops.store_work import open_catalog
from storage.audit import log as audit
from storage.catalog import cameras, facts, grants
from storage.catalog.cameras import CredentialRow
from storage.catalog.engine import Catalog

BATCH_ROWS = 100  #: accounts sealed anew per transaction
_SHOWN_CAMERAS = 5


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What an exchange of the sealing key did."""

    key: str  #: id of the new key
    before: str  #: of the old one
    rows: int  #: sealed anew, this time
    resumed: bool  #: an exchange that was broken off was finished, and no other begun
    unreadable: int  #: accounts of no camera that no key opens: left as they are

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def rotate_sealing(settings: Settings, actor: str) -> Exchanged:
    """Exchanges the key that seals cameras' accounts, or finishes an exchange that was broken off.

    Raises access.keys_missing, access.keys_owner, access.keys_busy, access.accounts_unreadable.
    """
    folder = settings.paths.keys_dir
    require_owner(folder)
    with alone(settings.paths.run_dir / KEYS_LOCK, "access.keys_busy"), open_catalog(settings) as catalog:
        keys, now_ms = load_keys(settings), wall_ms(make_clock(settings))
        state = catalog.read(lambda c: facts.get(c, SEALING))
        current, coming = read_both(folder, "sealing")
        before = sealing_id(current)
        work = _Exchange(catalog, Secrets(keys), actor, now_ms)
        if coming is None and state is not None and not state["done"] and state["key"] == before:
            return work.finish(before, state["before"], resumed=True)  # only its last words are missing
        work.require_readable()
        key = sealing_id(make_next(folder, "sealing"))
        work.begin(key, before)
        work.seal_anew(key)
        take_next(folder, "sealing")
        return work.finish(key, before, resumed=coming is not None)


class _Exchange:
    def __init__(self, catalog: Catalog, secrets: Secrets, actor: str, now_ms: int) -> None:
        self._catalog, self._secrets = catalog, secrets
        self._actor, self._now_ms = actor, now_ms
        self._rows = 0

    def require_readable(self) -> None:
        """Every account of a camera opens. Raises access.accounts_unreadable."""

        def query(connection: Connection) -> list[str]:
            rows = cameras.sealed_with_others(connection, "")
            return cameras.users_of(connection, [row.id for row in rows if not self._opens(row)])

        found = self._catalog.read(query)
        if found:
            shown = ", ".join(found[:_SHOWN_CAMERAS])
            raise TiergateError(Kind.CONFLICT, "access.accounts_unreadable", count=len(found), cameras=shown)

    def begin(self, key: str, before: str) -> None:
        """From here on everything is sealed with `key`."""

        def change(connection: Connection) -> None:
            state = facts.get(connection, SEALING)
            if state is None or state["key"] != key:
                facts.set(connection, SEALING, {"key": key, "before": before, "done": False})
                audit.append(connection, self._now_ms, self._actor, "secrets.rotate", key, {"before": before})

        self._catalog.write(change)

    def seal_anew(self, key: str) -> None:
        last: str | None = ""
        while last is not None:
            last, count = self._catalog.write(partial(self._batch, key=key, after=last))
            self._rows += count

    def _batch(self, connection: Connection, key: str, after: str) -> tuple[str | None, int]:
        """(the last id of the batch, or None when there is none; how many of it were sealed anew)."""
        rows = cameras.sealed_with_others(connection, key, after, BATCH_ROWS)
        readable = [row for row in rows if self._opens(row)]
        for row in readable:
            cameras.seal_anew(connection, row.id, self._secrets.sealed(key, row.id, self._secrets.open(row)), key)
        return (rows[-1].id if rows else None), len(readable)

    def finish(self, key: str, before: str, resumed: bool) -> Exchanged:
        def change(connection: Connection) -> int:
            left = len(cameras.sealed_with_others(connection, key))
            facts.set(connection, SEALING, {"key": key, "before": before, "done": True})
            details = {"before": before, "unreadable": left}
            audit.append(connection, self._now_ms, self._actor, "secrets.rotated", key, details)
            return left

        left = self._catalog.write(change)
        self._catalog.checkpoint()  # the log holds pages as they were before
        return Exchanged(key, before, self._rows, resumed, left)

    def _opens(self, row: CredentialRow) -> bool:
        try:
            self._secrets.open(row)
        except TiergateError:
            return False
        return True


# --- the key of tokens ---


@dataclass(frozen=True, slots=True)
class TokenKeyExchanged:
    """What an exchange of the key that signs departments' tokens did."""

    key: str  #: id of the new key
    before: str  #: of the old one
    until_ms: int  #: from here on its tokens are refused
    cut: int  #: tokens that would have worked longer
    resumed: bool  #: an exchange that was broken off was finished, and no other begun

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def rotate_token(settings: Settings, actor: str, overlap_ms: int) -> TokenKeyExchanged:
    """Exchanges the key that signs tokens, or finishes an exchange that was broken off.

    Tokens that the old key signed, and any before it, are taken for `overlap_ms` more at the longest. Raises
    access.keys_missing, access.keys_owner, access.keys_busy, access.token_overlap.
    """
    if overlap_ms > MOST_MS:
        raise TiergateError(Kind.INVALID, "access.token_overlap", most_days=MOST_MS // DAY_MS)
    folder = settings.paths.keys_dir
    require_owner(folder)
    with alone(settings.paths.run_dir / KEYS_LOCK, "access.keys_busy"), open_catalog(settings) as catalog:
        now_ms = wall_ms(make_clock(settings))
        current, coming = read_both(folder, "token")
        book = catalog.read(token_keys.read)
        if coming is not None and book.signing == _token_key(coming):  # only its name is missing
            take_next(folder, "token")
            return _told(catalog, book, resumed=True)
        old, new = _token_key(current), _token_key(make_next(folder, "token"))

        def change(connection: Connection) -> KeyBook:
            # Later than every token that the old key signed, whatever the clock did.
            retired_ms = max(now_ms, grants.last_issued_ms(connection) + 1)
            until_ms = now_ms + overlap_ms
            made = token_keys.exchange(connection, old, new, retired_ms, until_ms, now_ms - MOST_MS)
            details = {"before": old.key_id, "until_ms": until_ms}
            audit.append(connection, now_ms, actor, "token.rotate_key", new.key_id, details)
            return made

        book = catalog.write(change)
        take_next(folder, "token")
        return _told(catalog, book, resumed=False)


def _token_key(private: bytes) -> TokenKey:
    public = DEFAULT_SUITE.public_key(private)
    return TokenKey(key_id(public), public)


def _told(catalog: Catalog, book: KeyBook, resumed: bool) -> TokenKeyExchanged:
    last = book.old[-1]
    cut = catalog.read(lambda c: grants.tokens_between(c, last.retired_ms, last.until_ms))
    key = book.signing.key_id if book.signing is not None else ""
    return TokenKeyExchanged(key, last.key_id, last.until_ms, cut, resumed)
