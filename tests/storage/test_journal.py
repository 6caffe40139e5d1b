"""The journal in the store: what it says after a catalog was lost, and that it never says a secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select

from config.errors import TiergateError
from config.units import DAY_MS
from storage import journal, patience
from storage.attested import Attestation
from storage.audit import log as audit
from storage.catalog import attestations, facts, gaps, node, places, retention_rows
from storage.catalog.engine import Catalog
from storage.catalog.gaps import GapRow
from storage.catalog.tables import area, camera, camera_stream, segment
from storage.keys import dated_key
from storage.objects.folder import FolderStore
from tests.parts.catalog import NODE as OWNER
from tests.parts.catalog import new_catalog
from tests.storage.sick import SickStore
from tests.storage.sweep_place import CAMERA, DAY_S, Place, due_footage

NODE = "node"


@pytest.fixture
def place(tmp_path: Path, catalog_url: str) -> Iterator[Place]:
    made = Place(tmp_path, catalog_url)
    made.catalog.write(lambda c: register_camera(c, made.now_ms))
    yield made
    made.catalog.close()


def register_camera(connection: Connection, now_ms: int) -> None:
    places.seed_regions(connection, "210211001003", "community", "社区", now_ms)
    connection.execute(
        insert(camera).values(
            id=CAMERA, name="东门", tier="community", region="210211001003", recorded_by="self", enabled=True,
            created_ms=0, changed_ms=0, onvif_url="http://10.0.0.7/onvif",
        )
    )  # fmt: skip
    connection.execute(insert(camera_stream).values(camera_id=CAMERA, stream="main", url="rtsp://10.0.0.7/main"))


def write(place: Place) -> str | None:
    return journal.write(place.catalog, place.store, NODE, place.now_ms)


def gap(place: Place, number: int, to_ms: int | None) -> GapRow:
    return GapRow(f"G{number}", CAMERA, "main", "network", place.now_ms - 60_000, to_ms, place.now_ms)


def test_nothing_new_writes_nothing(place: Place) -> None:
    assert write(place) is not None
    assert write(place) is None
    place.clock.advance(DAY_S)
    assert write(place) is None
    place.hold(place.now_ms, place.now_ms + DAY_MS)
    assert write(place) is not None


def test_a_lost_catalog_gets_its_facts_back(place: Place, tmp_path: Path) -> None:
    (old,) = due_footage(place)
    held = place.hold(place.now_ms - DAY_MS, place.now_ms)
    place.catalog.write(
        lambda c: places.add_area(c, places.Area("A", "学校", "key", "文 1", place.now_ms, None, (CAMERA,)))
    )
    place.catalog.write(lambda c: gaps.insert_gap(c, gap(place, 1, None)))
    paper = Attestation("P", CAMERA, 30, "教育局", "12 号", place.now_ms + DAY_MS, place.now_ms, "user:li")
    place.catalog.write(lambda c: attestations.add(c, paper))
    write(place)
    place.clock.advance(60)
    place.catalog.write(lambda c: gaps.close_gap(c, "G1", place.now_ms))
    place.sweep()
    place.clock.advance(DAY_S + 1)
    place.sweep()
    write(place)

    found = journal.read(place.store, NODE)
    assert found.objects == 2
    fresh = f"sqlite:///{tmp_path / 'fresh.db'}"
    new_catalog(fresh)
    catalog = Catalog(fresh)
    try:
        done = journal.restore_policy(catalog, found, place.now_ms)
        assert (done.cameras, done.holds, done.areas, done.gaps) == (1, 1, 1, 1)
        assert journal.restore_tombstones(catalog, found) == 1
        (row,) = catalog.read(retention_rows.holds)
        assert (row.id, row.cameras) == (held, (CAMERA,))
        assert catalog.read(retention_rows.memberships)[CAMERA][0].class_name == "key"
        assert catalog.read(lambda c: c.execute(select(area.c.document_no)).scalar_one()) == "文 1"
        assert catalog.read(attestations.newest) == {CAMERA: paper}
        assert catalog.read(gaps.open_gaps) == []
        dead = catalog.read(lambda c: c.execute(select(segment).where(segment.c.id == old.id)).one())
        assert (dead.state, dead.start_ms, dead.bytes) == ("deleted", old.start_ms, old.bytes)
        assert journal.restore_policy(catalog, found, place.now_ms) == journal.Restored()
        assert journal.restore_tombstones(catalog, found) == 0
        assert not catalog.read(lambda c: c.execute(select(camera.c.enabled)).scalar_one())
    finally:
        catalog.close()


TEN_YEARS_S = 10 * 366 * DAY_S


def months(catalog: Catalog) -> dict[str, int | None]:
    return {name: class_.months for name, class_ in catalog.read(retention_rows.classes).items()}


def set_months(place: Place, name: str, count: int) -> None:
    place.catalog.write(lambda c: retention_rows.set_class_months(c, name, count, 30 * count, place.now_ms))


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Catalog]:
    url = f"sqlite:///{tmp_path / 'fresh.db'}"
    new_catalog(url)
    catalog = Catalog(url)
    yield catalog
    catalog.close()


@pytest.mark.fault("B23")
def test_what_was_written_while_the_clock_ran_ahead_is_not_the_last_word(place: Place, fresh: Catalog) -> None:
    write(place)
    place.clock.step_wall(TEN_YEARS_S)
    set_months(place, "default", 2)
    place.catalog.write(lambda c: gaps.insert_gap(c, gap(place, 1, None)))
    write(place)
    place.clock.step_wall(-TEN_YEARS_S)
    held = place.hold(place.now_ms - DAY_MS, place.now_ms)
    set_months(place, "default", 3)
    place.catalog.write(lambda c: gaps.close_gap(c, "G1", place.now_ms))
    write(place)

    found = journal.read(place.store, NODE)
    journal.restore_policy(fresh, found, place.now_ms)
    assert [hold.id for hold in fresh.read(retention_rows.holds)] == [held]
    assert months(fresh)["default"] == 3
    assert fresh.read(gaps.open_gaps) == []


@pytest.mark.fault("B23", "B31")
def test_a_catalog_that_was_made_anew_writes_behind_the_lost_ones_last_word(place: Place, tmp_path: Path) -> None:
    """Its audit log began anew, and so did everything that counts with it."""
    for count in range(2, 9):
        set_months(place, "default", count)
        place.catalog.write(lambda c: audit.append(c, place.now_ms, "user:a", "x.y", "z", {}))
        write(place)
    for number, count in ((1, 9), (2, 10)):
        url = f"sqlite:///{tmp_path / f'fresh{number}.db'}"
        new_catalog(url)
        catalog = Catalog(url)
        journal.restore_policy(catalog, journal.read(place.store, NODE), place.now_ms)
        assert months(catalog)["default"] == count - 1
        catalog.write(lambda c, n=count: retention_rows.set_class_months(c, "default", n, 30 * n, 1))  # type: ignore[misc]  # a bound default
        place.clock.step_wall(-DAY_S)
        assert journal.write(catalog, place.store, NODE, place.now_ms) is not None
        assert journal.write(catalog, place.store, NODE, place.now_ms) is None
        catalog.close()
    last = {row["name"]: row["months"] for row in journal.read(place.store, NODE).policy["classes"]}
    assert last["default"] == 10


def test_a_write_that_died_before_its_mark_has_not_the_last_word(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    set_fact = facts.set

    def die(connection: Connection, key: str, value: Any) -> None:
        if key == journal.MARK:
            raise InterruptedError
        set_fact(connection, key, value)

    write(place)
    place.clock.step_wall(TEN_YEARS_S)
    set_months(place, "default", 2)
    monkeypatch.setattr(facts, "set", die)
    with pytest.raises(InterruptedError):
        write(place)
    monkeypatch.setattr(facts, "set", set_fact)
    place.clock.step_wall(-TEN_YEARS_S)
    place.hold(place.now_ms, place.now_ms + DAY_MS)
    write(place)
    assert len(journal.read(place.store, NODE).policy["holds"]) == 1


def as_before(place: Place, seq: int) -> None:
    """Writes what is new as earlier versions did: under the audit log's seq, and without a number."""
    key = write(place)
    assert key is not None
    body = json.loads(place.store.read(key))
    del body["number"], body["policy"]["waiting"]
    place.store.delete(key)
    place.store.put_bytes(dated_key(journal.journal_prefix(NODE), place.now_ms, seq), audit.canonical_json(body))


