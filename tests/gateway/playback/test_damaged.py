"""Footage that rotted in the store: said on the timeline, said of a clip, and never sent as if it were whole."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert as insert_into

from config.clock import ManualClock, SystemClock
from config.errors import TiergateError
from gateway.playback import clip
from gateway.playback.footage import Footage
from gateway.web.routers.timeline import read_spans
from storage import damage, evidence
from storage.catalog import gaps, places, retention_rows, segments
from storage.catalog.engine import Catalog
from storage.catalog.retention_rows import HoldRow
from storage.catalog.tables import camera
from storage.damage import Mender
from storage.evidence import EvidenceKeeper, EvidenceSource
from storage.objects.evidence import FolderEvidence
from storage.objects.folder import FolderStore
from storage.spool import Spool
from storage.spools import Spools
from tests.media import WALL_NS, decode_mp4
from tests.storage.footage import CAMERA, NODE, Recorded, insert, make_catalog, make_spool, record
from tests.storage.sick import SickEvidence, SickStore
from tests.storage.test_check import spoil, upload

FROM_MS, TO_MS = WALL_NS // 10**6, WALL_NS // 10**6 + 4_000


class Place:
    def __init__(self, folder: Path) -> None:
        self.catalog: Catalog = make_catalog(folder)
        self.spool: Spool = make_spool(folder)
        self.store = FolderStore(folder / "objects")
        self.store.ensure()
        recorded = record(self.spool, 4.0)
        insert(self.catalog, recorded)
        upload(self.catalog, self.store, self.spool)
        self.recorded: list[Recorded] = sorted(recorded, key=lambda one: one.segment.start_ms)
        self.footage = Footage(self.catalog, Spools([self.spool]), self.store)

    async def clip(self) -> tuple[clip.Clip, bytes]:
        pieces = await self.footage.window(CAMERA, "main", FROM_MS, TO_MS)
        planned = await clip.plan(self.footage, await clip.examined(self.footage, pieces), FROM_MS, TO_MS)
        return planned, b"".join([chunk async for chunk in clip.send(self.footage, planned)])

    def rot(self, number: int, at: float = 0.6) -> tuple[int, int]:
        row = self.recorded[number].segment
        place = int(row.bytes * at)
        spoil(self.store, row.object_key, lambda data: data.__setitem__(place, data[place] ^ 4))
        return row.start_ms, row.end_ms


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.catalog.close()


async def test_a_whole_clip_is_compared_with_its_recording_and_names_no_damage(place: Place) -> None:
    planned, data = await place.clip()
    assert planned.damaged == ()
    assert all(take.piece.verified for take in planned.takes)
    assert decode_mp4(data).pictures == 100


@pytest.mark.fault("B6")
async def test_a_spool_disk_that_gives_errors_hides_nothing_that_is_in_the_store(place: Place) -> None:
    folder = place.spool.root / CAMERA
    shutil.rmtree(folder)
    folder.symlink_to(folder)  # each path below it is ELOOP now
    planned, data = await place.clip()
    assert planned.damaged == () and decode_mp4(data).pictures == 100
    with pytest.raises(TiergateError) as caught:
        await place.footage.growing(CAMERA, "main", FROM_MS, TO_MS)
    assert caught.value.reason.code == "media.play_bytes_away", "nobody knows whether it is still being recorded"


@pytest.mark.fault("B30", "S20")
async def test_a_clip_says_which_of_it_is_not_what_was_recorded(place: Place) -> None:
    damaged = place.rot(1)
    planned, data = await place.clip()
    assert planned.damaged == (damaged,)
    assert len(data) == planned.size
    # what was found by looking is known to everybody from now on
    assert place.catalog.read(lambda c: damage.is_marked(c, place.recorded[1].segment.id))
    assert (await place.clip())[0].damaged == (damaged,)


@pytest.mark.fault("B30")
async def test_fragments_that_a_cut_took_are_left_out_and_the_rest_is_a_clip(place: Place) -> None:
    row = place.recorded[2].segment
    spoil(place.store, row.object_key, lambda data: data.__delitem__(slice(len(data) // 2, None)))
    planned, data = await place.clip()
    assert planned.damaged == ((row.start_ms, row.end_ms),)
    assert len(data) == planned.size
    assert 75 <= decode_mp4(data).pictures < 100


@pytest.mark.fault("B30", "S20")
async def test_rot_that_is_found_only_while_it_is_sent_breaks_the_transfer(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long clip begins before its end was read: nothing of the damaged segment may leave as if it were whole."""
    monkeypatch.setattr(clip, "_EXAMINE_FIRST_BYTES", 0)
    place.rot(3)
    with pytest.raises(TiergateError) as caught:
        await place.clip()
    assert caught.value.reason.code == "media.segment_damaged"
    planned, _ = await place.clip()
    assert len(planned.damaged) == 1


