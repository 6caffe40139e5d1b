"""Random chains of narrowed grants, and what would be a widening (FAULTS S13).

A chain begins with what somebody holds; each next holder gets the intersection with what was meant for them, written
down and read again as a row or token carries it. Whatever the last holder may do, every link of the chain must have
been allowed to do.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from config.weekly import WeeklyWindow
from tiering.access import (
    CameraResource,
    Conditions,
    Facts,
    Function,
    Grant,
    Principal,
    Resources,
    Stream,
    allowed_ranges,
    decide,
    narrow,
)

NOW = 1_790_000_000_000  # Monday 2026-09-21 22:13:20 in Asia/Shanghai
_PURPOSES = ("daily_watch", "drill", "evidence")
_NETWORKS = ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "192.168.0.0/16", "::/0", "fd00::/8", "0.0.0.0/0")
_CLIENTS = ("10.1.2.3", "10.1.9.9", "10.200.0.1", "192.168.7.7", "fd00::7", "::ffff:10.1.2.3", None)
_FUNCTIONS = tuple(Function)


@dataclass(slots=True)
class Tally:
    """What a run did: without allowed requests it would have shown nothing."""

    chains: int = 0
    allowed: int = 0
    refused: int = 0
    cut: int = 0  #: allowed at the first link and refused at the last


class Dice:
    """Grants and requests near each other, so that both answers happen."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def some(self, items: tuple[Any, ...], chance: float) -> frozenset[Any]:
        return frozenset(item for item in items if self.random.random() < chance)

    def maybe(self, make: Callable[[], Any], chance: float = 0.35) -> Any:
        return make() if self.random.random() < chance else None

    def moment(self) -> int:
        return NOW + self.random.randint(-300, 300)

    def resources(self) -> Resources:
        return Resources(
            regions=self.some(("21", "2102", "210211", "11"), 0.3),
            cameras=self.some(("c1", "c2"), 0.5),
            areas=self.some(("a1", "a2"), 0.2),
            departments=self.some(("dep1", "dep2"), 0.2),
            all_own=self.random.random() < 0.3,
        )

    def week(self) -> tuple[WeeklyWindow, ...]:
        windows = []
        for _ in range(self.random.randint(0, 2)):
            days = frozenset({1 if self.random.random() < 0.8 else 2}) | self.some((3, 5, 7), 0.5)
            from_minute = self.random.randint(0, 1400)
            windows.append(WeeklyWindow(days, from_minute, max(from_minute + 1, self.random.randint(1335, 1440))))
        return tuple(windows)

    def conditions(self) -> Conditions:
        roll = self.random.random
        return Conditions(
            valid_from_ms=self.maybe(lambda: NOW - self.random.randint(-20, 300)),
            valid_to_ms=self.maybe(lambda: NOW + self.random.randint(-20, 300)),
            footage_from_ms=self.maybe(lambda: NOW - self.random.randint(50, 300)),
            footage_to_ms=self.maybe(lambda: NOW + self.random.randint(-100, 300)),
            look_back_ms=self.maybe(lambda: self.random.randint(0, 300)),
            weekly=self.maybe(self.week, 0.3),
            max_stream="main" if roll() < 0.7 else "sub",
            max_streams=self.maybe(lambda: self.random.randint(1, 4)),
            purposes=self.maybe(lambda: self.some(_PURPOSES, 0.7), 0.3),
            networks=self.maybe(lambda: tuple(self.random.sample(_NETWORKS, self.random.randint(1, 3))), 0.3),
        )

    def grant(self) -> Grant:
        source: Literal["user", "token"] = self.random.choice(("user", "token"))
        made = Grant("g", source, self.resources(), self.some(_FUNCTIONS, 0.75), self.conditions())
        return Grant.from_json("g", source, json.loads(json.dumps(made.as_json())))

    def camera(self) -> CameraResource:
        return CameraResource(
            id=self.random.choice(("c1", "c2")),
            regions=self.random.choice((("210211", "2102", "21"), ("11",))),
            department_id=self.random.choice((None, "dep1", "dep2")),
            areas=self.some(("a1", "a2"), 0.5),
            secrecy=int(self.random.random() < 0.1),
            sharing="departments",
        )

    def facts(self) -> Facts:
        stream: Stream | None = self.random.choice((None, "main", "sub"))
        recorded = self.random.random() < 0.6
        from_ms = NOW - self.random.randint(0, 200) if recorded else None
        to_ms = None if from_ms is None else from_ms + self.random.randint(0, 200)
        opened_ms = self.maybe(lambda: NOW - self.random.randint(0, 50), 0.2)
        open_looks = self.maybe(lambda: {"g": self.random.randint(0, 4)}, 0.5)
        purpose, client = self.random.choice(_PURPOSES), self.random.choice(_CLIENTS)
        return Facts(stream, from_ms, to_ms, purpose, client, opened_ms, open_looks)


def holder(grant: Grant, until_ms: int | None = None) -> Principal:
    if grant.source == "token":
        return Principal("token", "j1", "x", "x", "教育局", grants=(grant,), expires_ms=until_ms)
    return Principal("user", "u1", "li", "李", "值班室", "dep9", grants=(grant,), expires_ms=until_ms)


def hand_on(held: Grant, meant: Grant) -> Grant:
    """What the next one gets, as a row or a token carries it."""
    made = narrow(held, meant)
    source: Literal["user", "token"] = "token" if made.source == "token" else "user"
    return Grant.from_json("g", source, json.loads(json.dumps(made.as_json())))


def widenings(chains: int, seed: int, tally: Tally, most: int = 1) -> list[str]:
    """Descriptions of up to `most` widenings among so many random chains of two to five links."""
    dice, found = Dice(seed), list[str]()
    for number in range(chains):
        links = [dice.grant() for _ in range(dice.random.randint(2, 5))]
        held = links[0]
        for meant in links[1:]:
            held = hand_on(held, meant)
        tally.chains += 1
        for _ in range(2):
            camera, facts, function = dice.camera(), dice.facts(), dice.random.choice(_FUNCTIONS)
            why = _widened(links, held, function, camera, facts, NOW + dice.random.randint(-60, 60), tally)
            if why:
                found.append(f"seed {seed} chain {number}: {why}: {[g.as_json() for g in links]} → {held.as_json()}")
                if len(found) >= most:
                    return found
    return found


def _widened(
    links: list[Grant], held: Grant, function: Function, camera: CameraResource, facts: Facts, now_ms: int, tally: Tally
) -> str:
    last = decide(holder(held), function, camera, now_ms, facts)
    ranges = allowed_ranges(holder(held), function, camera, now_ms, facts)
    tally.allowed += last.allow
    tally.refused += not last.allow
    for place, link in enumerate(links):
        first = decide(holder(link), function, camera, now_ms, facts)
        if place == 0:
            tally.cut += first.allow and not last.allow
        asked = f"{function} {camera} {facts} at {now_ms - NOW} against link {place}"
        if last.allow and not first.allow:
            return f"allowed: {asked}"
        if last.visible and not first.visible:
            return f"visible: {asked}"
        if last.allow and (last.max_stream == "main" and first.max_stream == "sub"):
            return f"a better stream: {asked}"
        if last.allow and first.until_ms is not None and (last.until_ms is None or last.until_ms > first.until_ms):
            return f"longer: {asked}"
        wider = allowed_ranges(holder(link), function, camera, now_ms, facts)
        if any(not any(low <= a and b <= high for low, high in wider) for a, b in ranges):
            return f"more footage: {asked}"
    return ""
