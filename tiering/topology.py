"""Which node may stand above which, and who may pull from whom. (pure)

One hop only: a city pulls from a district, a district from a street, a street from a community, each from the tier next
below. Nobody pulls upward or sideways, so the lowest tier pulls from nobody. Tiers are stored on nodes, never computed.
"""

from __future__ import annotations

from config.reasons import Reason

#: From the top down.
TIER_ORDER: tuple[str, ...] = ("city", "district", "street", "community")


def is_next_below(upper: str, lower: str) -> bool:
    """Whether `lower` is the tier directly under `upper`. False for unknown words."""
    if upper not in TIER_ORDER or lower not in TIER_ORDER:
        return False
    return TIER_ORDER.index(lower) - TIER_ORDER.index(upper) == 1


def refuse_link(own_tier: str, peer_tier: str, peer_role: str) -> Reason | None:
    """Why two nodes cannot be linked with the peer in `peer_role` (``upper`` or ``lower``), or None."""
    upper, lower = (peer_tier, own_tier) if peer_role == "upper" else (own_tier, peer_tier)
    if peer_role not in ("upper", "lower") or not is_next_below(upper, lower):
        return Reason("tier.not_adjacent", {"upper": upper, "lower": lower})
    return None


def refuse_pull(puller_tier: str, source_tier: str) -> Reason | None:
    """Why a node of `puller_tier` may not pull from one of `source_tier`, or None."""
    if not is_next_below(puller_tier, source_tier):
        return Reason("tier.pull_direction", {"upper": puller_tier, "lower": source_tier})
    return None
