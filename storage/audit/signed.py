"""Signed heads of the audit log in the store, and whether the log still holds them. (FAULTS S18)

Whoever can write the catalog can cut the log's end and set every mark in the catalog to fit. What was signed lies in
the store, ``<node>/_catalog/audit/<yyyy>/<mm>/<dd>/<at_ms>-<seq>.json``. So:

1. The log is judged by the newest head that the *store* has; no mark of the catalog says which one that is.
2. A head is signed only over a log that holds the newest one. Over another nothing is signed: the contradiction stays
   in the store, where who cut cannot reach it, and stands as a fact and an entry `audit.cut` until a person reviews it.
   Entries are recorded meanwhile as always.
3. A head that the log does not hold is excused by a later entry alone, of a restore or of a review, that carries a
   statement by the node's key: from which entry on, and signed until when. Who writes rows has no such key.

The newest is the one of the furthest entry, not of the latest date: a head that was signed while the clock ran ahead
must not hide those that came after it.

Belongs here: writing, reading and judging these heads. Does not belong here: what a head is (`storage.audit.log`), who
may review (`gateway.web.routers.checkpoints`), the alarm (`gateway.ops.checks_catalog`).
"""

from __future__ import annotations

import logging
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, select

from config import crypto
from config.errors import Kind, TiergateError
from config.units import DAY_MS, HOUR_MS, format_time_ms
from storage.audit import log
from storage.audit.log import GENESIS, Checkpoint
from storage.catalog import facts
from storage.catalog.engine import Catalog
from storage.catalog.tables import audit
from storage.keys import CATALOG_FOLDER, dated_key
from storage.objects.asked import AskedStore
from storage.objects.base import ObjectStore

_log = logging.getLogger(__name__)

T = TypeVar("T")

#: Fact {"seq", "at_ms"} of the last signed head in the store: for metrics, and for a keeper that took turns with
#: another. Nothing is proven by it.
MARK = "audit.checkpoint"
CUT = "audit.cut"  #: fact {"from_seq", "to_seq", "signed_ms", "found_ms"} until the review; action of the entry as well
REVIEWED = "audit.review"  #: action
RESTORED = "node.restore"  #: action
ACTOR = "keeper"
#: A head that does not move is signed again this often: it proves that nothing happened.
QUIET_MS = HOUR_MS
#: Of a node that runs, a head of each hour lies in this; when there is none, all are listed.
RECENT_MS = 2 * DAY_MS
_NAME = re.compile(r"[0-9]{4}/[0-9]{2}/[0-9]{2}/([0-9]{13})-([0-9]{12,18})\.json")


class Read(Protocol):
    """A transaction that reads; each call may be one of its own."""

    def __call__(self, query: Callable[[Connection], T], /) -> T: ...


# --- heads in the store ---


def checkpoint_prefix(node: str) -> str:
    return f"{node}/{CATALOG_FOLDER}/audit/"


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """What the key of a head says of it."""

    at_ms: int
    seq: int
    key: str


def names(store: ObjectStore | AskedStore, node: str, from_ms: int = 0) -> list[Name]:
    """Of the heads in the store, oldest first. Raises what the store raises."""
    prefix = checkpoint_prefix(node)
    start_after = dated_key(prefix, from_ms, 0) if from_ms > 0 else ""
    found = []
    for info in store.list(prefix, start_after):
        match = _NAME.fullmatch(info.key.removeprefix(prefix))
        if match is not None:
            found.append(Name(int(match[1]), int(match[2]), info.key))
    return sorted(found)


def read_head(store: ObjectStore | AskedStore, name: Name, public_key: bytes) -> Checkpoint | None:
    """None for what this node did not sign under this name. Raises media.store_unavailable, media.store_refused."""
    try:
        made = Checkpoint.from_text(store.read(name.key))
    except ValueError:
        return None
    except TiergateError as exc:
        if exc.kind is Kind.NOT_FOUND:
            return None
        raise
    return made if (made.at_ms, made.seq) == (name.at_ms, name.seq) and log.signature_holds(made, public_key) else None


