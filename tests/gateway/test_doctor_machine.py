"""What `doctor` says of the machine under a node: ports, keys, certificates, disks."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from config.clock import SystemClock
from config.reasons import Reason, text
from config.settings import build
from gateway.access.keys import ensure_keys, make_next, take_next
from gateway.ops import doctor, metrics
from gateway.ops.certificates import make_private_ca
from gateway.ops.locks import KEYS_LOCK, alone
from storage.catalog import volume_state
from storage.catalog.migrate import migrate
from storage.spools import make_spools
from storage.volume import IDENTITY_FILE
from tests.gateway.doctor_place import Place, place
from tests.parts.catalog import new_catalog
from tests.parts.hanging_disk import HangingDisk
from tests.parts.wait import until

__all__ = ["place"]  # fixture


@pytest.mark.parametrize(
    ("listen", "code"), [("127.0.0.1:8554", None), ("[::1]:8554", None), ("0.0.0.0:8554", "ops.rtsp_plain")]
)
def test_pictures_that_leave_the_machine_without_encryption_are_named(
    tmp_path: Path, listen: str, code: str | None
) -> None:
    place = Place(tmp_path, rtsp={"listen": listen})
    try:
        place.add_camera(bit_rate_bps=1_000)
        found = place.wrong().get("settings")
        assert (None if found is None else found.reason.code) == code
    finally:
        place.catalog.close()


def test_a_port_for_rtsp_that_somebody_else_holds_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = Place(tmp_path, rtsp={"listen": f"127.0.0.1:{taken.getsockname()[1]}"})
        try:
            found = place.wrong()["ports"]
            assert (found.reason.code, found.reason.params["section"]) == ("ops.port_taken", "rtsp")
        finally:
            place.catalog.close()


def test_an_exchange_of_keys_that_was_broken_off(place: Place) -> None:
    folder = place.settings.paths.keys_dir
    for name, command in (("token", "tiergate token rotate-key"), ("sealing", "tiergate secrets rotate")):
        make_next(folder, name)
        finding = place.wrong()["keys"]
        assert (finding.level, finding.reason.code) == ("warn", "ops.keys_half") and finding.next is not None
        assert finding.next.params == {"command": command}
        with alone(place.settings.paths.run_dir / KEYS_LOCK, "access.keys_busy"):
            assert "keys" not in place.wrong(), "it is being done"
    for name in ("token", "sealing"):
        take_next(folder, name)
    assert "keys" not in place.wrong()


def test_open_keys_and_a_missing_catalog(place: Place) -> None:
    place.add_camera()
    key = place.settings.paths.keys_dir / "node.key"
    key.chmod(0o644)
    assert place.wrong()["keys"].reason.code == "access.keys_open"
    key.chmod(0o600)
    place.catalog.close()
    for file in place.settings.paths.catalog_dir.glob("catalog.db*"):
        file.unlink()
    for empty in (False, True):
        if empty:  # as a node that is started all the same would make it
            migrate(place.settings.catalog_url)
        found = place.wrong()
        assert (found["catalog"].level, found["catalog"].reason.code) == ("bad", "ops.catalog_missing")
        following = found["catalog"].next
        assert following is not None
        assert "tiergate store rebuild" in text(following, "en") and "tiergate serve" not in text(following, "en")
        assert "cameras" not in found


def test_a_store_whose_volume_is_not_mounted(place: Place) -> None:
    place.add_camera()
    (place.settings.store_folder / ".tiergate-volume").unlink()
    assert place.wrong()["store"].level == "bad"


def test_a_full_disk(tmp_path: Path) -> None:
    place = Place(tmp_path, spool={"min_free_percent": 50, "critical_free_percent": 50})
    usage = os.statvfs(tmp_path)
    place.settings.paths.spool_dir.mkdir(exist_ok=True)
    expected = usage.f_bavail / usage.f_blocks < 0.5
    assert ("disks" in place.wrong()) == expected
    place.catalog.close()


@pytest.mark.fault("B6")
def test_a_spool_volume_that_is_missing_swapped_or_not_trusted(tmp_path: Path) -> None:
    place = Place(tmp_path, paths={"data": str(tmp_path), "extra_spools": [str(tmp_path / "b")]})
    first, second = make_spools(place.settings, place.clock, "node").volumes
    assert "disks" not in place.wrong(), "before the first start no volume is expected"
    for spool in (first, second):
        spool.claim(place.catalog)
    assert "disks" not in place.wrong()

    def said() -> tuple[str, str]:
        finding = place.wrong()["disks"]
        assert finding.next is not None
        return finding.level, finding.reason.code

    slow = Reason("recorder.disk_slow").as_json()
    place.catalog.write(lambda c: volume_state.put(c, 0, {"spool": None, "spool-2": slow}))
    assert said() == ("bad", "ops.volume_trouble")
    place.catalog.write(lambda c: volume_state.put(c, 0, {"spool": None, "spool-2": None}))
    (second.root / IDENTITY_FILE).rename(tmp_path / "kept")
    assert said() == ("bad", "media.volume_missing")
    (second.root / IDENTITY_FILE).write_bytes((first.root / IDENTITY_FILE).read_bytes())
    assert said() == ("bad", "media.volume_swapped")
    place.catalog.close()


def asking() -> int:
    """Threads that wait for a disk."""
    return sum(thread.name == "volume" for thread in threading.enumerate())


@pytest.mark.fault("B34")
@pytest.mark.parametrize("what", ["spool-2", "store"])
def test_a_disk_that_does_not_answer_is_red_and_holds_up_no_look(
    tmp_path: Path, hanging: HangingDisk, what: str
) -> None:
    tables: dict[str, Any] = {"paths": {"data": str(tmp_path / "node")}}
    tables |= {"store": {"folder": str(hanging.path)}} if what == "store" else {}
    tables["paths"] |= {"extra_spools": [str(hanging.path)]} if what != "store" else {}
    settings = build(Place.TABLES | tables)
    ensure_keys(settings)
    new_catalog(settings.catalog_url)
    silent = ("disks", "bad", Reason("ops.disk_silent", {"volume": what, "folder": hanging.path}))

    def said() -> list[tuple[str, str, Reason]]:
        return [(f.check, f.level, f.reason) for f in doctor.examine(settings, SystemClock())]

    for told in (said(), said(), said()):
        assert silent in told
        assert {"cameras", "sweep", "audit", "ports"} <= {check for check, _, _ in told}
        assert ("ops.store_bad" in [reason.code for _, _, reason in told]) == (what == "store")
    found = {metric.name: dict(metric.samples) for metric in metrics.disks(settings)}
    assert found["tiergate_disk_answers"][(what,)] == 0.0
    assert found["tiergate_disk_answers"][("data",)] == 1.0
    assert (what,) not in found["tiergate_disk_free_bytes"], "unknown is absent"
    assert asking() == 1, "however often it is looked at"
    hanging.fail()
    until(lambda: asking() == 0, 10, "the question has ended")
    assert silent not in said()


@pytest.mark.fault("B34")
def test_where_the_disk_of_the_node_itself_does_not_answer_nothing_else_is_asked(hanging: HangingDisk) -> None:
    settings = build(Place.TABLES | {"paths": {"data": str(hanging.path)}})
    said = list(doctor.examine(settings, SystemClock()))
    assert {(f.check, f.level, f.reason.code) for f in said} == {("disks", "bad", "ops.disk_silent")}
    assert "data" in {f.reason.params["volume"] for f in said}
    assert list(doctor.examine(settings, SystemClock(), wanted=lambda name: name in doctor.SLOW)) == []
    hanging.fail()


@pytest.mark.parametrize(("days_later", "level"), [(700, None), (800, "warn"), (820, "bad")])
def test_a_certificate_that_ends(tmp_path: Path, days_later: int, level: str | None) -> None:
    make_private_ca(tmp_path, "x", ["127.0.0.1"])
    tls = {"tls_cert": str(tmp_path / "tls.crt"), "tls_key": str(tmp_path / "tls.key")}
    place = Place(tmp_path / "data", web={"listen": "127.0.0.1:0"} | tls)
    place.clock.advance(days_later * 86_400)
    found = place.wrong().get("certificates")
    assert (found and found.level) == level
    place.catalog.close()
