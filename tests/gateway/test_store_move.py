"""`tiergate store migrate`: to a bucket and back, killed half-way; the node goes on afterwards as if nothing were."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from config.clock import ManualClock, SystemClock, wall_ms
from config.errors import TiergateError
from config.load import load
from config.settings import Settings
from gateway.access.keys import ensure_keys
from gateway.ops import store_move, store_work
from gateway.ops.locks import NODE_LOCK
from storage import evidence_state, patience, volume
from storage.audit import log as audit
from storage.audit.signed import Signer
from storage.catalog import retention_rows, segments
from storage.catalog.engine import Catalog
from storage.catalog.retention_rows import HoldRow
from storage.catalog.tables import audit as audit_table
from storage.damage import Mender
from storage.evidence import EvidenceKeeper
from storage.objects import make_evidence_store, make_store
from storage.objects.folder import FolderStore
from storage.spool import Spool
from tests.parts.catalog import new_catalog
from tests.parts.s3 import S3Server
from tests.parts.wait import until
from tests.storage.footage import CAMERA, Recorded, insert, record
from tests.storage.sick import SickStore
from tests.storage.test_check import flip, spoil, upload

WALL_NS = SystemClock().wall_ns() - 3_600 * 10**9


class Place:
    """A node's files with footage in a folder store; nothing runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "tiergate.toml"
        self.write(self.config, {"paths": {"data": str(folder / "data")}, "store": {"upload_workers": 3}})
        text = self.config.read_text()
        self.config.write_text(f'# ours\n{text}\n[log] # how much\nlevel = "warning"\n')
        settings = self.settings
        node_id = ensure_keys(settings).node_id
        settings.paths.catalog_dir.mkdir(exist_ok=True)
        new_catalog(settings.catalog_url)
        make_store(settings).ensure()
        spool = Spool(settings.paths.spool_dir, SystemClock(), node_id)
        spool.prepare()
        catalog = Catalog(settings.catalog_url)
        self.recorded: list[Recorded] = []
        for number in range(4):
            self.recorded += record(spool, 3.0, wall_ns=WALL_NS + number * 10**11)
        insert(catalog, self.recorded)
        upload(catalog, make_store(settings), spool)
        make_store(settings).put_bytes(f"{node_id}/_catalog/journal/x.json", b"{}")
        catalog.close()

    @staticmethod
    def write(path: Path, tables: dict[str, dict[str, Any]]) -> Path:
        lines = []
        for section, values in tables.items():
            lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""]
        path.write_text("\n".join(lines))
        return path

    @property
    def settings(self) -> Settings:
        return load(self.config, {})

    def to_bucket(self, server: S3Server) -> Path:
        return self.write(self.folder / "new.toml", {"store": server.settings(f"m{os.urandom(4).hex()}")})

    def to_folder(self, name: str) -> Path:
        return self.write(self.folder / "new.toml", {"store": {"kind": "folder", "folder": name}})

    def move(self, to: Path, **how: bool) -> dict[str, Any]:
        return store_move.move_store(self.settings, self.config, to, **how)

    def contents(self) -> dict[str, bytes]:
        store = make_store(self.settings)
        return {info.key: store.read(info.key) for info in store.list()}

    def whole(self) -> bool:
        return store_work.check_store(self.settings, "hash")[0].whole


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.real
def test_to_a_bucket_and_back_every_byte_is_there(place: Place, seaweedfs: S3Server) -> None:
    before = place.contents()
    assert len(before) == len(place.recorded) + 1
    first = place.settings
    copied = place.move(place.to_bucket(seaweedfs))
    assert (copied["copied"], copied["switched"], copied["wrong"]) == (len(before), False, [])
    assert place.settings == first  # the node still uses its store
    again = place.move(place.folder / "new.toml", verify=True)
    assert (again["copied"], again["there"], again["verified"]) == (0, len(before), len(before))
    switched = place.move(place.folder / "new.toml", switch=True)
    assert switched["switched"]
    assert place.settings.store.kind == "s3" and place.settings.log.level == "warning"
    assert place.config.read_text().startswith("# ours\n") and "[log] # how much" in place.config.read_text()
    assert place.config.stat().st_mode & 0o077 == 0  # it holds the secret key now
    assert place.contents() == before and place.whole()
    back = place.move(place.to_folder("elsewhere"), switch=True)
    assert back["copied"] == len(before)
    assert place.settings.store_folder == place.folder / "elsewhere"
    assert place.contents() == before and place.whole()
    assert {i.key for i in make_store(first).list()} == set(before)
    catalog = Catalog(place.settings.catalog_url)
    entries = catalog.read(lambda c: audit.entries(c, action="store.migrate"))
    catalog.close()
    assert [e.details["switched"] for e in entries] == [False, False, True, True]