@pytest.mark.fault("B30")
async def test_the_timeline_shows_damaged_footage_as_footage_and_says_so(place: Place) -> None:
    place.rot(1)
    await place.clip()

    def register(connection: object) -> None:
        places.seed_regions(connection, "210211001003", "community", "社区", 1)  # type: ignore[arg-type]  # a connection
        values = {"id": CAMERA, "name": "门", "tier": "community", "region": "210211001003", "recorded_by": "self",
                  "enabled": True, "created_ms": 0, "changed_ms": 0}  # fmt: skip
        connection.execute(insert_into(camera).values(**values))  # type: ignore[attr-defined]  # as above

    place.catalog.write(register)

    def spans() -> list[tuple[str, str | None]]:
        found = place.catalog.read(lambda c: read_spans(c, CAMERA, "main", FROM_MS, TO_MS, TO_MS))
        assert all(s["reason"]["code"] == "media.segment_damaged" for s in found if s["cause"])
        return [(s["kind"], s["cause"]) for s in found]

    assert spans() == [("footage", None), ("footage", "damaged"), ("footage", None)]
    # given up for good, it is a gap with that cause, and not "expired"
    row = place.recorded[1].segment
    place.catalog.write(lambda c: segments.set_state(c, [row.id], ["stored"], "lost"))
    assert spans() == [("footage", None), ("gap", "damaged"), ("footage", None)]
    now_ms = SystemClock().wall_ns() // 10**6
    place.catalog.write(lambda c: gaps.withdraw(c, row.id, now_ms))
    place.catalog.write(lambda c: segments.set_state(c, [row.id], ["lost"], "stored"))
    assert spans() == [("footage", None)]


def with_evidence(place: Place, folder: Path) -> FolderEvidence:
    """All of it is held and copied; those who show it may read the copies."""
    second = FolderEvidence(folder / "objects-evidence")
    second.ensure()
    hold = HoldRow("H", (CAMERA,), FROM_MS, TO_MS, "o", "r", "A-1", None, "3_months", TO_MS, TO_MS, None, None)
    place.catalog.write(lambda c: retention_rows.add_hold(c, hold))
    mender = Mender(place.catalog, place.store, place.spool, "test")
    clock = ManualClock(SystemClock().wall_ns())
    keeper = EvidenceKeeper(place.catalog, place.store, second, clock, mender, lambda: True, NODE)
    assert keeper.run().copied == len(place.recorded)
    place.footage = Footage(
        place.catalog, Spools([place.spool]), place.store, evidence=EvidenceSource(place.catalog, second)
    )
    return second


@pytest.mark.fault("B30")
async def test_held_footage_that_is_gone_or_damaged_is_shown_from_its_second_copy(place: Place, tmp_path: Path) -> None:
    before = (await place.clip())[1]
    with_evidence(place, tmp_path)
    place.store.delete(place.recorded[0].segment.object_key)
    place.rot(1)
    planned, data = await place.clip()
    assert planned.damaged == ()
    assert data == before
    # That the main copy rots is known to everybody, and mended elsewhere.
    assert place.catalog.read(lambda c: damage.is_marked(c, place.recorded[1].segment.id))
    # Replay asks for ranges and nothing whole.
    (piece, *_) = await place.footage.window(CAMERA, "main", FROM_MS, TO_MS)
    assert len(await place.footage.read(piece, 10, 100)) == 100


@pytest.mark.fault("B30")
@pytest.mark.parametrize("problem", ["EIO", "InternalError"])
async def test_held_footage_that_the_store_does_not_give_is_shown_from_its_second_copy(
    place: Place, tmp_path: Path, problem: str
) -> None:
    """A bad sector under one object, or a server that answers one with an error each time."""
    before = (await place.clip())[1]
    place.store = sick = SickStore(place.store.root, problem)
    with_evidence(place, tmp_path)
    sick.sick.add(place.recorded[1].segment.object_key)
    pieces = await place.footage.window(CAMERA, "main", FROM_MS, TO_MS)
    # A page asks for several ranges of a segment at once.
    ranges = await asyncio.gather(*(place.footage.read(pieces[1], at * 100, 100) for at in range(8)))
    assert [len(data) for data in ranges] == [100] * 8
    planned, data = await place.clip()
    assert (planned.damaged, data) == ((), before)


@pytest.mark.fault("B30", "B34")
async def test_stores_that_are_away_together_are_not_both_waited_for_by_each_picture(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "_SLOW_S", -1.0)  # whatever it takes is long
    place.store = sick = SickStore(place.store.root, "ReadTimeoutError")
    second = with_evidence(place, tmp_path)
    away = SickEvidence(second.root, "ConnectTimeoutError")
    place.footage = Footage(
        place.catalog,
        Spools([place.spool]),
        sick,
        evidence=EvidenceSource(place.catalog, away),
    )
    sick.away = away.away = True
    for _ in range(5):
        with pytest.raises(TiergateError) as caught:
            await place.clip()
        assert caught.value.reason.code == "media.store_unavailable"
        assert caught.value.reason.params["problem"] == "ReadTimeoutError"
    assert away.tries.total() == 1


async def test_a_second_copy_that_is_not_what_was_recorded_is_never_shown(place: Place, tmp_path: Path) -> None:
    second = with_evidence(place, tmp_path)
    spoil(second, place.recorded[0].segment.object_key, lambda data: data.__setitem__(99, data[99] ^ 1))
    place.store.delete(place.recorded[0].segment.object_key)
    with pytest.raises(TiergateError) as caught:
        await place.clip()
    assert caught.value.reason.code == "media.play_bytes_away"
