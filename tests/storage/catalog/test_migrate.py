"""Migrations make exactly the tables, once, whole or not at all, and keep a copy of what was there."""

from __future__ import annotations

import multiprocessing
import re
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from config.errors import TiergateError
from storage.catalog import migrate as migration
from storage.catalog import retention_rows
from storage.catalog.engine import Catalog, make_engine
from storage.catalog.migrate import backup_path, current, head, migrate
from storage.catalog.tables import metadata


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog" / "catalog.db"


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def _checks(path: Path) -> dict[str, set[str]]:
    """Per table its CHECK clauses, which Alembic's comparison does not look at."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
    pattern = re.compile(r"CONSTRAINT (ck_\w+) CHECK \(((?:[^()]|\([^()]*\))*)\)")
    return {name: {f"{n}: {check}" for n, check in pattern.findall(sql)} for name, sql in rows if "alembic" not in name}


def test_the_migrations_make_exactly_the_tables(path: Path, tmp_path: Path) -> None:
    assert migrate(url(path))
    engine = make_engine(url(path))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()
    made = tmp_path / "made.db"
    other = make_engine(url(made))
    metadata.create_all(other)
    other.dispose()
    assert any(_checks(made).values())
    assert _checks(path) == _checks(made)


def test_a_second_migration_does_nothing(path: Path) -> None:
    assert current(url(path)) is None
    assert not path.exists()
    assert migrate(url(path))
    assert not migrate(url(path))
    assert current(url(path)) == head()


def test_the_retention_classes_of_the_law_are_there(path: Path) -> None:
    migrate(url(path))
    catalog = Catalog(url(path))
    classes = catalog.read(retention_rows.classes)
    catalog.close()
    assert (classes["default"].months, classes["default"].min_days, classes["default"].ceiling_months) == (1, 30, 1)
    assert (classes["key"].months, classes["key"].min_days) == (3, 90)
    assert classes["key"].rank > classes["default"].rank
    assert {name for name, found in classes.items() if found.for_hold} == {"3_months", "1_year", "permanent"}
    assert classes["permanent"].months is None


def _migrate_in_child(url: str, results: multiprocessing.Queue[bool]) -> None:
    results.put(migrate(url))


def test_of_several_processes_one_migrates(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[bool] = context.Queue()
    children = [context.Process(target=_migrate_in_child, args=(url(path), results)) for _ in range(3)]
    for child in children:
        child.start()
    assert sorted(results.get(timeout=60) for _ in children) == [False, False, True]
    for child in children:
        child.join(30)


def _pretend_older(path: Path, revision: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))


def test_a_catalog_of_a_newer_version_is_left_alone(path: Path) -> None:
    migrate(url(path))
    _pretend_older(path, "9999")
    with pytest.raises(TiergateError) as caught:
        migrate(url(path))
    assert caught.value.reason.code == "media.catalog_newer"
    assert current(url(path)) == "9999"


def _next_revision(folder: Path, body: str) -> Path:
    """A copy of the migrations with one more."""
    versions = folder / "migrations" / "versions"
    versions.mkdir(parents=True)
    source = Path(migration.__file__).with_name("migrations")
    for file in (source / "env.py", source / "script.py.mako", *source.glob("versions/*.py")):
        (folder / "migrations" / file.relative_to(source)).write_text(file.read_text())
    text = f"from alembic import op\nrevision = 'next'\ndown_revision = {head()!r}\n\ndef upgrade() -> None:\n{body}"
    (versions / "next.py").write_text(text)
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
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(url(path))
    now = head()
    folder = _next_revision(
        tmp_path / "next", "    op.execute('CREATE TABLE more (a INTEGER)')\n    raise RuntimeError('broken')\n"
    )
    monkeypatch.setattr(migration, "_FOLDER", folder)
    with pytest.raises(RuntimeError, match="broken"):
        migrate(url(path))
    assert current(url(path)) == now
    with sqlite3.connect(path) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    assert "more" not in tables
