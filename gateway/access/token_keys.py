"""Which key signed which token: the key in force, and those before it, each until its window ends.

An exchange (`gateway.ops.rotation`) and the issue of a token are write transactions, one after the other: a token
issued before the moment of an exchange was signed by the key before it, and no later one was. So a row says by
`issued_ms` which key its token must name, and a stolen key that was exchanged signs nothing new.

Belongs here: the fact and what follows from it. Does not belong here: private keys (`gateway.access.keys`), the form of
tokens (`gateway.access.tokens`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from config.crypto import b64, unb64
from storage.catalog import facts
from storage.catalog.grants import TokenRow

#: fact: {"signing": {"key", "public"}, "old": [{"key", "public", "retired_ms", "until_ms"}]}, oldest first. Absent
#: until the first exchange.
BOOK = "keys.token"


@dataclass(frozen=True, slots=True)
class TokenKey:
    key_id: str
    public: bytes


@dataclass(frozen=True, slots=True)
class OldKey(TokenKey):
    retired_ms: int  #: tokens issued from here on are not its own
    until_ms: int  #: from here on its tokens are refused


@dataclass(frozen=True, slots=True)
class KeyBook:
    """What the catalog knows of the keys; nothing before the first exchange."""

    signing: TokenKey | None = None
    old: tuple[OldKey, ...] = ()

    @property
    def earliest_ms(self) -> int:
        """A token that is issued now is not issued before this, whatever a clock says that was set back."""
        return max((key.retired_ms for key in self.old), default=0)

    def signer(self, issued_ms: int) -> TokenKey | None:
        """The key of a token issued then; None: the only key that there ever was."""
        return next((key for key in self.old if issued_ms < key.retired_ms), self.signing)

    def cut(self, row: TokenRow) -> TokenRow:
        """The row with the end that it really has: not after the window of its key."""
        signer = self.signer(row.issued_ms)
        if isinstance(signer, OldKey) and signer.until_ms < row.expires_ms:
            return replace(row, expires_ms=signer.until_ms)
        return row

    def published(self, now_ms: int) -> Iterator[TokenKey]:
        """Keys whose tokens are taken now, the one in force first."""
        if self.signing is not None:
            yield self.signing
        yield from (key for key in reversed(self.old) if now_ms < key.until_ms)

    def as_json(self) -> dict[str, Any]:
        old = [_json(key) | {"retired_ms": key.retired_ms, "until_ms": key.until_ms} for key in self.old]
        return {"signing": self.signing and _json(self.signing), "old": old}


def _json(key: TokenKey) -> dict[str, Any]:
    return {"key": key.key_id, "public": b64(key.public)}


def read(connection: Connection) -> KeyBook:
    value = facts.get(connection, BOOK)
    if value is None:
        return KeyBook()
    signing = TokenKey(value["signing"]["key"], unb64(value["signing"]["public"]))
    old = (OldKey(k["key"], unb64(k["public"]), k["retired_ms"], k["until_ms"]) for k in value["old"])
    return KeyBook(signing, tuple(old))


def exchange(
    connection: Connection, old: TokenKey, new: TokenKey, retired_ms: int, until_ms: int, forget_before_ms: int
) -> KeyBook:
    """`new` signs from now on; `old`, and whatever came before it, is taken until `until_ms` at the longest. Keys
    retired before `forget_before_ms` have no token left."""
    before = [replace(k, until_ms=min(k.until_ms, until_ms)) for k in read(connection).old]
    kept = [k for k in before if k.retired_ms >= forget_before_ms]
    book = KeyBook(new, (*kept, OldKey(old.key_id, old.public, retired_ms, until_ms)))
    facts.set(connection, BOOK, book.as_json())
    return book
