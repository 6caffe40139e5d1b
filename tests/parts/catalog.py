"""New SQLite catalogs by the hundred: copies of one that the product's own migrations have made, once per process.

Each is a node's, as `init` leaves it; `migrate` alone makes one that is nobody's, which no node starts with.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from storage.catalog import node
from storage.catalog.engine import make_engine, writing
from storage.catalog.migrate import migrate, sqlite_path

NODE = "node"


@cache
def _image() -> tuple[bytes, int]:
    """What `migrate` makes of nothing, and the mode of its file."""
    with TemporaryDirectory(prefix="tiergate-catalog-") as folder:
        path = Path(folder) / "catalog.db"
        url = f"sqlite:///{path}"
        migrate(url)
        make_owned(url)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.read_bytes(), path.stat().st_mode & 0o777


def make_owned(url: str) -> None:
    engine = make_engine(url)
    with writing(engine) as connection:
        node.own(connection, NODE)
    engine.dispose()


def new_catalog(url: str) -> None:
    """Leaves a migrated catalog that is a node's. One that is there already, or is none of SQLite's, is migrated."""
    path = sqlite_path(url)
    if path is None or path.exists():
        migrate(url)
        make_owned(url)
        return
    image, mode = _image()
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    path.write_bytes(image)
    path.chmod(mode)
