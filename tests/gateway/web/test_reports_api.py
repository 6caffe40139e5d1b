"""The gap ledger and the reach of footage as their readers meet them: API and command line on a real catalog."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import insert, update

from config.ids import ulid
from config.reasons import Reason
from config.units import DAY_MS, parse_time_ms
from storage.catalog import gaps, retention_rows, segments
from storage.catalog.gaps import GapRow
from storage.catalog.retention_rows import HoldRow
from storage.catalog.segments import RunRow, SegmentRow
from storage.catalog.status import StatusRow, put_status
from storage.catalog.tables import area, area_camera, camera, camera_status, segment
from tests.gateway.web.site import ALL_ROLES, Site, add_camera, site_in

MINUTE_MS = 60_000
#: A morning long ago enough for everything that happens here.
NOON_MS = parse_time_ms("2026-11-24T12:00:00+08:00")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path, retention={"clock_source": "trusted"}) as made:
        made.clock.step_wall((NOON_MS * 1_000_000 - made.clock.wall_ns()) / 1e9)
        made.user("admin", ALL_ROLES)
        yield made


def put_footage(site: Site, camera_id: str, from_ms: int, to_ms: int, **more: Any) -> list[str]:
    """Segments of a minute, as the recorder would have left them."""
    rows = []
    for start_ms in range(from_ms, to_ms, MINUTE_MS):
        id_ = ulid(start_ms, camera_id[-10:].encode())
        fields: dict[str, Any] = {
            "state": "stored",
            "class_": "default",
            "end_ms": min(start_ms + MINUTE_MS, to_ms),
        } | more
        rows.append(
            SegmentRow(
                id=id_, camera_id=camera_id, stream="main", run_id="R", kind="own", start_ms=start_ms,
                start_wall_ns=start_ms * 1_000_000, time_trust="synchronised", bytes=1_000, sha256=bytes(32),
                init_bytes=0, fragments=b"", object_key=id_, volume=None, created_ms=start_ms, **fields,
            )
        )  # fmt: skip
    site.catalog.write(lambda c: segments.insert_segments(c, rows))
    return [row.id for row in rows]


def put_gap(site: Site, camera_id: str, cause: str, from_ms: int, to_ms: int | None, reason: Any = None) -> str:
    id_ = ulid(from_ms, (cause + camera_id).encode()[-10:])
    row = GapRow(id_, camera_id, "main", cause, from_ms, to_ms, from_ms, reason)
    site.catalog.write(lambda c: gaps.put_gap(c, row))
    return id_


def registered(site: Site, camera_id: str, at_ms: int, **more: Any) -> None:
    """Since when; and that it sends next to nothing, so that no disk is too small for it."""

    def write(connection: Any) -> None:
        connection.execute(update(camera).where(camera.c.id == camera_id).values(created_ms=at_ms, **more))
        row = {"camera_id": camera_id, "stream": "main", "state": "online", "since_ms": 0, "updated_ms": 0}
        connection.execute(insert(camera_status).values(**row, bit_rate_bps=1_000))

    site.catalog.write(write)


def make_key(site: Site, camera_id: str, from_ms: int) -> None:
    def write(connection: Any) -> None:
        connection.execute(
            insert(area).values(id="A", name="广场", class_="key", document_no="1", valid_from_ms=from_ms)
        )
        connection.execute(insert(area_camera).values(area_id="A", camera_id=camera_id, from_ms=from_ms))

    site.catalog.write(write)


def put_hold(site: Site, camera_id: str, from_ms: int, to_ms: int) -> None:
    row = HoldRow(
        "H", (camera_id,), from_ms, to_ms, "甲", "打架", "A-1", None, "3_months", to_ms + DAY_MS, from_ms, None, None
    )
    site.catalog.write(lambda c: retention_rows.add_hold(c, row))


async def a_morning(site: Site, admin: httpx.AsyncClient) -> tuple[str, int, int]:
    """(camera, from, to): an hour with a gap of each sort."""
    camera_id = await add_camera(admin, 1)
    from_ms, to_ms = NOON_MS - 60 * MINUTE_MS, NOON_MS
    registered(site, camera_id, from_ms - DAY_MS)
    for low, high in ((0, 10), (12, 20), (25, 30), (40, 50), (50, 60)):
        put_footage(site, camera_id, from_ms + low * MINUTE_MS, from_ms + high * MINUTE_MS - (low == 40) * 1_500)
    said = Reason("web.gap.credentials").as_json()
    put_gap(site, camera_id, "credentials", from_ms + 10 * MINUTE_MS, from_ms + 12 * MINUTE_MS, said)
    put_gap(site, camera_id, "network", from_ms + 20 * MINUTE_MS, from_ms + 22 * MINUTE_MS)
    put_gap(site, camera_id, "disabled", from_ms + 30 * MINUTE_MS, from_ms + 40 * MINUTE_MS)
    return camera_id, from_ms, to_ms


async def test_every_gap_is_in_the_ledger_with_its_cause_and_the_sums_agree(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        camera_id, from_ms, to_ms = await a_morning(site, admin)
        await add_camera(admin, 2)  # registered now: nothing is missing before
        await add_camera(admin, 3, recorded_by="owner")  # another recorder keeps it: nothing is due here
        make_key(site, camera_id, from_ms + 21 * MINUTE_MS)
        put_hold(site, camera_id, from_ms + 23 * MINUTE_MS, from_ms + 24 * MINUTE_MS)
        answer = (await admin.get("/api/v1/reports/gaps", params={"from": from_ms, "to": to_ms})).json()
        shown = [(g["cause"], (g["from_ms"] - from_ms) / MINUTE_MS, g["seconds"], g["held"]) for g in answer["items"]]
        assert shown == [("credentials", 10, 120, False), ("network", 20, 120, False), (None, 22, 180, True)]
        assert [g["reason"]["code"] for g in answer["items"]] == [
            "web.gap.credentials", "web.gap.network", "web.gap.unknown",
        ]  # fmt: skip
        assert all(g["reason"]["zh"] and g["reason"]["en"] and g["key"] for g in answer["items"])
        (day,) = answer["days"]
        assert (day["day"], day["due_s"], day["missing_s"]) == ("2026-11-24", 3_000, 420)
        assert day["completeness"] == pytest.approx(1 - 420 / 3_000, abs=1e-6)
        total = answer["sum"]
        assert (total["gaps"], total["missing_s"], total["camera_days_below"]) == (3, 420, 1)
        assert total["causes"] == {
            "credentials": {"gaps": 1, "seconds": 120},
            "network": {"gaps": 1, "seconds": 120},
            "unexplained": {"gaps": 1, "seconds": 180},
        }
        assert total["longest"]["from_ms"] == from_ms + 22 * MINUTE_MS
        before = (await admin.get("/api/v1/reports/gaps", params={"from": from_ms - DAY_MS * 9, "to": to_ms})).json()
        assert min(g["from_ms"] for g in before["items"]) == from_ms - DAY_MS, "from its registration on"


async def test_a_gap_over_midnight_is_one_and_counts_in_both_days(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        camera_id = await add_camera(admin, 1)
        midnight_ms = parse_time_ms("2026-11-24T00:00:00+08:00")
        registered(site, camera_id, 0)
        put_footage(site, camera_id, midnight_ms - 60 * MINUTE_MS, midnight_ms - 20 * MINUTE_MS)
        put_footage(site, camera_id, midnight_ms + 10 * MINUTE_MS, midnight_ms + 60 * MINUTE_MS)
        put_gap(site, camera_id, "network", midnight_ms - 20 * MINUTE_MS, midnight_ms + 10 * MINUTE_MS)
        query = {"from": midnight_ms - 60 * MINUTE_MS, "to": midnight_ms + 60 * MINUTE_MS}
        answer = (await admin.get("/api/v1/reports/gaps", params=query)).json()
        assert [g["seconds"] for g in answer["items"]] == [1_800]
        assert [(d["day"], d["missing_s"]) for d in answer["days"]] == [("2026-11-23", 1_200), ("2026-11-24", 600)]


async def test_pages_of_the_ledger_make_up_the_whole(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        cameras = [await add_camera(admin, number) for number in (1, 2, 3)]
        from_ms = NOON_MS - 100 * MINUTE_MS
        for number, camera_id in enumerate(cameras):
            registered(site, camera_id, 0)
            for minute in range(0, 100, 10 + number):
                put_footage(site, camera_id, from_ms + minute * MINUTE_MS, from_ms + (minute + 3) * MINUTE_MS)
        query: dict[str, Any] = {"from": from_ms, "to": NOON_MS}
        whole = (await admin.get("/api/v1/reports/gaps", params=query)).json()
        assert whole["next"] is None and len(whole["items"]) > 20
        collected: list[Any] = []
        cursor, pages = None, 0
        while True:
            more = {"limit": 4} | ({} if cursor is None else {"cursor": cursor})
            found = (await admin.get("/api/v1/reports/gaps", params=query | more)).json()
            assert ("sum" in found) == (cursor is None)
            assert cursor is not None or found["sum"] == whole["sum"], "the sums are of the whole, not of the page"
            collected, cursor, pages = collected + found["items"], found["next"], pages + 1
            if cursor is None:
                break
        assert collected == whole["items"] and pages == -(-len(collected) // 4)
        bad = await admin.get("/api/v1/reports/gaps", params=query | {"cursor": "x"})
        assert (bad.status_code, bad.json()["code"]) == (422, "web.cursor")
        too_much = await admin.get("/api/v1/reports/gaps", params={"from": 1_200_000_000_000, "to": NOON_MS})
        assert too_much.json()["code"] == "time.range_too_long"


async def test_damaged_footage_is_missing_and_what_expired_was_recorded(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        camera_id = await add_camera(admin, 1)
        from_ms = NOON_MS - 10 * MINUTE_MS
        registered(site, camera_id, 0)
        ids = put_footage(site, camera_id, from_ms, NOON_MS)
        query = {"from": from_ms, "to": NOON_MS}
        whole = (await admin.get("/api/v1/reports/gaps", params=query)).json()
        assert (whole["items"], whole["sum"]["completeness"]) == ([], 1.0)
        start_ms = from_ms + 3 * MINUTE_MS
        damaged = GapRow(ids[3], camera_id, "main", "damaged", start_ms, start_ms + MINUTE_MS, NOON_MS)
        site.catalog.write(lambda c: gaps.put_gap(c, damaged))
        site.catalog.write(lambda c: c.execute(update(segment).where(segment.c.id == ids[0]).values(state="deleted")))
        site.catalog.write(lambda c: c.execute(update(segment).where(segment.c.id == ids[9]).values(state="lost")))
        found = (await admin.get("/api/v1/reports/gaps", params=query)).json()["items"]
        assert [(g["cause"], g["seconds"]) for g in found] == [("damaged", 60), (None, 60)]


async def test_a_stranger_sees_no_gap_of_cameras_outside_its_catalogue(site: Site) -> None:
    site.user("stranger")
    async with await site.sign_in("admin") as admin, await site.sign_in("stranger") as stranger:
        _, from_ms, to_ms = await a_morning(site, admin)
        answer = (await stranger.get("/api/v1/reports/gaps", params={"from": from_ms, "to": to_ms})).json()
        assert (answer["items"], answer["days"], answer["sum"]["cameras"]) == ([], [], 0)
        kept = (await stranger.get("/api/v1/reports/retention")).json()
        assert kept["items"] == [] and kept["sum"]["overkept_segments"] == 0


def _days_of(site: Site, camera_id: str, days: range, **more: Any) -> None:
    """One minute of each day back."""
    for day in days:
        put_footage(site, camera_id, NOON_MS - day * DAY_MS, NOON_MS - day * DAY_MS + MINUTE_MS, **more)


async def test_the_reach_counts_from_the_registration_and_names_what_is_gone(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        young, old, robbed, key, empty = [await add_camera(admin, number) for number in range(1, 6)]
        for camera_id, days in ((young, 10), (old, 200), (robbed, 200), (key, 200), (empty, 200)):
            registered(site, camera_id, NOON_MS - days * DAY_MS)
        make_key(site, key, NOON_MS - 200 * DAY_MS)
        _days_of(site, young, range(1, 10))
        _days_of(site, old, range(1, 31))
        gone_ms = NOON_MS - DAY_MS
        _days_of(site, old, range(33, 60), state="deleted")
        _days_of(site, robbed, range(1, 60))
        _days_of(site, key, range(1, 120))
        found = {one["camera_id"]: one for one in (await admin.get("/api/v1/reports/retention")).json()["items"]}
        assert [found[c]["state"] for c in (young, old, robbed, key, empty)] == [
            "growing", "kept", "kept", "kept", "none",
        ]  # fmt: skip
        assert found[young]["attained_days"] == 9 and 30 <= found[young]["promised_days"] <= 31
        assert 90 <= found[key]["promised_days"] <= 92
        assert found[key]["attained_days"] == found[key]["promised_days"]
        assert found[empty]["attained_days"] is None

        def spoil(camera_id: str, day: int, **values: Any) -> None:
            here = (segment.c.camera_id == camera_id, segment.c.start_ms == NOON_MS - day * DAY_MS)
            site.catalog.write(lambda c: c.execute(update(segment).where(*here).values(**values)))

        spoil(robbed, 20, state="lost")
        spoil(key, 60, state="deleted", condemned_ms=gone_ms, deleted_ms=gone_ms)
        spoil(old, 40, state="lost")  # it would be gone by now
        answer = (await admin.get("/api/v1/reports/retention")).json()
        found = {one["camera_id"]: one for one in answer["items"]}
        assert found[old]["state"] == "kept"
        for camera_id, day in ((robbed, 20), (key, 60)):
            one = found[camera_id]
            assert (one["state"], one["lost_segments"], one["cause"]) == ("broken", 1, "deleted")
            assert one["attained_days"] == day - 1 and one["breaks_ms"] == NOON_MS
            assert one["reason"]["code"] == "retention.promise_deleted"
        assert answer["sum"] | {"breaking": 2, "broken": 2, "kept": 1} == answer["sum"]


async def test_what_stands_past_its_last_day_is_counted_and_a_hold_excuses_it(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        camera_id = await add_camera(admin, 1)
        registered(site, camera_id, 0)
        _days_of(site, camera_id, range(28, 34))  # 72 hours after a month at most
        put_footage(site, camera_id, NOON_MS - 33 * DAY_MS - MINUTE_MS, NOON_MS - 33 * DAY_MS)  # October has 31 days
        key = await add_camera(admin, 2)
        make_key(site, key, 0)
        _days_of(site, key, range(28, 90))
        total = (await admin.get("/api/v1/reports/retention")).json()["sum"]
        assert (total["overkept_segments"], total["overkept_since_ms"]) == (0, None)
        _days_of(site, camera_id, range(40, 43))
        _days_of(site, camera_id, range(50, 51), state="condemned")
        _days_of(site, camera_id, range(60, 61), state="deleting")
        _days_of(site, camera_id, range(70, 71), state="deleted")
        put_hold(site, camera_id, NOON_MS - 41 * DAY_MS, NOON_MS - 41 * DAY_MS + 1)
        answer = (await admin.get("/api/v1/reports/retention")).json()
        assert (answer["sum"]["overkept_segments"], answer["sum"]["overkept_bytes"]) == (4, 4_000)
        one, other = answer["items"]
        assert (one["overkept_segments"], other["overkept_segments"]) == (4, 0)
        assert one["overkept_since_ms"] == parse_time_ms("2026-10-25T12:01:00+08:00") + 3 * DAY_MS


async def test_gaps_that_go_on_break_the_promise_and_it_is_said_before(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        camera_id = await add_camera(admin, 1)
        registered(site, camera_id, NOON_MS - 20 * DAY_MS)
        _days_of(site, camera_id, range(1, 20))
        (one,) = (await admin.get("/api/v1/reports/retention")).json()["items"]
        assert (one["breaks_ms"], one["cause"]) == (None, None)
        put_gap(site, camera_id, "network", NOON_MS - 3 * DAY_MS, NOON_MS - 2 * DAY_MS)  # 1 of 1.5 days
        (one,) = (await admin.get("/api/v1/reports/retention")).json()["items"]
        assert (one["cause"], one["reason"]["code"]) == ("gaps", "retention.promise_gaps_soon")
        assert NOON_MS + 3 * DAY_MS < one["breaks_ms"] < NOON_MS + 4 * DAY_MS  # half a day more at a seventh
        put_gap(site, camera_id, "disabled", NOON_MS - 9 * DAY_MS, NOON_MS - 5 * DAY_MS)
        (same,) = (await admin.get("/api/v1/reports/retention")).json()["items"]
        assert same["breaks_ms"] == one["breaks_ms"], "what was not due is not missing"
        put_gap(site, camera_id, "camera_offline", NOON_MS - DAY_MS, None)
        (one,) = (await admin.get("/api/v1/reports/retention")).json()["items"]
        assert (one["breaks_ms"], one["reason"]["code"]) == (NOON_MS, "retention.promise_gaps")


def test_the_command_line_tells_the_ledger_and_the_reach(site: Site, told: Any) -> None:
    headers = {"Authorization": f"Bearer {os.environ['TIERGATE_TOKEN']}"}
    body = {"url": "rtsp://10.0.0.1/main", "name": "口岸 1"}
    camera_id = httpx.post(f"{told.url}/api/v1/cameras", json=body, headers=headers).json()["id"]
    from_ms = NOON_MS - 60 * MINUTE_MS
    registered(site, camera_id, 0)
    for minute in range(0, 60, 5):
        put_footage(site, camera_id, from_ms + minute * MINUTE_MS, from_ms + (minute + 3) * MINUTE_MS)
    put_gap(site, camera_id, "network", from_ms + 3 * MINUTE_MS, from_ms + 5 * MINUTE_MS)
    put_footage(site, camera_id, NOON_MS - 40 * DAY_MS, NOON_MS - 40 * DAY_MS + MINUTE_MS)
    words = ("report", "gaps", "--from", str(from_ms), "--to", str(NOON_MS))
    found = json.loads(told(*words, "--json"))
    assert (len(found["items"]), found["sum"]["gaps"], found["sum"]["missing_s"]) == (12, 12, 1_440)
    plain = told(*words)
    assert "The network to the camera was interrupted." in plain and "The cause is not known." in plain
    assert "12 gap(s), 1440.0 s of 3600.0 s due: completeness 60.000 %; 1 of 1 camera-day(s) below 95 %" in plain
    assert "network: 1 gap(s), 120.0 s" in plain and "longest: 120.0 s" in plain
    assert "到摄像机的网络中断。" in told(*words, "--lang", "zh") and "完整率 60.000 %" in told(*words, "--lang", "zh")
    found = json.loads(told("report", "retention", "--json"))
    assert (found["items"][0]["state"], found["sum"]["overkept_segments"]) == ("kept", 1)
    plain = told("report", "retention")
    assert camera_id in plain and "over-kept: 1 segment(s), 1000 bytes" in plain


def test_the_command_line_follows_the_pages(site: Site, told: Any) -> None:
    headers = {"Authorization": f"Bearer {os.environ['TIERGATE_TOKEN']}"}
    body = {"url": "rtsp://10.0.0.1/main", "name": "口岸 1"}
    camera_id = httpx.post(f"{told.url}/api/v1/cameras", json=body, headers=headers).json()["id"]
    registered(site, camera_id, 0)
    from_ms = NOON_MS - 1_100 * 10_000
    for nth in range(1_100):  # more than a page holds
        start_ms = from_ms + nth * 10_000
        put_footage(site, camera_id, start_ms, start_ms + 5_000)
    found = json.loads(told("report", "gaps", "--from", str(from_ms), "--to", str(NOON_MS), "--json"))
    assert (len(found["items"]), found["next"], found["sum"]["gaps"]) == (1_100, None, 1_100)
    assert len({gap["from_ms"] for gap in found["items"]}) == 1_100


async def test_a_store_that_will_be_full_breaks_the_promise_of_every_camera(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        cameras = [await add_camera(admin, number) for number in (1, 2)]
        for camera_id in cameras:
            registered(site, camera_id, NOON_MS - 20 * DAY_MS)
        found = (await admin.get("/api/v1/reports/retention")).json()
        assert found["sum"]["breaking"] == 0
        site.catalog.write(lambda c: c.execute(update(camera_status).values(bit_rate_bps=2_000_000_000)))
        forecast = (await admin.get("/api/v1/retention/forecast")).json()
        found = (await admin.get("/api/v1/reports/retention")).json()
        for one in found["items"]:
            assert (one["cause"], one["reason"]["code"]) == ("disk", "retention.promise_disk")
            # The same forecast, asked a moment later of a disk that others write to.
            assert one["breaks_ms"] == pytest.approx(forecast["full_ms"], abs=DAY_MS)


async def test_what_is_being_recorded_is_no_gap_between_two_words_of_its_recorder(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        camera_id = await add_camera(admin, 1)
        began_ms = NOON_MS - 5 * MINUTE_MS
        registered(site, camera_id, began_ms)
        put_footage(site, camera_id, began_ms, NOON_MS)
        run = RunRow("R", camera_id, "main", began_ms, "avc1.640028", 1920, 1080, None, b"")
        site.catalog.write(lambda c: segments.insert_run(c, run))

        async def ends(last_media_ms: int, now_ms: int, state: str = "online") -> list[tuple[str, str | None, int]]:
            status = StatusRow(camera_id, "main", state, began_ms, now_ms, last_media_ms=last_media_ms)
            site.catalog.write(lambda c: put_status(c, [status]))
            site.clock.step_wall((now_ms * 1_000_000 - site.clock.wall_ns()) / 1e9)
            query = {"from": NOON_MS - MINUTE_MS, "to": now_ms}
            spans = (await admin.get(f"/api/v1/cameras/{camera_id}/timeline", params=query)).json()["spans"]
            return [(s["kind"], s["cause"], s["to_ms"] - NOON_MS) for s in spans]

        written = ("footage", None, 0)
        # A segment was sealed, and of the next nothing was said yet.
        assert await ends(NOON_MS - 1_000, NOON_MS + 4_500) == [written, ("open", None, 4_500)]
        assert await ends(NOON_MS + 4_000, NOON_MS + 9_900) == [written, ("open", None, 9_900)]
        silent = [written, ("open", None, 4_000), ("gap", "unknown", 20_000)]
        assert await ends(NOON_MS + 4_000, NOON_MS + 20_000) == silent
        # The ledger says the same: a recorder that hangs has not recorded until now.
        query = {"from": began_ms, "to": NOON_MS + 20_000}
        told = (await admin.get("/api/v1/reports/gaps", params=query)).json()
        assert [(gap["from_ms"] - NOON_MS, gap["to_ms"] - NOON_MS) for gap in told["items"]] == [(4_000, 20_000)]
        covered = (await admin.get("/api/v1/reports/coverage", params=query)).json()["items"]
        assert [day["unexplained_s"] for day in covered] == [16]
        assert await ends(NOON_MS + 4_000, NOON_MS + 9_900, "offline") == [written, ("gap", "unknown", 9_900)]


async def test_who_records_a_camera_today_changes_nothing_of_what_was_missing_before(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        camera_id = await add_camera(admin, 1)
        yesterday_ms = NOON_MS - DAY_MS
        registered(site, camera_id, yesterday_ms)
        put_footage(site, camera_id, yesterday_ms, yesterday_ms + 60 * MINUTE_MS)
        put_gap(site, camera_id, "recorder_down", yesterday_ms + 60 * MINUTE_MS, None)
        query: dict[str, int] = {"from": yesterday_ms, "to": NOON_MS}

        async def missing() -> dict[str, float]:
            told = (await admin.get("/api/v1/reports/gaps", params=query)).json()
            return {cause: what["seconds"] for cause, what in told["sum"]["causes"].items()}

        async def hand(recorded_by: str) -> None:
            answer = await admin.patch(f"/api/v1/cameras/{camera_id}", json={"recorded_by": recorded_by})
            assert answer.status_code == 200

        site.clock.step_wall(-12 * 3600)
        await hand("owner")  # at midnight
        site.clock.step_wall(6 * 3600)
        half = {"recorder_down": 11 * 3600.0}
        query["to"] = NOON_MS - 6 * 60 * MINUTE_MS
        assert await missing() == half
        (reach,) = (await admin.get("/api/v1/reports/retention")).json()["items"]
        assert reach["camera_id"] == camera_id, "what still stands here is watched"
        await hand("self")  # at six; its recorder has not begun
        site.clock.step_wall(6 * 3600)
        query["to"] = NOON_MS
        put_gap(site, camera_id, "network", NOON_MS - 6 * 60 * MINUTE_MS, None)
        assert await missing() == half | {"network": 6 * 3600.0}
        days = (await admin.get("/api/v1/reports/coverage", params=query)).json()["items"]
        assert sum(day["gaps_s"].get("disabled", 0) for day in days) == 6 * 3600
        assert sum(day["unexplained_s"] for day in days) == 0


async def test_a_camera_that_its_owner_always_recorded_lacks_nothing_here(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        site.clock.step_wall(-24 * 3600)
        camera_id = await add_camera(admin, 1, recorded_by="owner")
        site.clock.step_wall(24 * 3600)
        query = {"from": NOON_MS - DAY_MS, "to": NOON_MS}
        told = (await admin.get("/api/v1/reports/gaps", params=query)).json()
        assert told["items"] == [] and told["sum"]["cameras"] == 0
        days = (await admin.get("/api/v1/reports/coverage", params=query)).json()["items"]
        assert {day["unexplained_s"] for day in days} == {0}
        spans = (await admin.get(f"/api/v1/cameras/{camera_id}/timeline", params=query)).json()["spans"]
        assert [(span["kind"], span["cause"]) for span in spans] == [("gap", "disabled")]
        assert (await admin.delete(f"/api/v1/cameras/{camera_id}")).status_code == 204
        assert site.catalog.read(lambda c: gaps.open_gaps(c, camera_id)) == []


async def test_a_week_of_office_hours_needs_a_disk_for_office_hours(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        cameras = [await add_camera(admin, number) for number in (1, 2)]
        for camera_id in cameras:
            registered(site, camera_id, NOON_MS - 20 * DAY_MS)
        put_footage(site, cameras[0], NOON_MS - 60 * MINUTE_MS, NOON_MS)
        windows = {"schedule": "mon-fri 08:00-18:00, fri 12:00-18:00"}
        assert (await admin.patch(f"/api/v1/cameras/{cameras[0]}", json=windows)).status_code == 200
        flows = (await admin.get("/api/v1/retention/forecast")).json()["items"]
        told = {flow["camera_id"]: (flow["basis"], flow["bytes_per_day"]) for flow in flows}
        always = 1_000 * 24 * 60  # 1 000 bytes each minute
        assert told[cameras[0]] == ("measured", always * 50 // 168)
        assert told[cameras[1]] == ("reported", 1_000 // 8 * 86_400)


async def test_the_forecast_counts_what_was_ordered_to_stay_longer(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        camera_id = await add_camera(admin, 1)
        registered(site, camera_id, NOON_MS - 20 * DAY_MS)
        before = (await admin.get("/api/v1/retention/forecast")).json()
        body = {"months": 3, "legal_basis": "an order"}
        assert (await admin.put("/api/v1/retention/default", json=body)).json()["effective_ms"] > NOON_MS
        after = (await admin.get("/api/v1/retention/forecast")).json()
        assert (before["items"][0]["stay_days"], after["items"][0]["stay_days"]) == (34, 95)
        assert after["needed_bytes"] > 2 * before["needed_bytes"]


async def test_whoever_asks_why_footage_stays_is_told_the_area_and_its_document(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        camera_id = await add_camera(admin, 1)
        registered(site, camera_id, NOON_MS - 80 * DAY_MS)
        put_footage(site, camera_id, NOON_MS - 70 * DAY_MS, NOON_MS - 70 * DAY_MS + MINUTE_MS)

        async def explained() -> Any:
            query: dict[str, str | int] = {"camera": camera_id, "at": NOON_MS - 70 * DAY_MS}
            return (await admin.get("/api/v1/retention/explain", params=query)).json()

        found = await explained()
        assert (found["class"], found["keep"], found["areas"]) == ("default", False, [])
        make_key(site, camera_id, NOON_MS - 60 * DAY_MS)  # while its first month ran
        found = await explained()
        (area_,) = found["areas"]
        assert (found["class"], found["keep"]) == ("key", True)
        assert (area_["name"], area_["document_no"], area_["class"], area_["to_ms"]) == ("广场", "1", "key", None)
        assert area_["from_ms"] == NOON_MS - 60 * DAY_MS