def newest(store: ObjectStore | AskedStore, found: Sequence[Name], public_key: bytes) -> Checkpoint | None:
    """The last of `found` that this node signed."""
    heads = (read_head(store, name, public_key) for name in reversed(found))
    return next((made for made in heads if made is not None), None)


# --- what excuses a head that the log does not hold ---


@dataclass(frozen=True, slots=True)
class Excuse:
    """Of the heads of entries behind `after_seq`, up to `to_seq`, those signed no later than `until_ms` need not hold.

    A clock that was ahead when they were signed, or is behind now, leaves the heads of these entries unjudged until it
    is past `until_ms` or the log past `to_seq`.
    """

    after_seq: int
    digest: bytes  #: of the entry `after_seq`: the statement is worth nothing in another log
    to_seq: int | None  #: None: nobody knows how far the log had come
    until_ms: int

    def covers(self, at_ms: int, seq: int) -> bool:
        return self.after_seq < seq and at_ms <= self.until_ms and (self.to_seq is None or seq <= self.to_seq)

    def signed(self, private_key: bytes) -> dict[str, Any]:
        """For the details of the entry that excuses."""
        return {
            "after_seq": self.after_seq,
            "digest": self.digest.hex(),
            "to_seq": self.to_seq,
            "until_ms": self.until_ms,
            "signature": crypto.sign(private_key, self._statement()).as_text(),
        }

    @classmethod
    def of(cls, details: Any, public_key: bytes) -> Excuse | None:
        """What `signed` put into the details of an entry; None without one, or where another key signed."""
        try:
            value = details["excuses"]
            to_seq = None if value["to_seq"] is None else int(value["to_seq"])
            made = cls(int(value["after_seq"]), bytes.fromhex(value["digest"]), to_seq, int(value["until_ms"]))
            signature = crypto.Signed.from_text(value["signature"])
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        return made if crypto.verify(public_key, made._statement(), signature) else None

    def _statement(self) -> bytes:
        return f"{log.FORMAT} excuse\n{self.after_seq}\n{self.digest.hex()}\n{self.to_seq}\n{self.until_ms}\n".encode()


def excuses(connection: Connection, public_key: bytes, after_seq: int = 0) -> list[Excuse]:
    """Those of the entries behind `after_seq` that the node's key signed for this log."""
    query = select(audit.c.seq, audit.c.details).where(
        audit.c.action.in_((RESTORED, REVIEWED)), audit.c.seq > after_seq
    )
    found = []
    for seq, details in connection.execute(query).all():
        made = Excuse.of(details, public_key)
        if made is not None and made.after_seq < seq and _digest_at(connection, made.after_seq) == made.digest:
            found.append(made)
    return found


def holds(connection: Connection, made: Checkpoint) -> bool:
    """Whether the log has this head; its signature was looked at when it was read."""
    return _digest_at(connection, made.seq) == made.digest


def _digest_at(connection: Connection, seq: int) -> bytes | None:
    if seq == 0:
        return GENESIS
    return connection.execute(select(audit.c.digest).where(audit.c.seq == seq)).scalar_one_or_none()


# --- judging ---


@dataclass(frozen=True, slots=True)
class Cut:
    """The log does not hold a head that was signed, and nothing excuses it."""

    against: Checkpoint  #: of such heads the one of the furthest entry
    after_seq: int  #: of the furthest head that the log does hold; 0: none
    after_digest: bytes
    until_ms: int  #: when the last head behind that was signed

    @property
    def from_seq(self) -> int:
        """From here on nothing shows that entries are those that were signed."""
        return self.after_seq + 1

    @property
    def to_seq(self) -> int:
        return self.against.seq

    def as_json(self) -> dict[str, int]:
        return {"from_seq": self.from_seq, "to_seq": self.to_seq, "signed_ms": self.against.at_ms}


