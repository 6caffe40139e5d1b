"""kill -9 in the middle of an upgrade, at chosen points; run as a program, because it forks one child per point.

usage: migration_kills.py URL MIGRATIONS POINTS [--without-transaction]

URL: a catalog of this version with rows. POINTS: how many points. Each child upgrades and kills itself at its point:
on SQLite at the nth instruction of the database's own machine, so inside statements too; on PostgreSQL before or
after the nth statement. After each kill the catalog must be whole, old or new; at the end it is upgraded. Prints JSON:
{"kills", "old", "new", "broken"}.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, inspect, text
from sqlalchemy.engine import Engine

from storage.catalog import engine as engines
from storage.catalog import migrate as migration
from storage.catalog.migrate import backup_path, current, migrate, sqlite_path

OLD, NEW = migration.head(), "next"


def picture(url: str) -> dict[str, Any]:
    """Every table with its columns and how many rows it has."""
    engine = engines.make_engine(url)
    try:
        with engine.connect() as connection, connection.begin():
            seen = inspect(connection)
            return {
                name: [
                    sorted(column["name"] for column in seen.get_columns(name)),
                    connection.execute(text(f'SELECT count(*) FROM "{name}"')).scalar_one(),
                ]
                for name in sorted(seen.get_table_names())
            }
    finally:
        engine.dispose()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Counter:
    """Counts steps; at `last` the process ends. 0: only counts."""

    def __init__(self, last: int) -> None:
        self.steps, self._last = 0, last

    def step(self, *_: object) -> int:
        self.steps += 1
        if self.steps == self._last:
            _die()
        return 0


def _armed(counter: _Counter, transaction: bool) -> None:
    """From now on every engine of this process counts."""
    real = engines.make_engine

    def make(url: str) -> Engine:
        engine = real(url)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", lambda c, _: c.set_progress_handler(counter.step, 1))
        else:
            event.listen(engine, "before_cursor_execute", counter.step)
            event.listen(engine, "after_cursor_execute", counter.step)
            event.listen(engine, "commit", counter.step)
        if not transaction:
            # The known-bad twin: every statement is a transaction of its own.
            event.listen(engine, "after_cursor_execute", _commit_each)
        return engine

    migration.make_engine = make  # type: ignore[attr-defined]  # a module's name, on purpose


def _commit_each(connection: Connection, cursor: Any, *_: object) -> None:
    raw = cursor.connection
    if connection.dialect.name == "sqlite":
        if raw.in_transaction:
            raw.commit()
            raw.execute("BEGIN IMMEDIATE")
    else:
        raw.commit()


def _in_child(url: str, last: int, transaction: bool) -> int:
    """How many steps the upgrade took; 0 when it was killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        counter = _Counter(last)
        _armed(counter, transaction)
        migrate(url)
        os.write(writer, str(counter.steps).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        steps = int(answer.read() or 0)
    os.waitpid(child, 0)
    return steps


def main() -> None:
    url, folder, points = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    transaction = "--without-transaction" not in sys.argv
    migration._FOLDER = folder
    old = picture(url)
    path = sqlite_path(url)
    keep = Keep(url, path)
    steps = _in_child(url, 0, True)
    new = picture(url)
    assert current(url) == NEW and new != old
    found: dict[str, Any] = {"kills": 0, "old": 0, "new": 0, "broken": [], "steps": steps}
    for number in range(points):
        keep.back()
        last = 1 + number * steps // points
        if _in_child(url, last, transaction) == 0:
            found["kills"] += 1
        seen = picture(url)
        revision = current(url)
        if seen == old and revision == OLD:
            found["old"] += 1
        elif seen == new and revision == NEW:
            found["new"] += 1
        else:
            found["broken"].append(last)
            continue
        migrate(url)
        if picture(url) != new:
            found["broken"].append(last)
    print(json.dumps(found))


class Keep:
    """Puts the old catalog back between two points."""

    def __init__(self, url: str, path: Path | None) -> None:
        self._url, self._path = url, path
        if path is not None:
            shutil.copy(path, path.with_suffix(".kept"))

    def back(self) -> None:
        if self._path is not None:
            for stale in (*self._path.parent.glob(self._path.name + "-*"), backup_path(self._path, OLD)):
                stale.unlink(missing_ok=True)
            shutil.copy(self._path.with_suffix(".kept"), self._path)
            return
        engine = engines.make_engine(self._url)
        with engines.writing(engine) as connection:
            if current_of(connection) == NEW:
                for statement in DOWN:
                    connection.exec_driver_sql(statement)
        engine.dispose()


def current_of(connection: Connection) -> str:
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())


#: The upgrade of the test: a new table, a column more in a table with rows (SQLite copies the table), rows rewritten.
UP = """
    op.create_table("more", sa.Column("id", sa.Integer(), primary_key=True))
    with op.batch_alter_table("run") as batch:
        batch.add_column(sa.Column("note", sa.Text(), nullable=False, server_default="none"))
    op.execute("UPDATE run SET note = codec")
    op.execute("INSERT INTO more SELECT ended_ms FROM run WHERE ended_ms IS NOT NULL")
"""
DOWN = (
    "DROP TABLE more",
    "ALTER TABLE run DROP COLUMN note",
    f"UPDATE alembic_version SET version_num = '{OLD}'",
)

if __name__ == "__main__":
    main()
