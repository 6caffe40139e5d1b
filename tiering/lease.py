"""Leases: what the lower node grants, what it signs, and what still holds as time passes. (pure)

The lower node's rules decide at once (`decide_request`); no person there can refuse an emergency inside them. A lease
is never wider than what was asked, nor than the mechanism (FAULTS S13).
Does not belong here: rows, HTTP, the register; who may ask at the upper node (`tiering.access`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any

from config.crypto import Signed, verify
from config.errors import Kind, TiergateError
from config.ids import is_ulid
from config.reasons import Reason
from tiering import exchange
from tiering.cache_policy import MAX_TTL_MS, cache_until_ms
from tiering.mechanism import MINUTE_MS, Mechanism
from tiering.topology import refuse_pull

REASON_MIN_CHARS = 5  #: "test" explains nothing to whoever reads the register in three years
CUT_NOTICED_MS = MINUTE_MS  #: of a recorded range; less is what clocks and the way of the request make
DOCUMENT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    unit: str


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """What an upper node asks for."""

    mechanism: str
    mechanism_version: int
    case_no: str
    reason: str
    requester: Person
    persons: tuple[Person, ...]  #: who may watch
    cameras: tuple[str, ...]
    functions: tuple[str, ...]
    minutes: int
    max_stream: str = "main"
    approver: Person | None = None
    from_ms: int | None = None  #: recorded range wanted; None: live only
    to_ms: int | None = None
    cache_minutes: int | None = None  #: shorter than the mechanism's, if wanted


@dataclass(frozen=True, slots=True)
class CameraFacts:
    """What the lower node knows of a camera that it is asked for."""

    secrecy: int
    sharing: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class Peers:
    """The two ends and what stands between them."""

    lower_node: str
    lower_tier: str
    upper_node: str
    upper_tier: str
    suspended: bool
    exchange: exchange.Rules
    camera_ms_today: int = 0  #: camera time already granted over this link in the last 24 h


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """What the lower node signs. The document is these fields as canonical JSON."""

    id: str
    lower_node: str
    upper_node: str
    mechanism: str
    mechanism_version: int
    kind: str
    case_no: str
    reason: str
    requester: Person
    approver: Person | None
    persons: tuple[Person, ...]
    cameras: tuple[str, ...]
    functions: tuple[str, ...]
    max_stream: str
    from_ms: int | None
    to_ms: int | None
    first_issued_ms: int
    issued_ms: int
    expires_ms: int
    confirm_by_ms: int | None
    cache_until_ms: int
    renewals: int


@dataclass(frozen=True, slots=True)
class LeaseEvents:
    """What happened to a lease after it was signed."""

    confirmed_ms: int | None = None
    ended_ms: int | None = None
    suspended: bool = False  #: its link is suspended or removed


@dataclass(frozen=True, slots=True)
class LeaseDecision:
    terms: LeaseTerms | None
    reason: Reason | None  #: why refused; None when granted
    narrowed: tuple[Reason, ...] = ()  #: in what it is less than asked


def _refused(code: str, **params: object) -> LeaseDecision:
    return LeaseDecision(None, Reason(code, params))


def decide_request(
    request: LeaseRequest,
    mechanism: Mechanism | None,
    peers: Peers,
    cameras: Mapping[str, CameraFacts],
    lease_id: str,
    now_ms: int,
) -> LeaseDecision:
    """The lower node's answer. All or nothing in cameras (a half-granted wall misleads); time, range, functions and
    quality are narrowed to the mechanism."""
    direction = refuse_pull(peers.upper_tier, peers.lower_tier)
    if direction is not None:
        return LeaseDecision(None, direction)
    if peers.suspended:
        return _refused("tier.link_suspended")
    if mechanism is None or mechanism.version != request.mechanism_version:
        return _refused("tier.mechanism_unknown", name=request.mechanism)
    if not request.case_no.strip() or len(request.reason.strip()) < REASON_MIN_CHARS:
        return _refused("tier.case_and_reason", chars=REASON_MIN_CHARS)
    if not request.persons or not all(p.name.strip() and p.unit.strip() for p in (request.requester, *request.persons)):
        return _refused("tier.persons_missing")
    if mechanism.approval_before and (request.approver is None or _same(request.approver, request.requester)):
        return _refused("tier.approver_needed", mechanism=mechanism.name)
    refused = _refuse_cameras(request, mechanism, peers, cameras)
    if refused is not None:
        return refused
    if request.minutes < 1:
        return _refused("tier.minutes_malformed")
    functions = tuple(f for f in mechanism.functions if f in request.functions)
    if not functions:
        return _refused("tier.functions_none", functions=", ".join(mechanism.functions))
    narrowed: list[Reason] = []
    duration_ms = min(request.minutes * MINUTE_MS, mechanism.max_ms)
    if duration_ms < request.minutes * MINUTE_MS:
        narrowed.append(Reason("tier.narrowed_time", {"minutes": duration_ms // MINUTE_MS}))
    if peers.camera_ms_today + duration_ms * len(request.cameras) > mechanism.camera_ms_per_day:
        return _refused("tier.quota_day", hours=mechanism.camera_ms_per_day // 3_600_000)
    dropped = [f for f in request.functions if f not in functions]
    if dropped:
        narrowed.append(Reason("tier.narrowed_functions", {"functions": ", ".join(dropped)}))
    window = _window(request, mechanism, now_ms)
    if "playback" not in functions or window is None:
        window = None
        functions = tuple(f for f in functions if f != "playback")
        if not functions:
            return _refused("tier.range_outside", hours=mechanism.look_back_ms // 3_600_000)
    elif window[2] >= CUT_NOTICED_MS:
        narrowed.append(Reason("tier.narrowed_range", {"hours": mechanism.look_back_ms // 3_600_000}))
    max_stream = "sub" if "sub" in (mechanism.max_stream, request.max_stream) else "main"
    if max_stream != request.max_stream:
        narrowed.append(Reason("tier.narrowed_stream"))
    expires_ms = now_ms + duration_ms
    ttl_ms = mechanism.cache_ttl_ms
    if request.cache_minutes is not None:
        ttl_ms = min(ttl_ms, max(0, request.cache_minutes) * MINUTE_MS)
    terms = LeaseTerms(
        id=lease_id,
        lower_node=peers.lower_node,
        upper_node=peers.upper_node,
        mechanism=mechanism.name,
        mechanism_version=mechanism.version,
        kind=mechanism.kind,
        case_no=request.case_no.strip(),
        reason=request.reason.strip(),
        requester=request.requester,
        approver=request.approver,
        persons=request.persons,
        cameras=tuple(sorted(set(request.cameras))),
        functions=functions,
        max_stream=max_stream,
        from_ms=window[0] if window else None,
        to_ms=window[1] if window else None,
        first_issued_ms=now_ms,
        issued_ms=now_ms,
        expires_ms=expires_ms,
        confirm_by_ms=None if mechanism.confirm_within_ms is None else now_ms + mechanism.confirm_within_ms,
        cache_until_ms=cache_until_ms(now_ms, expires_ms, ttl_ms) if window else expires_ms,
        renewals=0,
    )
    return LeaseDecision(terms, None, tuple(narrowed))


def _same(one: Person, other: Person) -> bool:
    return one.name.strip() == other.name.strip() and one.unit.strip() == other.unit.strip()


def _refuse_cameras(
    request: LeaseRequest, mechanism: Mechanism, peers: Peers, cameras: Mapping[str, CameraFacts]
) -> LeaseDecision | None:
    wanted = set(request.cameras)
    if not wanted or len(wanted) > mechanism.max_cameras:
        return _refused("tier.cameras_count", limit=mechanism.max_cameras)
    for camera in sorted(wanted):
        facts = cameras.get(camera)
        # A restricted camera looks like one that is not there: the directory never named it.
        if facts is None or not exchange.may_leave(peers.exchange, exchange.grade_of(facts.secrecy), exchange.VIDEO):
            return _refused("tier.camera_unknown", camera=camera)
        if not facts.enabled:
            return _refused("tier.camera_disabled", camera=camera)
        if mechanism.needs_sharing and facts.sharing != "upper":
            return _refused("tier.camera_not_shared", camera=camera, mechanism=mechanism.name)
    return None


def _window(request: LeaseRequest, mechanism: Mechanism, now_ms: int) -> tuple[int, int, int] | None:
    """The recorded range granted: inside what was asked, from the look-back until the lease's latest end; and how much
    was cut from its ends, the larger of the two."""
    if request.from_ms is None or request.to_ms is None or mechanism.look_back_ms == 0:
        return None
    low = max(request.from_ms, now_ms - mechanism.look_back_ms)
    high = min(request.to_ms, now_ms + min(request.minutes * MINUTE_MS, mechanism.max_ms))
    return (low, high, max(low - request.from_ms, request.to_ms - high)) if low < high else None


# -- over time ---------------------------------------------------------------------------------------------------------


class Phase(Enum):
    ACTIVE = "active"
    DEGRADED = "degraded"  #: nobody confirmed in time: live as sub under a red banner, nothing else
    EXPIRED = "expired"  #: no new bytes; what is cached may still be read
    ENDED = "ended"  #: released, revoked or suspended: as EXPIRED, its cache has an earlier end in its row
    CACHE_OVER = "cache_over"  #: nothing of it may exist


def phase(terms: LeaseTerms, events: LeaseEvents, cache_until: int, now_ms: int) -> Phase:
    """`cache_until` is the row's: it may only have moved towards now since the terms were signed."""
    over = now_ms >= terms.expires_ms or events.ended_ms is not None or events.suspended
    if over and now_ms >= min(cache_until, terms.cache_until_ms):
        return Phase.CACHE_OVER
    if events.ended_ms is not None or events.suspended:
        return Phase.ENDED
    if now_ms >= terms.expires_ms:
        return Phase.EXPIRED
    if unconfirmed(terms, events, now_ms):
        return Phase.DEGRADED
    return Phase.ACTIVE