@pytest.mark.parametrize(("first", "last", "kept"), [(2, 4, 4), (4, 2, 4)])
def test_of_a_journal_of_earlier_versions_the_longer_counts_where_seq_and_clock_disagree(
    place: Place, fresh: Catalog, first: int, last: int, kept: int
) -> None:
    """Either the clock ran ahead at the first, or the catalog, and with it the seq, began anew before the last."""
    place.clock.step_wall(TEN_YEARS_S)
    set_months(place, "default", first)
    held = place.hold(place.now_ms - DAY_MS, place.now_ms)
    as_before(place, 100)
    place.clock.step_wall(-TEN_YEARS_S)
    set_months(place, "default", last)
    place.catalog.write(lambda c: retention_rows.release_hold(c, held, "user:a", place.now_ms))
    as_before(place, 101)
    found = journal.read(place.store, NODE)
    assert (found.objects, found.unreadable, found.number) == (2, [], None)
    journal.restore_policy(fresh, found, place.now_ms)
    assert months(fresh)["default"] == kept
    assert [hold.id for hold in fresh.read(retention_rows.holds)] == [held]


def test_a_journal_of_earlier_versions_is_read_by_its_seq(place: Place, fresh: Catalog) -> None:
    for seq, count in ((7, 5), (9, 2)):
        place.clock.advance(60)
        set_months(place, "default", count)
        as_before(place, seq)
    journal.restore_policy(fresh, journal.read(place.store, NODE), place.now_ms)
    assert months(fresh)["default"] == 2
    place.catalog.write(lambda c: facts.forget(c, journal.NUMBER))  # an upgrade
    write(place)
    found = journal.read(place.store, NODE)
    assert found.number is not None and found.number > 9


