"""The one door to the catalog: one connection in one thread per process, short transactions.

SQLite under five processes (DESIGN §3): WAL, ``synchronous=FULL`` (an acknowledged row survives power loss),
``busy_timeout`` 5 s, ``BEGIN IMMEDIATE`` for writes (a read that turns into a write would fail at once with
SQLITE_BUSY), writes ≤ 50 ms. PostgreSQL is made to keep the same rules by `storage.catalog.postgres`.
Who needs many rows written cuts them into chunks of `CHUNK_ROWS`.

Belongs here: connections, transactions, change notice, checkpoints of the write-ahead log. Does not belong here:
statements (one module per noun), what is PostgreSQL's own (`storage.catalog.postgres`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.pool import StaticPool

from storage.catalog import postgres
from storage.catalog.postgres import Outcome

T = TypeVar("T")

CHUNK_ROWS = 500  #: rows per write transaction: keeps the lock under 50 ms on a slow disk
BUSY_TIMEOUT_MS = 5_000
#: A writer does the checkpoint itself from here on (40 MB). The keeper does it long before, off the hot path; this is
#: the bound for a node whose keeper is away.
AUTOCHECKPOINT_PAGES = 10_000

#: The catalog is locked, away, full or read-only: nothing is wrong with what was asked, another time may do. psycopg
#: calls a server that takes no writes now (SQLSTATE 25006: a standby, one that its guard stopped) an internal error.
UNAVAILABLE = (OperationalError, InterfaceError, InternalError)


def never_fits(error: Exception) -> bool:
    """Whether a change that raised this is itself at fault: a row that contradicts others, a value that is none, a
    mistake in Python.

    Whatever else the catalog says (away, full, read-only, damaged, a table or a right taken away) is its own state, and
    passes.
    """
    if not isinstance(error, DBAPIError):
        return True
    if isinstance(error, ProgrammingError):  # the driver's own refusal of a value never came to a server
        return getattr(error.orig, "sqlstate", None) is None
    return isinstance(error, (IntegrityError, DataError))


def make_engine(url: str) -> Engine:
    """An engine whose connections obey the rules above. One connection only: the caller's thread owns it.

    Errors name the statement without its values: they may be secrets, and errors are logged (I10).
    """
    if is_sqlite(url):
        engine = create_engine(
            url, poolclass=StaticPool, connect_args={"check_same_thread": False}, hide_parameters=True
        )
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    return postgres.make_engine(make_url(url), BUSY_TIMEOUT_MS)


def is_sqlite(url: str) -> bool:
    return make_url(url).get_backend_name() == "sqlite"


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by us, not guessed by the driver
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "trusted_schema=OFF",
        f"wal_autocheckpoint={AUTOCHECKPOINT_PAGES}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    (_, _, file), *_ = cursor.execute("PRAGMA database_list").fetchall()
    cursor.close()
    try:
        _make_names_durable(file)
    except OSError as error:
        connection.close()  # the last of all removes the log: the next one makes it anew
        failed = sqlite3.OperationalError(f"the catalog's folder cannot be synced: {error}")
        failed.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise OperationalError("fsync", None, failed) from error


def _make_names_durable(file: str) -> None:
    """The write-ahead log is made by whoever opens the catalog first. SQLite syncs its folder, and passes over a
    failure: with the log's name a power loss would then take every row committed since."""
    if file:
        fd = os.open(os.path.dirname(file), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("tiergate_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextlib.contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One write transaction outside a `Catalog`, for migration and restore."""
    with engine.connect().execution_options(tiergate_write=True) as connection, connection.begin():
        yield connection


@contextlib.contextmanager
def overwriting(connection: Connection) -> Iterator[None]:
    """What the block's rows held before is zeros afterwards in SQLite's file, not bytes of free space. PostgreSQL keeps
    them until its vacuum."""
    if connection.dialect.name != "sqlite":
        yield
        return
    before = int(connection.exec_driver_sql("PRAGMA secure_delete").scalar_one())
    connection.exec_driver_sql("PRAGMA secure_delete=ON")
    try:
        yield
    finally:
        connection.exec_driver_sql(f"PRAGMA secure_delete={('OFF', 'ON', 'FAST')[before]}")


def _wants_new_connection(error: DBAPIError) -> bool:
    """After which the connection is opened anew.

    A database that could not be opened for writing is opened for reading by SQLite, which says nothing of it: one
    EIO or a moment without descriptors would leave a process that never writes again. A PostgreSQL that is read-only
    may be yesterday's primary: its address may lead to another one now.
    """
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return True
    return getattr(error.orig, "sqlstate", None) == postgres.READ_ONLY


class Catalog:
    """Runs functions inside transactions, one after another, in its own thread.

    `read` and `write` block the calling thread; `aread` and `awrite` are for event loops. A function gets a
    `Connection`, must not keep it, and must do nothing besides SQL: after a lost connection it may be run again. Its
    exception rolls back and is re-raised.
    """

    def __init__(self, url: str) -> None:
        self._engine = make_engine(url)
        self._is_sqlite = is_sqlite(url)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="catalog")

    def read(self, query: Callable[[Connection], T]) -> T:
        return self._thread.submit(self._read, query).result()

    def write(self, change: Callable[[Connection], T]) -> T:
        return self._thread.submit(self._write, change).result()

    async def aread(self, query: Callable[[Connection], T]) -> T:
        return await asyncio.wrap_future(self._thread.submit(self._read, query))

    async def awrite(self, change: Callable[[Connection], T]) -> T:
        return await asyncio.wrap_future(self._thread.submit(self._write, change))

    def _read(self, query: Callable[[Connection], T]) -> T:
        def once() -> T:
            with self._engine.connect() as connection, connection.begin():
                return query(connection)

        try:
            return once()
        except DBAPIError as error:
            self._open_anew(error)
            if not error.connection_invalidated:
                raise
        return once()  # the server was started anew since the last transaction: that is no failure of this one

    def _write(self, change: Callable[[Connection], T]) -> T:
        try:
            if self._is_sqlite:
                with writing(self._engine) as connection:
                    return change(connection)
            outcome, result = postgres.write(self._engine, change)
            if outcome is Outcome.ABORTED:
                outcome, result = postgres.write(self._engine, change, last=True)
            return result
        except DBAPIError as error:
            self._open_anew(error)
            raise

    def _open_anew(self, error: DBAPIError) -> None:
        if _wants_new_connection(error):
            self._engine.dispose()

    def version(self) -> int:
        """A number that moves when another process commits: ``PRAGMA data_version`` (3 µs, MEASUREMENTS D3), or how
        many notices PostgreSQL has sent.

        Own commits do not move it: the writer knows what it wrote.
        """
        return self._thread.submit(self._version).result()

    async def aversion(self) -> int:
        return await asyncio.wrap_future(self._thread.submit(self._version))

    def _version(self) -> int:
        if not self._is_sqlite:
            return self._read(postgres.notices)
        with self._engine.connect() as connection:
            return int(connection.exec_driver_sql("PRAGMA data_version").scalar_one())

    def checkpoint(self) -> bool:
        """Moves SQLite's write-ahead log into the file and cuts it, waiting for nobody; whether that was possible to
        the end. PostgreSQL does this by itself."""
        if not self._is_sqlite:
            return True

        def cut() -> bool:
            with self._engine.connect() as connection:
                raw = connection.connection.dbapi_connection
                assert raw is not None  # noqa: S101 - a connection that is checked out
                cursor = raw.cursor()
                try:
                    cursor.execute("PRAGMA busy_timeout=0")
                    cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                    ((busy, _, _),) = cursor.fetchall()
                    return not busy
                finally:
                    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
                    cursor.close()

        return self._thread.submit(cut).result()

    def close(self) -> None:
        """Ends the thread after its last transaction. Safe to call twice."""
        self._thread.shutdown(wait=True)
        self._engine.dispose()