def unconfirmed(terms: LeaseTerms, events: LeaseEvents, now_ms: int) -> bool:
    """Whether its time to be confirmed has passed without a confirmation."""
    return terms.confirm_by_ms is not None and events.confirmed_ms is None and now_ms >= terms.confirm_by_ms


@dataclass(frozen=True, slots=True)
class Permit:
    """What may be done under a lease now."""

    stream: str | None  #: the quality allowed, for live; the asked one for recordings; None: refused
    reason: Reason | None = None  #: why refused, or why it is less than asked


def permit(
    terms: LeaseTerms,
    events: LeaseEvents,
    now_ms: int,
    *,
    camera: str,
    function: str,
    stream: str,
    from_ms: int | None = None,
    to_ms: int | None = None,
) -> Permit:
    """Asked at the opening of a stream and at least each 5 s while it runs (I7)."""
    if events.suspended:
        return Permit(None, Reason("tier.link_suspended"))
    if events.ended_ms is not None:
        return Permit(None, Reason("tier.lease_ended"))
    if now_ms >= terms.expires_ms:
        return Permit(None, Reason("tier.lease_expired"))
    if camera not in terms.cameras:
        return Permit(None, Reason("tier.camera_not_in_lease", {"camera": camera}))
    if function not in terms.functions:
        return Permit(None, Reason("tier.function_not_in_lease", {"function": function}))
    if stream not in ("main", "sub"):
        return Permit(None, Reason("tier.stream_unknown", {"stream": stream}))
    late = unconfirmed(terms, events, now_ms)
    if late and function != "live":
        return Permit(None, Reason("tier.unconfirmed"))
    if function == "playback":
        if terms.from_ms is None or terms.to_ms is None or from_ms is None or to_ms is None:
            return Permit(None, Reason("tier.range_not_in_lease"))
        if to_ms <= terms.from_ms or from_ms >= terms.to_ms:
            return Permit(None, Reason("tier.range_not_in_lease"))
    if late:
        return Permit("sub", Reason("tier.unconfirmed"))
    if terms.max_stream == "sub" and stream == "main":
        return Permit("sub", Reason("tier.narrowed_stream"))
    return Permit(stream)


