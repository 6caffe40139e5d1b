"""Check and repair on both stores: what does not fit together has a name, and nothing live is ever destroyed by it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from config.clock import SystemClock
from config.errors import TiergateError
from config.redact import Secret
from config.units import DAY_MS, HOUR_MS
from storage import damage, journal, patience, restore
from storage.audit import log as audit
from storage.catalog import gaps, segments
from storage.catalog.engine import Catalog
from storage.check import KINDS, CheckReport, Level, Repairer, RepairReport, check
from storage.keys import quarantine_key
from storage.objects.base import ObjectStore
from storage.objects.evidence import FolderEvidence
from storage.objects.folder import FolderStore
from storage.objects.s3 import S3Store
from storage.spool import Spool
from storage.uploader import Uploader
from tests.media import WALL_NS
from tests.storage.footage import NODE, Recorded, insert, make_catalog, make_spool, record
from tests.storage.sick import SickStore

NOW_MS = WALL_NS // 1_000_000 + HOUR_MS * 5
ACTOR = "os:test"


@pytest.fixture(params=["folder", pytest.param("seaweedfs", marks=pytest.mark.real)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        store: ObjectStore = FolderStore(tmp_path / "objects")
        store.ensure()
        return store
    server = request.getfixturevalue("seaweedfs")
    return S3Store(server.url, server.region, server.new_bucket(), Secret(server.access_key), Secret(server.secret_key))


@pytest.fixture
def folder(tmp_path: Path) -> FolderStore:
    store = FolderStore(tmp_path / "objects")
    store.ensure()
    return store


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = make_catalog(tmp_path)
    yield catalog
    catalog.close()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return make_spool(tmp_path)


def upload(catalog: Catalog, store: ObjectStore, spool: Spool) -> None:
    uploader = Uploader(catalog, store, spool, SystemClock())
    while uploader.run_once().stored:
        pass
    uploader.close()


def stored_in(catalog: Catalog, store: ObjectStore, spool: Spool) -> list[Recorded]:
    recorded = record(spool)
    insert(catalog, recorded)
    upload(catalog, store, spool)
    return recorded


@pytest.fixture
def stored(catalog: Catalog, store: ObjectStore, spool: Spool) -> list[Recorded]:
    return stored_in(catalog, store, spool)


@pytest.fixture
def in_folder(catalog: Catalog, folder: FolderStore, spool: Spool) -> list[Recorded]:
    return stored_in(catalog, folder, spool)


def mend(catalog: Catalog, store: ObjectStore, spool: Spool, now_ms: int, **more: int) -> RepairReport:
    return Repairer(catalog, store, spool, ACTOR).repair(check(catalog, store, spool, now_ms), **more)


def state(catalog: Catalog, one: Recorded) -> str:
    return catalog.read(lambda c: segments.existing(c, [one.segment.id]))[one.segment.id]


def spoil(store: FolderStore, key: str, change: Callable[[bytearray], None]) -> None:
    """What a disk does: other bytes under the same name."""
    data = bytearray((store.root / key).read_bytes())
    change(data)
    os.chmod(store.root / key, 0o640)
    (store.root / key).write_bytes(data)


def flip(data: bytearray) -> None:
    data[len(data) // 2] ^= 0x10


def test_a_whole_node_has_no_findings(
    catalog: Catalog, store: ObjectStore, spool: Spool, stored: list[Recorded]
) -> None:
    insert(catalog, record(spool, 2.0, wall_ns=WALL_NS + 10**12))
    store.put_bytes(f"{NODE}/_catalog/note", b"x")
    store.put_bytes("holiday.jpg", b"y")
    report = check(catalog, store, spool, NOW_MS, Level.HASH)
    assert report.whole
    assert report.objects == len(stored)
    assert report.rows > len(stored)
    assert (report.catalog_objects, report.strangers, report.foreign) == (1, 1, ["holiday.jpg"])


def disagree(catalog: Catalog, store: ObjectStore, spool: Spool, stored: list[Recorded]) -> dict[str, Recorded]:
    """One of each kind."""
    missing, swapped, forgotten = stored
    store.delete(missing.segment.object_key)
    store.delete(swapped.segment.object_key)
    store.put_bytes(swapped.segment.object_key, bytes(swapped.segment.bytes))
    catalog.write(lambda c: segments.set_state(c, [forgotten.segment.id], ["stored"], "deleted"))
    unspooled, orphan, cut, given_up = (
        record(spool, 1.0, wall_ns=WALL_NS + number * 10**12)[0] for number in range(1, 5)
    )
    insert(catalog, [unspooled, cut, given_up])
    unspooled.path.unlink()
    for one in (orphan, given_up):
        store.put_file(one.segment.object_key, one.path, one.segment.sha256, one.segment.bytes)
        one.path.unlink()
    catalog.write(lambda c: segments.set_state(c, [given_up.segment.id], ["spooled"], "lost", volume=None))
    store.put_bytes(cut.segment.object_key, cut.path.read_bytes()[:-100])
    cut.path.unlink()
    catalog.write(lambda c: segments.set_state(c, [cut.segment.id], ["spooled"], "stored", volume=None))
    return {
        "missing": missing, "hash": swapped, "leftover": forgotten, "unspooled": unspooled, "orphan": orphan,
        "size": cut, "found": given_up,
    }  # fmt: skip


def test_each_disagreement_has_its_name_at_its_cost(
    catalog: Catalog, store: ObjectStore, spool: Spool, stored: list[Recorded]
) -> None:
    planted = disagree(catalog, store, spool, stored)
    assert set(planted) == set(KINDS)
    for level, seen in ((Level.HASH, set(KINDS)), (Level.SIZE, set(KINDS) - {"hash"}),
                        (Level.PRESENCE, set(KINDS) - {"hash", "size"})):  # fmt: skip
        report = check(catalog, store, spool, NOW_MS, level)
        assert {f.kind: f.segment_id for f in report.findings} == {kind: planted[kind].segment.id for kind in seen}


@pytest.mark.fault("B13")
def test_repair_waits_for_a_second_look_an_hour_later_and_prefers_the_spool_copy(
    catalog: Catalog, store: ObjectStore, spool: Spool, stored: list[Recorded]
) -> None:
    saved, gone, _ = stored
    saved.path.write_bytes(store.read(saved.segment.object_key))
    for one in (saved, gone):
        store.delete(one.segment.object_key)
    for later_ms in (0, 1, HOUR_MS - 1):
        done = mend(catalog, store, spool, NOW_MS + later_ms)
        assert (done.changed, done.waiting) == (False, 2)
    done = mend(catalog, store, spool, NOW_MS + HOUR_MS)
    assert (done.respooled, done.lost) == ([saved.segment.id], [gone.segment.id])
    upload(catalog, store, spool)
    assert check(catalog, store, spool, NOW_MS).whole
    (gap,) = catalog.read(
        lambda c: gaps.gaps_between(c, gone.segment.camera_id, "main", gone.segment.start_ms, gone.segment.end_ms)
    )
    assert (gap.cause, gap.from_ms, gap.to_ms) == ("damaged", gone.segment.start_ms, gone.segment.end_ms)
    assert catalog.read(lambda c: audit.entries(c, action="store.repair"))


@pytest.mark.fault("B13")
def test_seen_whole_in_between_begins_anew(catalog: Catalog, folder: FolderStore, spool: Spool,
                                           in_folder: list[Recorded]) -> None:  # fmt: skip
    one = in_folder[0]
    data = folder.read(one.segment.object_key)
    folder.delete(one.segment.object_key)
    mend(catalog, folder, spool, NOW_MS)
    folder.put_bytes(one.segment.object_key, data)  # a share that was not mounted for a while
    mend(catalog, folder, spool, NOW_MS + HOUR_MS)
    folder.delete(one.segment.object_key)
    assert mend(catalog, folder, spool, NOW_MS + 2 * HOUR_MS).waiting == 1
    assert state(catalog, one) == "stored"


def test_a_spool_copy_that_is_not_whole_is_not_sent_up_and_its_row_not_given_up(
    catalog: Catalog, folder: FolderStore, spool: Spool, in_folder: list[Recorded]
) -> None:
    one = in_folder[0]
    one.path.write_bytes(folder.read(one.segment.object_key)[:-1])
    folder.delete(one.segment.object_key)
    mend(catalog, folder, spool, NOW_MS)
    assert not mend(catalog, folder, spool, NOW_MS + DAY_MS).changed
    assert one.path.exists()


@pytest.mark.fault("B12", "B13")
def test_everything_is_mended_in_two_passes_and_no_byte_is_gone(
    catalog: Catalog, store: ObjectStore, spool: Spool, stored: list[Recorded]
) -> None:
    planted = disagree(catalog, store, spool, stored)
    store.put_bytes("holiday.jpg", b"y")
    before = {info.key for info in store.list()}
    repairer = Repairer(catalog, store, spool, ACTOR)
    first = repairer.repair(check(catalog, store, spool, NOW_MS, Level.HASH))
    ids = {kind: [one.segment.id] for kind, one in planted.items()}
    assert (first.adopted, first.returned, first.waiting) == (ids["orphan"], ids["found"], 3)
    assert sorted(first.damaged) == sorted(ids["hash"] + ids["size"])
    second = repairer.repair(check(catalog, store, spool, NOW_MS + HOUR_MS, Level.HASH))
    assert sorted(second.lost) == sorted(ids["missing"] + ids["unspooled"])
    assert second.condemned == ids["leftover"]
    assert {info.key for info in store.list()} == before
    third = check(catalog, store, spool, NOW_MS + 2 * HOUR_MS, Level.HASH)
    assert sorted(f.kind for f in third.findings) == ["hash", "size"]  # kept, and said to be so
    assert not repairer.repair(third).adopted
    adopted = catalog.read(lambda c: segments.segment_of(c, ids["orphan"][0]))
    original = planted["orphan"].segment
    assert adopted is not None
    assert (adopted.state, adopted.sha256, adopted.start_wall_ns) == ("stored", original.sha256, original.start_wall_ns)


@pytest.mark.fault("B13")
def test_a_store_that_lacks_everything_is_the_wrong_store(catalog: Catalog, folder: FolderStore, spool: Spool) -> None:
    for number in range(8):
        insert(catalog, record(spool, 3.0, wall_ns=WALL_NS + number * 10**11))
    upload(catalog, folder, spool)
    for info in list(folder.list()):
        folder.delete(info.key)
    mend(catalog, folder, spool, NOW_MS)
    done = mend(catalog, folder, spool, NOW_MS + HOUR_MS)
    assert done.refused is not None and done.refused.params == {"count": 24, "rows": 24}
    assert not done.changed
    confirmed = mend(catalog, folder, spool, NOW_MS + 2 * HOUR_MS, confirmed_lost=24)
    assert len(confirmed.lost) == 24


def sick_store(folder: FolderStore, monkeypatch: pytest.MonkeyPatch, problem: str) -> SickStore:
    monkeypatch.setattr(patience, "PAUSE_S", 0.0)
    return SickStore(folder.root, problem)


@pytest.mark.fault("B13", "B30")
@pytest.mark.parametrize("where", ["sick", "blind"])
def test_an_object_on_a_bad_sector_is_damage_and_its_row_is_marked(
    catalog: Catalog, folder: FolderStore, spool: Spool, in_folder: list[Recorded],
    monkeypatch: pytest.MonkeyPatch, where: str,
) -> None:  # fmt: skip
    """As it is to the scrub. `blind`: the sector of its size is bad too."""
    one = in_folder[1]
    store = sick_store(folder, monkeypatch, "EIO")
    getattr(store, where).add(one.segment.object_key)
    report = check(catalog, store, spool, NOW_MS, Level.HASH)
    assert [(f.kind, f.segment_id) for f in report.findings] == [("hash", one.segment.id)]
    assert Repairer(catalog, store, spool, ACTOR).repair(report).damaged == [one.segment.id]
    assert catalog.read(lambda c: damage.is_marked(c, one.segment.id)) and state(catalog, one) == "stored"
    assert check(catalog, store, spool, NOW_MS, Level.PRESENCE).whole


@pytest.mark.fault("B13", "B30")
def test_what_the_store_alone_does_not_give_is_named_and_nothing_is_said_of_it(
    catalog: Catalog, folder: FolderStore, spool: Spool, in_folder: list[Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, gone, _ = in_folder
    folder.delete(gone.segment.object_key)
    store = sick_store(folder, monkeypatch, "InternalError")
    store.sick = {one.segment.object_key}
    report = check(catalog, store, spool, NOW_MS, Level.HASH)
    assert (report.unreadable, report.whole) == ([one.segment.object_key], False)
    assert [f.segment_id for f in report.findings] == [gone.segment.id]
    assert report.as_json()["unreadable"] == report.unreadable
    done = Repairer(catalog, store, spool, ACTOR).repair(report)
    assert (done.changed, done.waiting) == (False, 1)
    assert not catalog.read(lambda c: damage.is_marked(c, one.segment.id))


@pytest.mark.fault("B13", "B30")
@pytest.mark.parametrize("problem", ["EIO", "InternalError"])
def test_a_store_that_is_away_has_no_damage(
    catalog: Catalog, folder: FolderStore, spool: Spool, in_folder: list[Recorded],
    monkeypatch: pytest.MonkeyPatch, problem: str,
) -> None:  # fmt: skip
    store = sick_store(folder, monkeypatch, problem)
    store.away = True
    with pytest.raises(TiergateError) as caught:
        check(catalog, store, spool, NOW_MS, Level.HASH)
    assert caught.value.reason.code == "media.store_unavailable"


@pytest.mark.fault("B12", "B30")
@pytest.mark.parametrize("problem", ["EIO", "InternalError"])
def test_one_object_that_cannot_be_read_keeps_no_other_from_being_mended(
    catalog: Catalog, folder: FolderStore, spool: Spool, in_folder: list[Recorded],
    monkeypatch: pytest.MonkeyPatch, problem: str,
) -> None:  # fmt: skip
    """An orphan, and the object of a row that was given up: of each kind one that is given and one that is not."""
    planted = [record(spool, 1.0, wall_ns=WALL_NS + number * 10**12)[0] for number in range(1, 5)]
    for one in planted:
        folder.put_file(one.segment.object_key, one.path, one.segment.sha256, one.segment.bytes)
    insert(catalog, planted[2:])
    ids = [one.segment.id for one in planted]
    catalog.write(lambda c: segments.set_state(c, ids[2:], ["spooled"], "lost", volume=None))
    store = sick_store(folder, monkeypatch, problem)
    store.sick = {planted[0].segment.object_key, planted[2].segment.object_key}
    done = Repairer(catalog, store, spool, ACTOR).repair(check(catalog, store, spool, NOW_MS))
    assert (done.adopted, done.returned, set(done.unreadable)) == ([ids[1]], [ids[3]], store.sick)


@pytest.mark.fault("B13")
@pytest.mark.parametrize(
    "name", ["a b.mp4", "视频.mp4", "x\udcff.mp4", f"{NODE}/not/a/segment.mp4", f"{NODE}/.hidden", "%2e%2e/x", "a/b/c"]
)
def test_a_stray_name_never_breaks_the_pass(
    catalog: Catalog, folder: FolderStore, spool: Spool, in_folder: list[Recorded], name: str
) -> None:
    path = folder.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"mine")
    (folder.root / "loop").symlink_to("loop")
    (folder.root / "dangling").symlink_to("nowhere")
    report = check(catalog, folder, spool, NOW_MS)
    assert report.whole and report.objects == len(in_folder)
    assert report.strangers == (0 if ".hidden" in name else 1)
    assert all(key.encode() for key in report.foreign)  # can be printed
    Repairer(catalog, folder, spool, ACTOR).repair(report)
    assert path.read_bytes() == b"mine"


@pytest.mark.real
@pytest.mark.fault("B13")
def test_a_stray_key_in_a_bucket_never_breaks_the_pass(catalog: Catalog, spool: Spool, seaweedfs: object) -> None:
    import io

    from tests.parts.s3 import S3Server

    assert isinstance(seaweedfs, S3Server)
    bucket = seaweedfs.new_bucket()
    store = S3Store(seaweedfs.url, seaweedfs.region, bucket, Secret(seaweedfs.access_key), Secret(seaweedfs.secret_key))
    stored = stored_in(catalog, store, spool)
    strays = ["a b.mp4", "视频/二.mp4", "100%/x+y", f"{NODE}/x/y/z.mp4"]
    for key in strays:
        seaweedfs.client().put_object(bucket, key, io.BytesIO(b"mine"), 4)
    report = check(catalog, store, spool, NOW_MS, Level.HASH)
    assert report.whole and report.objects == len(stored)
    assert sorted(report.foreign) == sorted(strays)
    assert not Repairer(catalog, store, spool, ACTOR).repair(report).changed


@pytest.mark.fault("B30")
def test_a_whole_copy_takes_the_place_of_damage_and_the_damaged_bytes_stay(
    catalog: Catalog, folder: FolderStore, spool: Spool, in_folder: list[Recorded], tmp_path: Path
) -> None:
    evidence = FolderEvidence(tmp_path / "evidence")
    evidence.ensure()
    from_spool, from_evidence, without = (one.segment for one in in_folder)
    in_folder[0].path.write_bytes(folder.read(from_spool.object_key))
    evidence.put_bytes(from_evidence.object_key, folder.read(from_evidence.object_key))
    spoiled = {}
    for row in (from_spool, from_evidence, without):
        spoil(folder, row.object_key, flip)
        spoiled[row.id] = folder.read(row.object_key)
    report = check(catalog, folder, spool, NOW_MS, Level.HASH)
    done = Repairer(catalog, folder, spool, ACTOR, [evidence]).repair(report)
    assert sorted(done.replaced) == sorted([from_spool.id, from_evidence.id])
    assert done.damaged == [without.id]
    for row in (from_spool, from_evidence):
        assert damage.digest_of(folder, row.object_key) == row.sha256
        assert folder.read(quarantine_key(row.object_key, NOW_MS)) == spoiled[row.id]
        assert not catalog.read(lambda c, row=row: damage.is_marked(c, row.id))  # type: ignore[misc]  # a bound default
    assert folder.read(without.object_key) == spoiled[without.id]
    assert catalog.read(lambda c: damage.is_marked(c, without.id))
    again = check(catalog, folder, spool, NOW_MS, Level.HASH)
    assert ([f.segment_id for f in again.findings], again.quarantined, again.strangers) == ([without.id], 2, 0)


@pytest.mark.fault("B30")
@pytest.mark.parametrize(("name", "nth"), [("put_file", 1), ("delete", 1), ("put_file", 2)])
def test_death_at_any_step_of_a_replacement_leaves_a_whole_copy(
    catalog: Catalog,
    folder: FolderStore,
    spool: Spool,
    in_folder: list[Recorded],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    nth: int,
) -> None:
    row, copy = in_folder[0].segment, in_folder[0].path
    copy.write_bytes(folder.read(row.object_key))
    spoil(folder, row.object_key, flip)
    spoiled = folder.read(row.object_key)
    calls: list[str] = []
    real = getattr(folder, name)

    def die(*args: object, **more: object) -> object:
        calls.append(name)
        if len(calls) == nth:
            raise InterruptedError("killed")
        return real(*args, **more)

    monkeypatch.setattr(folder, name, die)
    with pytest.raises(InterruptedError):
        Repairer(catalog, folder, spool, ACTOR).repair(check(catalog, folder, spool, NOW_MS, Level.HASH))
    monkeypatch.undo()
    assert len(calls) == nth
    assert damage.digest_of_file(copy) == row.sha256
    assert spoiled in [folder.read(info.key) for info in folder.list()]
    for later_ms in (1, HOUR_MS + 1):
        report = check(catalog, folder, spool, NOW_MS + later_ms, Level.HASH)
        Repairer(catalog, folder, spool, ACTOR).repair(report)
    upload(catalog, folder, spool)
    assert damage.digest_of(folder, row.object_key) == row.sha256


def test_a_report_says_all_of_it(catalog: Catalog, folder: FolderStore, spool: Spool,
                                 in_folder: list[Recorded]) -> None:  # fmt: skip
    folder.delete(in_folder[0].segment.object_key)
    told = check(catalog, folder, spool, NOW_MS).as_json()
    assert told["findings"] == {k: [in_folder[0].segment.object_key] if k == "missing" else [] for k in KINDS}
    assert isinstance(CheckReport(0, Level.SIZE).as_json()["findings"], dict)
    assert set(RepairReport().as_json()) >= {"lost", "replaced", "waiting"}


def test_footage_given_up_after_the_backup_comes_back_as_lost_not_as_expired(
    catalog: Catalog, folder: FolderStore, spool: Spool, tmp_path: Path
) -> None:
    made = stored_in(catalog, folder, spool)
    (tmp_path / "backup").mkdir()
    backup = make_catalog(tmp_path / "backup")
    insert(backup, made)
    ids = [one.segment.id for one in made]
    backup.write(lambda c: segments.mark_stored(c, ids, WALL_NS // 10**6))
    folder.delete(made[0].segment.object_key)
    now_ms = WALL_NS // 10**6 + DAY_MS
    for at_ms in (now_ms, now_ms + 2 * HOUR_MS):
        Repairer(catalog, folder, spool, "test").repair(check(catalog, folder, spool, at_ms))
    assert catalog.read(partial(segments.existing, ids=ids[:1])) == {ids[0]: "lost"}
    journal.write(catalog, folder, NODE, now_ms + 3 * HOUR_MS)
    restore.reconcile(backup, folder, spool, NODE, now_ms + 4 * HOUR_MS, "test")
    row = backup.read(lambda c: segments.segment_of(c, ids[0]))
    assert row is not None
    assert row.state == "lost"
    backup.close()
