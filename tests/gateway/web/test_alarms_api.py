"""What stands wrong on the node, for those who may know: by role, and never about a camera that one does not see."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.reasons import Reason
from gateway.ops import alarms
from gateway.ops.alarms import LOOKS, Alarms, look
from gateway.ops.findings import Answer, Finding
from storage.catalog import facts
from storage.catalog.cameras import change_camera
from tests.gateway.web.site import Site, add_camera, site_in


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path) as made:
        for role in ("system_admin", "duty", "operator", "security_admin", "audit_admin", "analysis"):
            made.user(role, (role,))
        yield made


def stand(site: Site, *findings: Finding, looks: int = LOOKS) -> None:
    """As the keeper's looks leave it."""
    state = Alarms()
    for now_ms in range(looks):
        state, _ = look(state, [Answer("all", findings)], now_ms, (f"id{now_ms}{n}" for n in range(99)), (), "warn")
    site.catalog.write(lambda c: facts.set(c, alarms.FACT, state.as_json()))


def found(check: str, code: str, level: Any = "warn", **params: object) -> Finding:
    return Finding(check, level, Reason(code, params), Reason("ops.disk_next"))


LOW = found("disks", "ops.disk_low", volume="spool", percent=4.0, free_gb=1.0)
FULL = found("disks", "ops.disk_critical", "bad", volume="store", percent=1.0, free_gb=0.1)
LAGS = found("certificates", "ops.certificate_bad", "bad", section="web")


async def asked(site: Site, login: str) -> list[tuple[str, str]]:
    async with await site.sign_in(login) as client:
        answer = await client.get("/api/v1/alarms")
        assert answer.status_code == 200, answer.text
        return [(item["check"], item["reason"]["code"]) for item in answer.json()["items"]]


async def test_the_worst_comes_first_with_its_sentence_and_the_next_step(site: Site) -> None:
    stand(site, LOW, FULL)
    async with await site.sign_in("duty") as client:
        first, second = (await client.get("/api/v1/alarms")).json()["items"]
    assert (first["level"], second["level"]) == ("bad", "warn")
    assert (second["check"], second["since_ms"], second["reason"]["params"]["volume"]) == ("disks", 0, "spool")
    for one in (first, second):
        assert all(one[part][language] for part in ("reason", "next") for language in ("en", "zh"))
    stand(site, LOW, looks=1)
    assert await asked(site, "duty") == [], "what one look has seen is no alarm yet"


async def test_the_duty_officer_hears_of_room_and_nobody_else_but_the_administrator_of_anything(site: Site) -> None:
    stand(site, LOW, LAGS)
    assert await asked(site, "duty") == [("disks", "ops.disk_low")]
    assert await asked(site, "system_admin") == [("certificates", "ops.certificate_bad"), ("disks", "ops.disk_low")]
    for login in ("operator", "security_admin", "audit_admin", "analysis"):
        async with await site.sign_in(login) as client:
            answer = await client.get("/api/v1/alarms")
            assert (answer.status_code, answer.json()["code"]) == (403, "access.role_needed"), login


async def test_a_camera_outside_ones_catalogue_is_not_spoken_of(site: Site) -> None:
    async with await site.sign_in("system_admin") as client:
        seen, secret = [await add_camera(client, number) for number in (1, 2)]
    site.catalog.write(lambda c: change_camera(c, secret, {"secrecy": 2}, site.now_ms()))
    stand(site, *(found("reach", "retention.promise_camera", camera=id_, why="x") for id_ in (seen, secret, "gone")))
    for login in ("duty", "system_admin"):
        async with await site.sign_in(login) as client:
            visible = {item["id"] for item in (await client.get("/api/v1/cameras")).json()["items"]}
            items = (await client.get("/api/v1/alarms")).json()["items"]
        assert visible == {seen}
        assert [item["reason"]["params"]["camera"] for item in items] == [seen], login