def refuse_confirmation(
    terms: LeaseTerms, mechanism: Mechanism, events: LeaseEvents, who: Person, now_ms: int
) -> Reason | None:
    if events.ended_ms is not None or now_ms >= terms.expires_ms:
        return Reason("tier.lease_expired")
    if terms.confirm_by_ms is None:
        return Reason("tier.confirm_not_needed")
    if _same(who, terms.requester) and now_ms - terms.first_issued_ms < mechanism.self_confirm_after_ms:
        return Reason("tier.confirm_second_person", {"minutes": mechanism.self_confirm_after_ms // MINUTE_MS})
    return None


def renew(
    terms: LeaseTerms,
    mechanism: Mechanism,
    events: LeaseEvents,
    reason: str,
    minutes: int,
    now_ms: int,
    camera_ms_today: int = 0,
) -> LeaseDecision:
    """Longer under the same id, with a reason of its own, up to the mechanism's counts, its absolute end and what is
    left of the day's camera time; `camera_ms_today` counts this lease, as far as it was promised before."""
    if events.suspended:
        return _refused("tier.link_suspended")
    if events.ended_ms is not None or now_ms >= terms.expires_ms:
        return _refused("tier.lease_expired")
    if unconfirmed(terms, events, now_ms):
        return _refused("tier.unconfirmed")
    if len(reason.strip()) < REASON_MIN_CHARS:
        return _refused("tier.case_and_reason", chars=REASON_MIN_CHARS)
    if minutes < 1:
        return _refused("tier.minutes_malformed")
    if terms.renewals >= mechanism.max_renewals:
        return _refused("tier.renewals_used", limit=mechanism.max_renewals)
    expires_ms = min(now_ms + min(minutes * MINUTE_MS, mechanism.max_ms), terms.first_issued_ms + mechanism.absolute_ms)
    if expires_ms <= terms.expires_ms:
        return _refused("tier.renewal_not_longer")
    if camera_ms_today + (expires_ms - terms.expires_ms) * len(terms.cameras) > mechanism.camera_ms_per_day:
        return _refused("tier.quota_day", hours=mechanism.camera_ms_per_day // 3_600_000)
    ttl_ms = max(0, terms.cache_until_ms - terms.expires_ms)
    longer = replace(
        terms,
        reason=reason.strip(),
        issued_ms=now_ms,
        expires_ms=expires_ms,
        to_ms=expires_ms if until_its_end(terms) else terms.to_ms,  # stays so
        cache_until_ms=cache_until_ms(terms.first_issued_ms, expires_ms, ttl_ms),
        renewals=terms.renewals + 1,
    )
    return LeaseDecision(longer, None)


def until_its_end(terms: LeaseTerms) -> bool:
    """Whether recorded footage was asked for as long as the lease lasts; above they reckoned that end by another clock,
    and before the request was on its way."""
    return terms.to_ms is not None and abs(terms.expires_ms - terms.to_ms) < CUT_NOTICED_MS


# -- the signed document -----------------------------------------------------------------------------------------------


def canonical_json(value: Any) -> str:
    """One text per value: sorted keys, no blanks, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def to_document(terms: LeaseTerms) -> str:
    return canonical_json({"v": DOCUMENT_VERSION, "type": "tiergate-lease", **asdict(terms)})


#: Bounds of what a document may say, those of `tiering.wire` where a request carries the same field.
_TEXT_MAX, _NAME_MAX, _WORD_MAX = 500, 120, 40
_PERSONS_MAX, _CAMERAS_MAX, _FUNCTIONS_MAX = 50, 200, 20
_TIME_MAX_MS = 1 << 48  #: what an id can hold
_COUNT_MAX = 1 << 31
_CAMERA = re.compile(r"[0-9]{20}")


def from_document(document: str) -> LeaseTerms:
    """Raises tier.document_malformed. A document in another spelling than canonical is refused: one lease, one text.

    Every field is looked at: who signed it is another node, and what it says stands in our rows for days.
    """
    try:
        value = json.loads(document)
        if value.pop("v") != DOCUMENT_VERSION or value.pop("type") != "tiergate-lease":
            raise ValueError("another kind of document")
        value["requester"] = Person(**value["requester"])
        value["approver"] = value["approver"] and Person(**value["approver"])
        value["persons"] = tuple(Person(**p) for p in value["persons"])
        for name in ("cameras", "functions"):
            value[name] = tuple(value[name])
        terms = LeaseTerms(**value)
        _check(terms)
        if to_document(terms) != document:
            raise ValueError("not canonical")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise TiergateError(Kind.INVALID, "tier.document_malformed") from exc
    return terms


def _check(terms: LeaseTerms) -> None:
    """Raises ValueError when a field has another type than it says, or is beyond its bounds."""
    approver = () if terms.approver is None else (terms.approver,)
    times = [terms.first_issued_ms, terms.issued_ms, terms.expires_ms, terms.cache_until_ms]
    times += [time for time in (terms.from_ms, terms.to_ms, terms.confirm_by_ms) if time is not None]
    fits = (
        type(terms.id) is str
        and is_ulid(terms.id)
        and all(_is_text(t, _WORD_MAX, 1) for t in (terms.lower_node, terms.upper_node, terms.mechanism))
        and terms.kind in ("emergency", "supervision")
        and terms.max_stream in ("main", "sub")
        and _is_text(terms.case_no, _NAME_MAX)
        and _is_text(terms.reason, _TEXT_MAX)
        and 0 < len(terms.persons) <= _PERSONS_MAX
        and all(_is_person(p) for p in (terms.requester, *approver, *terms.persons))
        and 0 < len(terms.cameras) <= _CAMERAS_MAX
        and all(type(c) is str and _CAMERA.fullmatch(c) for c in terms.cameras)
        and 0 < len(terms.functions) <= _FUNCTIONS_MAX
        and all(_is_text(f, _WORD_MAX, 1) for f in terms.functions)
        and all(_is_number(n, _COUNT_MAX) for n in (terms.mechanism_version, terms.renewals))
        and all(_is_number(time, _TIME_MAX_MS) for time in times)
    )
    if not fits:
        raise ValueError("a field is malformed")
    if (terms.from_ms is None) != (terms.to_ms is None) or (terms.from_ms or 0) > (terms.to_ms or 0):
        raise ValueError("half a range")
    if not terms.first_issued_ms <= terms.issued_ms <= terms.expires_ms:
        raise ValueError("it ends before it begins")
    longest_ms = cache_until_ms(terms.first_issued_ms, terms.expires_ms, MAX_TTL_MS)
    if terms.from_ms is None:
        longest_ms = max(longest_ms, terms.expires_ms)  # live only: nothing is kept, and no policy cuts it
    if not terms.first_issued_ms <= terms.cache_until_ms <= longest_ms:
        raise ValueError("a cache of another length than there is")


def _is_text(value: object, limit: int, minimum: int = 0) -> bool:
    """Raises UnicodeEncodeError, a ValueError, for half a character: no row could hold it."""
    return type(value) is str and minimum <= len(value) <= limit and b"\0" not in value.encode()


def _is_person(value: object) -> bool:
    return isinstance(value, Person) and _is_text(value.name, _NAME_MAX, 1) and _is_text(value.unit, _NAME_MAX, 1)


def _is_number(value: object, limit: int) -> bool:
    return type(value) is int and 0 <= value < limit


def verify_document(document: str, signature: str, lower_public_key: bytes) -> LeaseTerms:
    """The terms, if the lower node signed exactly them. Raises tier.lease_signature, tier.document_malformed."""
    try:
        signed = Signed.from_text(signature)
    except ValueError as exc:
        raise TiergateError(Kind.FORBIDDEN, "tier.lease_signature") from exc
    if not verify(lower_public_key, document.encode(), signed):
        raise TiergateError(Kind.FORBIDDEN, "tier.lease_signature")
    return from_document(document)
