"""The temporary cache's rules: how long, how much, store or pass through or purge. (pure)

REQUIREMENTS §3.6: no lease, no object; gone at the lease's end + its TTL and never later than 7 days after its issue; a
full cache passes bytes through and keeps none; live pictures are never stored at all.
"""

from __future__ import annotations

from enum import Enum

from config.units import DAY_MS, HOUR_MS

HARD_TTL_MS = 7 * DAY_MS  #: from the first issue, whatever a mechanism says
MAX_TTL_MS = 72 * HOUR_MS  #: after the lease's end


def cache_until_ms(first_issued_ms: int, expires_ms: int, ttl_ms: int) -> int:
    """When cached bytes of a lease must be gone. With no TTL that is at its end."""
    return min(expires_ms + min(max(ttl_ms, 0), MAX_TTL_MS), first_issued_ms + HARD_TTL_MS)


class CacheAct(Enum):
    STORE = "store"
    TRANSIT = "pass_through"  #: show, keep nothing
    PURGE = "purge"  #: its time is over: delete now, show nothing


def decide_cache(
    *, now_ms: int, until_ms: int, allowed: bool, used_bytes: int, quota_bytes: int, size_bytes: int
) -> CacheAct:
    """What to do with `size_bytes` of a lower tier's recorded footage that are about to arrive.

    `allowed` is False when the lease has no cache or has lost it (unconfirmed, revoked, suspended).
    """
    if now_ms >= until_ms:
        return CacheAct.PURGE
    if not allowed or used_bytes + size_bytes > quota_bytes:
        return CacheAct.TRANSIT
    return CacheAct.STORE