def hold_all(place: Place) -> Callable[[], tuple[str, int]]:
    """All of it is held. What is returned runs the keeper of the store as it is now, a day later each time: colour, and
    copies in the evidence store."""
    rows = [one.segment for one in place.recorded]
    span = min(row.start_ms for row in rows), max(row.end_ms for row in rows)
    clock = ManualClock(SystemClock().wall_ns())
    hold = HoldRow("H", (CAMERA,), *span, "o", "r", "A-1", None, "3_months", 2 * span[1], span[1], None, None)
    catalog = Catalog(place.settings.catalog_url)
    catalog.write(lambda c: retention_rows.add_hold(c, hold))
    catalog.close()

    def passes() -> tuple[str, int]:
        clock.advance(1.1 * 86_400)
        settings = place.settings
        store, evidence = make_store(settings), make_evidence_store(settings)
        store.ensure()
        evidence.ensure()
        spool = Spool(settings.paths.spool_dir, clock, ensure_keys(settings).node_id)
        with contextlib.closing(Catalog(settings.catalog_url)) as catalog:
            before = catalog.read(lambda c: evidence_state.of_hold(c, hold, wall_ms(clock))).colour
            mender = Mender(catalog, store, spool, "test", [evidence])
            EvidenceKeeper(catalog, store, evidence, clock, mender, lambda: True, spool.node_id).run()
        return before, sum(1 for _ in evidence.list())

    return passes


