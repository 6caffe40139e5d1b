"""JSON documents between nodes: parse to frozen types, with bounds. (pure)

Belongs here: the shapes of `/tier/v1` bodies and of the invite code. Does not belong here: signatures
(`tiering.signing`), HTTP (`gateway.relay`), rules (`tiering.lease`). Everything a peer sends is parsed here before
anything looks at it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from config.crypto import b64, unb64
from config.errors import Kind, TiergateError
from config.ids import CameraId, is_ulid, region_code
from tiering.lease import LeaseRequest, Person, canonical_json
from tiering.topology import TIER_ORDER

T = TypeVar("T")
_Raw = bytes  #: where a field of the same name hides the type

BODY_MAX_BYTES = 256 * 1024  #: of a request; a directory answer may be larger
ANSWER_MAX_BYTES = 8 << 20
TEXT_MAX = 500
NAME_MAX = 120
LIST_MAX = 200
OWED_MAX = 500
MINUTES_MAX = 7 * 24 * 60


def parse(body: bytes, limit: int = BODY_MAX_BYTES) -> dict[str, Any]:
    """A JSON object. Raises tier.body_too_large, tier.body_malformed."""
    if len(body) > limit:
        raise TiergateError(Kind.TOO_LARGE, "tier.body_too_large", limit_bytes=limit)
    try:
        value = json.loads(body, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as exc:
        raise TiergateError(Kind.INVALID, "tier.body_malformed", field="") from exc
    if not isinstance(value, dict):
        raise TiergateError(Kind.INVALID, "tier.body_malformed", field="")
    return value


def _finite(text: str) -> float:
    """What Python reads as a number and JSON does not know (RFC 8259 §6): nobody could sign or store it."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("not a finite number")
    return number


def _field(value: Mapping[str, Any], name: str, kind: type[T]) -> T:
    found = value.get(name)
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        raise TiergateError(Kind.INVALID, "tier.body_malformed", field=name)
    return found


def text_field(value: Mapping[str, Any], name: str, limit: int = TEXT_MAX, minimum: int = 0) -> str:
    found = _field(value, name, str)
    if not minimum <= len(found) <= limit or "\0" in found:
        raise TiergateError(Kind.INVALID, "tier.body_malformed", field=name)
    return found


def int_field(value: Mapping[str, Any], name: str, low: int = 0, high: int = 1 << 53) -> int:
    found = _field(value, name, int)
    if not low <= found <= high:
        raise TiergateError(Kind.INVALID, "tier.body_malformed", field=name)
    return found


def optional(value: Mapping[str, Any], name: str, read: Callable[[Mapping[str, Any], str], T]) -> T | None:
    return None if value.get(name) is None else read(value, name)


def list_field(value: Mapping[str, Any], name: str, limit: int = LIST_MAX) -> list[Any]:
    found = _field(value, name, list)
    if len(found) > limit:
        raise TiergateError(Kind.INVALID, "tier.body_malformed", field=name)
    return found


def texts_field(value: Mapping[str, Any], name: str, limit: int = LIST_MAX) -> tuple[str, ...]:
    found = list_field(value, name, limit)
    if not all(isinstance(item, str) and len(item) <= NAME_MAX for item in found):
        raise TiergateError(Kind.INVALID, "tier.body_malformed", field=name)
    return tuple(found)


def bytes_field(value: Mapping[str, Any], name: str, size: int | None = None) -> bytes:
    try:
        data = unb64(_field(value, name, str))
    except ValueError as exc:
        raise TiergateError(Kind.INVALID, "tier.body_malformed", field=name) from exc
    if size is not None and len(data) != size:
        raise TiergateError(Kind.INVALID, "tier.body_malformed", field=name)
    return data


def person_field(value: Mapping[str, Any], name: str) -> Person:
    return _person(_field(value, name, dict), name)


def _person(value: Any, name: str) -> Person:
    if not isinstance(value, dict):
        raise TiergateError(Kind.INVALID, "tier.body_malformed", field=name)
    return Person(text_field(value, "name", NAME_MAX, 1), text_field(value, "unit", NAME_MAX, 1))


# -- pairing -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Card:
    """How a node introduces itself."""

    node: str  #: key id
    name: str
    region: str
    tier: str
    url: str
    public_key: bytes
    tls_sha256: bytes | None

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "public_key": b64(self.public_key),
            "tls_sha256": self.tls_sha256 and b64(self.tls_sha256),
        }

    @classmethod
    def from_json(cls, value: Any) -> Card:
        if not isinstance(value, dict):
            raise TiergateError(Kind.INVALID, "tier.body_malformed", field="card")
        tier, url = text_field(value, "tier", 10), text_field(value, "url", 300, 8)
        if tier not in TIER_ORDER:
            raise TiergateError(Kind.INVALID, "tier.body_malformed", field="tier")
        return cls(
            text_field(value, "node", 16, 16),
            text_field(value, "name", 80, 1),
            region_code(text_field(value, "region", 12, 2)),
            tier,
            checked_url(url),
            bytes_field(value, "public_key", 32),
            optional(value, "tls_sha256", lambda v, n: bytes_field(v, n, 32)),
        )


