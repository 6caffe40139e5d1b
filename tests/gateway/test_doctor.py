"""`doctor` on real files: nothing wrong is silent, all of it has a next step, and every red metric is explained."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, update

from config.ids import ulid
from config.reasons import Reason, text
from config.redact import Secret
from config.settings import Store
from config.units import HOUR_MS, format_time_ms
from gateway.access import journal as register_journal
from gateway.access.secrets import Secrets
from gateway.cameras import known_firmware
from gateway.cameras.onvif import Information
from gateway.ops import doctor, job_state, metrics, promise
from gateway.ops.findings import Finding
from storage import evidence_state, scrub, sweeper
from storage.aside import Aside
from storage.attested import Attestation
from storage.audit import signed
from storage.catalog import attestations, cameras, evidence_rows, facts, gaps, retention_rows
from storage.catalog.gaps import GapRow
from storage.catalog.retention_rows import HoldRow
from storage.catalog.status import ALONE, WATCHDOG_FACT, set_alone
from storage.catalog.tables import camera, camera_health, camera_status, gap, link, segment
from storage.spools import make_spools
from storage.volume import IDENTITY_FILE
from tests.gateway.doctor_place import CAMERA, REGION, Place, place

__all__ = ["place"]  # fixture


def test_a_node_in_order_has_nothing_to_say(place: Place) -> None:
    place.add_camera(bit_rate_bps=1_000)
    assert place.wrong() == {}


@pytest.mark.fault("S9")
def test_cameras_as_their_maker_delivered_them_are_named(place: Place) -> None:
    place.add_camera(bit_rate_bps=1_000)

    def give(password: str) -> None:
        def write(c: Connection) -> None:
            secrets = Secrets(place.keys)
            cameras.put_credential(c, secrets.seal(c, place.clock, "A" * 26, "admin", Secret(password)))
            cameras.change_camera(c, CAMERA, {"credential_id": "A" * 26}, place.now_ms)

        place.catalog.write(write)

    give("12345")
    found = place.wrong()["accounts"]
    assert (found.level, found.reason.params) == ("warn", {"camera": CAMERA})
    give("S@crEt!")
    assert "accounts" not in place.wrong()


@pytest.mark.fault("S9")
def test_cameras_whose_firmware_is_exploited_are_named_with_where_it_is_written(place: Place) -> None:
    place.add_camera(bit_rate_bps=1_000)
    address = "http://127.0.0.1:80/onvif/device_service"

    def tell(version: str) -> None:
        def write(c: Connection) -> None:
            cameras.change_camera(c, CAMERA, {"onvif_url": address}, place.now_ms)
            known_firmware.remember(c, address, Information("PTZOptics", "PT30X-SDI", version, "1"))

        place.catalog.write(write)

    tell("6.3.39")
    found = place.wrong()["firmware"]
    assert found.level == "warn" and found.reason.params["faults"] == "CVE-2024-8956, CVE-2024-8957"
    assert found.next is not None and "CVE-2024-8956" in found.next.params["source"]
    tell("6.3.40")
    assert "firmware" not in place.wrong()


def test_a_store_that_cannot_keep_the_promise_is_said_before_it_is_full(tmp_path: Path) -> None:
    a_week = 40_000 // 8 * 86_400 * 7
    place = Place(tmp_path, store={"capacity_bytes": a_week})
    place.add_camera(bit_rate_bps=40_000)
    found = place.wrong()["promise"]
    assert (found.level, found.reason.code) == ("bad", "retention.forecast_full")
    full = format_time_ms(place.now_ms + 7 * 86_400_000, local=True)[:10]
    assert found.reason.params["full"] == full and full in text(found.reason, "zh")
    place.catalog.write(lambda c: c.execute(update(camera_status).values(bit_rate_bps=10_000)))
    assert place.wrong()["promise"].level == "warn", "four weeks are left"
    place.catalog.close()


def test_a_promise_that_gaps_or_lost_footage_break_is_said_camera_by_camera(place: Place) -> None:
    place.add_camera(bit_rate_bps=1_000)
    now_ms, day_ms = place.now_ms, 24 * HOUR_MS
    assert "reach" not in place.wrong()

    def put_gap(days_ago: float, to_ms: int | None) -> None:
        from_ms = now_ms - round(days_ago * day_ms)
        row = GapRow(ulid(from_ms, bytes(10)), CAMERA, "main", "network", from_ms, to_ms, now_ms)
        place.catalog.write(lambda c: gaps.put_gap(c, row))

    put_gap(2, now_ms - day_ms)
    found = place.wrong()["reach"]
    assert (found.level, found.reason.code) == ("warn", "retention.promise_camera")
    assert CAMERA in text(found.reason, "zh") and "5 %" in text(found.reason, "en")
    put_gap(0.9, now_ms)
    assert place.wrong()["reach"].level == "bad"

    def write(c: Connection) -> None:
        c.execute(update(gap).values(to_ms=gap.c.from_ms))
        lost = {"start_ms": now_ms - 5 * day_ms, "end_ms": now_ms - 5 * day_ms + 60_000}
        c.execute(insert(segment).values(**segment_values("S", "lost") | lost))

    place.catalog.write(write)
    found = place.wrong()["reach"]
    assert found.level == "bad" and "1 segment" in text(found.reason, "en") and found.next is not None


def test_what_is_kept_too_long_is_a_finding_and_a_metric_that_is_absent_until_it_is_known(place: Place) -> None:
    place.add_camera(bit_rate_bps=1_000)
    now_ms, day_ms = place.now_ms, 24 * HOUR_MS

    def samples() -> dict[Any, float]:
        read = place.catalog.read(lambda c: metrics.read_facts(c, place.settings, place.now_ms))
        return {(m.name, labels): value for m in read for labels, value in m.samples}

    def tell() -> None:
        found = place.catalog.read(lambda c: promise.promises(c, None, place.now_ms))
        place.catalog.write(lambda c: facts.set(c, job_state.PROMISES, promise.told(*found, place.now_ms)))

    names = {name for name, check in doctor.METRICS.items() if check in ("reach", "overkept")}
    assert len(names) == 5 and not names & {name for name, _ in samples()}, "unknown is absent"
    tell()
    known = samples()
    assert known["tiergate_overkept_segments", ()] == 0 and ("tiergate_overkept_late_seconds", ()) not in known
    assert round(known["tiergate_retention_promised_seconds", (CAMERA,)] / 86_400) in (30, 31), "a month, less 1 ms"
    assert ("tiergate_retention_attained_seconds", (CAMERA,)) not in known, "there is no footage"
    assert "overkept" not in place.wrong()
    for number, days in enumerate((50, 3)):
        here = {"start_ms": now_ms - days * day_ms, "end_ms": now_ms - days * day_ms + 60_000, "object_key": f"k{days}"}
        row = segment_values(f"S{number}", "stored") | here | {"time_trust": "synchronised"}
        place.catalog.write(lambda c, row=row: c.execute(insert(segment).values(**row)))  # type: ignore[misc]  # a bound default
    found = place.wrong()["overkept"]
    assert (found.level, found.reason.code, found.reason.params["count"]) == ("bad", "retention.overkept", 1)
    lost = segment_values("S9", "lost") | {"start_ms": now_ms - 2 * day_ms, "end_ms": now_ms - 2 * day_ms + 1}
    place.catalog.write(lambda c: c.execute(insert(segment).values(**lost)))
    tell()
    known = samples()
    assert known["tiergate_overkept_segments", ()] == known["tiergate_overkept_bytes", ()] == 1
    assert 15 <= known["tiergate_overkept_late_seconds", ()] / 86_400 <= 17
    assert known["tiergate_retention_broken_in_seconds", (CAMERA, "deleted")] == 0


def test_every_finding_has_a_next_step(place: Place) -> None:
    place.clock.advance(3 * 86_400)
    for finding in doctor.examine(place.settings, place.clock):
        assert finding.level == "ok" or finding.next is not None


def test_a_camera_outside_its_windows_of_the_week_is_nothing_to_speak_of(place: Place) -> None:
    place.add_camera("idle", cause="disabled")
    assert "cameras" not in place.wrong(quick=True)


def test_hung_threads_and_a_camera_that_crashes_its_recorder_are_told(place: Place) -> None:
    place.add_camera()
    assert "recorders" not in place.wrong(quick=True)
    place.catalog.write(lambda c: facts.set(c, f"{WATCHDOG_FACT}0", {"silent": 4, "hung": 2}))
    assert place.wrong(quick=True)["recorders"].reason.params["count"] == 2
    assert place.catalog.write(lambda c: set_alone(c, CAMERA, 0, place.now_ms)) == ALONE
    place.catalog.write(lambda c: facts.set(c, f"{WATCHDOG_FACT}0", {"silent": 4, "hung": 0}))
    assert place.wrong(quick=True)["recorders"].reason.params["camera"] == CAMERA
    samples = {
        (metric.name, labels): value
        for metric in place.catalog.read(lambda c: metrics.read_facts(c, place.settings, place.now_ms))
        for labels, value in metric.samples
    }
    assert samples["tiergate_recorder_watchdog_restarts", ("0", "silent")] == 4
    assert samples["tiergate_recorder_hung_threads", ("0",)] == 0
    place.catalog.write(lambda c: facts.set(c, f"{WATCHDOG_FACT}0", {"silent": 4, "hung": 0, "dropped": 3}))
    said = [f for f in doctor.examine(place.settings, place.clock, quick=True) if f.check == "recorders"]
    assert ("bad", Reason("ops.changes_dropped", {"count": 3})) in [(f.level, f.reason) for f in said]
    told = place.catalog.read(lambda c: metrics.read_facts(c, place.settings, place.now_ms))
    assert [m.samples for m in told if m.name == "tiergate_recorder_dropped_changes"] == [((("0",), 3.0),)]
    assert not any("dropped" in labels for m in told for labels, _ in m.samples), "it is no restart"


def test_an_offline_camera_is_named_with_its_cause(place: Place) -> None:
    place.add_camera("offline", cause="credentials")
    found = place.wrong()["cameras"]
    assert found.reason.params == {"camera": CAMERA, "name": "东门", "cause": "credentials"}


@pytest.mark.fault("A16")
def test_a_camera_with_a_key_frame_each_four_minutes_is_named(place: Place) -> None:
    place.add_camera(gop_ms=250_000, reason=Reason("camera.gop_long", {"seconds": 250}).as_json())
    finding = place.wrong()["cameras"]
    assert (finding.level, finding.reason.code, finding.reason.params["seconds"]) == (
        "warn",
        "ops.camera_gop_long",
        250,
    )
    found = place.catalog.read(lambda c: metrics.read_facts(c, place.settings, place.now_ms))
    (apart,) = [metric for metric in found if metric.name == "tiergate_camera_gop_seconds"]
    assert apart.samples == (((CAMERA,), 250.0),)


def test_a_black_picture_and_an_open_gap(place: Place) -> None:
    place.add_camera()
    place.catalog.write(
        lambda c: c.execute(insert(camera_health).values(camera_id=CAMERA, verdict="black", since_ms=0, checked_ms=1))
    )
    row = GapRow("G", CAMERA, "main", "network", place.now_ms - 60_000, None, place.now_ms)
    place.catalog.write(lambda c: gaps.insert_gap(c, row))
    found = place.wrong()
    assert found["pictures"].reason.params["verdict"] == "black"
    assert found["gaps"].reason.params == {"count": 1, "cause": "network"}


def test_a_refused_sweep_warns_and_after_a_day_alarms(place: Place) -> None:
    place.add_camera()
    place.catalog.write(lambda c: facts.set(c, sweeper.REFUSED_SINCE, place.now_ms))
    place.catalog.write(lambda c: facts.set(c, sweeper.REFUSED_REASON, "retention.clock_unproven"))
    assert place.wrong()["sweep"].level == "warn"
    place.clock.advance(86_400)
    found = place.wrong()["sweep"]
    assert found.level == "bad"
    assert "chrony" in text(found.reason, "en") and "chrony" in text(found.reason, "zh")
    assert "时钟" in text(found.reason, "zh") and "时钟" not in text(found.reason, "en")


def test_a_sweep_that_does_not_come_and_a_failing_job(place: Place) -> None:
    place.add_camera()
    place.catalog.write(lambda c: job_state.remember(c, "store", 60, "media.store_unavailable", place.now_ms))
    place.clock.advance(27 * 3600)
    found = place.wrong()
    assert found["sweep"].reason.code == "ops.sweep_old"
    assert found["jobs"].reason.params["job"] == "store"


def test_a_backlog_and_damaged_uploads(place: Place) -> None:
    place.add_camera()
    old_ms = place.now_ms - 2 * HOUR_MS
    row = {
        "id": ulid(old_ms, bytes(10)), "camera_id": CAMERA, "stream": "main", "run_id": "R", "kind": "own",
        "state": "spooled", "start_ms": old_ms, "end_ms": old_ms, "start_wall_ns": 0, "time_trust": "unknown",
        "bytes": 1, "sha256": bytes(32), "init_bytes": 0, "fragments": b"", "object_key": "k", "created_ms": 0,
    }  # fmt: skip
    place.catalog.write(lambda c: c.execute(insert(segment).values(**row)))
    assert place.wrong()["backlog"].reason.code == "ops.backlog"
    state = {"away_since_ms": None, "failures": 0, "corrupt": 2, "problem": None}
    place.catalog.write(lambda c: facts.set(c, job_state.UPLOADS, state))
    assert place.wrong()["backlog"].reason.code == "ops.corrupt"


def test_an_overdue_hold_and_a_silent_link(place: Place) -> None:
    place.add_camera()
    row = HoldRow("H", (CAMERA,), 1, 2, "o", "r", "案 7", None, "3_months", place.now_ms - 1, 0, None, None)
    place.catalog.write(lambda c: retention_rows.add_hold(c, row))
    peer = {
        "id": "L", "peer_node": "n", "peer_name": "社区二", "peer_region": REGION, "peer_tier": "community",
        "peer_role": "lower", "url": "https://x", "public_key": bytes(32), "created_ms": 0,
        "last_seen_ms": place.now_ms - HOUR_MS,
    }  # fmt: skip
    place.catalog.write(lambda c: c.execute(insert(link).values(**peer)))
    found = place.wrong()
    assert found["holds"].reason.params["case"] == "案 7"
    assert found["links"].reason.params == {"link": "L", "name": "社区二", "minutes": 60}


def test_held_footage_that_is_not_in_two_places_is_told_and_so_is_a_lock_that_lies(tmp_path: Path) -> None:
    in_bucket = {"kind": "s3", "endpoint": "http://127.0.0.1:9", "access_key": "a", "secret_key": "b"}
    place = Place(tmp_path)
    values = segment_values(ulid(1, bytes(10)), "stored")
    place.catalog.write(lambda c: c.execute(insert(segment).values(**values)))
    row = HoldRow(
        "H", (CAMERA,), 1, 2, "o", "r", "案 8", None, "3_months", place.now_ms + HOUR_MS * 99, place.now_ms, None, None
    )
    place.catalog.write(lambda c: retention_rows.add_hold(c, row))

    def told() -> Finding | None:
        return place.wrong(quick=True).get("evidence")

    assert told() is None  # only just placed
    place.clock.advance(2 * 3_600)
    found = told()
    assert found is not None and (found.level, found.reason.params) == ("warn", {"count": 1, "minutes": 120})
    place.catalog.write(lambda c: evidence_rows.want(c, [values["id"]], 1))
    place.catalog.write(lambda c: evidence_rows.change(c, values["id"], ("wanted",), tries=3))
    found = told()
    assert found is not None and (found.level, found.reason.params) == ("bad", {"count": 1, "case": "案 8"})
    place.catalog.write(lambda c: evidence_rows.change(c, values["id"], ("wanted",), state="verified"))
    assert told() is None
    kept = {"state": "wanted", "problem": evidence_rows.UNEXPLAINED}
    place.catalog.write(lambda c: evidence_rows.change(c, values["id"], ("verified",), **kept))
    place.catalog.write(lambda c: retention_rows.release_hold(c, "H", "somebody", place.now_ms))
    found = told()
    assert found is not None and (found.level, found.reason.code) == ("warn", "retention.copies_unexplained")
    assert found.next is not None
    for language in ("en", "zh"):
        assert CAMERA in text(found.reason, language) and "tiergate hold add" in text(found.next, language)
    place.catalog.write(lambda c: retention_rows.add_hold(c, replace(row, id="again")))
    place.catalog.write(lambda c: evidence_rows.change(c, values["id"], ("wanted",), state="verified", problem=None))
    assert told() is None
    place.catalog.write(lambda c: evidence_state.remember(c, place.now_ms))
    read = place.catalog.read(lambda c: metrics.read_facts(c, place.settings, place.now_ms))
    samples = {m.name: dict(m.samples) for m in read}
    assert samples["tiergate_holds"] == {("green",): 1.0}
    assert samples["tiergate_evidence_copies"] == {("verified",): 1.0}
    assert samples["tiergate_evidence_lock_proven"] == {}
    place.catalog.write(lambda c: facts.set(c, "evidence.canary", {"at_ms": place.now_ms, "proof": "absent"}))
    assert told() is None  # a folder never had one
    place.settings = place.settings.model_copy(update={"store": Store(**in_bucket)})
    found = told()
    assert found is not None and (found.level, found.reason.code) == ("warn", "ops.evidence_lock_absent")
    place.catalog.write(lambda c: facts.set(c, "evidence.canary", {"at_ms": place.now_ms, "proof": "lies"}))
    found = told()
    assert found is not None and (found.level, found.reason.code) == ("bad", "ops.evidence_lock_lies")
    place.catalog.write(lambda c: evidence_state.remember(c, place.now_ms))
    read = place.catalog.read(lambda c: metrics.read_facts(c, place.settings, place.now_ms))
    samples = {m.name: dict(m.samples) for m in read}
    assert samples["tiergate_evidence_lock_proven"] == {(): 0.0}
    assert samples["tiergate_holds"] == {("yellow",): 1.0}
    place.catalog.close()


def test_a_changed_entry_and_a_cut_end_of_the_audit_log(place: Place) -> None:
    place.add_camera()
    place.log(3)
    assert place.sign() is not None
    assert place.said_of_the_log() == ["ok ops.audit_ok", "ok ops.audit_end_ok"]
    place.catalog.write(lambda c: c.exec_driver_sql("DELETE FROM audit WHERE seq = 3"))
    assert place.said_of_the_log() == ["ok ops.audit_ok", "bad ops.audit_cut"]
    place.catalog.write(lambda c: c.exec_driver_sql("UPDATE audit SET actor = 'user:b' WHERE seq = 1"))
    assert place.said_of_the_log() == ["bad cli.audit_broken", "bad ops.audit_cut"]
    assert place.said_of_the_log(quick=True) == ["bad ops.audit_cut"]


@pytest.mark.fault("S18")
@pytest.mark.parametrize("mark", ["left", "set back", "deleted"])
def test_a_cut_end_is_bad_whatever_the_catalog_says_and_before_and_after_the_keeper_saw_it(
    place: Place, mark: str
) -> None:
    place.add_camera()
    place.log(20)
    assert place.sign() is not None
    first = place.catalog.read(lambda c: facts.get(c, signed.MARK))
    place.clock.advance(60)
    place.log(20)
    assert place.sign() is not None
    place.catalog.write(lambda c: c.exec_driver_sql("DELETE FROM audit WHERE seq > 20"))
    if mark == "set back":
        place.catalog.write(lambda c: facts.set(c, signed.MARK, first))
    elif mark == "deleted":
        place.catalog.write(lambda c: facts.forget(c, signed.MARK))
    for _ in range(3):
        finding = place.wrong(quick=True)["audit"]
        assert (finding.level, finding.reason.code) == ("bad", "ops.audit_cut")
        assert (finding.reason.params["from"], finding.reason.params["to"]) == (21, 40)
        assert place.said_of_the_log() == ["ok ops.audit_ok", "bad ops.audit_cut"]
        place.clock.advance(60)
        assert place.sign() is None


def test_an_end_of_the_log_that_cannot_be_compared_is_no_good_sign(place: Place) -> None:
    place.add_camera()
    place.log(1)
    assert place.said_of_the_log() == ["ok ops.audit_ok"]  # before the keeper's first minute
    place.clock.advance(2 * 3_600)
    assert place.said_of_the_log() == ["ok ops.audit_ok", "warn ops.audit_unsigned"]
    key = place.sign()
    assert key is not None
    assert place.said_of_the_log() == ["ok ops.audit_ok", "ok ops.audit_end_ok"]
    place.catalog.write(lambda c: facts.forget(c, signed.MARK))  # by it nothing is judged
    assert place.said_of_the_log() == ["ok ops.audit_ok", "ok ops.audit_end_ok"]
    place.log(1)
    key = place.sign()
    assert key is not None
    place.store.delete(key)  # the one before is there, and holds
    assert place.said_of_the_log() == ["ok ops.audit_ok", "warn ops.audit_head_gone"]
    (place.settings.store_folder / IDENTITY_FILE).rename(place.settings.paths.data / "kept")
    assert place.said_of_the_log() == ["ok ops.audit_ok", "warn ops.audit_unread"]


def test_every_metric_is_explained_by_a_check(place: Place) -> None:
    """A metric that nobody can explain is refused here, and so is an explanation of a metric that is no more."""
    listed = {m.name for m in place.catalog.read(lambda c: metrics.read_facts(c, place.settings, place.now_ms))}
    place.catalog.write(
        lambda c: facts.set(c, job_state.UPLOADS, {"away_since_ms": None, "failures": 0, "corrupt": 0, "problem": None})
    )
    listed |= {m.name for m in place.catalog.read(lambda c: metrics.read_facts(c, place.settings, place.now_ms))}
    of_a_process = {"tiergate_looks_running", "tiergate_requests_refused_total"}
    of_a_process |= {metric.name for metric in metrics.rtsp(0, 0, {}, 0, 0)}
    of_a_process |= {metric.name for metric in metrics.disks(place.settings)}
    assert listed | of_a_process == set(doctor.METRICS)


def test_a_check_that_fails_itself_stops_no_other(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_connection: Connection, _probe: object) -> list[Finding]:
        raise ZeroDivisionError

    monkeypatch.setattr(doctor, "_CATALOG", (broken, *doctor._CATALOG))
    place.add_camera("offline")
    found = place.wrong()
    assert found["broken"].reason.params["problem"] == "ZeroDivisionError"
    assert "cameras" in found


def test_nothing_is_changed_by_looking(place: Place) -> None:
    place.add_camera()
    before = place.catalog.version()
    list(doctor.examine(place.settings, place.clock))
    assert place.catalog.version() == before


def segment_values(id_: str, state: str) -> dict[str, Any]:
    return {
        "id": id_, "camera_id": CAMERA, "stream": "main", "run_id": "R", "kind": "own", "state": state, "start_ms": 1,
        "end_ms": 2, "start_wall_ns": 1, "time_trust": "unknown", "bytes": 1, "sha256": bytes(32), "init_bytes": 0,
        "fragments": b"", "object_key": "k", "created_ms": 1,
    }  # fmt: skip


def test_damage_in_the_store_has_a_line_and_a_next_step(place: Place) -> None:
    assert "scrub" not in place.wrong()
    row = GapRow(ulid(place.now_ms, bytes(10)), CAMERA, "main", "damaged", 1, 2, place.now_ms)
    place.catalog.write(lambda c: gaps.put_gap(c, row))
    assert "scrub" not in place.wrong()  # of footage that is gone
    place.catalog.write(lambda c: c.execute(insert(segment).values(**segment_values(row.id, "stored"))))
    found = place.wrong()["scrub"]
    assert (found.level, found.reason.params) == ("bad", {"count": 1})
    assert "store check --cost hash" in text(found.next, "en") if found.next else False
    place.catalog.write(lambda c: gaps.withdraw(c, row.id, place.now_ms))
    assert "scrub" not in place.wrong()
    state = scrub.ScrubState(last_began_ms=1, last_ended_ms=2, last_missing=3, last_unreadable=4)
    place.catalog.write(lambda c: facts.set(c, scrub.STATE, asdict(state)))
    found = place.wrong()["scrub"]
    assert (found.level, found.reason.params) == ("warn", {"missing": 3, "unreadable": 4})
    told = {m.name: m for m in place.catalog.read(lambda c: metrics.read_facts(c, place.settings, place.now_ms))}
    assert dict(told["tiergate_scrub_findings"].samples)["missing",] == 3.0


@pytest.mark.fault("B15")
def test_a_deletion_that_the_store_refuses_has_a_line_and_an_age(place: Place) -> None:
    def age() -> float:
        told = place.catalog.read(lambda c: metrics.read_facts(c, place.settings, place.now_ms))
        ((_, value),) = next(m for m in told if m.name == "tiergate_tombstones_oldest_age_seconds").samples
        return value

    assert age() == 0
    grace_ms = place.settings.retention.grace_hours * HOUR_MS

    values = segment_values(ulid(1, bytes(10)), "deleting")
    values["condemned_ms"] = place.now_ms - grace_ms - 2 * HOUR_MS
    place.catalog.write(lambda c: c.execute(insert(segment).values(**values)))
    assert age() == 7_200
    found = place.wrong()["tombstones"]
    assert (found.level, found.reason.params) == ("warn", {"minutes": 120})
    place.clock.advance(23 * 3_600)
    assert place.wrong()["tombstones"].level == "bad"


def test_lines_of_the_register_that_only_a_file_has_are_named_until_somebody_took_it_away(place: Place) -> None:
    run_dir = place.settings.paths.run_dir
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / "register-web-1-1.journal"
    register_journal.append(path, {"open": {}})
    assert "register" not in place.wrong(), "what waits for the catalog is not lost"
    register_journal.finish(path, register_journal.take(path) or ())
    found = place.wrong()["register"]
    assert (found.level, found.reason.params) == ("bad", {"count": 1}) and found.next is not None
    for language in ("en", "zh"):
        assert "1" in text(found.reason, language) and str(run_dir) in text(found.next, language)
    path.with_suffix(".bad").rename(place.settings.paths.data / "kept")
    assert "register" not in place.wrong()


def test_pictures_put_aside_that_do_not_say_whose_they_are_have_a_line_until_somebody_dealt_with_them(
    place: Place,
) -> None:
    kept = Aside(place.store, make_spools(place.settings, place.clock, "N"), HOUR_MS)

    def sweep() -> None:
        kept.sweep(place.catalog, lambda c: sweeper.Policies.read(c).planner, lambda: None, "keeper", place.now_ms)

    sweep()
    assert "put_aside" not in place.wrong()
    place.store.put_bytes("N/_quarantine/from-an-old-disk.mp4", b"pictures")
    sweep()
    found = place.wrong()["put_aside"]
    assert (found.level, found.reason.code) == ("warn", "ops.aside_unknown")
    assert found.next is not None
    for language in ("en", "zh"):
        assert "from-an-old-disk.mp4" in text(found.reason, language) and "quarantine" in text(found.next, language)
    place.store.delete("N/_quarantine/from-an-old-disk.mp4")
    sweep()
    assert "put_aside" not in place.wrong()


def test_a_camera_that_its_owner_records_is_named_until_enough_days_are_attested(place: Place) -> None:
    place.add_camera(bit_rate_bps=1_000)
    assert "attested" not in place.wrong(), "what is recorded here needs no attestation"
    place.catalog.write(lambda c: c.execute(update(camera).values(recorded_by="owner")))

    def attest(days: int, until_ms: int) -> None:
        place.clock.advance(1)
        row = Attestation(ulid(place.now_ms, bytes(10)), CAMERA, days, "教育局", "12 号", until_ms, place.now_ms, "u")
        place.catalog.write(lambda c: attestations.add(c, row))

    def finding() -> tuple[str, str]:
        found = place.wrong()["attested"]
        assert CAMERA in text(found.reason, "zh") and found.next is not None and CAMERA in text(found.next, "en")
        return found.level, found.reason.params["why"].code

    assert finding() == ("warn", "retention.attested_none")
    until_ms = place.now_ms + 40 * 24 * HOUR_MS
    attest(29, until_ms)
    assert finding() == ("bad", "retention.attested_short")
    attest(30, until_ms)
    assert "attested" not in place.wrong()
    told = {f.check: f for f in doctor.examine(place.settings, place.clock)}["attested"]
    assert told.level == "ok" and "enough days are attested" in text(told.reason, "en")
    place.clock.advance(27 * 24 * 3_600)
    found = place.wrong()["attested"]
    assert (found.level, found.reason.code) == ("warn", "retention.attested_ends"), "before it has lapsed"
    place.clock.advance(13 * 24 * 3_600)
    assert finding() == ("warn", "retention.attested_lapsed")
    place.catalog.write(lambda c: c.execute(update(camera).values(enabled=False)))
    assert "attested" not in place.wrong(), "of a camera out of use nothing is made that could be kept"
