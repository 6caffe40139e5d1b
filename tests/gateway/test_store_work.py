"""Check and rebuild of a whole store from the command line's side, with real segments."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from config.clock import SystemClock
from config.errors import TiergateError
from config.settings import Settings, build
from config.units import DAY_MS
from gateway.access.keys import ensure_keys
from gateway.cli import context
from gateway.cli.offline import note_unread_journal
from gateway.ops import own_catalog, store_work
from storage import journal
from storage.audit import log as audit
from storage.catalog import retention_rows
from storage.catalog.engine import Catalog
from storage.catalog.migrate import migrate
from storage.catalog.retention_rows import HoldRow
from storage.catalog.tables import segment
from storage.objects import make_store
from storage.spool import Spool
from storage.sweeper import Policies
from storage.uploader import Uploader
from tests.parts.catalog import new_catalog
from tests.storage.footage import NODE, Recorded, insert, record, stored_count
from tests.storage.sick import SickStore

NOW_MS = SystemClock().wall_ns() // 1_000_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = build({"paths": {"data": str(tmp_path)}})
    ensure_keys(made)
    new_catalog(made.catalog_url)
    make_store(made).ensure()
    return made


@pytest.fixture
def stored(settings: Settings) -> list[Recorded]:
    """Footage in the store, written by this node, and a hold on all of it in the journal."""
    return store_some(settings, ensure_keys(settings).node_id)


@pytest.fixture
def strange(settings: Settings) -> list[Recorded]:
    return store_some(settings, NODE)


def store_some(settings: Settings, node: str) -> list[Recorded]:
    catalog = Catalog(settings.catalog_url)
    spool = Spool(settings.paths.spool_dir, SystemClock(), ensure_keys(settings).node_id)
    spool.prepare()
    recorded = record(spool, node=node)
    insert(catalog, recorded)
    uploader = Uploader(catalog, make_store(settings), spool, SystemClock())
    uploader.run_once()
    uploader.close()
    first = recorded[0].segment
    row = HoldRow(
        "H", (first.camera_id,), 1, NOW_MS + DAY_MS, "o", "r", "case", None, "permanent", NOW_MS, NOW_MS, None, None
    )
    catalog.write(lambda c: retention_rows.add_hold(c, row))
    journal.write(catalog, make_store(settings), ensure_keys(settings).node_id, NOW_MS)
    catalog.close()
    return recorded


def lose_catalog(settings: Settings) -> None:
    for file in settings.paths.catalog_dir.glob("catalog.db*"):
        file.unlink()


def test_a_whole_store_is_whole_and_the_check_is_audited(settings: Settings, stored: list[Recorded]) -> None:
    assert store_work.check_store(settings, "hash")[0].whole
    make_store(settings).delete(stored[0].segment.object_key)
    report, _ = store_work.check_store(settings, "presence")
    assert [f.segment_id for f in report.of("missing")] == [stored[0].segment.id]
    with pytest.raises(TiergateError) as caught:
        store_work.check_store(settings, "deep")
    assert caught.value.reason.code == "ops.store_level"
    catalog = Catalog(settings.catalog_url)
    entries = catalog.read(lambda c: audit.entries(c, action="store.check"))
    catalog.close()
    assert len(entries) == 2 and all(e.actor.startswith("os:") for e in entries)


def test_tier_scope_finds_what_another_node_wrote(settings: Settings, strange: list[Recorded]) -> None:
    """The segments name another node as their writer, and no camera of ours: without a lease they may not be here."""
    answer = store_work.tier_scope(settings)
    assert {v["params"]["key"] for v in answer["violations"]} == {r.segment.object_key for r in strange}
    for one in strange:
        make_store(settings).delete(one.segment.object_key)
    answer = store_work.tier_scope(settings)
    assert answer == {"objects": answer["objects"], "lower_objects": 0, "violations": []}


def test_a_lost_catalog_comes_back_with_its_holds(settings: Settings, stored: list[Recorded]) -> None:
    lose_catalog(settings)
    answer = store_work.rebuild_store(settings)
    assert answer["added"] == len(stored)
    assert answer["journal"]["holds"] == 1
    catalog = Catalog(settings.catalog_url)
    far_ms = NOW_MS + 400 * DAY_MS
    rows = catalog.read(lambda c: retention_rows.candidates(c, "stored", 10**15, None, 100))
    verdicts = list(catalog.read(Policies.read).plan(rows, far_ms))
    assert {v.reason.code for v in verdicts} == {"retention.held"}
    assert catalog.read(stored_count) == len(stored)
    assert catalog.read(lambda c: len(c.execute(select(segment.c.id)).all())) == len(stored)
    catalog.close()
    again = store_work.rebuild_store(settings)
    assert again["added"] == 0 and again["journal"]["holds"] == 0


@pytest.mark.fault("B30", "B31")
def test_a_journal_that_cannot_be_read_is_said_aloud(
    settings: Settings, stored: list[Recorded], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hold that only it told of is not known, and footage under it would go: people must hear of it."""
    lose_catalog(settings)
    sick = SickStore(settings.store_folder)
    sick.sick = {info.key for info in sick.list(journal.journal_prefix(ensure_keys(settings).node_id))}
    monkeypatch.setattr(store_work, "make_store", lambda _: sick)
    answer = store_work.rebuild_store(settings)
    assert (answer["added"], answer["journal"]["holds"]) == (len(stored), 0)
    assert answer["journal"]["unreadable"] == sorted(sick.sick) != []
    catalog = Catalog(settings.catalog_url)
    (entry,) = catalog.read(lambda c: audit.entries(c, action="store.restore"))
    catalog.close()
    assert entry.details["unreadable"] == sorted(sick.sick)
    monkeypatch.setattr(context.GLOBALS, "language", "en")
    note_unread_journal(answer["journal"]["unreadable"])
    assert "The store's journal cannot be read whole (unreadable objects: 1)" in capsys.readouterr().err
    note_unread_journal([])
    assert capsys.readouterr().err == ""
    sick.sick.clear()
    assert store_work.rebuild_store(settings)["journal"]["holds"] == 1