def checked_url(url: str) -> str:
    """An http(s) base URL without user information, query and trailing slash. Raises tier.url_malformed."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise TiergateError(Kind.INVALID, "tier.url_malformed") from exc
    plain = parts.scheme in ("http", "https") and parts.hostname and port != 0
    if (
        not plain
        or parts.username
        or parts.password
        or parts.query
        or parts.fragment
        or not url.isascii()
        or " " in url
    ):
        raise TiergateError(Kind.INVALID, "tier.url_malformed")
    return url.rstrip("/")


@dataclass(frozen=True, slots=True)
class Invite:
    """What the one-time code says; whoever holds it within 15 minutes becomes the peer."""

    url: str
    node: str
    key_sha256: bytes
    tls_sha256: bytes | None
    role: str  #: what the accepting node becomes to the inviting one: upper or lower
    secret: bytes
    expires_ms: int

    def as_code(self) -> str:
        value = {
            "v": 1, "u": self.url, "n": self.node, "k": b64(self.key_sha256),
            "t": self.tls_sha256 and b64(self.tls_sha256), "r": self.role, "s": b64(self.secret), "e": self.expires_ms,
        }  # fmt: skip
        return "tg1-" + b64(canonical_json(value).encode())

    @classmethod
    def from_code(cls, code: str) -> Invite:
        """Raises tier.invite_malformed."""
        try:
            prefix, _, rest = code.strip().partition("-")
            value = parse(unb64(rest), 2000)
            if prefix != "tg1" or value.get("v") != 1 or value.get("r") not in ("upper", "lower"):
                raise ValueError("another kind of code")
            return cls(
                checked_url(text_field(value, "u", 300)),
                text_field(value, "n", 16, 16),
                bytes_field(value, "k", 32),
                optional(value, "t", lambda v, n: bytes_field(v, n, 32)),
                value["r"],
                bytes_field(value, "s", 20),
                int_field(value, "e"),
            )
        except (ValueError, TiergateError) as exc:
            raise TiergateError(Kind.INVALID, "tier.invite_malformed") from exc


# -- leases ------------------------------------------------------------------------------------------------------------


def lease_request_to_json(request: LeaseRequest) -> dict[str, Any]:
    return asdict(request)


def lease_request_from_json(value: Mapping[str, Any]) -> LeaseRequest:
    cameras = texts_field(value, "cameras")
    for camera in cameras:
        CameraId.parse(camera)
    return LeaseRequest(
        mechanism=text_field(value, "mechanism", 40, 1),
        mechanism_version=int_field(value, "mechanism_version", 1, 1 << 31),
        case_no=text_field(value, "case_no", NAME_MAX),
        reason=text_field(value, "reason"),
        requester=person_field(value, "requester"),
        persons=tuple(_person(p, "persons") for p in list_field(value, "persons", 50)),
        cameras=cameras,
        functions=texts_field(value, "functions", 20),
        minutes=int_field(value, "minutes", 0, MINUTES_MAX),
        max_stream="sub" if text_field(value, "max_stream", 4) == "sub" else "main",
        approver=optional(value, "approver", person_field),
        from_ms=optional(value, "from_ms", int_field),
        to_ms=optional(value, "to_ms", int_field),
        cache_minutes=optional(value, "cache_minutes", int_field),
    )


# -- directory ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DirectoryCamera:
    """What an upper node may know of a camera without a lease: facts, never pictures."""

    id: str
    name: str
    tier: str
    region: str
    region_name: str
    state: str
    details: dict[str, Any]

    @classmethod
    def from_json(cls, value: Any) -> DirectoryCamera:
        if not isinstance(value, dict):
            raise TiergateError(Kind.INVALID, "tier.body_malformed", field="cameras")
        details = value.get("details")
        if not isinstance(details, dict) or len(canonical_json(details)) > 32_000:
            raise TiergateError(Kind.INVALID, "tier.body_malformed", field="details")
        tier = text_field(value, "tier", 10)
        if tier not in TIER_ORDER:
            raise TiergateError(Kind.INVALID, "tier.body_malformed", field="tier")
        return cls(
            str(CameraId.parse(text_field(value, "id", 20))),
            text_field(value, "name", NAME_MAX, 1),
            tier,
            region_code(text_field(value, "region", 12, 2)),
            text_field(value, "region_name", NAME_MAX),
            text_field(value, "state", 12),
            details,
        )


@dataclass(frozen=True, slots=True)
class Directory:
    digest: str
    node: dict[str, Any]
    cameras: tuple[DirectoryCamera, ...] | None  #: None: as when `digest` was last given
    ended_leases: tuple[dict[str, Any], ...]  #: {"id", "ended_ms", "reason"} of leases over at the lower node
    owed_leases: tuple[str, ...] = ()  #: ids of leases that the upper node should hold, or say that it has purged

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Directory:
        node = value.get("node")
        cameras = value.get("cameras")
        if not isinstance(node, dict):
            raise TiergateError(Kind.INVALID, "tier.body_malformed", field="node")
        listed = (
            None
            if cameras is None
            else tuple(DirectoryCamera.from_json(c) for c in list_field(value, "cameras", 20_000))
        )
        ended = [
            {"id": text_field(e, "id", 26), "ended_ms": int_field(e, "ended_ms"), "reason": text_field(e, "reason", 40)}
            for e in list_field(value, "ended_leases", 1000)
            if isinstance(e, dict)
        ]
        owed = texts_field(value, "owed_leases", OWED_MAX) if "owed_leases" in value else ()  # older nodes name none
        if not all(is_ulid(lease_id) for lease_id in owed):
            raise TiergateError(Kind.INVALID, "tier.body_malformed", field="owed_leases")
        return cls(text_field(value, "digest", 64), node, listed, tuple(ended), owed)


# -- reports -----------------------------------------------------------------------------------------------------------

REPORT_LINES_MAX = 5_000
_REPORT_TEXTS = ("unit", "viewer", "pictures", "purpose", "function", "mechanism")
_REPORT_NUMBERS = (
    "looks", "earlier", "running", "persons", "cameras", "watched_s", "bytes", "refused", "cut", "crashed",
)  # fmt: skip


def use_report_from_json(value: Mapping[str, Any], month: str) -> dict[str, Any]:
    """A month's report of use as a lower node says it: what we know of it, and nothing else."""
    if text_field(value, "month", 7) != month:
        raise TiergateError(Kind.INVALID, "tier.body_malformed", field="month")

    def numbers(item: Any) -> dict[str, Any]:
        if not isinstance(item, dict):
            raise TiergateError(Kind.INVALID, "tier.body_malformed", field="items")
        return {name: int_field(item, name) for name in _REPORT_NUMBERS}

    def line(item: Any) -> dict[str, Any]:
        counted = numbers(item)
        return {name: text_field(item, name, NAME_MAX) for name in _REPORT_TEXTS} | counted

    sums = _field(value, "sum", dict)
    return {
        "month": month,
        "from_ms": int_field(value, "from_ms"),
        "to_ms": int_field(value, "to_ms"),
        "whole": _field(value, "whole", bool),
        "items": [line(item) for item in list_field(value, "items", REPORT_LINES_MAX)],
        "sum": {name: numbers(sums.get(name)) for name in ("all", "own", "lower")},
        "without_case": [
            {name: text_field(one, name, NAME_MAX) for name in ("unit", "person", "purpose", "function")}
            | {"looks": int_field(one, "looks")}
            for one in list_field(value, "without_case", REPORT_LINES_MAX)
            if isinstance(one, dict)
        ],
    }


