"""Mechanisms: the named, versioned terms under which an upper node may open a lease. (pure)

The shipped defaults are those of REQUIREMENTS §3.5. Both ends of a link keep a row of the same name and version; the
lower node decides by its own row, so an upper node that has widened its copy gains nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from config.errors import Kind, TiergateError
from config.units import DAY_MS, HOUR_MS

MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Mechanism:
    name: str
    version: int
    kind: Literal["emergency", "supervision"]
    functions: tuple[str, ...]
    max_stream: Literal["main", "sub"]
    max_cameras: int
    max_ms: int  #: one lease, and each renewal of it
    max_renewals: int
    absolute_ms: int  #: from the first issue, renewals included
    look_back_ms: int  #: recorded footage from this long before the request; 0: live only
    confirm_within_ms: int | None  #: a second person confirms afterwards; None: nothing to confirm
    self_confirm_after_ms: int  #: one-person duty: the requester may confirm after this delay, and it is told below
    approval_before: bool  #: the request must name an approver who is not the requester
    needs_sharing: bool  #: the camera's `sharing` must be `upper`: the lower node's standing veto
    cache_ttl_ms: int  #: recorded footage may stay above this long after the lease's end
    camera_ms_per_day: int  #: camera time one link may be granted in 24 h (S15: no standing surveillance)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "functions": list(self.functions)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Mechanism:
        """Raises tier.mechanism_unknown when `value` was not written by `as_json`."""
        known = {name: part for name, part in value.items() if name != "priority"}  # older rows have it
        try:
            return cls(**{**known, "functions": tuple(value["functions"])})
        except (KeyError, TypeError) as exc:
            raise TiergateError(Kind.CONFLICT, "tier.mechanism_unknown", name=str(value.get("name", "?"))) from exc


EMERGENCY = Mechanism(
    name="emergency",
    version=1,
    kind="emergency",
    functions=("live", "playback"),
    max_stream="main",
    max_cameras=50,
    max_ms=2 * HOUR_MS,
    max_renewals=3,
    absolute_ms=DAY_MS,
    look_back_ms=2 * HOUR_MS,
    confirm_within_ms=30 * MINUTE_MS,
    self_confirm_after_ms=10 * MINUTE_MS,
    approval_before=False,
    needs_sharing=False,
    cache_ttl_ms=72 * HOUR_MS,
    camera_ms_per_day=200 * HOUR_MS,
)
SUPERVISION = Mechanism(
    name="supervision",
    version=1,
    kind="supervision",
    functions=("live", "snapshot"),
    max_stream="sub",
    max_cameras=20,
    max_ms=30 * MINUTE_MS,
    max_renewals=0,
    absolute_ms=7 * DAY_MS,
    look_back_ms=0,
    confirm_within_ms=None,
    self_confirm_after_ms=0,
    approval_before=True,
    needs_sharing=True,
    cache_ttl_ms=0,
    camera_ms_per_day=60 * HOUR_MS,
)
SHIPPED: tuple[Mechanism, ...] = (EMERGENCY, SUPERVISION)