def test_a_neighbours_footage_in_the_same_bucket_is_not_adopted(settings: Settings, strange: list[Recorded]) -> None:
    """A row would make it ours: our sweep would delete it by our classes."""
    lose_catalog(settings)
    answer = store_work.rebuild_store(settings)
    assert (answer["added"], answer["foreign"]) == (0, len(strange))
    catalog = Catalog(settings.catalog_url)
    assert catalog.read(stored_count) == 0
    catalog.close()


def test_nothing_works_on_a_catalog_that_is_nobodys_until_a_rebuild_has_come_to_its_end(
    settings: Settings, stored: list[Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> str:
        with pytest.raises(TiergateError) as caught, store_work.open_catalog(settings):
            pass
        return caught.value.reason.code

    lose_catalog(settings)
    assert refused() == "ops.catalog_missing"
    assert not (settings.paths.catalog_dir / "catalog.db").exists(), "none is made by asking"
    migrate(settings.catalog_url)  # an older version's `serve` would have done so
    assert refused() == "ops.catalog_missing"

    def killed(_catalog: Catalog, _found: journal.Journal) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(journal, "restore_tombstones", killed)
        with pytest.raises(KeyboardInterrupt):
            store_work.rebuild_store(settings)
    assert refused() == "ops.catalog_missing"
    assert store_work.rebuild_store(settings)["known"] == len(stored)
    own_catalog.require(settings)
    with store_work.open_catalog(settings) as catalog:
        assert [row.id for row in catalog.read(retention_rows.holds)] == ["H"]


def test_a_rebuild_that_was_killed_behind_the_footage_tells_it_all_the_next_time(
    settings: Settings, stored: list[Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next run finds no footage to add; what segments do not know of themselves is still to be told."""

    def times(catalog: Catalog) -> list[tuple[int, ...]]:
        columns = segment.c.end_ms, segment.c.created_ms, segment.c.stored_ms  # the last is not in the file
        return [tuple(row) for row in catalog.read(lambda c: c.execute(select(*columns).order_by(segment.c.id)).all())]

    with store_work.open_catalog(settings) as catalog:
        wanted = times(catalog)
    lose_catalog(settings)

    def killed(_catalog: Catalog, _store: object, _found: journal.Journal) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(journal, "restore_kept", killed)
        with pytest.raises(KeyboardInterrupt):
            store_work.rebuild_store(settings)
    assert store_work.rebuild_store(settings)["added"] == 0
    with store_work.open_catalog(settings) as catalog:
        assert times(catalog) == wanted


def test_an_empty_catalog_in_the_lost_ones_place_takes_no_hold_out_of_the_journal(
    settings: Settings, stored: list[Recorded]
) -> None:
    lose_catalog(settings)
    migrate(settings.catalog_url)
    catalog = Catalog(settings.catalog_url)
    journal.write(catalog, make_store(settings), ensure_keys(settings).node_id, NOW_MS + 60_000)
    catalog.close()
    assert store_work.rebuild_store(settings)["journal"]["holds"] == 1