# -- recorded footage --------------------------------------------------------------------------------------------------

RANGE_MAX_BYTES = 1 << 20  #: of one range request: it is signed, so it is held whole
INDEX_SEGMENTS_MAX = 500  #: of one answer, and so many runs
INDEX_GAPS_MAX = 5000


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """A sealed segment as the lower node describes it."""

    id: str
    run_id: str
    start_ms: int
    end_ms: int
    start_wall_ns: int
    time_trust: str
    bytes: int
    sha256: _Raw
    init_bytes: int
    fragments: _Raw

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "sha256": b64(self.sha256), "fragments": b64(self.fragments)}

    @classmethod
    def from_json(cls, value: Any) -> SegmentEntry:
        if not isinstance(value, dict):
            raise TiergateError(Kind.INVALID, "tier.body_malformed", field="segments")
        return cls(
            text_field(value, "id", 26, 26),
            text_field(value, "run_id", 26, 26),
            int_field(value, "start_ms"),
            int_field(value, "end_ms"),
            int_field(value, "start_wall_ns", high=1 << 63),
            text_field(value, "time_trust", 12),
            int_field(value, "bytes", 0, 5 << 30),
            bytes_field(value, "sha256", 32),
            int_field(value, "init_bytes", 0, 1 << 20),
            bytes_field(value, "fragments"),
        )


