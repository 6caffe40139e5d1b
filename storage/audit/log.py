"""The audit log: a hash chain in the catalog, written inside the transaction of the act it records. (FAULTS S18, S19)

Each entry's digest covers its own fields and the digest before it, so a changed, removed, inserted or reordered entry
breaks the chain at its place. A cut of the *end* leaves a chain that is whole; the signed checkpoints, kept outside
the catalog, show it.

Encoding, version 1: the digest is over ``tiergate-audit-1\\n`` and then each field as 8-byte length and bytes:
previous digest, seq and at_ms as decimal text, actor, action, subject, canonical JSON of details. No two entries have
the same encoding.

Belongs here: chain, checkpoints, export, and the check of an export away from any node. Does not belong here: which
acts are recorded (their callers), where checkpoints are kept (the keeper puts them into the store).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, or_, select

from config import crypto
from storage.catalog.tables import audit

FORMAT = "tiergate-audit-1"
GENESIS = bytes(32)  #: `previous` of the first entry

_DIGEST = crypto.DEFAULT_SUITE.digest


@dataclass(frozen=True, slots=True)
class Entry:
    seq: int
    at_ms: int
    actor: str  #: user:<login>, token:<jti>, node:<id>, os:<login>, system:<process>
    action: str  #: noun.verb
    subject: str
    details: Any
    previous: bytes
    digest: bytes

    def as_json(self) -> dict[str, Any]:
        return {
            "seq": self.seq,
            "at_ms": self.at_ms,
            "actor": self.actor,
            "action": self.action,
            "subject": self.subject,
            "details": self.details,
            "previous": self.previous.hex(),
            "digest": self.digest.hex(),
        }


def canonical_json(value: Any) -> bytes:
    """One text for one value: sorted keys, no spaces, UTF-8; NaN and other non-JSON raise ValueError or TypeError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def entry_digest(seq: int, at_ms: int, actor: str, action: str, subject: str, details: Any, previous: bytes) -> bytes:
    encoded = bytearray(FORMAT.encode() + b"\n")
    texts = (str(seq).encode(), str(at_ms).encode(), actor.encode(), action.encode(), subject.encode())
    for part in (previous, *texts, canonical_json(details)):
        encoded += len(part).to_bytes(8, "big") + part
    return _DIGEST(bytes(encoded))