@pytest.mark.fault("B20", "B30", "B34")
def test_held_footage_that_only_its_second_copy_has_moves_along_and_gets_another(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PAUSE_S", 0.0)
    passes = hold_all(place)
    before = place.contents()
    count = len(place.recorded)
    assert [passes(), passes()] == [("yellow", count), ("green", count)]
    first = place.settings
    store = make_store(first)
    lost, unread, rotten = (one.segment.object_key for one in place.recorded[:3])
    for one in place.recorded:
        one.path.unlink(missing_ok=True)
    store.delete(lost)
    evidence = make_evidence_store(first)
    assert isinstance(store, FolderStore) and isinstance(evidence, FolderStore)
    path = store.root / unread
    path.unlink()
    path.symlink_to("/proc/self/mem")  # EIO to whoever reads there from the beginning
    spoil(store, rotten, flip)
    copied = place.move(place.to_folder("elsewhere"))
    assert (copied["from_evidence"], copied["unreadable"], copied["damaged"], copied["wrong"]) == (3, [], [], [])
    assert [passes(), passes()][1] == ("green", count), "the node still uses its stores"
    with contextlib.closing(Catalog(first.catalog_url)) as catalog:  # as the keeper does
        catalog.write(lambda c: volume.recognise(c, "evidence", str(evidence.volume_id)))
        switched = place.move(place.folder / "new.toml", switch=True, verify=True)
        catalog.write(lambda c: volume.recognise(c, "evidence", "another"))
    assert (switched["copies_wanted"], switched["without_copy"]) == (count, [])
    assert switched["old_evidence"] == str(evidence.root)
    assert place.contents() == before and place.whole()
    assert [passes(), passes()] == [("yellow", count), ("green", count)]
    assert sum(1 for _ in evidence.list()) == count


def test_an_evidence_store_of_its_own_place_stays_and_its_copies_too(place: Place) -> None:
    text = place.config.read_text().replace("[paths]", f'[paths]\nevidence_dir = "{place.folder / "second"}"')
    place.config.write_text(text)
    passes = hold_all(place)
    assert [passes()[0], passes()[0]] == ["yellow", "green"]
    switched = place.move(place.to_folder("elsewhere"), switch=True)
    assert "old_evidence" not in switched
    assert passes() == ("green", len(place.recorded))


@pytest.mark.fault("S18")
def test_signed_heads_of_the_audit_log_move_along_and_judge_it_there(place: Place) -> None:
    keys = ensure_keys(place.settings)
    catalog = Catalog(place.settings.catalog_url)
    now_ms = WALL_NS // 1_000_000

    def minute(turn: int) -> str | None:
        catalog.write(lambda c: audit.append(c, now_ms, "user:li", "look.at", "东门", {}))
        keeper = Signer(catalog, make_store(place.settings), keys.node_id, keys.node)
        return keeper.write(now_ms + turn * 60_000)

    assert minute(1) is not None
    to = place.to_folder("elsewhere")
    place.move(to)
    assert minute(2) is not None  # beside the node
    place.move(to, switch=True)
    assert place.settings.store_folder == place.folder / "elsewhere"
    assert minute(3) is not None
    seq = catalog.read(audit.head)[0]
    catalog.write(lambda c: c.execute(delete(audit_table).where(audit_table.c.seq >= seq)))
    assert minute(4) is None
    catalog.close()


@contextlib.contextmanager
def running(settings: Settings) -> Iterator[None]:
    """As the supervisor holds it."""
    settings.paths.run_dir.mkdir(exist_ok=True)
    with (settings.paths.run_dir / NODE_LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_beside_a_running_node_it_copies_but_does_not_switch(place: Place) -> None:
    to = place.to_folder("elsewhere")
    with running(place.settings):
        assert place.move(to)["copied"] > 0
        with pytest.raises(TiergateError) as caught:
            place.move(to, switch=True)
    assert caught.value.reason.code == "ops.move_running"
    assert place.settings.store_folder == place.folder / "data" / "objects"


def _one_copy_spoiled(place: Place) -> str:
    key = place.recorded[0].segment.object_key
    path = place.folder / "elsewhere" / key
    path.chmod(0o640)
    path.write_bytes(path.read_bytes()[:-7])
    return "ops.move_wrong"


def _cache_not_empty(place: Place) -> str:
    cache = make_store(place.settings, "cache")
    cache.ensure()
    cache.put_bytes("node/camera/lease", b"lower")
    return "ops.move_cache"


@pytest.mark.parametrize("spoil", [_one_copy_spoiled, _cache_not_empty])
def test_it_does_not_switch_to_a_store_that_is_not_whole(place: Place, spoil: Callable[[Place], str]) -> None:
    to = place.to_folder("elsewhere")
    place.move(to)
    code, before = spoil(place), place.config.read_text()
    with pytest.raises(TiergateError) as caught:
        place.move(to, switch=True)
    assert caught.value.reason.code == code
    assert place.config.read_text() == before


def test_a_flipped_bit_in_the_new_store_is_found_when_copies_are_read_again(place: Place) -> None:
    to = place.to_folder("elsewhere")
    place.move(to)
    key = place.recorded[0].segment.object_key
    path = place.folder / "elsewhere" / key
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.chmod(0o640)
    path.write_bytes(data)
    assert place.move(to, verify=True)["wrong"] == [key]


def test_what_was_deleted_after_it_was_copied_is_deleted_in_the_new_store_too(place: Place) -> None:
    """Not at once, and not past a hold: it is condemned again, and the sweep asks once more."""
    to = place.to_folder("elsewhere")
    place.move(to)
    row = place.recorded[0].segment
    catalog = Catalog(place.settings.catalog_url)
    make_store(place.settings).delete(row.object_key)
    catalog.write(lambda c: segments.set_state(c, [row.id], ["stored"], "deleted", condemned_ms=1, deleted_ms=2))
    assert place.move(to, switch=True)["condemned_again"] == 1
    assert catalog.read(lambda c: segments.existing(c, [row.id])) == {row.id: "condemned"}
    catalog.close()
    assert make_store(place.settings).head(row.object_key) is not None
    assert place.whole()


@pytest.fixture
def sick(place: Place, monkeypatch: pytest.MonkeyPatch) -> SickStore:
    """The node's store: all objects are given until some are `sick`."""
    monkeypatch.setattr(patience, "PAUSE_S", 0.0)
    old = SickStore(place.settings.store_folder)
    folder = place.settings.store_folder
    monkeypatch.setattr(store_move, "make_store", lambda s: old if s.store_folder == folder else make_store(s))
    return old


@pytest.mark.fault("B30")
@pytest.mark.parametrize("problem", ["EIO", "InternalError"])
def test_what_the_old_store_does_not_give_is_named_and_left_behind_by_leave_alone(
    place: Place, sick: SickStore, problem: str
) -> None:
    """A disk that is going is a reason to move."""
    before, to = place.contents(), place.to_folder("elsewhere")
    lost = place.recorded[1].segment.object_key
    sick.problem, sick.sick = problem, {lost}
    copied = place.move(to, verify=True)
    assert (copied["copied"], copied["unreadable"], copied["wrong"]) == (len(before) - 1, [lost], [])
    settings = place.config.read_text()
    with pytest.raises(TiergateError) as caught:
        place.move(to, switch=True)
    assert (caught.value.reason.code, caught.value.reason.params["key"]) == ("ops.move_unreadable", lost)
    assert place.config.read_text() == settings
    done = place.move(to, switch=True, leave_unreadable=True)
    assert (done["switched"], done["unreadable"]) == (True, [lost])
    assert place.settings.store_folder == place.folder / "elsewhere"
    assert place.contents() == {key: data for key, data in before.items() if key != lost}
    findings = store_work.check_store(place.settings, "presence")[0].findings
    assert [(one.kind, one.key) for one in findings] == [("missing", lost)]


@pytest.mark.fault("B30")
def test_a_copy_whose_original_has_become_unreadable_is_judged_by_what_was_recorded(
    place: Place, sick: SickStore
) -> None:
    to = place.to_folder("elsewhere")
    place.move(to)
    whole, spoiled = (place.recorded[number].segment.object_key for number in (0, 1))
    sick.sick = {whole, spoiled}
    path = place.folder / "elsewhere" / spoiled
    path.chmod(0o640)
    path.write_bytes(bytes(path.stat().st_size))
    checked = place.move(to, verify=True)
    assert (checked["unreadable"], checked["wrong"]) == ([spoiled], [])
    assert checked["verified"] == len(place.contents()) - 1


@pytest.mark.fault("B31")
def test_an_old_store_that_gives_nothing_is_away_and_its_objects_are_not_called_unreadable(
    place: Place, sick: SickStore
) -> None:
    sick.away = True
    with pytest.raises(TiergateError) as caught:
        place.move(place.to_folder("elsewhere"))
    assert caught.value.reason.code == "media.store_unavailable"


@pytest.mark.parametrize("folder", ["data/objects", "data/objects/inside", "data"])
def test_a_store_in_the_same_place_is_no_move(place: Place, folder: str) -> None:
    to = place.write(place.folder / "new.toml", {"store": {"folder": folder, "upload_workers": 4}})
    with pytest.raises(TiergateError) as caught:
        place.move(to)
    assert caught.value.reason.code == "ops.move_same"


@pytest.mark.real
def test_killed_half_way_and_run_again_it_copies_the_rest(place: Place) -> None:
    to = place.to_folder("elsewhere")
    before = place.contents()
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom config.load import load\nfrom gateway.ops import store_move\n"
        "from storage import moving\nmoving._BATCH = 2\nreal = moving.Mover._bring\n"
        # System calls: several threads must not share Python's buffers.
        "def slow(self, key, row):\n    os.write(1, key.encode() + b'\\n')\n    os.read(0, 1)\n"
        "    return real(self, key, row)\nmoving.Mover._bring = slow\n"
        "store_move.move_store(load(Path(sys.argv[1]), {}), Path(sys.argv[1]), Path(sys.argv[2]), switch=True)"
    )
    argv = [sys.executable, "-c", code, str(place.config), str(to)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        for _ in range(4):
            process.stdout.readline()
            print(file=process.stdin, flush=True)
        process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: process.poll() is not None, 10, "it is dead")
    there = len(list(FolderStore(place.folder / "elsewhere").list()))
    assert 0 < there < len(before)
    assert place.settings.store_folder == place.folder / "data" / "objects"
    done = place.move(to, switch=True, verify=True)
    assert (done["there"], done["copied"], done["verified"]) == (there, len(before) - there, len(before))
    assert place.contents() == before and place.whole()
