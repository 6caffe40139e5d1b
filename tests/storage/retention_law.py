"""What the retention machine holds the product to: who must stay until when, said in other words than the product's."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

from config.units import DAY_MS
from storage.approval_rules import Approval

CAMERAS = ("21021100011326000001", "21021100011326000002")
_SHANGHAI = timezone(timedelta(hours=8))  # no summer time since 1991: an oracle needs no zone database


@dataclass
class Law:
    """What was ordered. Copied whole for a backup: a node that lost its store as well knows no more than that."""

    months: dict[str, int] = field(default_factory=lambda: {"default": 1, "key": 3})
    pending: dict[str, tuple[int, int]] = field(default_factory=dict)  #: class → (effective, months)
    key_from: dict[str, list[list[int | None]]] = field(default_factory=lambda: {c: [] for c in CAMERAS})
    holds: dict[str, tuple[str, int, int]] = field(default_factory=dict)  #: standing: camera, from, to
    asked: dict[str, Approval] = field(default_factory=dict)  #: of `holds`, those that lapse if nobody approves them

    def months_of(self, class_name: str, now_ms: int) -> int:
        effective_ms, months = self.pending.get(class_name, (now_ms + 1, 0))
        return months if effective_ms <= now_ms else self.months[class_name]

    def settle(self, now_ms: int) -> None:
        for class_name, (effective_ms, months) in list(self.pending.items()):
            if effective_ms <= now_ms:
                self.months[class_name] = months
                del self.pending[class_name]
        for id_, asked in list(self.asked.items()):
            if asked.expires_ms <= now_ms:
                self.end_hold(id_)

    def ends_ms(self, camera: str, start_ms: int, end_ms: int, now_ms: int) -> int:
        default_end = _after(end_ms, self.months_of("default", now_ms))
        for came, went in self.key_from[camera]:
            if came is None or came >= default_end or went == came:  # who left in the moment of coming was never there
                continue
            if went is None or went > start_ms:
                return max(default_end, _after(end_ms, self.months_of("key", now_ms)))
        return default_end

    def held(self, camera: str, start_ms: int, end_ms: int, now_ms: int) -> bool:
        return any(
            c == camera and a <= end_ms and start_ms <= b
            for id_, (c, a, b) in self.holds.items()
            if id_ not in self.asked or now_ms < self.asked[id_].expires_ms
        )

    def end_hold(self, id_: str) -> None:
        del self.holds[id_]
        self.asked.pop(id_, None)


def _after(end_ms: int, months: int) -> int:
    """`months` calendar months of Shanghai, never less than 30 days each."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=end_ms)
    local = moment.astimezone(_SHANGHAI)
    first = local.replace(day=1)
    for _ in range(months):
        first = (first + timedelta(days=32)).replace(day=1)
    next_month = (first + timedelta(days=32)).replace(day=1)
    last_day = (next_month - timedelta(days=1)).day
    then = first.replace(day=min(local.day, last_day))
    calendar_ms = (then - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return max(calendar_ms, end_ms + months * 30 * DAY_MS)