_ENTRY = (
    audit.c.seq, audit.c.at_ms, audit.c.actor, audit.c.action, audit.c.subject, audit.c.details, audit.c.previous,
    audit.c.digest,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries a reader wants to see."""

    action: str | None = None  #: or the prefix of a noun, ending with a dot
    actor: str | None = None  #: a login alone is its user's: ``li`` for ``user:li``
    subject: str | None = None  #: or a part of it
    from_ms: int | None = None
    to_ms: int | None = None  #: exclusive


_HEAD = select(audit.c.seq, audit.c.digest).order_by(audit.c.seq.desc()).limit(1)


def head(connection: Connection) -> tuple[int, bytes]:
    """(seq, digest) of the last entry; (0, GENESIS) before the first."""
    row = connection.execute(_HEAD).first()
    return (row.seq, row.digest) if row is not None else (0, GENESIS)


def began_ms(connection: Connection) -> int | None:
    """When the first entry was written; None before it."""
    return connection.execute(select(audit.c.at_ms).order_by(audit.c.seq).limit(1)).scalar_one_or_none()


def append(connection: Connection, now_ms: int, actor: str, action: str, subject: str, details: Any) -> int:
    """Records an act; call it in the write transaction of the act itself, so that both commit or neither. Its seq.

    `details` must be JSON and free of secrets. Names are cut to their columns, never refused: an act must not become
    impossible because its subject has a long name.
    """
    actor, action, subject = actor[:120], action[:60], subject[:200]
    details = json.loads(canonical_json(details))  # what a reader will get back: tuples are lists, keys are texts
    last, previous = head(connection)
    seq = last + 1
    digest = entry_digest(seq, now_ms, actor, action, subject, details, previous)
    connection.execute(
        insert(audit).values(
            seq=seq, at_ms=now_ms, actor=actor, action=action, subject=subject, details=details, previous=previous,
            digest=digest,
        )
    )  # fmt: skip
    return seq


def entries(
    connection: Connection, after_seq: int = 0, limit: int = 500, action: str | None = None, actor: str | None = None
) -> list[Entry]:
    """Oldest first, from behind `after_seq`; `action` may be a prefix that ends with a dot (``hold.``)."""
    query = select(*_ENTRY).where(audit.c.seq > after_seq).order_by(audit.c.seq).limit(limit)
    return [Entry(*row) for row in connection.execute(_filtered(query, action, actor))]


def tail(
    connection: Connection,
    limit: int = 50,
    before_seq: int | None = None,
    action: str | None = None,
    actor: str | None = None,
    *,
    wanted: Filter | None = None,
) -> list[Entry]:
    """Newest first; the next page is before the last seq of this one. `wanted` stands for `action` and `actor`."""
    wanted = wanted or Filter(action, actor)
    query = select(*_ENTRY).order_by(audit.c.seq.desc()).limit(limit)
    if before_seq is not None:
        query = query.where(audit.c.seq < before_seq)
    if wanted.subject is not None:
        query = query.where(audit.c.subject.contains(wanted.subject, autoescape=True))
    if wanted.from_ms is not None:
        query = query.where(audit.c.at_ms >= wanted.from_ms)
    if wanted.to_ms is not None:
        query = query.where(audit.c.at_ms < wanted.to_ms)
    return [Entry(*row) for row in connection.execute(_filtered(query, wanted.action, wanted.actor))]


def _filtered(query: Any, action: str | None, actor: str | None) -> Any:
    if action is not None:
        query = query.where(
            audit.c.action.startswith(action, autoescape=True) if action.endswith(".") else audit.c.action == action
        )
    if actor is None:
        return query
    # Who is on duty at a wall is one of two actors in a row: `user:li wall:hall` is found by either.
    return query.where(
        or_(
            *(audit.c.actor == one for one in _actors(actor)),
            *(audit.c.actor.startswith(f"{one} ", autoescape=True) for one in _actors(actor)),
            *(audit.c.actor.endswith(f" {one}", autoescape=True) for one in _actors(actor)),
        )
    )


def _actors(given: str) -> tuple[str, ...]:
    return (given,) if ":" in given else (given, f"user:{given}")


def verify(rows: Iterable[Entry], after: tuple[int, bytes] = (0, GENESIS)) -> int | None:
    """The seq at which the chain is first broken, None when it is whole. `after`: seq and digest before the first row.

    For a missing entry it is the seq that should stand there.
    """
    seq, previous = after
    for row in rows:
        seq += 1
        try:
            digest = entry_digest(row.seq, row.at_ms, row.actor, row.action, row.subject, row.details, row.previous)
        except (ValueError, TypeError, AttributeError):
            return seq
        if row.seq != seq or row.previous != previous or row.digest != digest:
            return seq
        previous = row.digest
    return None


def verify_catalog(connection: Connection, page: int = 1_000) -> int | None:
    """`verify` over the whole log, a page at a time."""
    at = (0, GENESIS)
    while rows := entries(connection, at[0], page):
        bad = verify(rows, at)
        if bad is not None:
            return bad
        at = (rows[-1].seq, rows[-1].digest)
    return None


# --- checkpoints ---


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed statement that the log had this head at this time."""

    seq: int
    digest: bytes
    at_ms: int
    public_key: bytes
    signature: crypto.Signed

    def as_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "seq": self.seq,
            "digest": self.digest.hex(),
            "at_ms": self.at_ms,
            "public_key": crypto.b64(self.public_key),
            "signature": self.signature.as_text(),
        }

    @classmethod
    def from_json(cls, value: Any) -> Checkpoint:
        """Raises ValueError on another shape."""
        try:
            if value["format"] != FORMAT:
                raise ValueError("unknown format")
            return cls(
                int(value["seq"]), bytes.fromhex(value["digest"]), int(value["at_ms"]),
                crypto.unb64(value["public_key"]), crypto.Signed.from_text(value["signature"]),
            )  # fmt: skip
        except (KeyError, TypeError, AttributeError, OverflowError) as exc:
            raise ValueError("not a checkpoint") from exc

    @classmethod
    def from_text(cls, text: bytes | str) -> Checkpoint:
        """Raises ValueError on another shape."""
        try:
            return cls.from_json(json.loads(text))
        except RecursionError as exc:
            raise ValueError("not a checkpoint") from exc


def _statement(seq: int, digest: bytes, at_ms: int) -> bytes:
    return f"{FORMAT} checkpoint\n{seq}\n{digest.hex()}\n{at_ms}\n".encode()


def checkpoint(connection: Connection, private_key: bytes, now_ms: int) -> Checkpoint:
    """A signed head of the log as it is now."""
    public_key = crypto.DEFAULT_SUITE.public_key(private_key)
    return signed_head(connection, public_key, lambda text: crypto.sign(private_key, text), now_ms)


def signed_head(
    connection: Connection, public_key: bytes, sign: Callable[[bytes], crypto.Signed], now_ms: int
) -> Checkpoint:
    """The same by somebody who keeps the private key."""
    seq, digest = head(connection)
    return Checkpoint(seq, digest, now_ms, public_key, sign(_statement(seq, digest, now_ms)))


def signature_holds(made: Checkpoint, trusted_key: bytes | None) -> bool:
    key = made.public_key if trusted_key is None else trusted_key
    return crypto.verify(key, _statement(made.seq, made.digest, made.at_ms), made.signature)