@dataclass(frozen=True, slots=True)
class Standing:
    """What the signed heads in the store say of the log."""

    newest: Checkpoint | None = None  #: of the furthest entry, of heads that need no excuse: it holds
    cut: Cut | None = None
    excused: bool = False  #: there are heads that a restore or a review excuses

    def as_json(self) -> dict[str, Any]:
        """`state`: ``holds``, ``cut``, or ``unknown`` when the store has no head to judge by."""
        if self.cut is not None:
            return {"state": "cut", **self.cut.as_json()}
        if self.newest is None:
            return {"state": "unknown"}
        return {"state": "holds", "seq": self.newest.seq, "signed_ms": self.newest.at_ms}


def judge(
    read: Read, store: ObjectStore | AskedStore, node: str, public_key: bytes, now_ms: int, last_ms: int | None = None
) -> Standing:
    """One listing of two days, one object and one row, as long as the log holds. Raises what the store raises.

    `last_ms`: when a head was signed that must be among those looked at. The store is asked first and the log
    afterwards: whoever signs meanwhile signs what the log has already.
    """
    look = _Look(read, store, public_key)
    from_ms = min(now_ms, now_ms if last_ms is None else last_ms) - RECENT_MS
    recent = names(store, node, from_ms)
    told = look.furthest(recent) if any(name.at_ms <= now_ms for name in recent) else None
    if isinstance(told, Checkpoint):
        return Standing(told, excused=look.excused)
    # No head that came since the first listing: a reader may see the log as it was then.
    every = [name for name in names(store, node) if name.at_ms < from_ms] + recent
    told = look.furthest(every)
    if isinstance(told, _Unheld):
        return Standing(cut=look.cut(every, told.made), excused=look.excused)
    return Standing(told, excused=look.excused)


@dataclass(frozen=True, slots=True)
class _Unheld:
    made: Checkpoint


class _Look:
    def __init__(self, read: Read, store: ObjectStore | AskedStore, public_key: bytes) -> None:
        self._read, self._store, self._public_key = read, store, public_key
        self._excuses: list[Excuse] | None = None  #: asked for when a head does not hold
        self.excused = False

    def furthest(self, found: Iterable[Name]) -> Checkpoint | _Unheld | None:
        """The head of the furthest entry, by itself or as one that the log does not hold."""
        for name in sorted(found, key=_by_entry, reverse=True):
            if self._excuses is not None and self._covered(name):
                continue
            made = read_head(self._store, name, self._public_key)
            if made is None:
                continue
            if self._read(partial(holds, made=made)):
                return made
            if self._excuses is None:
                self._excuses = self._read(partial(excuses, public_key=self._public_key))
            if not self._covered(name):
                return _Unheld(made)
        return None

    def _covered(self, name: Name) -> bool:
        covered = any(one.covers(name.at_ms, name.seq) for one in self._excuses or ())
        self.excused |= covered
        return covered

    def cut(self, every: Iterable[Name], against: Checkpoint) -> Cut:
        """A log that holds a head holds all before it: the last one that it holds is found by halving."""
        signed = sorted((n for n in every if n.seq <= against.seq and not self._covered(n)), key=_by_entry)
        first = bisect_left(signed, True, key=lambda name: self._held(name) is None)
        held = self._held(signed[first - 1]) if first else None
        after_seq, digest = (0, GENESIS) if held is None else (held.seq, held.digest)
        return Cut(against, after_seq, digest, max((name.at_ms for name in signed[first:]), default=against.at_ms))

    def _held(self, name: Name) -> Checkpoint | None:
        made = read_head(self._store, name, self._public_key)
        return made if made is not None and self._read(partial(holds, made=made)) else None


def _by_entry(name: Name) -> tuple[int, int]:
    return name.seq, name.at_ms


# --- signing ---


