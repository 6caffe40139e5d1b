"""The one door to the catalog: one connection in one thread per process, short transactions.

SQLite under five processes (DESIGN §3): WAL, ``synchronous=FULL`` (an acknowledged row survives power loss),
``busy_timeout`` 5 s, ``BEGIN IMMEDIATE`` for writes (a read that turns into a write would fail at once with
SQLITE_BUSY), writes ≤ 50 ms.
Who needs many rows written cuts them into chunks of `CHUNK_ROWS`.

Belongs here: connections, transactions, change notice. Does not belong here: statements (one module per noun).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import StaticPool

T = TypeVar("T")

CHUNK_ROWS = 500  #: rows per write transaction: keeps the lock under 50 ms on a slow disk
BUSY_TIMEOUT_MS = 5_000


def make_engine(url: str) -> Engine:
    """An engine whose connections obey the rules above. One connection only: the caller's thread owns it."""
    engine = create_engine(
        url, poolclass=StaticPool, connect_args={"check_same_thread": False} if _is_sqlite(url) else {}
    )
    if _is_sqlite(url):
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _is_sqlite(url: str) -> bool:
    return url.startswith("sqlite")


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by us, not guessed by the driver
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "trusted_schema=OFF",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("tiergate_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _is_disk_failure(error: OperationalError) -> bool:
    """After which the connection is opened anew.

    A database that could not be opened for writing is opened for reading by SQLite, which says nothing of it: one
    EIO or a moment without descriptors would leave a process that never writes again.
    """
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)


class Catalog:
    """Runs functions inside transactions, one after another, in its own thread.

    `read` and `write` block the calling thread; `aread` and `awrite` are for event loops. A function gets a
    `Connection`, must not keep it, and must do nothing slow besides SQL. Its exception rolls back and is re-raised.
    """

    def __init__(self, url: str) -> None:
        self._engine = make_engine(url)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="catalog")

    def read(self, query: Callable[[Connection], T]) -> T:
        return self._thread.submit(self._run, query, False).result()

    def write(self, change: Callable[[Connection], T]) -> T:
        return self._thread.submit(self._run, change, True).result()

    async def aread(self, query: Callable[[Connection], T]) -> T:
        return await asyncio.wrap_future(self._thread.submit(self._run, query, False))

    async def awrite(self, change: Callable[[Connection], T]) -> T:
        return await asyncio.wrap_future(self._thread.submit(self._run, change, True))

    def _run(self, work: Callable[[Connection], T], write: bool) -> T:
        try:
            with self._engine.connect().execution_options(tiergate_write=write) as connection, connection.begin():
                return work(connection)
        except OperationalError as error:
            if _is_disk_failure(error):
                self._engine.dispose()
            raise

    def version(self) -> int:
        """A number that moves when another process commits (``PRAGMA data_version``: 3 µs, MEASUREMENTS D3).

        Own commits do not move it: the writer knows what it wrote.
        """
        return self._thread.submit(self._version).result()

    async def aversion(self) -> int:
        return await asyncio.wrap_future(self._thread.submit(self._version))

    def _version(self) -> int:
        with self._engine.connect() as connection:
            return int(connection.exec_driver_sql("PRAGMA data_version").scalar_one())

    def close(self) -> None:
        """Ends the thread after its last transaction. Safe to call twice."""
        self._thread.shutdown(wait=True)
        self._engine.dispose()
