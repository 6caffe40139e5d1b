"""Debian's PostgreSQL on a free loopback port, with a data folder of its own, run by an ordinary user.

`start` after `kill` or `stop` continues on the same data and port. Durability against power loss is off; against
kill -9 it is whole.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Self, cast

import psycopg
from psycopg import sql

from storage.catalog.migrate import migrate
from storage.catalog.tables import metadata
from tests.parts.catalog import make_owned
from tests.parts.process import Child, free_port
from tests.parts.relay import TcpRelay, Towards, _Link
from tests.parts.wait import until

_USER = "tiergate"
#: initdb refuses root; the package's own user is there wherever the package is.
_ACCOUNT = "postgres"
_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "autovacuum_naptime": "600",
    "log_min_messages": "fatal",
}


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if not found:
        raise RuntimeError("Debian's postgresql is not installed; scripts/install --tests does it")
    return found[-1].parent


def _as_ordinary_user() -> list[str]:
    return (
        [str(shutil.which("setpriv")), f"--reuid={_ACCOUNT}", f"--regid={_ACCOUNT}", "--clear-groups"]
        if os.geteuid() == 0
        else []
    )


class Postgres:
    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tiergate-postgres-"))
        self.port = free_port()
        self.password = secrets.token_hex(12)
        self._data = self.folder / "data"
        options = [part for name, value in _OPTIONS.items() for part in ("-c", f"{name}={value}")]
        argv = [*_as_ordinary_user(), str(_programs() / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        self._child = Child([*argv, *options], self.folder / "log")
        self._databases = 0
        self._shared: str | None = None

    def _init(self) -> None:
        password = self.folder / "password"
        password.write_text(self.password)
        if os.geteuid() == 0:
            account = pwd.getpwnam(_ACCOUNT)
            for path in (self.folder, password):
                os.chown(path, account.pw_uid, account.pw_gid)
        # A collation that is none of C's: what the statements sort or compare must not depend on it.
        locale = ["--locale=C.UTF-8", "--encoding=UTF8", "--locale-provider=icu", "--icu-locale=zh"]
        subprocess.run(
            [*_as_ordinary_user(), str(_programs() / "initdb"), "-D", str(self._data), "-U", _USER, "--no-sync",
             "--auth=scram-sha-256", f"--pwfile={password}", *locale],
            check=True, capture_output=True, timeout=120, cwd=self.folder,
        )  # fmt: skip

    def start(self) -> Self:
        fresh = not self._data.exists()
        if fresh:
            self._init()
        try:
            until(self._answers, 30, f"PostgreSQL answers; see {self._child.log}", every_s=0.05)
        except BaseException:
            self._child.kill()
            raise
        return self

    def _answers(self) -> bool:
        if not self._child.running:
            self._child.start()  # again, while sessions of a server that was killed are still ending
        self._connect().close()
        return True

    def _connect(self, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=_USER, password=self.password, dbname=database, autocommit=True,
            connect_timeout=5,
        )  # fmt: skip

    def new_database(self) -> str:
        """The URL of a new, empty database; it costs 7 MB."""
        self._databases += 1
        name = f"test{self._databases}"
        with self._connect() as connection:
            query = sql.SQL("CREATE DATABASE {} TEMPLATE template0 STRATEGY file_copy")
            connection.execute(query.format(sql.Identifier(name)))
        return self.url(name)

    def fresh_catalog(self) -> str:
        """The URL of the one shared database, as it was after its migration. Whoever had it before is cut off."""
        if self._shared is None:
            self._shared = self.new_database()
            migrate(self._shared)
            make_owned(self._shared)
            self.query(self._shared, "CREATE SCHEMA kept")
            self.query(self._shared, "CREATE TABLE kept.retention_class AS SELECT * FROM public.retention_class")
            return self._shared
        self.query(
            self._shared,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        names = ", ".join(f'"{table.name}"' for table in metadata.sorted_tables)
        self.query(self._shared, f"TRUNCATE {names}")
        self.query(self._shared, "INSERT INTO public.retention_class SELECT * FROM kept.retention_class")
        make_owned(self._shared)
        return self._shared

    def url(self, database: str, *, port: int | None = None) -> str:
        """With `port` of a relay in front."""
        return f"postgresql+psycopg://{_USER}:{self.password}@127.0.0.1:{port or self.port}/{database}"

    def through(self, url: str, port: int) -> str:
        """`url` over a relay's port."""
        return url.replace(f":{self.port}/", f":{port}/")

    def query(self, url: str, statement: str) -> list[tuple[object, ...]]:
        """Asked past the product's own code, in autocommit."""
        with self._connect(url.rpartition("/")[2]) as connection:
            done = connection.execute(statement.encode())
            return done.fetchall() if done.description else []

    def kill(self) -> None:
        """kill -9 of the server; its sessions end by themselves. The guard lives to bury it: a dead process that is
        still listed would pass for a running server."""
        os.kill(int((self._data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        self._child.wait(20)

    def stop(self) -> None:
        self._child.signal(signal.SIGINT)  # "fast": ends its sessions, where SIGTERM waits for them
        self._child.wait(20)

    def remove(self) -> None:
        self._child.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class CommitCutter(TcpRelay):
    """Once `armed`, cuts the connection around the next COMMIT: ``request``: the server never hears it; ``answer``: it
    has committed and answered, and the answer is dropped. Counts its `hits`. A connection's first COMMIT passes: it is
    that of its settings."""

    def __init__(self, target_port: int, kind: str) -> None:
        super().__init__(target_port)
        self.kind, self.armed = kind, False
        self._due = False

    async def _pump(self, link: _Link, reader: asyncio.StreamReader, towards: Towards) -> None:
        await super()._pump(link, cast(asyncio.StreamReader, _Eavesdropper(reader, self, towards)), towards)

    def heard(self, chunk: bytes, towards: Towards) -> None:
        """Raises ConnectionResetError where it is to be cut."""
        if towards == "client":
            if self._due:
                self._due = False
                raise ConnectionResetError
        elif self.armed and b"COMMIT\0" in chunk:
            self.armed = False
            self.hits["commit"] += 1
            if self.kind == "request":
                raise ConnectionResetError
            self._due = True


class _Eavesdropper:
    def __init__(self, reader: asyncio.StreamReader, cutter: CommitCutter, towards: Towards) -> None:
        self._reader, self._cutter, self._towards = reader, cutter, towards
        self._is_set_up = towards == "client"

    async def read(self, count: int) -> bytes:
        chunk = await self._reader.read(count)
        if self._is_set_up:
            self._cutter.heard(chunk, self._towards)
        self._is_set_up = self._is_set_up or b"COMMIT\0" in chunk
        return chunk
