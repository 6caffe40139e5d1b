"""Permission: the one decision with many grants, and what a register entry adds to opening a stream.

`decide` is asked for cameras here and there in a city of 10 000 cameras and 500 communities, by people whose department
holds 10, 1 000 and 10 000 grants, nine of ten of one camera each, the others of an area or a community, some of them
denials; the grants are loaded from a catalog as the processes load them.
`register` opens and closes looks of an operator: the decision alone, beside the decision and the durable row.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._box import options, report
from storage.catalog import grants as grant_rows
from storage.catalog import people, places
from storage.catalog.cameras import NewCamera, create_camera
from storage.catalog.grants import GrantRow
from tests.gateway.web.site import REGION, Site, site_in
from tiering.access import CameraResource, Facts, Function, Principal, decide

_DECISIONS = 20_000
_CAMERAS = 10_000
_REGIONS, _AREAS = 500, 400
_FUNCTIONS = (Function.LIVE, Function.PLAYBACK, Function.EXPORT)


def _camera(number: int, chance: random.Random) -> CameraResource:
    region = f"21021100{number % _REGIONS:04d}"
    areas = frozenset({f"area{number % _AREAS}"}) if chance.random() < 0.1 else frozenset[str]()
    return CameraResource(
        f"{21021100011320000000 + number}", (region, region[:9], "210211", "2102", "21"), f"dep{number % 20}", areas,
        sharing="departments",
    )  # fmt: skip


def _grant(chance: random.Random) -> dict[str, Any]:
    kind = chance.random()
    if kind < 0.9:
        number = chance.randrange(_CAMERAS)
        resources: dict[str, list[str]] = {"cameras": [f"{21021100011320000000 + number}"]}
    elif kind < 0.95:
        resources = {"areas": [f"area{chance.randrange(_AREAS)}"]}
    else:
        resources = {"regions": [f"21021100{chance.randrange(_REGIONS):04d}"]}
    functions = sorted(chance.sample(["live", "playback", "snapshot", "export", "status", "catalog"], 3))
    effect = "deny" if chance.random() < 0.05 else "allow"
    return {
        "effect": effect,
        "resources": resources,
        "functions": functions,
        "conditions": {"look_back_ms": 86_400_000},
    }


def _principal(site: Site, grants: int, chance: random.Random) -> Principal:
    department = f"01K{grants:023d}"
    login = f"li{grants}"

    def write(connection: Any) -> None:
        places.add_department(connection, department, f"department {grants}", REGION, 1)
        for number in range(grants):
            id_ = f"02K{grants:09d}{number:014d}"
            row = GrantRow(id_, "department", department, _grant(chance), 1, "admin")
            grant_rows.add_grant(connection, row)

    site.catalog.write(write)
    id_ = site.user(login, (), department)
    of_user = site.services.principals.of_user
    return site.catalog.read(lambda c: of_user(c, people.require_user(c, id_), None, site.now_ms()))


def _decide(who: Principal, cameras: list[CameraResource], now_ms: int, decisions: int) -> dict[str, float]:
    facts = [
        Facts(stream="main"),
        Facts(from_ms=now_ms - 60_000, to_ms=now_ms),
        Facts(from_ms=now_ms - 60_000, to_ms=now_ms),
    ]
    asked = [(cameras[n * 7919 % len(cameras)], n % len(_FUNCTIONS)) for n in range(decisions)]
    allowed = sum(decide(who, _FUNCTIONS[f], camera, now_ms, facts[f]).allow for camera, f in asked[:500])
    began_s = time.process_time()
    for camera, f in asked:
        decide(who, _FUNCTIONS[f], camera, now_ms, facts[f])
    took_us = (time.process_time() - began_s) / decisions * 1e6
    return {"us": round(took_us, 2), "allowed_of_500": allowed}


def _p95(values: list[float]) -> float:
    return sorted(values)[-max(1, len(values) // 20)]


async def _register(site: Site, times: int) -> dict[str, float]:
    made = NewCamera("东门", REGION, (("main", "rtsp://10.0.0.1/a", None),))
    camera = site.catalog.write(lambda c: create_camera(c, made, "community", 32, site.now_ms())).id
    id_ = site.user("operator", ("operator",))
    of_user = site.services.principals.of_user
    who = site.catalog.read(lambda c: of_user(c, people.require_user(c, id_), None, site.now_ms()))
    looks = site.services.looks
    alone_ms, opened_ms = [], []
    for _ in range(times):
        began_s = time.perf_counter()
        await looks.decide(who, Function.LIVE, camera, stream="main")
        alone_ms.append((time.perf_counter() - began_s) * 1e3)
        began_s = time.perf_counter()
        async with looks.open(who, Function.LIVE, camera):
            opened_ms.append((time.perf_counter() - began_s) * 1e3)
    adds = [opened - alone for opened, alone in zip(sorted(opened_ms), sorted(alone_ms), strict=True)]
    return {
        "decide_p95_ms": round(_p95(alone_ms), 3),
        "open_p95_ms": round(_p95(opened_ms), 3),
        "adds_p50_ms": round(sorted(adds)[len(adds) // 2], 3),
        "adds_p95_ms": round(_p95(opened_ms) - _p95(alone_ms), 3),
    }


def main() -> int:
    arguments = options("access", __doc__ or "").parse_args()
    chance = random.Random(7)
    decisions = _DECISIONS // 10 if arguments.quick else _DECISIONS
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, site_in(Path(folder)) as site:
        cameras = [_camera(number, chance) for number in range(_CAMERAS)]
        for grants in (10, 1_000, 10_000):
            results[f"decide_{grants}_grants"] = _decide(
                _principal(site, grants, chance), cameras, site.now_ms(), decisions
            )
        results["register"] = asyncio.run(_register(site, 200 if arguments.quick else 2_000))
    bars = {
        "decide_us": (results["decide_10000_grants"]["us"], 20.0),
        "register_adds_p95_ms": (results["register"]["adds_p95_ms"], 3.0),
    }
    return report("access", results, bars, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