@dataclass(frozen=True, slots=True)
class RunEntry:
    """What segments of a run share."""

    id: str
    init: bytes
    codec: str
    audio_codec: str | None
    width: int
    height: int

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "init": b64(self.init)}

    @classmethod
    def from_json(cls, value: Any) -> RunEntry:
        if not isinstance(value, dict):
            raise TiergateError(Kind.INVALID, "tier.body_malformed", field="runs")
        return cls(
            text_field(value, "id", 26, 26),
            bytes_field(value, "init"),
            text_field(value, "codec", 40),
            optional(value, "audio_codec", lambda v, n: text_field(v, n, 40)),
            int_field(value, "width", 1, 1 << 16),
            int_field(value, "height", 1, 1 << 16),
        )


@dataclass(frozen=True, slots=True)
class GapEntry:
    cause: str
    from_ms: int
    to_ms: int | None
    reason: dict[str, Any] | None

    @classmethod
    def from_json(cls, value: Any) -> GapEntry:
        if not isinstance(value, dict) or not isinstance(value.get("reason"), (dict, type(None))):
            raise TiergateError(Kind.INVALID, "tier.body_malformed", field="gaps")
        return cls(
            text_field(value, "cause", 20),
            int_field(value, "from_ms"),
            optional(value, "to_ms", int_field),
            value.get("reason"),
        )


@dataclass(frozen=True, slots=True)
class FootageIndex:
    """What a lower node has of one camera's range: first this, then bytes on demand."""

    camera: str
    stream: str
    from_ms: int
    to_ms: int
    now_ms: int
    runs: tuple[RunEntry, ...]
    segments: tuple[SegmentEntry, ...]
    gaps: tuple[GapEntry, ...]
    next_ms: int | None  #: ask again from here: there is more

    def as_json(self) -> dict[str, Any]:
        return {
            "camera": self.camera, "stream": self.stream, "from_ms": self.from_ms, "to_ms": self.to_ms,
            "now_ms": self.now_ms, "next_ms": self.next_ms,
            "runs": [r.as_json() for r in self.runs],
            "segments": [s.as_json() for s in self.segments],
            "gaps": [asdict(g) for g in self.gaps],
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any], pages: int = 1) -> FootageIndex:
        """One answer of a node, or what came of `pages` of them (`joined`)."""
        return cls(
            text_field(value, "camera", 20),
            text_field(value, "stream", 4),
            int_field(value, "from_ms"),
            int_field(value, "to_ms"),
            int_field(value, "now_ms"),
            tuple(RunEntry.from_json(r) for r in list_field(value, "runs", pages * INDEX_SEGMENTS_MAX)),
            tuple(SegmentEntry.from_json(s) for s in list_field(value, "segments", pages * INDEX_SEGMENTS_MAX)),
            tuple(GapEntry.from_json(g) for g in list_field(value, "gaps", pages * INDEX_GAPS_MAX)),
            optional(value, "next_ms", int_field),
        )


def joined(pages: Sequence[FootageIndex]) -> FootageIndex:
    """The pages of one range as one index. What several of them tell is there once, by the first that told it; the work
    grows with what they hold."""
    runs: dict[str, RunEntry] = {}
    segments: dict[str, SegmentEntry] = {}
    gaps: dict[tuple[str, int, int | None, str], GapEntry] = {}
    for page in pages:
        for run in page.runs:
            runs.setdefault(run.id, run)
        for segment in page.segments:
            segments.setdefault(segment.id, segment)
        for gap in page.gaps:
            gaps.setdefault((gap.cause, gap.from_ms, gap.to_ms, canonical_json(gap.reason)), gap)
    return replace(
        pages[0],
        runs=tuple(runs.values()),
        segments=tuple(segments.values()),
        gaps=tuple(gaps.values()),
        next_ms=pages[-1].next_ms,
    )


# -- endings -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PurgeStatement:
    """The upper node's word, signed, that nothing of a lease is left (REQUIREMENTS §3.6.7)."""

    lease_id: str
    objects: int
    bytes: int
    keys_sha256: str  #: digest of the sorted list of object keys that existed
    key_destroyed: bool
    remaining: int  #: objects still found under the lease after deletion: 0
    purged_ms: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PurgeStatement:
        return cls(
            text_field(value, "lease_id", 26, 26),
            int_field(value, "objects"),
            int_field(value, "bytes"),
            text_field(value, "keys_sha256", 64, 64),
            _field(value, "key_destroyed", bool),
            int_field(value, "remaining"),
            int_field(value, "purged_ms"),
        )