class Signer:
    """The keeper's: a head each minute in which the log moved.

    What it wrote last it knows by itself. The store is listed at the start, when the mark is another one (a restore, a
    second keeper, a hand), after a write whose answer is not known, and when the log does not hold what it wrote.
    """

    def __init__(self, catalog: Catalog, store: ObjectStore, node: str, private_key: bytes) -> None:
        self._catalog, self._store, self._node, self._private_key = catalog, store, node, private_key
        self._public_key = crypto.DEFAULT_SUITE.public_key(private_key)
        self._known = False
        self._last: Checkpoint | None = None  #: where `_known`: the newest head in the store
        self._cut: Cut | None = None

    def write(self, now_ms: int) -> str | None:
        """Puts a signed head into the store, its key. None when the head has not moved since the last hour's, and when
        the log does not hold what was signed before: that is told once, and nothing is signed before the review."""
        if self._stands_cut(now_ms) or not (self._known_holds() or self._store_holds(now_ms)):
            return None
        made = self._catalog.read(partial(self._make, now_ms=now_ms))
        if made is None:
            return None
        key = dated_key(checkpoint_prefix(self._node), now_ms, made.seq)
        self._known = False  # until the store has answered: it may have the head all the same
        self._store.put_bytes(key, log.canonical_json(made.as_json()))
        self._catalog.write(partial(facts.set, key=MARK, value=_mark(made)))
        self._known, self._last = True, made
        return key

    def _known_holds(self) -> bool:
        last = self._last

        def read(connection: Connection) -> bool:
            marked = facts.get(connection, MARK) == (None if last is None else _mark(last))
            return marked and (last is None or holds(connection, last))

        return self._known and self._catalog.read(read)

    def _store_holds(self, now_ms: int) -> bool:
        last_ms = None if self._last is None else self._last.at_ms
        found = judge(self._catalog.read, self._store, self._node, self._public_key, now_ms, last_ms)
        if found.cut is not None:
            self._cut = found.cut
            self._tell(found.cut, now_ms)
            return False
        self._known, self._last = True, found.newest
        if found.newest is not None:
            self._catalog.write(partial(facts.set, key=MARK, value=_mark(found.newest)))
        return True

    def _stands_cut(self, now_ms: int) -> bool:
        """By the catalog alone: that a head does not hold does not change in the store."""
        if self._cut is not None and self._catalog.read(partial(self._is_cut, cut=self._cut)):
            self._tell(self._cut, now_ms)
            return True
        self._cut = None
        return False

    def _is_cut(self, connection: Connection, cut: Cut) -> bool:
        made = cut.against
        if holds(connection, made):
            return False
        return not any(one.covers(made.at_ms, made.seq) for one in excuses(connection, self._public_key, cut.after_seq))

    def _tell(self, cut: Cut, now_ms: int) -> None:
        """Again when somebody took the fact away."""
        told = cut.as_json()

        def known(connection: Connection) -> bool:
            fact = facts.get(connection, CUT)
            return isinstance(fact, dict) and all(fact.get(name) == value for name, value in told.items())

        def write(connection: Connection) -> bool:
            if known(connection) or not self._is_cut(connection, cut):  # reviewed in this moment
                return False
            facts.set(connection, CUT, {**told, "found_ms": now_ms})
            log.append(connection, now_ms, ACTOR, CUT, self._node, told)
            return True

        if not self._catalog.read(known) and self._catalog.write(write):
            _log.error("the audit log does not hold what was signed", extra=told)

    def _make(self, connection: Connection, now_ms: int) -> Checkpoint | None:
        last = self._last
        if last is not None:
            if not holds(connection, last):  # cut in this moment: the next call judges it
                return None
            if last.seq == log.head(connection)[0] and 0 <= now_ms - last.at_ms < QUIET_MS:
                return None
        return log.checkpoint(connection, self._private_key, now_ms)


