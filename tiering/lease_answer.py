"""Whether what a lower node answers with is what the upper node asked for. (pure)

A lease may be less than the request, never more, and never another one: a node in wrong hands must not be able to put a
case, a person or a camera into our register that nobody here named.
Does not belong here: the lower node's own rules and the document (`tiering.lease`).
"""

from __future__ import annotations

from dataclasses import fields

from tiering.cache_policy import cache_until_ms
from tiering.lease import LeaseRequest, LeaseTerms, until_its_end
from tiering.mechanism import MINUTE_MS, Mechanism

#: With these a lower node that is told of an end or a purge says that it has no such lease that anything could come of.
#: Whatever else it answers (too busy, its catalog or store away, clocks apart) may be different the next time.
NO_LEASE_BELOW = frozenset(
    {"tier.lease_unknown", "tier.lease_signature", "tier.document_malformed", "tier.peer_unknown"}
)


def unlike_request(
    terms: LeaseTerms,
    request: LeaseRequest,
    mechanism: Mechanism,
    *,
    lower_node: str,
    upper_node: str,
    now_ms: int,
    slack_ms: int,
) -> tuple[str, ...]:
    """In which fields a lease that a lower node answers with is more than `request`, or another. Less it may be.

    `now_ms`: the upper node's clock; the lower one's may be ahead of it by `slack_ms`.
    """
    ttl_ms = mechanism.cache_ttl_ms
    if request.cache_minutes is not None:
        ttl_ms = min(ttl_ms, request.cache_minutes * MINUTE_MS)
    latest_ms, until_ms = now_ms + slack_ms, terms.expires_ms
    if terms.from_ms is not None:
        until_ms = cache_until_ms(terms.first_issued_ms, terms.expires_ms, ttl_ms)
    fits = {
        "lower_node": terms.lower_node == lower_node,
        "upper_node": terms.upper_node == upper_node,
        "mechanism": terms.mechanism == request.mechanism,
        "mechanism_version": terms.mechanism_version == request.mechanism_version,
        "kind": terms.kind == mechanism.kind,
        "case_no": terms.case_no == request.case_no.strip(),
        "reason": terms.reason == request.reason.strip(),
        "requester": terms.requester == request.requester,
        "approver": terms.approver == request.approver,
        "persons": terms.persons == request.persons,
        "cameras": set(terms.cameras) <= set(request.cameras),
        "functions": set(terms.functions) <= set(request.functions),
        "max_stream": terms.max_stream in ("sub", request.max_stream),
        "range": _inside((terms.from_ms, terms.to_ms), (request.from_ms, request.to_ms)),
        "expires_ms": terms.expires_ms <= latest_ms + request.minutes * MINUTE_MS,
        "confirm_by_ms": mechanism.confirm_within_ms is None
        or (terms.confirm_by_ms is not None and terms.confirm_by_ms <= latest_ms + mechanism.confirm_within_ms),
        "cache_until_ms": terms.cache_until_ms <= until_ms,
        "renewals": terms.renewals == 0,
    }
    return tuple(name for name, fit in fits.items() if not fit)


def unlike_renewal(
    terms: LeaseTerms, old: LeaseTerms, reason: str, minutes: int, *, now_ms: int, slack_ms: int
) -> tuple[str, ...]:
    """In which fields the answer to a renewal of `old` is more than asked, or another: it is the same lease for longer.

    The lower node may have renewed it meanwhile without being heard: it may count more renewals than one.
    """
    ttl_ms = max(0, old.cache_until_ms - old.expires_ms)
    moved = {
        "reason": terms.reason == reason.strip(),
        "to_ms": terms.to_ms in (old.to_ms, terms.expires_ms if until_its_end(old) else old.to_ms),
        "issued_ms": True,  # by the lower node's clock, which may have been set
        "expires_ms": old.expires_ms < terms.expires_ms <= now_ms + slack_ms + minutes * MINUTE_MS,
        "cache_until_ms": terms.cache_until_ms <= cache_until_ms(old.first_issued_ms, terms.expires_ms, ttl_ms),
        "renewals": old.renewals < terms.renewals,
    }
    return tuple(
        field.name
        for field in fields(LeaseTerms)
        if not moved.get(field.name, getattr(terms, field.name) == getattr(old, field.name))
    )


def _inside(inner: tuple[int | None, int | None], outer: tuple[int | None, int | None]) -> bool:
    """Of two recorded ranges; without one there is nothing that could be outside."""
    if inner == (None, None):
        return True
    low, high = inner
    if low is None or high is None or outer[0] is None or outer[1] is None:
        return False
    return outer[0] <= low < high <= outer[1]