# --- export ---


def export(rows: Iterable[Entry], checkpoints: Iterable[Checkpoint] = ()) -> Iterator[str]:
    """NDJSON: a line of format, each entry, then the checkpoints. `verify_export` needs nothing but these lines."""
    yield _line({"kind": "tiergate-audit", "format": FORMAT})
    for row in rows:
        yield _line({"kind": "entry", **row.as_json()})
    for made in checkpoints:
        yield _line({"kind": "checkpoint", **made.as_json()})


def _line(value: dict[str, Any]) -> str:
    return canonical_json(value).decode() + "\n"


@dataclass(frozen=True, slots=True)
class ExportVerdict:
    first_seq: int | None
    last_seq: int | None
    entries: int
    checkpoints: int  #: with a good signature, on entries of this export
    bad: str | None  #: what is wrong first: a code of this module and where; None when everything holds

    @property
    def whole(self) -> bool:
        return self.bad is None


def verify_export(
    lines: Iterable[str], trusted_key: bytes | None = None, anchors: Iterable[Checkpoint] = ()
) -> ExportVerdict:
    """Judges an export by itself: chain and checkpoints. A part of a log is judged from its first entry on.

    `anchors` are checkpoints that were kept elsewhere. Whoever has the machine can write every line of an export anew,
    checkpoints left out or signed by a key of their own; what they cannot change is a head that has left. With anchors
    the export must be the whole log from its first entry on and hold each of these heads.
    """
    digests: dict[int, bytes] = {}
    first: int | None = None
    at: tuple[int, bytes] | None = None
    good = 0

    def verdict(bad: str | None) -> ExportVerdict:
        return ExportVerdict(first, at[0] if at else None, len(digests), good, bad)

    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line, object_pairs_hook=_once)
            kind = value["kind"]
            if number == 1:
                if value != {"kind": "tiergate-audit", "format": FORMAT}:
                    return verdict("format: line 1")
                continue
            if kind == "entry":
                entry = _entry_of(value)
                _require_same(value, {"kind": "entry", **entry.as_json()})
                if at is None:
                    first = entry.seq
                    at = (entry.seq - 1, GENESIS if entry.seq == 1 else entry.previous)
                if verify([entry], at) is not None:
                    return verdict(f"chain: seq {at[0] + 1}")
                digests[entry.seq] = entry.digest
                at = (entry.seq, entry.digest)
            elif kind == "checkpoint":
                made = Checkpoint.from_json(value)
                _require_same(value, {"kind": "checkpoint", **made.as_json()})
                if not signature_holds(made, trusted_key):
                    return verdict(f"signature: line {number}")
                if first is None or made.seq >= first:
                    if _digest_at(digests, made.seq) != made.digest:
                        return verdict(f"checkpoint: seq {made.seq}")
                    good += 1
            else:
                return verdict(f"line: {number}")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return verdict(f"line: {number}")
    for kept in anchors:
        if not signature_holds(kept, trusted_key):
            return verdict(f"signature: anchor {kept.seq}")
        if first not in (None, 1):
            return verdict(f"start: seq {first}")
        if _digest_at(digests, kept.seq) != kept.digest:
            return verdict(f"anchor: seq {kept.seq}")
        good += 1
    return verdict(None)


def read_checkpoints(lines: Iterable[str]) -> list[Checkpoint]:
    """The checkpoints of a file: one a line, as ``/audit/checkpoint`` gives them, as they lie in the store, or as
    the lines of an export. Raises ValueError when there is none, or on a line that is neither entry nor checkpoint."""
    found: list[Checkpoint] = []
    for line in lines:
        if not line.strip():
            continue
        value = json.loads(line, object_pairs_hook=_once)
        if not isinstance(value, dict):
            raise ValueError("not a checkpoint")
        if value.get("kind") not in ("tiergate-audit", "entry"):
            found.append(Checkpoint.from_json(value))
    if not found:
        raise ValueError("no checkpoint")
    return found


def _digest_at(digests: dict[int, bytes], seq: int) -> bytes | None:
    return digests.get(seq, GENESIS if seq == 0 else None)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names stand once: of a name that stands twice, another reader may see the other value."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _require_same(written: dict[str, Any], understood: dict[str, Any]) -> None:
    """A line may say nothing that its digest or signature does not cover: 1.5 read as 1, a name of its own."""
    if canonical_json(written) != canonical_json(understood):
        raise ValueError("more or other than was signed")


def _entry_of(value: dict[str, Any]) -> Entry:
    return Entry(
        int(value["seq"]), int(value["at_ms"]), str(value["actor"]), str(value["action"]), str(value["subject"]),
        value["details"], bytes.fromhex(value["previous"]), bytes.fromhex(value["digest"]),
    )  # fmt: skip
