"""What the page shows of plans, explanations and sweeps as the API words it: every name has a label."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from config.units import DAY_MS
from storage.objects import make_store
from storage.sampled import Check
from tests.gateway.page.test_modules import table
from tests.gateway.web.site import ALL_ROLES, add_camera, site_in
from tests.gateway.web.test_retention_api import footage, hold


def names_in(value: Any) -> set[str]:
    """Of everything that is no sentence."""
    if isinstance(value, list):
        return {name for one in value for name in names_in(one)}
    if not isinstance(value, dict) or {"en", "zh"} <= value.keys():
        return set()
    return set(value).union(*(names_in(one) for one in value.values()))


async def test_every_name_in_a_plan_an_explanation_and_a_sweep_has_a_label(tmp_path: Path) -> None:
    with site_in(tmp_path, retention={"clock_source": "trusted"}) as site:
        make_store(site.settings).ensure()
        site.user("admin", ALL_ROLES)
        now_ms = site.now_ms()
        async with await site.sign_in("admin") as admin:
            ours, theirs = await add_camera(admin, 1), await add_camera(admin, 2, recorded_by="owner")
            footage(site, ours, now_ms - 40 * DAY_MS)
            await hold(admin, ours, now_ms - 41 * DAY_MS, now_ms)
            area = {
                "name": "广场",
                "class": "key",
                "document_no": "文 1",
                "cameras": [ours],
                "from": now_ms - 50 * DAY_MS,
            }
            assert (await admin.post("/api/v1/areas", json=area)).status_code == 201
            answers = [
                await admin.post("/api/v1/retention/sweep"),
                await admin.get("/api/v1/retention/plan", params={"class": "key", "months": 4}),
                await admin.get("/api/v1/retention/explain", params={"camera": ours, "at": now_ms - 40 * DAY_MS}),
                await admin.get("/api/v1/retention/explain", params={"camera": theirs}),
            ]
        assert [answer.status_code for answer in answers] == [200] * 4
        told = [answer.json() for answer in answers]
        assert told[2]["holds"] and told[2]["areas"] and told[1]["items"] and told[3]["recorded_by_owner"]
        names = names_in(told) | {field.name for field in dataclasses.fields(Check)}
        for language in ("en", "zh"):
            labels = table(language)
            assert [name for name in sorted(names) if f"fact.{name}" not in labels] == []