class HeadSigner:
    """For whoever is given a head: an export's end, a linked node. By the same rule as the keeper's: a head over a log
    that lost what was signed would make the loss look like the truth, away from here."""

    def __init__(
        self,
        catalog: Catalog,
        store: ObjectStore | AskedStore,
        node: str,
        public_key: bytes,
        sign: Callable[[bytes], crypto.Signed],
    ) -> None:
        self._catalog, self._store, self._node = catalog, store, node
        self._public_key, self._sign = public_key, sign

    def write(self, now_ms: int) -> Checkpoint:
        """A head signed now; it is not kept. Raises ops.audit_cut, and what the store raises: without it nobody knows
        what was signed."""
        newest = newest_held(self._catalog.read, self._store, self._node, self._public_key, now_ms)
        return self._catalog.read(partial(self._make, newest=newest, now_ms=now_ms))

    def _make(self, connection: Connection, newest: Checkpoint | None, now_ms: int) -> Checkpoint:
        require_held(connection, newest)
        return log.signed_head(connection, self._public_key, self._sign, now_ms)


def newest_held(
    read: Read, store: ObjectStore | AskedStore, node: str, public_key: bytes, now_ms: int
) -> Checkpoint | None:
    """The newest head in the store, which the log holds; None without one. Raises ops.audit_cut, and what the store
    raises."""
    found = judge(read, store, node, public_key, now_ms)
    if found.cut is not None:
        raise _refused(found.cut)
    return found.newest


def require_held(connection: Connection, newest: Checkpoint | None) -> None:
    """For whoever signs a while after `newest_held`. Raises ops.audit_cut."""
    if newest is not None and not holds(connection, newest):
        raise _refused(Cut(newest, newest.seq - 1, GENESIS, newest.at_ms))


def require_untold(connection: Connection) -> None:
    """For whoever must go on without the store: that nobody has told of a cut. Raises ops.audit_cut."""
    told = facts.get(connection, CUT)
    if told is not None:
        raise TiergateError(Kind.CONFLICT, "ops.audit_cut", **shown(told))


def shown(told: Mapping[str, int]) -> dict[str, Any]:
    """A cut as the sentence `ops.audit_cut` names it."""
    return {"at": format_time_ms(told["signed_ms"], local=True), "from": told["from_seq"], "to": told["to_seq"]}


def _refused(cut: Cut) -> TiergateError:
    return TiergateError(Kind.CONFLICT, "ops.audit_cut", **shown(cut.as_json()))


def _mark(made: Checkpoint) -> dict[str, int]:
    return {"seq": made.seq, "at_ms": made.at_ms}


def mark(connection: Connection, node: str) -> Name | None:
    """The head that the catalog says was signed last; None without one, or where the fact was bent."""
    value = facts.get(connection, MARK)
    try:
        at_ms, seq = int(value["at_ms"]), int(value["seq"])
        return Name(at_ms, seq, dated_key(checkpoint_prefix(node), at_ms, seq))
    except (TypeError, KeyError, ValueError, OverflowError):
        return None


# --- review ---


def review(
    connection: Connection, node: str, private_key: bytes, cut: Cut | None, actor: str, words: str, now_ms: int
) -> dict[str, Any]:
    """A person's word about a cut, as an entry of the log; the heads that it contradicts are excused from here on, and
    the next one is signed. What was reviewed: `cut`, or what the keeper told of one that the log has got over since.
    Raises ops.audit_not_cut when there is nothing to review."""
    told: dict[str, Any] | None = cut.as_json() if cut is not None else facts.get(connection, CUT)
    if told is None:
        raise TiergateError(Kind.CONFLICT, "ops.audit_not_cut")
    details: dict[str, Any] = {"cut": told, "words": words}
    if cut is not None:
        excuse = Excuse(cut.after_seq, cut.after_digest, cut.to_seq, cut.until_ms)
        details["excuses"] = excuse.signed(private_key)
    log.append(connection, now_ms, actor, REVIEWED, node, details)
    facts.forget(connection, CUT)
    return told
