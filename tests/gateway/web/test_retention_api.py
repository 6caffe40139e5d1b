"""Retention, holds and coverage as their callers meet them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from minio.commonconfig import ENABLED, Filter
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule
from sqlalchemy import update

from config.ids import ulid
from config.reasons import Reason
from config.units import DAY_MS, HOUR_MS
from gateway.access.keys import ensure_keys
from gateway.cli.app import run
from gateway.ops import bucket_rules, checks_catalog
from gateway.ops.locks import SWEEP_LOCK, alone
from gateway.ops.probe import Probe
from storage.audit import log as audit
from storage.catalog import evidence_rows, gaps, retention_rows, segments
from storage.catalog.gaps import GapRow
from storage.catalog.segments import SegmentRow
from storage.catalog.tables import segment
from storage.keys import quarantine_key, segment_key
from storage.lifecycle import UNFINISHED
from storage.objects import make_store
from storage.objects.s3 import S3Store
from storage.objects.s3_rules import read_rules
from tests.gateway.web.conftest import served
from tests.gateway.web.site import ALL_ROLES, PASSWORD, Site, add_camera, site_in
from tests.parts.s3 import S3Server

SEGMENT_MS = 60_000
AFTER_RESET_MS = 1_420_070_460_000  #: what a camera without a battery says: 2015


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path, retention={"clock_source": "trusted"}) as made:
        made.user("admin", ALL_ROLES)
        make_store(made.settings).ensure()
        yield made


def footage(site: Site, camera: str, *ends_ms: int, state: str = "stored") -> list[str]:
    rows = []
    store = make_store(site.settings)
    for end_ms in ends_ms:
        start_ms = end_ms - SEGMENT_MS
        id_ = ulid(start_ms, camera[-10:].encode())
        key = segment_key("node", camera, start_ms, id_)
        store.put_bytes(key, id_.encode())
        rows.append(
            SegmentRow(
                id=id_,
                camera_id=camera,
                stream="main",
                run_id="R",
                kind="own",
                state=state,
                start_ms=start_ms,
                end_ms=end_ms,
                start_wall_ns=start_ms * 1_000_000,
                time_trust="synchronised",
                bytes=26,
                sha256=bytes(32),
                init_bytes=0,
                fragments=b"",
                object_key=key,
                volume=None,
                class_="default",
                created_ms=end_ms,
            )
        )
    site.catalog.write(lambda c: segments.insert_segments(c, rows))
    return [row.id for row in rows]


def state(site: Site, segment_id: str) -> str:
    return site.catalog.read(lambda c: segments.existing(c, [segment_id]))[segment_id]


async def hold(client: httpx.AsyncClient, camera: str, from_ms: int, to_ms: int, **more: object) -> httpx.Response:
    body = {"cameras": [camera], "from": from_ms, "to": to_ms, "case_no": "A-1", "reason": "打架"} | more
    return await client.post("/api/v1/holds", json=body)


async def test_the_classes_and_a_change_that_waits(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        answer = (await admin.get("/api/v1/retention")).json()
        classes = {c["name"]: c for c in answer["classes"]}
        assert classes["default"]["months"] == 1 and classes["key"]["months"] == 3
        assert answer["sweep"] == {"last_success_ms": None, "refused_since_ms": None, "refused_reason": None}

        below = await admin.put("/api/v1/retention/key", json={"months": 2})
        assert (below.status_code, below.json()["code"]) == (422, "retention.below_floor")
        above = await admin.put("/api/v1/retention/default", json={"months": 2})
        assert above.json()["code"] == "retention.above_ceiling"
        waits = (await admin.put("/api/v1/retention/default", json={"months": 2, "legal_basis": "市令 5"})).json()
        assert waits["waits"] and waits["effective_ms"] == site.now_ms() + 7 * DAY_MS
        answer = (await admin.get("/api/v1/retention")).json()
        (pending,) = [c["pending"] for c in answer["classes"] if c["name"] == "default"]
        assert pending["months"] == 2
        assert {c["months"] for c in answer["classes"] if c["name"] == "default"} == {1}
        unknown = await admin.put("/api/v1/retention/none", json={"months": 2})
        assert unknown.status_code == 404


@pytest.mark.fault("S17")
async def test_only_a_system_administrator_changes_classes_or_deletes(site: Site) -> None:
    site.user("duty", ("duty",))
    async with await site.sign_in("duty") as duty:
        assert (await duty.put("/api/v1/retention/key", json={"months": 3})).status_code == 403
        assert (await duty.post("/api/v1/retention/sweep")).status_code == 403
        assert (await duty.post("/api/v1/retention/sweep", params={"dry_run": True})).status_code == 200
    async with site.client() as nobody:
        assert (await nobody.get("/api/v1/retention/plan")).status_code == 401


async def test_the_plan_says_what_a_change_would_delete(site: Site) -> None:
    now_ms = site.now_ms()
    async with await site.sign_in("admin") as admin:
        camera = await add_camera(admin, 1)
        footage(site, camera, *(now_ms - n * DAY_MS for n in (1, 2, 40, 41, 42)))
        plan = (await admin.get("/api/v1/retention/plan")).json()
        by_reason = {item["reason"]["code"]: item for item in plan["items"]}
        assert by_reason["retention.expired"]["segments"] == 3
        assert by_reason["retention.within"]["segments"] == 2
        assert plan["total"]["remove_segments"] == 3 and plan["total"]["remove_bytes"] == 78
        assert by_reason["retention.expired"]["first_ms"] == now_ms - 42 * DAY_MS - SEGMENT_MS

        longer = (await admin.get("/api/v1/retention/plan", params={"class": "default", "months": 3})).json()
        assert longer["total"]["remove_segments"] == 0
        later = (await admin.get("/api/v1/retention/plan", params={"at": now_ms + 40 * DAY_MS})).json()
        assert later["total"]["remove_segments"] == 5
        half = await admin.get("/api/v1/retention/plan", params={"months": 3})
        assert half.json()["code"] == "retention.what_if_half"


async def test_what_lies_outside_the_callers_catalogue_is_not_counted(site: Site) -> None:
    site.user("stranger")
    async with await site.sign_in("admin") as admin, await site.sign_in("stranger") as stranger:
        camera = await add_camera(admin, 1)
        footage(site, camera, site.now_ms() - 40 * DAY_MS)
        assert (await hold(admin, camera, site.now_ms() - DAY_MS, site.now_ms())).status_code == 201
        assert (await stranger.get("/api/v1/retention/plan")).json()["items"] == []
        assert (await stranger.get("/api/v1/holds")).json()["items"] == []
        explained = await stranger.get("/api/v1/retention/explain", params={"camera": camera})
        assert explained.status_code == 404
        assert (await hold(stranger, camera, 10**12, 2 * 10**12)).status_code == 404


async def test_the_sweep_by_hand_and_why_something_stays(site: Site) -> None:
    now_ms = site.now_ms()
    async with await site.sign_in("admin") as admin:
        camera = await add_camera(admin, 1)
        (old,) = footage(site, camera, now_ms - 40 * DAY_MS)
        dry = (await admin.post("/api/v1/retention/sweep", params={"dry_run": True})).json()
        assert dry["condemned"] == 1 and state(site, old) == "stored"
        done = (await admin.post("/api/v1/retention/sweep")).json()
        assert done["refused"] is None and state(site, old) == "condemned"

        at: dict[str, str | int] = {"camera": camera, "at": now_ms - 40 * DAY_MS - 1}
        why = (await admin.get("/api/v1/retention/explain", params=at)).json()
        assert why["keep"] is False and why["reason"]["code"] == "retention.expired"
        assert why["delete_from_ms"] == why["condemned_ms"] + 24 * HOUR_MS

        placed = await hold(admin, camera, now_ms - 41 * DAY_MS, now_ms - 39 * DAY_MS)
        assert placed.status_code == 201 and placed.json()["footage"]["segments"] == 1
        assert state(site, old) == "stored"  # rescued within the grace
        why = (await admin.get("/api/v1/retention/explain", params=at)).json()
        assert why["reason"]["code"] == "retention.held" and why["holds"][0]["case_no"] == "A-1"
        nothing = await admin.get("/api/v1/retention/explain", params={"camera": camera, "at": now_ms})
        assert nothing.json()["code"] == "retention.nothing_at"
        actions = [e["action"] for e in (await admin.get("/api/v1/audit")).json()["items"]]
        assert {"retention.sweep", "segment.condemn", "hold.add"} <= set(actions)

        with alone(site.settings.paths.run_dir / SWEEP_LOCK, "retention.sweep_running"):
            busy = await admin.post("/api/v1/retention/sweep")
        assert (busy.status_code, busy.json()["code"]) == (409, "retention.sweep_running")


async def test_why_says_which_holds_keep_footage_of_unknown_date_and_that_what_is_gone_is_not_kept(site: Site) -> None:
    now_ms = site.now_ms()
    async with await site.sign_in("admin") as admin:
        camera = await add_camera(admin, 1)
        undated, deleted, lost = footage(site, camera, AFTER_RESET_MS, now_ms - 40 * DAY_MS, now_ms - 2 * DAY_MS)
        unknown = {"time_trust": "unknown", "aged_from_ms": now_ms}
        site.catalog.write(lambda c: c.execute(update(segment).where(segment.c.id == undated).values(**unknown)))
        assert (await hold(admin, camera, now_ms - DAY_MS, now_ms)).status_code == 201

        async def why(at_ms: int) -> dict[str, Any]:
            answer = await admin.get("/api/v1/retention/explain", params={"camera": camera, "at": at_ms})
            return dict(answer.json())

        told = await why(AFTER_RESET_MS)
        assert (told["keep"], told["reason"]["code"]) == (True, "retention.held")
        assert [row["case_no"] for row in told["holds"]] == ["A-1"]
        site.catalog.write(lambda c: segments.set_state(c, [lost], ["stored"], "lost"))
        told = await why(now_ms - 2 * DAY_MS)
        assert (told["keep"], told["reason"]["code"]) == (False, "media.segment_lost")
        values = {"deleted_ms": now_ms, "delete_reason": Reason("retention.unknown_class", {"class": "x"}).as_json()}
        for state_then, code in (("deleting", "retention.unknown_class"), ("deleted", "retention.deleted")):
            gone = update(segment).where(segment.c.id == deleted).values(state=state_then, **values)
            site.catalog.write(lambda c, gone=gone: c.execute(gone))  # type: ignore[misc]  # bound defaults
            told = await why(now_ms - 40 * DAY_MS)
            assert (told["segment"], told["keep"], told["reason"]["code"]) == (deleted, False, code)


async def test_the_plan_knows_what_waits_and_refuses_what_setting_refuses(site: Site) -> None:
    now_ms, url = site.now_ms(), "/api/v1/retention/plan"
    async with await site.sign_in("admin") as admin:
        camera = await add_camera(admin, 1)
        footage(site, camera, now_ms - 40 * DAY_MS)
        longer = {"months": 3, "legal_basis": "市令 5"}
        assert (await admin.put("/api/v1/retention/default", json=longer)).json()["waits"]
        for days, gone in ((0, 1), (6, 1), (8, 0)):
            plan = (await admin.get(url, params={"at": now_ms + days * DAY_MS})).json()
            assert plan["total"]["remove_segments"] == gone
        for name, months in (("1_year", 2), ("3_months", 4), ("permanent", 6)):
            for length in ({"months": months}, {"days": months * 30}):
                asked = await admin.get(url, params={"class": name, **length})
                refused = await admin.put(f"/api/v1/retention/{name}", json=length)
                said = (asked.json()["change_refused"]["code"], refused.json()["code"])
                assert said == ("retention.class_fixed", "retention.class_fixed")
                assert asked.json()["change_needs"] is None


async def test_a_step_of_the_clock_is_confirmed_by_a_system_administrators_own_clock(site: Site) -> None:
    site.user("duty", ("duty",))
    url = "/api/v1/retention/sweep"
    async with await site.sign_in("admin") as admin, await site.sign_in("duty") as duty:
        assert (await admin.post(url)).json()["refused"] is None
        site.clock.step_wall(90)
        assert (await admin.post(url)).json()["refused"]["code"] == "retention.clock_stepped"
        right, wrong = {"time_is": site.now_ms() + 5_000}, {"time_is": site.now_ms() - 90_000}
        assert (await duty.post(url, params=right)).status_code == 403
        assert (await duty.post(url, params=right | {"dry_run": True})).json()["refused"] is None
        assert (await admin.post(url)).json()["refused"]["code"] == "retention.clock_stepped"
        assert (await admin.post(url, params=wrong)).json()["refused"]["code"] == "retention.clock_told_other"
        assert (await admin.post(url, params=right)).json()["refused"] is None
        assert (await admin.post(url)).json()["refused"] is None
    swept = site.catalog.read(lambda c: audit.tail(c, action="retention.sweep"))
    told = {entry.details["time_is_ms"] for entry in swept}
    assert told == {None, wrong["time_is"], right["time_is"]}


async def test_a_hold_is_listed_reviewed_and_released(site: Site) -> None:
    now_ms = site.now_ms()
    async with await site.sign_in("admin") as admin:
        camera = await add_camera(admin, 1)
        late = await hold(admin, camera, now_ms, now_ms + DAY_MS, review="91d")
        assert late.json()["code"] == "retention.hold_review_late"
        wrong = await hold(admin, camera, now_ms, now_ms + DAY_MS, **{"class": "key"})
        assert wrong.json()["code"] == "retention.hold_class_unknown"
        assert (await hold(admin, camera, now_ms, now_ms)).json()["code"] == "time.range_empty"
        made = (await hold(admin, camera, now_ms, now_ms + DAY_MS, review="30d")).json()
        assert made["review_ms"] == now_ms + 30 * DAY_MS and made["approver"] is None
        assert [h["id"] for h in (await admin.get("/api/v1/holds")).json()["items"]] == [made["id"]]
        path = f"/api/v1/holds/{made['id']}/release"
        released = await admin.post(path, json={"reason": "结案"})
        assert released.status_code == 200 and released.json()["released_by"] == "user:admin"
        again = await admin.post(path, json={"reason": "结案"})
        assert (again.status_code, again.json()["code"]) == (409, "retention.hold_released_already")
        assert (await admin.get("/api/v1/holds")).json()["items"] == []
        assert len((await admin.get("/api/v1/holds", params={"all": True})).json()["items"]) == 1


async def test_holds_come_newest_first_page_by_page_and_released_ones_by_themselves(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        camera, now_ms = await add_camera(admin, 1), site.now_ms()
        made: list[str] = []
        for _ in range(4):
            made.append((await hold(admin, camera, now_ms, now_ms + DAY_MS)).json()["id"])
            site.clock.advance(1)
        for one in made[1:3]:
            await admin.post(f"/api/v1/holds/{one}/release", json={"reason": "结案"})

        async def listed(**query: str | int | bool) -> list[str]:
            found: list[str] = []
            query["limit"] = 1
            while True:
                answer = (await admin.get("/api/v1/holds", params=query)).json()
                found += [row["id"] for row in answer["items"]]
                if answer["next"] is None:
                    return found
                query["cursor"] = answer["next"]

        assert await listed() == [made[3], made[0]]
        assert await listed(all=True) == made[::-1]
        assert await listed(released=True) == [made[2], made[1]]


async def test_the_function_hold_is_needed_to_place_and_to_release(site: Site) -> None:
    site.user("watcher", ("operator",))
    async with await site.sign_in("admin") as admin, await site.sign_in("watcher") as watcher:
        camera = await add_camera(admin, 1)
        refused = await hold(watcher, camera, 10**12, 2 * 10**12)
        assert refused.status_code == 403
        made = (await hold(admin, camera, 10**12, 2 * 10**12)).json()
        answer = await watcher.post(f"/api/v1/holds/{made['id']}/release", json={"reason": "x"})
        assert answer.status_code == 403


async def test_footage_of_a_removed_camera_is_planned_held_and_explained(site: Site) -> None:
    now_ms = site.now_ms()
    async with await site.sign_in("admin") as admin:
        camera = await add_camera(admin, 1)
        footage(site, camera, now_ms - 40 * DAY_MS)
        assert (await admin.delete(f"/api/v1/cameras/{camera}")).status_code in (200, 204)
        assert (await admin.get("/api/v1/retention/plan")).json()["total"]["remove_segments"] == 1
        assert (await hold(admin, camera, now_ms - 41 * DAY_MS, now_ms)).status_code == 201
        assert (await admin.get("/api/v1/retention/plan")).json()["total"]["remove_segments"] == 0


async def test_coverage_says_what_is_missing_and_why(site: Site) -> None:
    now_ms = site.now_ms()
    from_ms = now_ms - 600_000
    async with await site.sign_in("admin") as admin:
        await add_camera(admin, 2)  # registered now: nothing is missing before
        camera = await add_camera(admin, 1)
        footage(site, camera, *(from_ms + n * SEGMENT_MS for n in (1, 2, 3, 8, 9)))
        row = GapRow(ulid(1, bytes(10)), camera, "main", "network", from_ms + 180_000, from_ms + 300_000, now_ms)
        site.catalog.write(lambda c: gaps.insert_gap(c, row))
        answer = await admin.get("/api/v1/reports/coverage", params={"from": from_ms, "to": now_ms})
        assert answer.status_code == 200, answer.text
        found = answer.json()["items"]
        assert {i["camera_id"] for i in found} == {camera}
        assert sum(i["footage_s"] for i in found) == 300
        assert sum(i["gaps_s"].get("network", 0) for i in found) == 120
        assert sum(i["unexplained_s"] for i in found) == 180
        too_much = await admin.get("/api/v1/reports/coverage", params={"from": 1_200_000_000_000, "to": now_ms})
        assert too_much.json()["code"] == "time.range_too_long"


async def test_the_forecast_counts_cameras_that_are_there_and_those_to_come(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        camera = await add_camera(admin, 1)
        footage(site, camera, *(site.now_ms() - HOUR_MS + n * SEGMENT_MS for n in range(20)))
        answer = (await admin.get("/api/v1/retention/forecast")).json()
        (item,) = answer["items"]
        assert (item["camera_id"], item["class"], item["basis"]) == (camera, "default", "measured")
        assert item["bytes_per_day"] == 26 * DAY_MS // SEGMENT_MS
        assert answer["standing_bytes"] == 20 * 26
        assert answer["capacity_bytes"] > 10**6 and answer["full_ms"] is None
        assert answer["reason"]["code"] == "retention.forecast_fits"
        query: dict[str, int | str] = {"add": 100_000, "bit_rate_bps": 1_000_000_000, "class": "key"}
        answer = (await admin.get("/api/v1/retention/forecast", params=query)).json()
        assert answer["full_ms"] is not None and answer["reason"]["code"] == "retention.forecast_full"
        key = answer["items"][-1]
        assert (key["camera_id"], key["count"], key["basis"]) == (None, 100_000, "planned")
        assert 90 <= key["stay_days"] <= 96
        unknown = await admin.get("/api/v1/retention/forecast", params={"add": 1, "class": "gold"})
        assert unknown.status_code == 404 and unknown.json()["code"] == "retention.class_unknown"


async def test_a_hold_says_how_much_of_its_footage_is_in_two_places(site: Site) -> None:
    now_ms = site.now_ms()
    async with await site.sign_in("admin") as admin:
        camera = await add_camera(admin, 1)
        first, second = footage(site, camera, now_ms - DAY_MS, now_ms - DAY_MS + HOUR_MS)
        await hold(admin, camera, now_ms - 2 * DAY_MS, now_ms)

        async def told() -> dict[str, object]:
            (item,) = (await admin.get("/api/v1/holds")).json()["items"]
            return dict(item["evidence"])

        found = await told()
        assert (found["colour"], found["segments"], found["waiting"], found["lock"]) == ("yellow", 2, 2, "unknown")
        site.catalog.write(lambda c: evidence_rows.want(c, [first, second], now_ms))
        site.catalog.write(lambda c: evidence_rows.change(c, first, ("wanted",), state="verified"))
        assert (await told())["verified"] == 1
        site.catalog.write(lambda c: evidence_rows.change(c, second, ("wanted",), state="verified"))
        assert (await told())["colour"] == "green"
        site.catalog.write(lambda c: evidence_rows.change(c, second, ("verified",), state="wanted", tries=3))
        assert (await told())["colour"] == "red"


async def test_a_folder_has_no_rules_to_apply(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        answer = (await admin.post("/api/v1/retention/apply", params={"yes": True})).json()
        assert answer["reason"]["code"] == "retention.rules_folder"
        assert answer["buckets"] == []


def make_bucket(site: Site) -> S3Store:
    made = make_store(site.settings)
    assert isinstance(made, S3Store)
    return made


@pytest.mark.real
async def test_the_buckets_get_the_planned_rules_when_told_to_and_other_hands_rules_stay(
    s3_server: S3Server, tmp_path: Path
) -> None:
    prefix = s3_server.new_bucket("rules")
    store = s3_server.settings(prefix) | {"expire_by_rule": True}
    with site_in(tmp_path, retention={"clock_source": "trusted"}, store=store) as site:
        site.user("admin", ALL_ROLES)
        for purpose in ("video", "evidence", "cache"):
            made = make_store(site.settings, purpose)
            made.ensure()
        theirs = Rule(status=ENABLED, rule_filter=Filter(prefix=""), rule_id="theirs", expiration=Expiration(days=7))
        client = s3_server.client()
        client.set_bucket_lifecycle(f"{prefix}-evidence", LifecycleConfig([theirs]))
        async with await site.sign_in("admin") as admin:
            url = "/api/v1/retention/apply"
            dry = (await admin.post(url)).json()
            assert dry["to_do"] > 0 and not dry["applied"]
            assert (await admin.post(url)).json() == dry  # nothing was changed
            done = (await admin.post(url, params={"yes": True})).json()
            states = {b["purpose"]: b for b in done["buckets"]}
            changes = {(r["id"], r["change"]) for r in states["evidence"]["rules"]}
            assert ("theirs", "dangerous") in changes
            cache = {r["id"]: r["change"] for r in states["cache"]["rules"]}
            assert cache["tiergate-cache"] == "keep"
            net = [r for r in states["video"]["rules"] if r["id"].startswith("tiergate-net")]
            assert {(r["change"], r["expire_days"]) for r in net} == {("keep", 3 * 31 + 30)}
            refused = {r["id"] for b in done["buckets"] for r in b["rules"] if r["change"] == "refused"}
            # MinIO has no rule that ends uploads; the keeper does it, and that is said.
            assert refused == ({UNFINISHED.id} if s3_server.kind == "minio" else set())
            said = "retention.rules_left" if refused else "retention.rules_set"
            assert (done["to_do"], done["reason"]["code"]) == (0, said)
            probe = Probe(site.settings, site.clock, site.catalog)
            (finding,) = site.catalog.read(lambda c: list(checks_catalog.rules(c, probe)))
            assert (finding.level, finding.reason.params["rule"]) == ("bad", "theirs")
            plans = site.catalog.read(lambda c: bucket_rules.plans(c, site.settings, site.services.keys.node_id))
            assert not bucket_rules.loosen(site.settings, plans)  # nothing is held
            site.catalog.write(lambda c: retention_rows.set_class_months(c, "key", 6, 180, site.now_ms()))
            plans = site.catalog.read(lambda c: bucket_rules.plans(c, site.settings, site.services.keys.node_id))
            assert [plan.purpose for plan in bucket_rules.loosen(site.settings, plans)] == ["video"]
            ends = {r.expire_days for r in read_rules(make_bucket(site)) or [] if r.expire_days}
            assert ends == {6 * 31 + 30}
            assert not bucket_rules.loosen(site.settings, plans)
            camera = await add_camera(admin, 1)
            await hold(admin, camera, site.now_ms() - DAY_MS, site.now_ms())
            found = site.catalog.read(lambda c: list(checks_catalog.rules(c, probe)))
            assert [f.level for f in found] == ["bad", "warn"]
            plans = site.catalog.read(lambda c: bucket_rules.plans(c, site.settings, site.services.keys.node_id))
            assert [plan.purpose for plan in bucket_rules.loosen(site.settings, plans)] == ["video"]
            assert not bucket_rules.loosen(site.settings, plans)
            under = (await admin.post(url, params={"yes": True})).json()
            states = {b["purpose"]: b for b in under["buckets"]}
            assert [r for r in states["video"]["rules"] if r["id"].startswith("tiergate-net")] == []
            actions = [e["action"] for e in (await admin.get("/api/v1/audit")).json()["items"]]
            assert "retention.apply" in actions
        left = client.get_bucket_lifecycle(f"{prefix}-video")
        assert left is None or not any(rule.expiration for rule in left.rules)


@pytest.mark.real
def test_rules_that_could_not_be_set_are_no_success(
    s3_factory: Callable[[], S3Server],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = s3_factory()
    prefix = server.new_bucket("rules")
    with site_in(tmp_path, store=server.settings(prefix)) as site, served(site) as url:
        site.user("admin", ALL_ROLES)
        make_store(site.settings).ensure()
        server.kill()
        body = {"login": "admin", "password": PASSWORD, "bearer": True}
        monkeypatch.setenv("TIERGATE_TOKEN", httpx.post(f"{url}/api/v1/session", json=body).json()["session"])
        code = run(["retention", "apply", "--yes", "--json", "--url", url])
        told = json.loads(capsys.readouterr().out)
        assert (code, told["applied"], told["reason"]["code"]) == (1, False, "retention.rules_unknown")
        assert all(name in told["reason"]["en"] for name in (f"{prefix}-video", f"{prefix}-evidence"))
        (left,) = site.catalog.read(lambda c: audit.tail(c, action="retention.apply_left"))
        assert left.details["problems"][f"{prefix}-video"] == "media.store_unavailable"


async def test_a_sweep_by_hand_ends_what_was_put_aside_as_well(site: Site) -> None:
    store, at_ms = make_store(site.settings), site.now_ms() - 40 * DAY_MS
    async with await site.sign_in("admin") as admin:
        (old,) = footage(site, await add_camera(admin, 1), at_ms, state="deleted")
        row = site.catalog.read(lambda c: segments.segment_of(c, old))
        assert row is not None
        node = ensure_keys(site.settings).node_id
        key = quarantine_key(segment_key(node, row.camera_id, row.start_ms, row.id), at_ms)
        store.put_bytes(key, b"pictures")
        for dry_run, left in ((True, True), (False, False)):
            done = (await admin.post("/api/v1/retention/sweep", params={"dry_run": dry_run})).json()
            assert (done["aside_deleted"], store.head(key) is not None) == (1, left)
