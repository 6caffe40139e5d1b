"""Owners' recorders are asked by sample: once a day, again after a first absence; told wherever the attestation is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from config.units import DAY_MS, HOUR_MS, format_time_ms
from gateway.access.keys import ensure_keys
from gateway.access.secrets import Secrets
from gateway.cameras.owner_recorder import OwnerRecorders
from gateway.cli.app import run
from gateway.ingest.logins import Logins
from gateway.ops import alarms, checks_catalog, doctor, job_state, owner_checks
from gateway.ops.findings import Answer, Finding
from gateway.ops.metrics import read_facts, render
from gateway.ops.owner_checks import ACTOR, Round
from gateway.ops.probe import Probe
from storage.audit import log as audit
from storage.catalog import facts
from storage.catalog import owner_checks as rows
from storage.catalog.tables import camera as camera_table
from storage.sampled import CONFIRM_AFTER_MS, KEEP_MS, Check
from tests.gateway.web.conftest import served
from tests.gateway.web.site import ALL_ROLES, Site, add_camera, site_in
from tests.parts.profile_g import OwnerRecorder

pytestmark = pytest.mark.real


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path, retention={"clock_source": "trusted"}, cameras={"connect_timeout_s": 3}) as made:
        made.user("admin", ALL_ROLES)
        yield made


@pytest.fixture
def recorder(site: Site) -> Iterator[OwnerRecorder]:
    """It has all of the last 60 days, and the clock of the node, which stands unless a test moves it."""
    now_ms = site.now_ms() + 40 * DAY_MS
    with OwnerRecorder(now_ms, [(now_ms - 60 * DAY_MS, now_ms + DAY_MS)]) as made:
        yield made


async def registered(site: Site, recorder: OwnerRecorder, *numbers: int, password: str | None = None) -> list[str]:
    """Cameras behind the recorder, attested for 30 days, 40 days ago."""
    made = []
    async with await site.sign_in("admin") as admin:
        for number in numbers:
            account = {"username": recorder.user, "password": password or recorder.password}
            id_ = await add_camera(admin, number, url=f"{recorder.stream_url}{number}", recorded_by="owner", **account)
            until = format_time_ms(site.now_ms() + 300 * DAY_MS)
            paper = {"days": 30, "attested_by": "教育局 王", "document": "教函 12 号", "valid_until": until}
            assert (await admin.post(f"/api/v1/cameras/{id_}/attestations", json=paper)).status_code == 201
            made.append(id_)
    change = update(camera_table).values(onvif_url=recorder.url)
    site.catalog.write(lambda c: c.execute(change))
    site.catalog.write(lambda c: facts.set(c, owner_checks.SEED, "5a" * 32))  # turns and instants alike in every run
    site.clock.advance(40 * 86_400)
    return made


def a_round(site: Site) -> Round:
    logins = Logins(site.clock, site.settings.paths.run_dir / "logins")
    opener = Secrets(ensure_keys(site.settings))
    return Round(site.settings, site.clock, site.catalog, opener, OwnerRecorders(site.settings, site.clock, logins))


def asked(site: Site, camera: str) -> list[Check]:
    return site.catalog.read(lambda c: rows.newest(c, camera, 1_000))


def later(site: Site, recorder: OwnerRecorder, ms: int) -> None:
    site.clock.advance(ms / 1000)
    recorder.now_ms += ms


def findings(site: Site) -> list[Finding]:
    probe = Probe(site.settings, site.clock, site.catalog, True)
    return site.catalog.read(lambda c: list(checks_catalog.owner_checks(c, probe)))


def wrong(site: Site) -> list[Finding]:
    return [finding for finding in findings(site) if finding.level != "ok"]


async def test_each_camera_is_asked_once_a_day_for_some_instants_of_what_is_promised(
    site: Site, recorder: OwnerRecorder
) -> None:
    (theirs,) = await registered(site, recorder, 1)
    async with await site.sign_in("admin") as admin:
        await add_camera(admin, 2)
    assert await a_round(site).run() == 1, "what is recorded here is not asked for"
    found = asked(site, theirs)
    assert [row.verdict for row in found] == ["present"] * 3
    now_ms = site.now_ms()
    assert all(now_ms - 30 * DAY_MS < row.at_ms < now_ms for row in found)
    assert min(row.at_ms for row in found) < now_ms - 28 * DAY_MS, "near the far edge, where it overwrites first"
    assert await a_round(site).run() == 0, "its turn has been"
    later(site, recorder, DAY_MS)
    assert await a_round(site).run() == 1
    later(site, recorder, 4 * DAY_MS)
    assert (await a_round(site).run(), await a_round(site).run()) == (1, 0), "days that were missed: once for all"
    (entry, *_) = [e for e in site.catalog.read(audit.entries) if e.action == "camera.owner_asked"]
    assert (entry.actor, entry.subject, entry.details["present"]) == (ACTOR, theirs, 3)
    assert [f.level for f in findings(site)] == ["ok"]


async def test_missing_footage_is_a_finding_after_the_second_answer_and_is_told_everywhere(
    site: Site, recorder: OwnerRecorder
) -> None:
    (theirs,) = await registered(site, recorder, 1)
    recorder.channels["rec-1"].footage = [(recorder.now_ms - 10 * DAY_MS, recorder.now_ms + DAY_MS)]
    await a_round(site).run()
    first = [row for row in asked(site, theirs) if row.verdict == "absent"]
    assert first and wrong(site) == [], "one answer is no finding"
    later(site, recorder, CONFIRM_AFTER_MS - 1_000)
    await a_round(site).run()
    assert wrong(site) == []
    later(site, recorder, 1_000)
    assert await a_round(site).run() == 1, "asked again without waiting for its turn"
    (finding,) = findings(site)
    assert (finding.level, finding.reason.code) == ("bad", "retention.checked_camera_missing")
    day = format_time_ms(min(row.at_ms for row in first), local=True)[:10]
    assert theirs in str(finding.as_json()["reason"]["zh"]) and day in finding.as_json()["reason"]["en"]

    alarm = alarms.Alarms()
    for _ in range(alarms.LOOKS):
        alarm, _ = alarms.look(alarm, [Answer("owner_checks", (finding,))], site.now_ms(), iter("ab"), ["hook"], "warn")
    assert [(one.turn, one.check, one.waits_for) for one in alarm.waiting] == [("raised", "owner_checks", ("hook",))]

    async with await site.sign_in("admin") as admin:
        (said,) = (await admin.get("/api/v1/reports/retention")).json()["recorded_by_owner"]
        assert (said["state"], said["checked"]["state"]) == ("attested", "missing"), "words and what was found"
        assert said["checked"]["missing"] == len(first)
        stretch = {"from": site.now_ms() - 31 * DAY_MS}
        (gaps,) = (await admin.get("/api/v1/reports/gaps", params=stretch)).json()["recorded_by_owner"]
        known = gaps["present"] + gaps["missing"]
        assert gaps["completeness"] == round(gaps["present"] / known, 6) < 1
        assert gaps["missing_ms"] == sorted({row.at_ms for row in first})
        at = format_time_ms(first[0].at_ms + HOUR_MS)
        explained = (await admin.get("/api/v1/retention/explain", params={"camera": theirs, "at": at})).json()
        assert explained["recorded_by_owner"]["nearest"]["verdict"] == "absent"
    known_state = site.catalog.read(lambda c: owner_checks.told(c, site.now_ms()))
    assert known_state["cameras"] == {"missing": 1} and known_state["instants"]["missing"] == len(first)

    recorder.channels["rec-1"].footage = [(recorder.now_ms - 60 * DAY_MS, recorder.now_ms + DAY_MS)]
    async with await site.sign_in("admin") as admin:
        for row in first:
            again = await admin.post(f"/api/v1/cameras/{theirs}/owner-checks", json={"at": format_time_ms(row.at_ms)})
            assert [one["verdict"] for one in again.json()["items"]] == ["present"]
    assert [f.level for f in findings(site)] == ["ok"], "the disk was put back"


async def test_a_recorder_that_cannot_be_asked_is_never_green(site: Site, recorder: OwnerRecorder) -> None:
    (theirs,) = await registered(site, recorder, 1)
    recorder.services = set()
    await a_round(site).run()
    (finding,) = findings(site)
    assert (finding.level, finding.reason.code) == ("warn", "retention.checked_camera_unanswered")
    assert "Profile G" in finding.as_json()["reason"]["en"]
    async with await site.sign_in("admin") as admin:
        (said,) = (await admin.get("/api/v1/reports/retention")).json()["recorded_by_owner"]
    assert (said["checked"]["state"], said["checked"]["completeness"]) == ("unanswered", None)
    assert {row.verdict for row in asked(site, theirs)} == {"unknown"}


@pytest.mark.fault("A28")
async def test_thirty_channels_with_a_wrong_password_do_not_lock_a_recorder(
    site: Site, recorder: OwnerRecorder
) -> None:
    cameras = await registered(site, recorder, *range(1, 31), password="wrong")
    assert await a_round(site).run() == 30
    assert recorder.asked.bad_logins <= 3
    reasons = {row.reason["code"] for camera in cameras for row in asked(site, camera)}
    assert reasons == {"camera.onvif_credentials"}


@pytest.mark.parametrize("where", ["soap", "rtsp"])
async def test_a_recorder_that_hangs_costs_one_deadline_for_all_its_channels(
    site: Site, recorder: OwnerRecorder, where: str
) -> None:
    cameras = await registered(site, recorder, 1, 2, 3)
    recorder.hangs = where  # type: ignore[assignment]  # as parametrized
    assert await a_round(site).run() == 3
    assert recorder.asked.calls["GetSystemDateAndTime" if where == "soap" else "DESCRIBE"] == 1
    assert {row.verdict for camera in cameras for row in asked(site, camera)} == {"unknown"}


async def test_a_person_asks_now_and_it_is_audited(site: Site, recorder: OwnerRecorder) -> None:
    (theirs,) = await registered(site, recorder, 1)
    async with await site.sign_in("admin") as admin:
        ours = await add_camera(admin, 9)
        at = f"/api/v1/cameras/{theirs}/owner-checks"
        made = await admin.post(at, json={})
        assert made.status_code == 201, made.text
        assert (made.json()["state"], len(made.json()["items"])) == ("present", 3)
        one = format_time_ms(site.now_ms() - 3 * DAY_MS)
        assert [row["verdict"] for row in (await admin.post(at, json={"at": one})).json()["items"]] == ["present"]
        first = (await admin.get(at, params={"limit": 3})).json()
        rest = (await admin.get(at, params={"limit": 3, "cursor": first["next"]})).json()
        assert (len(first["items"]), len(rest["items"]), rest["next"]) == (3, 1, None)
        assert len({row["id"] for row in first["items"] + rest["items"]}) == 4
        for camera, body, code in (
            (ours, {}, "retention.check_recorded_here"),
            (theirs, {"at": format_time_ms(site.now_ms() + 1)}, "retention.check_at"),
        ):
            refused = await admin.post(f"/api/v1/cameras/{camera}/owner-checks", json=body)
            assert refused.json()["code"] == code
        assert (await admin.get(at, params={"cursor": "x"})).json()["code"] == "web.cursor"
        fresh = await add_camera(admin, 10, recorded_by="owner")
        nothing = await admin.post(f"/api/v1/cameras/{fresh}/owner-checks", json={})
        assert nothing.json()["code"] == "retention.check_nothing_due", "registered a moment ago"
    (by,) = {row.asked_by for row in asked(site, theirs)}
    entries = [e for e in site.catalog.read(audit.entries) if e.action == "camera.owner_asked"]
    assert [(e.actor, e.subject) for e in entries] == [(by, theirs)] * 2
    assert await a_round(site).run() == 1, "what a person asks does not take the place of the day's sample"


async def test_old_answers_are_dropped(site: Site, recorder: OwnerRecorder) -> None:
    (theirs,) = await registered(site, recorder, 1)
    reason = {"code": "camera.owner_no_replay", "params": {}, "en": "", "zh": ""}
    made_ms = site.now_ms() - KEEP_MS
    old = [Check(f"O{n:025d}", theirs, made_ms, made_ms - 1 + n % 2, "unknown", reason, None, "u") for n in range(700)]
    site.catalog.write(lambda c: rows.add(c, old))
    await a_round(site).run()
    left = [row for row in asked(site, theirs) if row.asked_by == "u"]
    assert len(left) == 350 and all(row.asked_ms == made_ms for row in left)


async def test_nothing_is_asked_when_the_settings_say_so(site: Site, recorder: OwnerRecorder) -> None:
    await registered(site, recorder, 1)
    recorder.channels["rec-1"].footage = []
    assert await a_round(site).run() == 1
    later(site, recorder, CONFIRM_AFTER_MS)  # what is left to be asked a second time is not either
    recorder.asked.calls.clear()
    retention = site.settings.retention.model_copy(update={"owner_check_instants": 0})
    site.settings = site.settings.model_copy(update={"retention": retention})
    assert await a_round(site).run() == 0 and not recorder.asked.calls


async def test_the_command_line_asks_and_says_what_is_missing(
    site: Site, recorder: OwnerRecorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (theirs,) = await registered(site, recorder, 1)
    async with await site.sign_in("admin") as admin:
        monkeypatch.setenv("TIERGATE_TOKEN", admin.headers["Authorization"].removeprefix("Bearer "))
    with served(site) as url:

        def tiergate(*words: str) -> tuple[int, str]:
            code = run([*words, "--url", url])
            return code, capsys.readouterr().out

        code, said = tiergate("camera", "check-owner", theirs, "--lang", "en")
        assert code == 0 and "and has them" in said
        recorder.channels["rec-1"].footage = [(recorder.now_ms - DAY_MS, recorder.now_ms)]
        at = format_time_ms(site.now_ms() - 20 * DAY_MS)
        code, said = tiergate("camera", "check-owner", theirs, "--at", at, "--json")
        assert (code, json.loads(said)["items"][0]["verdict"]) == (1, "absent"), "1: found"
        code, said = tiergate("camera", "check-owner", theirs, "--past", "--json")
        assert code == 0 and len(json.loads(said)["items"]) == 4
        code, said = tiergate("report", "retention", "--lang", "en")
        assert "asked by sample" in said and "suspected" in said
        assert "by sample" in tiergate("report", "gaps", "--lang", "en")[1]
        assert tiergate("camera", "check-owner", theirs, "--past", "--at", at)[0] == 2


def test_the_metrics_tell_the_last_round(site: Site) -> None:
    known = {"cameras": {"missing": 2}, "instants": {"present": 7}, "answered_ms": {"c": site.now_ms() - 5_000}}
    site.catalog.write(lambda c: facts.set(c, job_state.OWNERS, known))
    page, _ = render(site.catalog.read(lambda c: read_facts(c, site.settings, site.now_ms())))
    for line in (
        b'tiergate_owner_check_cameras{state="missing"} 2.0',
        b'tiergate_owner_check_instants{state="present"} 7.0',
        b'tiergate_owner_check_answered_age_seconds{camera="c"} 5.0',
    ):
        assert line in page
    assert {"tiergate_owner_check_cameras", "tiergate_owner_check_instants"} <= doctor.METRICS.keys()
