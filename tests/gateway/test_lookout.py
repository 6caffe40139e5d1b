"""What the keeper looks for on real files becomes an alarm once, stays while nobody could ask, and is then over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, update
from sqlalchemy.exc import OperationalError

from config.reasons import Reason
from config.units import HOUR_MS
from gateway.ops import bucket_rules, checks_machine, promise
from gateway.ops.findings import Finding
from gateway.ops.lookout import Lookout
from gateway.ops.lookout import read as read_alarms
from storage import aside
from storage.audit import log as audit
from storage.audit import signed
from storage.audit.signed import Signer
from storage.catalog import (
    cameras,
    facts,
    gaps,
    leases,
)
from storage.catalog import migrate as migrate_module
from storage.catalog.gaps import GapRow
from storage.catalog.tables import break_glass, camera_status, link
from storage.lifecycle import BucketRule, Difference
from storage.volume import IDENTITY_FILE
from tests.gateway.doctor_place import CAMERA, REGION, Place, place

__all__ = ["place"]  # fixture


def _break_glass(c: Connection, now_ms: int, one: str) -> None:
    opened = {"used_ms": now_ms, "until_ms": now_ms + 2 * HOUR_MS, "reason": "smoke"}
    sealed = {"seal_hash": one.encode() * 32, "sealed_ms": 0, "sealed_by": "user:a", "hours": 2, "words": ""}
    c.execute(insert(break_glass).values(id=one * 26, **sealed, **opened))


def _silent_link(c: Connection, now_ms: int, one: str) -> None:
    peer = {
        "id": one, "peer_node": one, "peer_name": "社区二", "peer_region": REGION, "peer_tier": "community",
        "peer_role": "lower", "url": "https://x", "public_key": bytes(32), "created_ms": 0, "last_seen_ms": 0,
    }  # fmt: skip
    c.execute(insert(link).values(**peer))


def _gap(c: Connection, now_ms: int, one: str) -> None:
    stream, cause = {"A": ("main", "network"), "B": ("sub", "credentials")}[one]
    gaps.insert_gap(c, GapRow(one * 26, CAMERA, stream, cause, now_ms - 60_000, None, now_ms))


def _aside(c: Connection, now_ms: int, one: str) -> None:
    told = facts.get(c, aside.UNKNOWN) or {}
    facts.set(c, aside.UNKNOWN, told | {one: {"count": 1, "bytes": 1, "first": "x"}})


def _lease(c: Connection, now_ms: int, one: str) -> None:
    if one == "A":
        _silent_link(c, now_ms, "L")
    row = leases.LeaseRow(
        id=one * 26, side="held", link_id="L", mechanism="emergency", mechanism_version=1, kind="emergency",
        case_no="案 7", reason="smoke", persons=[], cameras=[], functions=[], max_stream="main", from_ms=None,
        to_ms=None, issued_ms=0, expires_ms=now_ms + 9 * HOUR_MS, cache_until_ms=now_ms + 9 * HOUR_MS,
        confirm_by_ms=now_ms, confirmed_ms=None, confirmed_by=None, ended_ms=None, end_reason=None, document="",
        signature="",
    )  # fmt: skip
    leases.add(c, row)


@pytest.mark.parametrize(
    ("check", "happens"),
    [("break_glass", _break_glass), ("links", _silent_link), ("gaps", _gap), ("put_aside", _aside), ("leases", _lease)],
)
def test_a_second_one_while_the_first_stands_is_an_alarm_of_its_own(
    place: Place, check: str, happens: Callable[[Connection, int, str], None]
) -> None:
    place.add_camera(bit_rate_bps=1_000)
    lookout = Lookout(place.catalog, place.settings, place.clock, place.keys.node_id, {})

    def raised() -> int:
        for _ in range(2):
            place.clock.advance(30)
            lookout.look()
        return sum(e.subject == check for e in place.catalog.read(lambda c: audit.tail(c, action="alarm.raised")))

    place.catalog.write(lambda c: happens(c, place.now_ms, "A"))
    assert raised() == 1
    place.catalog.write(lambda c: happens(c, place.now_ms, "B"))
    assert raised() == 2


@pytest.mark.fault("S18")
def test_the_alarm_of_a_cut_log_stands_until_the_review(place: Place) -> None:
    lookout = Lookout(place.catalog, place.settings, place.clock, place.keys.node_id, {})

    def standing() -> list[str]:
        for _ in range(2):
            place.clock.advance(30)
            lookout.look()
        found = read_alarms(place.catalog).standing
        return [one.reason["code"] for one in found if one.check == "audit"]

    keeper = Signer(place.catalog, place.store, place.keys.node_id, place.keys.node)
    place.log(3)
    assert keeper.write(place.now_ms) is not None
    assert standing() == []
    place.catalog.write(lambda c: c.exec_driver_sql("DELETE FROM audit WHERE seq >= 3"))
    assert keeper.write(place.now_ms) is None
    assert standing() == ["ops.audit_cut"]
    place.clock.advance(30 * 86_400)
    assert keeper.write(place.now_ms) is None
    assert standing() == ["ops.audit_cut"]
    cut = signed.judge(place.catalog.read, place.store, place.keys.node_id, place.keys.node_public, place.now_ms).cut
    place.catalog.write(
        lambda c: signed.review(c, place.keys.node_id, place.keys.node, cut, "user:wang", "a bad disk", place.now_ms)
    )
    place.clock.advance(2 * 3_600)
    assert standing() == []
    assert keeper.write(place.now_ms) is not None


def test_a_rule_of_another_hand_that_would_delete_footage_is_an_alarm(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = BucketRule("clean-up", "", expire_days=7)
    plan = bucket_rules.Plan("video", (), 30)
    dangerous = bucket_rules.BucketState("footage", plan, (Difference("dangerous", rule),))
    away = bucket_rules.BucketState("footage", plan, (), Reason("media.store_unavailable"), unread=True)
    states = [dangerous]
    monkeypatch.setattr(bucket_rules, "plans", lambda *_: [plan])
    monkeypatch.setattr(bucket_rules, "compare", lambda *_: states)
    lookout = Lookout(place.catalog, place.settings, place.clock, place.keys.node_id, {})

    def standing() -> list[tuple[str, str]]:
        for _ in range(2):
            place.clock.advance(30)
            lookout.look()
        found = read_alarms(place.catalog).standing
        return [(one.level, one.reason["code"]) for one in found if one.check == "rules"]

    assert standing() == [("bad", "ops.rules_dangerous")]
    place.clock.advance(3_600)
    states[:] = [away]
    assert standing() == [("bad", "ops.rules_dangerous")], "a bucket that does not answer says nothing of its rules"
    states[:] = []
    assert standing() == []


def _catalog_away(patch: pytest.MonkeyPatch, place: Place) -> None:
    """As when a server takes no more connections: those that stand go on."""

    def refuse(url: str) -> str:
        raise OperationalError("connect", None, OSError("too many connections"))

    patch.setattr(migrate_module, "current", refuse)


def _own_disk_hangs(patch: pytest.MonkeyPatch, place: Place) -> None:
    reason = Reason("ops.disk_silent", {"volume": "keys", "folder": place.settings.paths.keys_dir})
    told = [Finding("disks", "bad", reason, Reason("ops.disk_silent_next"))]
    patch.setattr(checks_machine, "unreachable", lambda settings: told)


def _checks_fail(patch: pytest.MonkeyPatch, place: Place) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("SELECT", None, OSError("database is locked"))

    patch.setattr(promise, "gather", fail)
    patch.setattr(cameras, "status_rows", fail)


@pytest.mark.fault("B34")
@pytest.mark.parametrize("keeper", ["goes on", "is started anew"])
@pytest.mark.parametrize("trouble", [_catalog_away, _own_disk_hangs, _checks_fail])
def test_no_alarm_is_over_because_nobody_could_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: Callable[[pytest.MonkeyPatch, Place], None], keeper: str
) -> None:
    """One that is asked for each half minute, and one that is asked for each hour."""
    place = Place(tmp_path, store={"capacity_bytes": 40_000 // 8 * 86_400 * 7})
    place.add_camera("offline", cause="network", bit_rate_bps=40_000)
    lookout = Lookout(place.catalog, place.settings, place.clock, place.keys.node_id, {})

    def standing(looks: int = 2) -> set[str]:
        for _ in range(looks):
            place.clock.advance(30)
            lookout.look()
        return {one.check for one in read_alarms(place.catalog).standing} & {"cameras", "promise"}

    def told() -> list[str]:
        entries = place.catalog.read(lambda c: audit.tail(c, action="alarm.cleared"))
        codes = ("ops.camera_offline", "retention.forecast_full")
        return sorted(entry.subject for entry in entries if entry.details["reason"]["code"] in codes)

    assert standing() == {"cameras", "promise"}
    place.clock.advance(3_600)
    if keeper == "is started anew":
        lookout = Lookout(place.catalog, place.settings, place.clock, place.keys.node_id, {})
    with monkeypatch.context() as patch:
        trouble(patch, place)
        assert standing(4) == {"cameras", "promise"}
    assert standing(4) == {"cameras", "promise"} and told() == []
    place.clock.advance(3_600)
    with monkeypatch.context() as patch:
        trouble(patch, place)
        lookout.look()
    place.catalog.write(lambda c: c.execute(update(camera_status).values(state="online", bit_rate_bps=1_000)))
    assert standing() == set(), "what could not be asked is asked at the next look, not an hour later"
    assert told() == ["cameras", "promise"]
    place.catalog.close()


@pytest.mark.fault("S18")
def test_the_alarm_of_a_cut_log_outlasts_a_store_that_does_not_answer(place: Place) -> None:
    lookout = Lookout(place.catalog, place.settings, place.clock, place.keys.node_id, {})

    def standing() -> set[str]:
        for _ in range(2):
            place.clock.advance(3_600)
            lookout.look()
        found = read_alarms(place.catalog).standing
        return {one.reason["code"] for one in found if one.check == "audit"}

    place.log(3)
    assert place.sign() is not None
    place.catalog.write(lambda c: c.exec_driver_sql("DELETE FROM audit WHERE seq >= 3"))
    assert standing() == {"ops.audit_cut"}
    identity, kept = place.settings.store_folder / IDENTITY_FILE, place.settings.paths.data / "kept"
    identity.rename(kept)
    assert standing() == {"ops.audit_cut", "ops.audit_unread"}
    kept.rename(identity)
    assert standing() == {"ops.audit_cut"}
