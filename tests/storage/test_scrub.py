"""The scrub: rot is found within one round, the round survives restarts, and no single object stops it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.clock import ManualClock, wall_ms
from config.errors import TiergateError
from config.units import HOUR_MS
from storage import damage, journal, patience, scrub
from storage.catalog import gaps, segments
from storage.catalog.engine import Catalog
from storage.check import Level, check
from storage.damage import Fate, Mender
from storage.objects.folder import FolderStore
from storage.scrub import Scrubber
from storage.spool import Spool
from tests.media import WALL_NS
from tests.storage.footage import NODE, Recorded, insert, make_catalog, make_spool, record
from tests.storage.sick import SickStore
from tests.storage.test_check import flip, spoil, upload

NOW_NS = WALL_NS + 5 * HOUR_MS * 1_000_000
PLENTY = 1 << 40


class Place:
    def __init__(self, folder: Path) -> None:
        self.catalog: Catalog = make_catalog(folder)
        self.spool: Spool = make_spool(folder)
        self.store = FolderStore(folder / "objects")
        self.store.ensure()
        self.clock = ManualClock(NOW_NS)
        self.scrubber = self.fresh()

    def fresh(self) -> Scrubber:
        """The keeper has started anew."""
        return Scrubber(self.catalog, self.store, self.clock, Mender(self.catalog, self.store, self.spool, "test"))

    def stored(self, seconds: float = 6.0) -> list[Recorded]:
        recorded = record(self.spool, seconds)
        insert(self.catalog, recorded)
        upload(self.catalog, self.store, self.spool)
        return sorted(recorded, key=lambda one: one.segment.id)

    @property
    def state(self) -> scrub.ScrubState:
        return self.catalog.read(scrub.state_of)

    def marked(self) -> set[str]:
        rows = self.catalog.read(lambda c: segments.all_segments(c, segments.READABLE))
        return {row.id for row in rows if self.catalog.read(lambda c, row=row: damage.is_marked(c, row.id))}  # type: ignore[misc]  # a bound default


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(patience, "PAUSE_S", 0.0)
    made = Place(tmp_path)
    yield made
    made.catalog.close()


@pytest.mark.fault("B30")
def test_every_flipped_byte_and_every_cut_is_found_within_one_round(place: Place) -> None:
    recorded = place.stored(12.0)
    rotten = {}
    for number, one in enumerate(recorded):
        size = one.segment.bytes
        if number % 3 == 0:  # a bit at some place: head, picture, index
            at = (number * 7919) % size
            spoil(place.store, one.segment.object_key, lambda data, at=at: data.__setitem__(at, data[at] ^ 1))  # type: ignore[misc]  # a bound default
        elif number % 3 == 1:  # cut
            spoil(place.store, one.segment.object_key, lambda data, n=number: data.__delitem__(slice(-n, None)))  # type: ignore[misc]  # as above
        else:
            continue
        rotten[one.segment.id] = place.store.read(one.segment.object_key)
    place.scrubber.run(PLENTY)
    assert len(rotten) >= 8
    assert place.marked() == set(rotten)
    assert place.state.last_mismatches == len(rotten)
    for one in recorded:
        if one.segment.id in rotten:  # the bytes stay
            assert place.store.read(one.segment.object_key) == rotten[one.segment.id]
            gap = place.catalog.read(lambda c, one=one: gaps.gap_of(c, one.segment.id))  # type: ignore[misc]  # as above
            assert gap is not None
            assert (gap.cause, gap.from_ms, gap.to_ms) == ("damaged", one.segment.start_ms, one.segment.end_ms)
    place.scrubber.run(PLENTY)
    assert place.state.last_mismatches == len(rotten)  # said again each round, marked once
    assert place.catalog.read(lambda c: damage.count(c)) == len(rotten)


@pytest.mark.fault("B30")
def test_the_round_goes_on_where_it_was_after_a_restart(place: Place) -> None:
    recorded = place.stored(8.0)
    one_bytes = max(one.segment.bytes for one in recorded)
    read = 0
    for number in range(3 * len(recorded)):
        read += place.fresh().run(one_bytes // 2)
        if place.state.last_ended_ms is not None:
            break
        assert place.state.segments == number + 1
    assert place.state.last_ended_ms is not None
    assert read == sum(one.segment.bytes for one in recorded)  # each once


def test_no_more_is_read_than_the_settings_allow(place: Place) -> None:
    recorded = place.stored(8.0)
    budget = min(one.segment.bytes for one in recorded) // 4
    turns = 0
    read = 0
    while place.state.last_ended_ms is None:
        read += place.scrubber.run(budget)
        turns += 1
        assert read <= turns * budget + max(one.segment.bytes for one in recorded)
    assert turns > 3 * len(recorded)


@pytest.mark.fault("B30")
def test_a_whole_copy_in_the_spool_mends_it_and_the_mark_goes(place: Place) -> None:
    one = place.stored()[0]
    whole = place.store.read(one.segment.object_key)
    spoil(place.store, one.segment.object_key, flip)
    place.scrubber.run(PLENTY)
    assert place.marked() == {one.segment.id}
    one.path.write_bytes(whole)  # somebody brings it back
    place.scrubber.run(PLENTY)
    assert place.marked() == set()
    assert place.store.read(one.segment.object_key) == whole
    assert place.catalog.read(lambda c: damage.count(c)) == 0
    assert check(place.catalog, place.store, place.spool, NOW_NS // 10**6, Level.HASH).whole


def test_an_object_that_is_not_there_is_counted_and_not_given_up(place: Place) -> None:
    recorded = place.stored()
    place.store.delete(recorded[1].segment.object_key)
    place.scrubber.run(PLENTY)
    assert (place.state.last_missing, place.state.last_mismatches) == (1, 0)
    states = place.catalog.read(lambda c: segments.existing(c, [recorded[1].segment.id]))
    assert set(states.values()) == {"stored"}


@pytest.mark.fault("B30")
@pytest.mark.parametrize("blind", [False, True])
@pytest.mark.parametrize("problem", ["EIO", "InternalError"])
def test_one_object_that_cannot_be_read_does_not_stop_the_round(place: Place, problem: str, blind: bool) -> None:
    recorded = place.stored()
    sick = SickStore(place.store.root, problem)
    (sick.blind if blind else sick.sick).add(recorded[2].segment.object_key)
    scrubber = Scrubber(place.catalog, sick, place.clock, Mender(place.catalog, sick, place.spool, "test"))
    scrubber.run(PLENTY)
    assert sick.tries and place.state.last_ended_ms is not None
    if problem == "EIO":  # the disk says so itself: that is damage, at once
        assert (place.state.last_unreadable, place.marked()) == (0, {recorded[2].segment.id})
    else:
        assert (place.state.last_unreadable, place.marked()) == (1, set())


@pytest.mark.fault("B30", "B31")
@pytest.mark.parametrize("problem", ["EIO", "InternalError"])
def test_a_store_that_gives_nothing_makes_no_segment_damaged_or_unreadable(place: Place, problem: str) -> None:
    """A disk or a server that is gone: the round waits for it."""
    recorded = place.stored()
    sick = SickStore(place.store.root, problem)
    scrubber = Scrubber(place.catalog, sick, place.clock, Mender(place.catalog, sick, place.spool, "test"))
    scrubber.run(recorded[0].segment.bytes)
    sick.away = True
    for _ in range(5):
        with pytest.raises(TiergateError) as caught:
            scrubber.run(PLENTY)
        assert caught.value.reason.code == "media.store_unavailable"
    assert (place.state.segments, place.state.unreadable, place.marked()) == (1, 0, set())
    sick.away = False
    scrubber.run(PLENTY)
    assert (place.state.last_mismatches, place.state.last_unreadable, place.marked()) == (0, 0, set())


@pytest.mark.fault("B30")
def test_a_copy_that_its_disk_cannot_give_mends_nothing_and_does_not_stop_the_round(place: Place) -> None:
    one = place.stored()[1]
    spoil(place.store, one.segment.object_key, flip)
    one.path.mkdir()  # what read(2) answers with an error
    place.scrubber.run(PLENTY)
    assert place.state.last_ended_ms is not None
    assert place.marked() == {one.segment.id}


@pytest.mark.fault("B30")
@pytest.mark.parametrize("problem", ["EIO", "InternalError"])
def test_an_object_that_cannot_be_read_is_replaced_by_its_whole_copy(place: Place, problem: str) -> None:
    one = place.stored()[1]
    whole = place.store.read(one.segment.object_key)
    spoil(place.store, one.segment.object_key, flip)
    one.path.write_bytes(whole)
    sick = SickStore(place.store.root, problem)
    sick.sick.add(one.segment.object_key)
    scrubber = Scrubber(place.catalog, sick, place.clock, Mender(place.catalog, sick, place.spool, "test"))
    scrubber.run(PLENTY)
    assert place.store.read(one.segment.object_key) == whole
    assert (place.state.last_mismatches, place.state.last_unreadable, place.marked()) == (1, 0, set())
    assert not [info.key for info in place.store.list(f"{NODE}/_quarantine")], "there were no bytes to put aside"


@pytest.mark.fault("B30", "B31")
@pytest.mark.parametrize("problem", ["EIO", "InternalError"])
def test_nothing_is_replaced_in_a_store_that_gives_nothing(place: Place, problem: str) -> None:
    one = place.stored()[1]
    key = one.segment.object_key
    whole = place.store.read(key)
    spoil(place.store, key, flip)
    spoiled = place.store.read(key)
    one.path.write_bytes(whole)
    sick = SickStore(place.store.root, problem)
    sick.away = True
    mender = Mender(place.catalog, sick, place.spool, "test")
    if problem == "EIO":
        assert mender.mend(one.segment, wall_ms(place.clock)) is Fate.MARKED
    else:
        with pytest.raises(TiergateError):
            mender.mend(one.segment, wall_ms(place.clock))
    assert place.store.read(key) == spoiled


@pytest.mark.fault("B30")
def test_a_damaged_object_that_the_store_keeps_is_put_aside_once_and_marked(place: Place) -> None:
    """Locked, or without the right to delete: its whole copy cannot take its place."""
    one = place.stored()[1]
    whole = place.store.read(one.segment.object_key)
    spoil(place.store, one.segment.object_key, flip)
    one.path.write_bytes(whole)
    sick = SickStore(place.store.root)
    sick.kept.add(one.segment.object_key)
    scrubber = Scrubber(place.catalog, sick, place.clock, Mender(place.catalog, sick, place.spool, "test"))
    for _ in range(3):
        scrubber.run(PLENTY)
        place.clock.advance(60)
    tries = sick.tries[one.segment.object_key]
    assert (tries, place.state.last_mismatches, place.marked()) == (3, 1, {one.segment.id})
    assert len(list(sick.list(f"{NODE}/_quarantine/"))) == 1
    sick.kept.clear()
    scrubber.run(PLENTY)
    assert place.marked() == set()
    assert sick.read(one.segment.object_key) == whole
    assert len(list(sick.list(f"{NODE}/_quarantine/"))) == 1


def test_the_mark_travels_with_the_journal(place: Place, tmp_path: Path) -> None:
    one = place.stored()[0]
    spoil(place.store, one.segment.object_key, flip)
    place.scrubber.run(PLENTY)
    journal.write(place.catalog, place.store, NODE, NOW_NS // 10**6)
    found = journal.read(place.store, NODE)
    assert found.gaps[one.segment.id]["cause"] == "damaged"
