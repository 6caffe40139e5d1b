"""The certificate of a node's relay while it changes: what is shown, what comes, what linked nodes are told. (pure)

A linked node takes the certificate that it pinned and no other. So a node that will show another one says so first, in
a statement signed by its own key, which the other node has known since pairing; from then on that node takes both.
When every node that calls this one has it, the new one is shown, and a second statement says until when the old one is
still taken. A statement is of one node and has a time of issue; an older one than the last changes nothing.

Belongs here: the states, the statement, which certificates are taken. Does not belong here: rows (`tiering.pins`),
files and TLS (`gateway.relay.certificate`, `gateway.relay.http`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from config.crypto import Signed, b64, unb64, verify
from config.errors import Kind, TiergateError
from config.units import DAY_MS
from tiering.lease import canonical_json
from tiering.signing import Signer
from tiering.wire import bytes_field, int_field, optional, parse, text_field

OVERLAP_MS = DAY_MS  #: how long the certificate before is still taken, when nobody says otherwise
OVERLAP_MOST_MS = 90 * DAY_MS
STATEMENT_MAX_CHARS = 1000
_PREFIX = b"tiergate-certificate-v1\n"  #: what is signed as a statement is nothing else that this key signs


@dataclass(frozen=True, slots=True)
class Certificates:
    """This node's own, each by its SHA-256."""

    shown: bytes
    file: bytes | None = None  #: of the settings' file when it was last looked at
    coming: bytes | None = None  #: announced; shown when everybody who calls has it
    before: bytes | None = None  #: shown until the last change
    until_ms: int | None = None  #: from here on `before` is refused
    overlap_ms: int = OVERLAP_MS  #: of the change that is under way
    issued_ms: int = 0  #: of the newest statement; 0: nothing was ever said
    announced_ms: int = 0  #: of the statement that first named `coming`, or `shown` when nothing comes
    changed_ms: int = 0  #: when `shown` was first shown

    def begin(self, coming: bytes, overlap_ms: int, now_ms: int) -> Certificates:
        """`coming` is announced, in place of one that was announced before and of the one before."""
        issued_ms = self._issue(now_ms)
        return replace(
            self, coming=coming, before=None, until_ms=None, overlap_ms=overlap_ms, issued_ms=issued_ms,
            announced_ms=issued_ms,
        )  # fmt: skip

    def show(self, now_ms: int) -> Certificates:
        """`coming` is the one from here on."""
        if self.coming is None:
            return self
        return replace(
            self, shown=self.coming, coming=None, before=self.shown, until_ms=now_ms + self.overlap_ms,
            issued_ms=self._issue(now_ms), changed_ms=now_ms,
        )  # fmt: skip

    def withdraw(self, now_ms: int) -> Certificates:
        """What was announced will not come after all."""
        return replace(self, coming=None, issued_ms=self._issue(now_ms), announced_ms=0)

    def follow(self, file: bytes, now_ms: int) -> Certificates:
        """The settings' file holds this one now: when it is another than before, it is what shall be shown."""
        if file == self.file:
            return self
        fresh = replace(self, file=file)
        if file == self.coming:
            return fresh
        if file != self.shown:
            return fresh.begin(file, OVERLAP_MS, now_ms)
        return fresh.withdraw(now_ms) if self.coming is not None and self.coming == self.file else fresh

    def _issue(self, now_ms: int) -> int:
        return max(now_ms, self.issued_ms + 1)  # later than the last one, whatever the clock did

    def is_taken(self, told_ms: int | None, paired_ms: int) -> bool | None:
        """Whether a linked node knows what it must know; None: there is nothing that it would have to learn.

        `told_ms`: issue of the statement that it holds; `paired_ms`: when it was linked.
        """
        if not self.announced_ms:
            return None
        paired_since = self.coming is None and paired_ms > self.changed_ms
        return paired_since or (told_ms is not None and self.announced_ms <= told_ms <= self.issued_ms)

    def statement(self, node: str) -> Statement | None:
        """What linked nodes should know now."""
        if not self.issued_ms:
            return None
        other = self.coming or self.before
        return Statement(node, self.issued_ms, self.shown, other, None if self.coming else self.until_ms)

    def as_json(self) -> dict[str, Any]:
        named = {name: value and b64(value) for name, value in self._digests().items()}
        times = ("until_ms", "overlap_ms", "issued_ms", "announced_ms", "changed_ms")
        return named | {name: getattr(self, name) for name in times}

    def _digests(self) -> dict[str, bytes | None]:
        return {"shown": self.shown, "file": self.file, "coming": self.coming, "before": self.before}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Certificates:
        read = {name: value[name] and unb64(value[name]) for name in ("shown", "file", "coming", "before")}
        return cls(**{**value, **read})


@dataclass(frozen=True, slots=True)
class Statement:
    """Which certificates a node's relay shows."""

    node: str
    issued_ms: int
    shown: bytes
    other: bytes | None = None  #: also to be taken
    until_ms: int | None = None  #: until when `other` is; None: until the next statement

    def signed(self, signer: Signer) -> tuple[str, str]:
        """(text, signature)"""
        value = {
            "node": self.node, "issued_ms": self.issued_ms, "shown": b64(self.shown),
            "other": self.other and b64(self.other), "until_ms": self.until_ms,
        }  # fmt: skip
        text = canonical_json(value)
        return text, signer.sign(_PREFIX + text.encode()).as_text()

    @classmethod
    def read(cls, text: str, signature: str, node: str, public_key: bytes) -> Statement:
        """A statement of that node. Raises tier.certificate_statement, tier.body_malformed."""
        try:
            signed = Signed.from_text(signature)
        except ValueError as exc:
            raise TiergateError(Kind.FORBIDDEN, "tier.certificate_statement") from exc
        if not verify(public_key, _PREFIX + text.encode(), signed):
            raise TiergateError(Kind.FORBIDDEN, "tier.certificate_statement")
        value = parse(text.encode(), 4 * STATEMENT_MAX_CHARS)
        if text_field(value, "node", 16, 16) != node:
            raise TiergateError(Kind.FORBIDDEN, "tier.certificate_statement")
        return cls(
            node,
            int_field(value, "issued_ms", 1),
            bytes_field(value, "shown", 32),
            optional(value, "other", lambda v, n: bytes_field(v, n, 32)),
            optional(value, "until_ms", int_field),
        )


@dataclass(frozen=True, slots=True)
class Said:
    """One side's half of an exchange."""

    statement: str | None  #: text of its newest statement, if it ever made one
    signature: str | None
    held_ms: int | None  #: issue of the other side's statement that it holds

    def as_json(self) -> dict[str, Any]:
        return {"statement": self.statement, "signature": self.signature, "held_ms": self.held_ms}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Said:
        """Raises tier.body_malformed."""
        return cls(
            optional(value, "statement", lambda v, n: text_field(v, n, STATEMENT_MAX_CHARS)),
            optional(value, "signature", lambda v, n: text_field(v, n, 400)),
            optional(value, "held_ms", int_field),
        )


def taken(shown: bytes | None, other: bytes | None, until_ms: int | None, now_ms: int) -> tuple[bytes, ...] | None:
    """The certificates of a linked node that are taken now; None: it was paired without one."""
    if shown is None:
        return None
    if other is None or (until_ms is not None and now_ms >= until_ms):
        return (shown,)
    return (shown, other)
