"""Cameras that their owners record: days are attested, audited, and told by report and explanation as what they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.units import DAY_MS, format_time_ms
from storage.audit import log as audit
from storage.catalog import attestations
from tests.gateway.web.site import ALL_ROLES, Site, add_camera, site_in


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path, retention={"clock_source": "trusted"}) as made:
        made.user("admin", ALL_ROLES)
        yield made


def paper(site: Site, days: int = 30, ahead_ms: int = 100 * DAY_MS, **more: Any) -> dict[str, Any]:
    until = format_time_ms(site.now_ms() + ahead_ms)
    return {"days": days, "attested_by": "教育局 王", "document": "教函 12 号", "valid_until": until} | more


async def test_days_are_attested_once_more_and_each_time_audited(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        camera = await add_camera(admin, 1, recorded_by="owner")
        at = f"/api/v1/cameras/{camera}/attestations"
        made = await admin.post(at, json=paper(site, 29))
        assert made.status_code == 201, made.text
        assert (made.json()["state"], made.json()["reason"]["code"]) == ("short", "retention.attested_short")
        site.clock.advance(1)
        assert (await admin.post(at, json=paper(site, 45))).json()["state"] == "attested"
        shown = (await admin.get(at)).json()["items"]
        assert [(row["days"], row["attested_by"], row["document"]) for row in shown] == [
            (45, "教育局 王", "教函 12 号"), (29, "教育局 王", "教函 12 号"),
        ]  # fmt: skip
        (by,) = {row["made_by"] for row in shown}
        entries = [e for e in site.catalog.read(audit.entries) if e.action == "camera.attest"]
        assert [(e.actor, e.subject, e.details["days"]) for e in entries] == [(by, camera, 29), (by, camera, 45)]


async def test_the_last_word_counts_also_when_the_clock_was_set_back(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        at = f"/api/v1/cameras/{await add_camera(admin, 1, recorded_by='owner')}/attestations"
        assert (await admin.post(at, json=paper(site, 45))).json()["state"] == "attested"
        site.clock.step_wall(-60)
        assert (await admin.post(at, json=paper(site, 7))).json()["state"] == "short"
        assert [row["days"] for row in (await admin.get(at)).json()["items"]] == [7, 45]


async def test_what_cannot_be_attested_is_refused_and_leaves_nothing(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        ours, theirs = await add_camera(admin, 1), await add_camera(admin, 2, recorded_by="owner")

        async def refused(camera: str, body: dict[str, Any]) -> tuple[int, str]:
            answer = await admin.post(f"/api/v1/cameras/{camera}/attestations", json=body)
            return answer.status_code, answer.json()["code"]

        assert await refused(ours, paper(site)) == (409, "retention.attest_recorded_here")
        assert await refused(theirs, paper(site, ahead_ms=0)) == (422, "retention.attest_until")
        assert await refused(theirs, paper(site, ahead_ms=367 * DAY_MS)) == (422, "retention.attest_until")
        for bad in ({"days": -1}, {"days": None}, {"attested_by": " "}, {"document": ""}, {"camera_id": ours}):
            assert (await refused(theirs, paper(site) | bad))[0] == 422, bad
        assert site.catalog.read(attestations.newest) == {}
        assert not [e for e in site.catalog.read(audit.entries) if e.action == "camera.attest"]


async def test_the_report_tells_them_apart_from_what_is_recorded_here(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        ours = await add_camera(admin, 1)
        none, short, good = [await add_camera(admin, n, recorded_by="owner") for n in (2, 3, 4)]
        for camera, days in ((short, 7), (good, 30)):
            await admin.post(f"/api/v1/cameras/{camera}/attestations", json=paper(site, days))
        told = (await admin.get("/api/v1/reports/retention")).json()
        assert [one["camera_id"] for one in told["items"]] == [ours]
        assert {one["camera_id"]: (one["state"], one["attested_days"]) for one in told["recorded_by_owner"]} == {
            none: ("none", None), short: ("short", 7), good: ("attested", 30),
        }  # fmt: skip
        assert all(one["floor_days"] == 30 and one["reason"]["zh"] for one in told["recorded_by_owner"])
        assert told["recorded_by_owner_sum"] == {"attested": 1, "lapsed": 0, "short": 1, "none": 1}
        site.clock.advance(101 * 86_400)
    async with await site.sign_in("admin") as admin:
        told = (await admin.get("/api/v1/reports/retention", params={"camera": good})).json()
        assert [one["state"] for one in told["recorded_by_owner"]] == ["lapsed"]


async def test_an_explanation_says_that_the_owner_keeps_it(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        ours, theirs = await add_camera(admin, 1), await add_camera(admin, 2, recorded_by="owner")

        async def explained(camera: str) -> Any:
            return (await admin.get("/api/v1/retention/explain", params={"camera": camera})).json()

        found = await explained(theirs)
        assert (found["segment"], found["reason"]["code"]) == (None, "retention.attested_none")
        await admin.post(f"/api/v1/cameras/{theirs}/attestations", json=paper(site))
        found = await explained(theirs)
        assert found["recorded_by_owner"]["attested_days"] == 30 and "教函 12 号" in found["reason"]["en"]
        assert (await explained(ours))["code"] == "retention.nothing_at"


async def test_the_command_line_attests_and_shows_it(site: Site, told: Any) -> None:
    async with await site.sign_in("admin") as admin:
        camera = await add_camera(admin, 1)
    assert json.loads(told("camera", "set", camera, "--recorded-by", "owner", "--json"))["recorded_by"] == "owner"
    (entry,) = [e for e in site.catalog.read(audit.entries) if e.action == "camera.change"]
    assert entry.details["recorded_by"] == "owner"
    until = paper(site)["valid_until"]
    words = ("--days", "90", "--by", "教育局 王", "--document", "教函 12 号", "--until", until)
    assert json.loads(told("camera", "attest", camera, *words, "--json"))["state"] == "attested"
    assert "教函 12 号" in told("camera", "attest", camera)
    report = told("report", "retention", "--lang", "en")
    assert "教育局 王" in report and "as attested" in report and "unasked" in report
