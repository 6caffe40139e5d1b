"""Migrations make exactly the tables, once, whole or not at all, and keep a copy of what was there."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text, update

from config.errors import TiergateError
from config.reasons import Reason
from storage.catalog import gaps, places, retention_rows, segments
from storage.catalog import migrate as migration
from storage.catalog.cameras import NewCamera, create_camera
from storage.catalog.engine import Catalog, make_engine, writing
from storage.catalog.migrate import backup_path, current, head, migrate, steps
from storage.catalog.segments import RunRow, SegmentRow, insert_run
from storage.catalog.tables import camera, metadata
from tests.parts.postgres import Postgres
from tests.storage.catalog import migration_kills
from tests.storage.footage import CAMERA, new_id

ROOT = Path(__file__).parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog" / "catalog.db"


def url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def empty(request: pytest.FixtureRequest, path: Path) -> str:
    """The URL of a catalog that nobody has made yet."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        return server.new_database()
    return url(path)


def _checks(path: Path) -> dict[str, set[str]]:
    """Per table its CHECK clauses, which Alembic's comparison does not look at."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
    pattern = re.compile(r"CONSTRAINT (ck_\w+) CHECK \(((?:[^()]|\([^()]*\))*)\)")
    return {name: {f"{n}: {check}" for n, check in pattern.findall(sql)} for name, sql in rows if "alembic" not in name}


def _differences(url: str) -> list[Any]:
    engine = make_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        found: list[Any] = compare_metadata(context, metadata)
    engine.dispose()
    return found


def test_the_migrations_make_exactly_the_tables(empty: str) -> None:
    assert migrate(empty)
    assert _differences(empty) == []


@pytest.mark.real
def test_postgresql_tends_new_segments_before_timelines_read_them_from_the_table(postgres: Postgres) -> None:
    catalog = Catalog(postgres.fresh_catalog())
    asked = text("SELECT unnest(reloptions) FROM pg_class WHERE relname = 'segment'")
    options = dict(row[0].split("=") for row in catalog.read(lambda c: c.execute(asked).all()))
    catalog.close()
    assert float(options["autovacuum_vacuum_insert_scale_factor"]) <= 0.01
    assert float(options["autovacuum_vacuum_scale_factor"]) <= 0.02


def test_the_checks_of_the_tables_are_made_too(path: Path, tmp_path: Path) -> None:
    migrate(url(path))
    made = tmp_path / "made.db"
    other = make_engine(url(made))
    metadata.create_all(other)
    other.dispose()
    assert any(_checks(made).values())
    assert _checks(path) == _checks(made)


def test_a_second_migration_does_nothing(empty: str, path: Path) -> None:
    assert current(empty) is None
    assert not path.exists()
    assert migrate(empty)
    assert not migrate(empty)
    assert current(empty) == head()
    assert steps(None)[0][0] == "0001"
    assert steps(head()) == []


def test_the_retention_classes_of_the_law_are_there(catalog_url: str) -> None:
    catalog = Catalog(catalog_url)
    classes = catalog.read(retention_rows.classes)
    catalog.close()
    assert (classes["default"].months, classes["default"].min_days, classes["default"].ceiling_months) == (1, 30, 1)
    assert (classes["key"].months, classes["key"].min_days) == (3, 90)
    assert classes["key"].rank > classes["default"].rank
    assert {name for name, found in classes.items() if found.for_hold} == {"3_months", "1_year", "permanent"}
    assert classes["permanent"].months is None


def test_a_camera_that_its_owner_records_says_so_since_our_footage_ended(empty: str, path: Path) -> None:
    path.parent.mkdir()
    engine = make_engine(empty)
    with writing(engine) as connection:
        migration.upgrade(connection, "0016_segment_upkeep")
        places.seed_regions(connection, "210211001003", "community", "社区", 0)
        made = []
        for number in range(3):
            stream = ("main", f"rtsp://10.0.0.{number}/", None)
            new = NewCamera(name=f"{number}", region="210211001003", streams=(stream,))
            made.append(create_camera(connection, new, "community", 32, 1_000).id)
        theirs = camera.c.id.in_(made[:2])
        connection.execute(update(camera).where(theirs).values(recorded_by="owner"))
        footage = SegmentRow(
            id=new_id(), camera_id=made[0], stream="main", run_id="R", kind="own", state="stored", start_ms=4_000,
            end_ms=5_000, start_wall_ns=4_000_000_000, time_trust="synchronised", bytes=1, sha256=bytes(32),
            init_bytes=0, fragments=b"", object_key="k", volume=None, class_="default", created_ms=5_000,
        )  # fmt: skip
        segments.insert_segments(connection, [footage])
        before = gaps.GapRow(new_id(), made[0], "main", "network", 4_500, None, 4_500)
        gaps.insert_gap(connection, before)
        migration.upgrade(connection)
        found = {gap.camera_id: gap for gap in gaps.open_gaps(connection)}
        assert {id_: (gap.cause, gap.from_ms) for id_, gap in found.items()} == {
            made[0]: ("disabled", 5_000),
            made[1]: ("disabled", 1_000),
        }
        assert all(gap.reason == Reason("camera.owner_records").as_json() for gap in found.values())
        ended = gaps.gap_of(connection, before.id)
        assert ended is not None and ended.to_ms == 5_000
    engine.dispose()


def _migrate_in_child(url: str, results: multiprocessing.Queue[bool]) -> None:
    results.put(migrate(url))


def test_of_several_processes_one_migrates(empty: str) -> None:
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[bool] = context.Queue()
    children = [context.Process(target=_migrate_in_child, args=(empty, results)) for _ in range(2)]
    for child in children:
        child.start()
    assert sorted(results.get(timeout=60) for _ in children) == [False, True]
    for child in children:
        child.join(30)


def _pretend(url: str, revision: str) -> None:
    engine = make_engine(url)
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :to"), {"to": revision})
    engine.dispose()


def test_a_catalog_of_a_newer_version_is_left_alone(empty: str) -> None:
    migrate(empty)
    _pretend(empty, "9999")
    with pytest.raises(TiergateError) as caught:
        migrate(empty)
    assert caught.value.reason.code == "media.catalog_newer"
    assert current(empty) == "9999"


def _next_revision(folder: Path, body: str) -> Path:
    """A copy of the migrations with one more."""
    versions = folder / "migrations" / "versions"
    versions.mkdir(parents=True)
    source = Path(migration.__file__).with_name("migrations")
    for file in (source / "env.py", source / "script.py.mako", *source.glob("versions/*.py")):
        (folder / "migrations" / file.relative_to(source)).write_text(file.read_text())
    start = "import sqlalchemy as sa\nfrom alembic import op\n"
    start += f"revision = {migration_kills.NEW!r}\ndown_revision = {head()!r}\n\n"
    (versions / "next.py").write_text(start + "def upgrade() -> None:\n" + body)
    return folder / "migrations"


def test_an_upgrade_keeps_a_copy_of_the_old_catalog(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(url(path))
    now = head()
    folder = _next_revision(tmp_path / "next", "    op.execute('CREATE TABLE more (a INTEGER)')\n")
    monkeypatch.setattr(migration, "_FOLDER", folder)
    assert migrate(url(path))
    assert current(url(path)) == "next"
    assert current(url(backup_path(path, now))) == now


@pytest.mark.fault("B32")
def test_a_failing_upgrade_leaves_everything_as_it_was(
    empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(empty)
    now = head()
    folder = _next_revision(
        tmp_path / "next", "    op.execute('CREATE TABLE more (a INTEGER)')\n    raise RuntimeError('broken')\n"
    )
    monkeypatch.setattr(migration, "_FOLDER", folder)
    with pytest.raises(RuntimeError, match="broken"):
        migrate(empty)
    assert current(empty) == now
    engine = make_engine(empty)
    assert "more" not in inspect(engine).get_table_names()
    engine.dispose()


def _killed(url: str, folder: Path, points: int, *more: str) -> dict[str, Any]:
    catalog = Catalog(url)
    for number in range(200):
        run = RunRow(new_id(), CAMERA, "main", number, f"avc1.{number}", 1, 1, None, b"init", number)
        catalog.write(lambda c, run=run: insert_run(c, run))  # type: ignore[misc]  # a bound default
    catalog.checkpoint()
    catalog.close()
    done = subprocess.run(
        [sys.executable, "-m", "tests.storage.catalog.migration_kills", url, str(folder), str(points), *more],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.real
@pytest.mark.fault("B32")
def test_an_upgrade_killed_at_any_point_is_all_or_nothing_and_starts_again(
    empty: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    migrate(empty)
    points = 20 if empty.startswith("sqlite") else 12
    found = _killed(empty, _next_revision(tmp_path / "next", migration_kills.UP), points)
    record_property("kills", found["kills"])
    assert found["broken"] == []
    assert found["kills"] >= points - 2 and found["old"] >= points / 2, found


@pytest.mark.real
def test_mutant_that_upgrades_without_a_transaction_is_caught(empty: str, tmp_path: Path) -> None:
    migrate(empty)
    folder = _next_revision(tmp_path / "next", migration_kills.UP)
    assert _killed(empty, folder, 8, "--without-transaction")["broken"]
