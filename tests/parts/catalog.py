"""New SQLite catalogs by the hundred: copies of one that the product's own migrations have made, once per process."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from storage.catalog.migrate import migrate, sqlite_path


@cache
def _image() -> tuple[bytes, int]:
    """What `migrate` makes of nothing, and the mode of its file."""
    with TemporaryDirectory(prefix="tiergate-catalog-") as folder:
        path = Path(folder) / "catalog.db"
        migrate(f"sqlite:///{path}")
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.read_bytes(), path.stat().st_mode & 0o777


def new_catalog(url: str) -> None:
    """Leaves what `migrate` would leave. A database that is there already, or is none of SQLite's, is migrated."""
    path = sqlite_path(url)
    if path is None or path.exists():
        migrate(url)
        return
    image, mode = _image()
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    path.write_bytes(image)
    path.chmod(mode)
