"""Reports of use and of impact as their readers meet them: roles, audit, command line; refusals written down."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from config.redact import Secret
from config.units import DAY_MS, parse_time_ms
from gateway.access.ids import fresh_id
from gateway.access.stream_passwords import keep
from storage import use_view
from storage.audit import log
from storage.catalog import cameras, facts, grants, places, register, stream_passwords
from storage.catalog.cameras import NewCamera
from storage.catalog.grants import GrantRow, TokenRow
from storage.catalog.register import RegisterRow
from storage.catalog.stream_passwords import StreamPasswordRow
from tests.gateway.web.site import ALL_ROLES, REGION, Site, add_camera, site_in

NOON_MS = parse_time_ms("2026-11-24T12:00:00+08:00")
CANARIES = {
    "camera password": "canary-Cam%21@pass",
    "store access key": "canary-access-key",
    "store secret key": "canary-secret-key",
    "backup passphrase": "canary backup passphrase",
    "alarm secret": "canary-alarm-secret",
    "webhook path": "canary-hook-path",
    "camera address": "10.77.66.55",
}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    more: dict[str, Any] = {
        "backup": {"folder": str(tmp_path / "backups"), "passphrase": CANARIES["backup passphrase"]},
        "store": {
            "kind": "s3",
            "endpoint": "https://minio.example:9000",
            "access_key": CANARIES["store access key"],
            "secret_key": CANARIES["store secret key"],
        },
        "alarms": {
            "webhook": f"https://duty.example.cn/{CANARIES['webhook path']}",
            "secret": CANARIES["alarm secret"],
        },
    }
    with site_in(tmp_path, retention={"clock_source": "trusted"}, **more) as made:
        made.clock.step_wall((NOON_MS * 1_000_000 - made.clock.wall_ns()) / 1e9)
        made.user("admin", ALL_ROLES)
        yield made


def put_look(site: Site, opened_ms: int, seconds: int, **more: Any) -> None:
    base: dict[str, Any] = {
        "person": "李", "unit": "测试社区", "purpose": "daily_watch", "reason": "", "camera_id": "c", "stream": "main",
        "function": "live", "from_ms": None, "to_ms": None, "lease_id": None, "case_no": None, "client": None,
        "process": "web:1:1", "closed_ms": opened_ms + seconds * 1000, "bytes": 500, "result": "ended",
    }  # fmt: skip
    row = RegisterRow(
        id=fresh_id(site.clock), opened_ms=opened_ms, principal={"kind": "user", "id": "u"}, **base | more
    )
    site.catalog.write(lambda c: register.open_row(c, row))


# --- use -------------------------------------------------------------------------------------------------------------


async def test_only_audit_administrator_and_duty_read_it_and_that_they_did_is_audited(site: Site) -> None:
    put_look(site, NOON_MS - DAY_MS, 60)
    for login, role in (("a", "audit_admin"), ("d", "duty"), ("s", "system_admin"), ("o", "operator"), ("x", "")):
        site.user(login, (role,) if role else ())
        async with await site.sign_in(login) as client:
            answer = await client.get("/api/v1/reports/use")
        if role in ("audit_admin", "duty"):
            assert answer.json()["sum"]["all"]["looks"] == 1 and answer.json()["month"] == "2026-11"
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, "access.role_needed"), role
    entries = site.catalog.read(lambda c: log.tail(c, action="report.read"))
    assert [(e.actor, e.subject) for e in entries] == [("user:d", "use 2026-11"), ("user:a", "use 2026-11")]
    async with site.client() as nobody:
        assert (await nobody.get("/api/v1/reports/use")).status_code == 401


async def test_a_month_is_checked_and_kept_ones_are_told_as_they_were_kept(site: Site) -> None:
    put_look(site, parse_time_ms("2026-10-31T23:59:59+08:00"), 60)
    async with await site.sign_in("admin") as admin:

        async def ask(month: str) -> Any:
            return (await admin.get("/api/v1/reports/use", params={"month": month})).json()

        for no_month in ("2026-13", "november"):
            assert (await ask(no_month))["code"] == "time.month_malformed"
        assert (await ask("2026-12"))["code"] == "time.range_empty"
        fresh = await ask("2026-10")
        assert (fresh["kept"], fresh["agrees"], fresh["whole"], fresh["kept_months"]) == (False, None, True, [])
        assert [(i["looks"], i["watched_s"], i["running"]) for i in fresh["items"]] == [(1, 1, 1)]
        made = site.catalog.read(lambda c: use_view.report(c, "2026-10", NOON_MS))
        site.catalog.write(lambda c: use_view.keep(c, "2026-10", made, NOON_MS, "keeper"))
        kept = await ask("2026-10")
        assert (kept["kept"], kept["agrees"], kept["kept_months"]) == (True, True, ["2026-10"])
        assert (kept["items"], kept["made_ms"]) == (fresh["items"], NOON_MS)
        put_look(site, parse_time_ms("2026-10-02T00:00:00+08:00"), 60)
        changed = await ask("2026-10")
        assert (changed["agrees"], changed["items"]) == (False, fresh["items"])


async def test_who_asks_for_pictures_and_is_refused_stands_in_the_log_once_a_minute(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        camera_id = await add_camera(admin, 1)
    site.user("tech", ("system_admin",))
    site.user("nobody")
    async with await site.sign_in("tech") as tech, await site.sign_in("nobody") as nobody:
        path = f"/api/v1/cameras/{camera_id}/live.mp4"

        def noted() -> list[log.Entry]:
            return site.catalog.read(lambda c: log.tail(c, action=use_view.REFUSED))

        for _ in range(3):
            assert (await tech.get(path)).status_code == 403
        (entry,) = noted()
        assert (entry.actor, entry.subject) == ("user:tech", camera_id)
        assert (entry.details["function"], entry.details["code"]) == ("live", "access.no_function")
        site.clock.advance(61)
        assert (await tech.get(path)).status_code == 403
        assert len(noted()) == 2, "a minute later it is written down again"
        assert (await nobody.get(path)).status_code == 404
        assert noted()[0].details["code"] == "access.not_found", "also by whom the camera is hidden from"
        assert (await nobody.get(path.replace(camera_id, "21021100011326999999"))).status_code == 404
        assert (await nobody.patch(f"/api/v1/cameras/{camera_id}", json={"name": "x"})).status_code == 404
        assert len(noted()) == 3, "neither a camera that there is not, nor what shows no picture"
    async with await site.sign_in("admin") as admin:
        found = (await admin.get("/api/v1/reports/use")).json()
    assert {(i["unit"], i["function"], i["looks"], i["refused"]) for i in found["items"]} == {
        ("测试社区", "live", 0, 3)
    }


def test_the_command_line_tells_a_month(site: Site, told: Any) -> None:
    put_look(site, parse_time_ms("2026-10-02T00:00:00+08:00"), 90, purpose="evidence", function="export")
    put_look(site, parse_time_ms("2026-10-02T00:00:00+08:00"), 30, lease_id="L", purpose="emergency", case_no="A-1")
    found = json.loads(told("report", "use", "--month", "2026-10", "--json"))
    assert (len(found["items"]), found["sum"]["own"]["watched_s"]) == (2, 90)
    plain = told("report", "use", "--month", "2026-10")
    assert "own cameras: 1 look(s) by 1 person(s) at 1 camera(s), 90 s, 500 bytes, 0 refused" in plain
    assert "lower tiers: 1 look(s)" in plain and "without a case number" in plain
    assert "下级画面：1 人调阅 1 路摄像机 1 次，30 秒" in told("report", "use", "--month", "2026-10", "--lang", "zh")


# --- impact ----------------------------------------------------------------------------------------------------------


def fill(site: Site) -> str:
    """A node with one of everything that the form tells, secrets beside each."""
    unit = fresh_id(site.clock)

    def write(connection: Any) -> str:
        places.add_department(connection, unit, "教育局", REGION, NOON_MS)
        new = NewCamera(
            "校门|<b>", REGION, (("main", f"rtsp://{CANARIES['camera address']}/main", None),), sharing="departments",
            audio=True, audio_basis="校园安全 文号〔2026〕7号", onvif_url=f"http://{CANARIES['camera address']}/onvif",
            site_type="school_surroundings",
        )  # fmt: skip
        made = cameras.create_camera(connection, new, "community", 32, NOON_MS)
        account = site.services.secrets.seal(
            connection, site.clock, fresh_id(site.clock), "root", Secret(CANARIES["camera password"])
        )
        cameras.put_credential(connection, account)
        cameras.change_camera(connection, made.id, {"credential_id": account.id}, NOON_MS)
        area = places.Area(fresh_id(site.clock), "校园周边", "key", "综治〔2026〕3号", NOON_MS - 1, None, (made.id,))
        places.add_area(connection, area)
        value = {
            "effect": "allow",
            "resources": {"cameras": [made.id]},
            "functions": ["live", "playback"],
            "conditions": {
                "look_back_ms": 600_000,
                "networks": ["10.9.0.0/16"],
                "purposes": ["person_request"],
                "weekly": [{"days": [1, 2], "from_minute": 450, "to_minute": 1140}],
            },
        }
        row = GrantRow(fresh_id(site.clock), "department", unit, value, NOON_MS, "admin")
        grants.add_grant(connection, row)
        token = TokenRow(fresh_id(site.clock), unit, "教育局", "值班室", value, NOON_MS, NOON_MS + DAY_MS, "admin")
        grants.add_token(connection, token)
        id_, password = fresh_id(site.clock), Secret(CANARIES["camera password"])
        keep(connection, site.clock, site.services.secrets, id_, password)
        stream = StreamPasswordRow(
            id_, "token", token.jti, "平台接入", (made.id,), "main", ("10.9.1.0/24",), "协议〔2026〕14号", id_, NOON_MS,
            "admin", NOON_MS + DAY_MS,
        )  # fmt: skip
        stream_passwords.add(connection, stream)
        over = replace(stream, id=fresh_id(site.clock), label="已过期", expires_ms=NOON_MS)
        stream_passwords.add(connection, over)
        return made.id

    return site.catalog.write(write)


async def test_the_form_knows_the_node_and_no_secret(site: Site) -> None:
    camera_id = fill(site)
    put_look(site, NOON_MS - DAY_MS, 60, purpose="emergency")
    put_look(site, NOON_MS - 91 * DAY_MS, 60, purpose="drill")
    async with await site.sign_in("admin") as admin:
        answer = await admin.get("/api/v1/reports/impact")
    found = answer.json()
    assert found["cameras"]["by_class"] == {"key": 1} and found["cameras"]["by_sharing"] == {"departments": 1}
    assert found["cameras"]["with_sound"] == [
        {"camera": camera_id, "name": "校门|<b>", "basis": "校园安全 文号〔2026〕7号"}
    ]
    looks = {p["purpose"]: p["looks"] for p in found["purposes"]}
    assert (looks["emergency"], looks["drill"], len(looks)) == (1, 0, 8)
    assert [a["document_no"] for a in found["retention"]["areas"]] == ["综治〔2026〕3号"]
    (token,) = found["tokens"]
    for words in (
        "watch live pictures and play recordings", "the last 10 minutes", "校门|<b>", "10.9.0.0/16",
        "request of a person concerned", "mon, tue 07:30-19:00", "2026-11-25",
    ):  # fmt: skip
        assert words in token["plain"]["en"], words
    assert "周一、二 07:30-19:00" in token["plain"]["zh"] and "当事人查阅" in token["plain"]["zh"]
    assert [(g["subject"], g["cameras"]) for g in found["grants"]] == [("教育局", 1)]
    (stream,) = found["stream_passwords"]
    assert (stream["owner"], stream["label"], stream["cameras"]) == ("教育局: 值班室", "平台接入", 1)
    assert stream["unmarked_basis"] == "协议〔2026〕14号" and found["protection"]["rtsp"] == "off"
    assert (found["people"]["count"], found["people"]["several_administrators_in_one"]) == (1, 1)
    assert found["protection"]["backup_nightly"] and found["protection"]["alarms_told"]
    assert found["protection"]["second_person_for"] == [], "governance is small"
    assert not leaks(answer.text)
    assert leaks(answer.text + CANARIES["camera password"]) == ["camera password"], "a leak would be seen"
    assert [e.subject for e in site.catalog.read(lambda c: log.tail(c, action="report.read"))] == ["impact"]


def leaks(text: str) -> list[str]:
    return [name for name, secret in CANARIES.items() if secret in text or json.dumps(secret)[1:-1] in text]


async def test_the_form_is_for_those_who_see_grants(site: Site) -> None:
    for role, status in (("audit_admin", 200), ("security_admin", 200), ("system_admin", 403), ("duty", 403)):
        site.user(role, (role,))
        async with await site.sign_in(role) as client:
            assert (await client.get("/api/v1/reports/impact")).status_code == status, role


def test_the_form_is_printed_in_both_languages_with_open_fields(site: Site, told: Any) -> None:
    fill(site)
    alarm = {
        "check": "holds", "level": "warn", "since_ms": NOON_MS, "told": "warn", "next": None,
        "reason": {"code": "x", "params": {}, "en": "A hold is overdue.", "zh": "保全复核逾期。"},
    }  # fmt: skip
    site.catalog.write(lambda c: facts.set(c, "keeper.alarms", {"by_key": {"a": alarm}, "waiting": [], "dropped": 0}))
    english, chinese = told("report", "impact", "--lang", "en"), told("report", "impact", "--lang", "zh")
    for text, words in (
        (english, ("impact assessment: 测试社区", "art. 56 no. 3", "A hold is overdue.", "emergency | 0", "key: 1")),
        (chinese, ("影响评估表：测试社区", "第五十六条第三项", "保全复核逾期。", "应急处置 | 0", "下次评估日期")),
    ):
        for word in (*words, "平台接入 | 1 | 10.9.1.0/24", "协议〔2026〕14号"):
            assert word in text, word
        assert text.count("- [ ] **") == english.count("- [ ] **") >= 20, "what a person must say is left open"
        assert "校门\\|\\<b\\>" in text, "a name stays a name in a table"
        assert not leaks(text)
        assert "None" not in text and "True" not in text and "{'" not in text
    rows = [line for line in english.splitlines() if line.startswith("|")]
    assert len(rows) > 40
    assert json.loads(told("report", "impact", "--json"))["node"]["governance"] == "small"
    assert os.environ["TIERGATE_TOKEN"] not in english
