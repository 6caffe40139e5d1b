"""Brings a catalog to this version's schema: at the supervisor's start, once, before anybody else opens it.

One transaction: a crash inside leaves the old catalog. A filled SQLite catalog is copied beside itself first; of a
PostgreSQL catalog the backup is the copy. There is no way back but those: downgrades of footage's bookkeeping are not
written.

Belongs here: running migrations. Does not belong here: what they do (``migrations/versions``), the tables.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url

from config.errors import Kind, TiergateError
from storage.catalog import node
from storage.catalog.engine import is_sqlite, make_engine, writing
from storage.catalog.postgres import hold_migration_lock
from storage.volume import fsync_folder

_FOLDER = Path(__file__).with_name("migrations")


def head() -> str:
    """The revision this version of tiergate needs."""
    found = _scripts().get_current_head()
    if found is None:
        raise RuntimeError("no migrations")
    return found


def current(url: str) -> str | None:
    """The revision of a catalog; None for an empty one, or for a SQLite file that does not exist."""
    path = sqlite_path(url)
    if path is not None and not path.exists():
        return None
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            return revision_of(connection)
    finally:
        engine.dispose()


def whose(url: str) -> str | None:
    """The node whose catalog it is, of whatever revision; None for one that is not there, is empty, or is nobody's."""
    if current(url) is None:
        return None
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            return node.owner(connection)
    finally:
        engine.dispose()


def migrate(url: str) -> bool:
    """Makes or upgrades the catalog. False when there was nothing to do. Raises media.catalog_newer.

    Several processes may call it at once: one works, the others wait and find nothing to do.
    """
    path = sqlite_path(url)
    with _alone(url):
        before = current(url)
        if not is_due(before):
            return False
        if path is not None and before is not None:
            _copy(path, before)
        engine = make_engine(url)
        try:
            with writing(engine) as connection:
                upgrade(connection)
        finally:
            engine.dispose()
        if path is not None:
            fsync_folder(path.parent)
    return True


def is_due(revision: str | None) -> bool:
    """Whether a catalog of this revision must be brought to `head`. Raises media.catalog_newer."""
    if revision is not None and revision not in {script.revision for script in _scripts().walk_revisions()}:
        raise TiergateError(Kind.ENVIRONMENT, "media.catalog_newer", revision=revision)
    return revision != head()


def steps(revision: str | None) -> list[tuple[str, str]]:
    """(revision, what it does) of everything that `migrate` would run on such a catalog, in order."""
    known = list(_scripts().iterate_revisions("head", revision or "base"))
    return [(script.revision, (script.doc or "").partition("\n")[0]) for script in reversed(known)]


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Runs the migrations inside the caller's write transaction."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def put_aside(url: str, name: str) -> None:
    """Gives PostgreSQL's tables another schema, and leaves an empty one."""
    engine = make_engine(url)
    try:
        with writing(engine) as connection:
            connection.execute(text(f'ALTER SCHEMA public RENAME TO "{name}"'))
            connection.execute(text("CREATE SCHEMA public"))
    finally:
        engine.dispose()


def backup_path(path: Path, revision: str) -> Path:
    """Where `migrate` leaves the copy of a catalog of `revision`."""
    return path.with_name(f"{path.name}.before-{revision}")


def sqlite_path(url: str) -> Path | None:
    """The file of a SQLite catalog; None for memory and for other databases."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        return None
    return Path(parsed.database)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def revision_of(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


@contextlib.contextmanager
def _alone(url: str) -> Iterator[None]:
    """A lock beside the file, or one in the server for as long as a connection of its own lives."""
    path = sqlite_path(url)
    if path is None:
        engine = make_engine(url)
        try:
            with engine.connect() as connection:
                if not is_sqlite(url):
                    hold_migration_lock(connection)
                yield
        finally:
            engine.dispose()
        return
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    fd = os.open(path.with_name(path.name + ".migrate-lock"), os.O_RDWR | os.O_CREAT, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _copy(path: Path, revision: str) -> None:
    """A consistent copy (write-ahead log included), durable before anything is changed."""
    target = backup_path(path, revision)
    temporary = target.with_name(target.name + ".part")
    temporary.unlink(missing_ok=True)
    with (
        contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(temporary)) as copy,
    ):
        source.backup(copy)
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(target)
    fsync_folder(path.parent)