def test_one_unreadable_object_does_not_hide_the_others(place: Place) -> None:
    place.hold(place.now_ms, place.now_ms + DAY_MS)
    write(place)
    place.store.put_bytes(f"{journal.journal_prefix(NODE)}2020/01/01/x.json", b"not json")
    found = journal.read(place.store, NODE)
    assert found.unreadable == [f"{journal.journal_prefix(NODE)}2020/01/01/x.json"]
    assert len(found.policy["holds"]) == 1


@pytest.mark.fault("B30", "B31")
@pytest.mark.parametrize("problem", ["EIO", "InternalError"])
def test_an_object_that_the_store_does_not_give_hides_no_other_and_is_named(
    place: Place, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PAUSE_S", 0.0)
    place.hold(place.now_ms, place.now_ms + DAY_MS)
    first = write(place)
    place.clock.advance(60)
    place.hold(place.now_ms, place.now_ms + 2 * DAY_MS)
    last = write(place)
    assert first is not None and last is not None
    store = SickStore(place.store.root, problem)
    store.sick = {last}
    found = journal.read(store, NODE)
    assert found.unreadable == [last] and len(found.policy["holds"]) == 1
    store.sick = {first}
    found = journal.read(store, NODE)
    assert found.unreadable == [first] and len(found.policy["holds"]) == 2
    store.away = True
    with pytest.raises(TiergateError) as caught:
        journal.read(store, NODE)
    assert caught.value.reason.code == "media.store_unavailable"


@pytest.mark.fault("B31")
def test_where_the_newest_picture_may_be_unreadable_what_keeps_longer_counts(place: Place, fresh: Catalog) -> None:
    write(place)
    place.clock.advance(60)
    set_months(place, "default", 2)
    last = write(place)
    assert last is not None
    store = SickStore(place.store.root)
    store.sick = {last}
    set_months(place, "default", 5)
    place.catalog.write(lambda c: facts.set(c, journal.MARK, {"number": 0}))  # a backup from before both
    restored = journal.restore_policy(place.catalog, journal.read(store, NODE), place.now_ms)
    assert months(place.catalog)["default"] == 5 and restored.changed == 0


@pytest.mark.fault("B30", "B31")
def test_what_the_journal_tells_of_segments_is_told_but_for_what_cannot_be_read(place: Place) -> None:
    keys = [f"{journal.journal_prefix(NODE)}2026/01/01/{at}-{at}.json" for at in (1, 2)]
    for key in keys:
        place.store.put_bytes(key, b'{"format": "tiergate-journal-1", "kept": [["S", 1, 0, 1, 1]], "at_ms": 1}')
    found = journal.read(place.store, NODE)
    store = SickStore(place.store.root)
    store.sick = {keys[0]}
    assert journal.restore_kept(place.catalog, store, found) == 0 and found.unreadable == keys[:1]


def test_no_address_and_no_account_is_written(place: Place) -> None:
    key = write(place)
    assert key is not None
    text = place.store.read(key).decode()
    assert "东门" in text
    assert "10.0.0.7" not in text


def test_a_catalog_that_is_nobodys_gives_no_picture_of_holds_and_areas(place: Place) -> None:
    place.catalog.write(lambda c: facts.forget(c, "node.id"))
    place.catalog.write(lambda c: gaps.insert_gap(c, gap(place, 1, None)))
    assert write(place) is not None
    found = journal.read(place.store, NODE)
    assert not any(found.policy.values()) and list(found.gaps) == ["G1"]
    place.catalog.write(lambda c: node.own(c, OWNER))
    place.clock.advance(60)
    write(place)
    assert [row["id"] for row in journal.read(place.store, NODE).policy["cameras"]] == [CAMERA]


@pytest.mark.parametrize("what", ["cameras", "areas", "holds"])
def test_an_empty_picture_wins_over_none_that_says_something(place: Place, tmp_path: Path, what: str) -> None:
    """Journals have such: an older version went on with an empty catalog after the node's own was lost."""
    place.hold(place.now_ms, place.now_ms + DAY_MS)
    place.catalog.write(
        lambda c: places.add_area(c, places.Area("A", "学校", "key", "", place.now_ms, None, (CAMERA,)))
    )
    first = write(place)
    assert first is not None
    body = json.loads(place.store.read(first))
    for name in {"cameras", "areas", "holds"} - {what}:
        body["policy"][name] = []
    store = FolderStore(tmp_path / "another")
    store.ensure()
    store.put_bytes(first, audit.canonical_json(body))
    url = f"sqlite:///{tmp_path / 'fresh.db'}"
    new_catalog(url)
    fresh = Catalog(url)
    try:
        assert journal.write(fresh, store, NODE, place.now_ms + 60_000) is not None
        assert journal.read(store, NODE).policy[what] == body["policy"][what] != []
        place.clock.advance(120)
        ended = place.hold(place.now_ms, place.now_ms + DAY_MS)
        assert journal.write(place.catalog, store, NODE, place.now_ms) is not None
        assert ended in [row["id"] for row in journal.read(store, NODE).policy["holds"]], "a later picture wins"
    finally:
        fresh.close()
