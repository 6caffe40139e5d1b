"""Identity of a volume: a file at its root says which one it is, so that an unmounted or swapped disk is noticed.
(FAULTS B6)

Belongs here: the identity file, the memory of it in the catalog, and how names and small files are made to last. Does
not belong here: what lies on the volume.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from pathlib import Path

from sqlalchemy import Connection, delete, select

from config.errors import Kind, TiergateError
from storage.catalog import facts
from storage.catalog.tables import fact

IDENTITY_FILE = ".tiergate-volume"


def fsync_folder(path: Path) -> None:
    """Makes names made, renamed or removed in a folder survive a power loss."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_synced(path: Path, content: bytes, mode: int = 0o600) -> None:
    """A file, for this user alone where `mode` is not given, whose bytes are on the disk when this returns. Its name is
    when the folder was synced."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_synced(path: Path, content: bytes) -> None:
    """The same, whole or not at all, by way of ``<name>.new`` beside it; the name is on the disk too."""
    fresh = path.with_suffix(".new")
    write_synced(fresh, content)
    os.replace(fresh, path)
    fsync_folder(path.parent)


#: Folders whose names this process has made durable, or seen durable; forgotten when they become many.
_entered: set[Path] = set()
_ENTERED_MAX = 10_000


def make_folders(path: Path, root: Path) -> None:
    """`path` and its parents below `root`, each made durable.

    A folder that is there already may have been made by somebody who died before the sync, or whose sync failed: its
    name is synced once more by each process. A sync that failed is not tried again on the same name (FAULTS B3).
    """
    if path == root or (path in _entered and path.is_dir()):
        return
    make_folders(path.parent, root)
    try:
        path.mkdir(mode=0o750)
        made = True
    except FileExistsError:
        made = False
    try:
        fsync_folder(path.parent)
    except OSError:
        if made:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
    if len(_entered) >= _ENTERED_MAX:
        _entered.clear()
    _entered.add(path)


def read_identity(root: Path, name: str) -> str:
    """The volume's id. Raises media.volume_missing: nothing may be written to, or deleted from, such a place."""
    try:
        value = json.loads((root / IDENTITY_FILE).read_bytes())["id"]
        return str(uuid.UUID(value))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise TiergateError(Kind.ENVIRONMENT, "media.volume_missing", volume=name) from exc


def prepare(root: Path, name: str) -> str:
    """The volume's id, given to an empty folder on first use. A filled folder without identity is not ours."""
    root.mkdir(mode=0o750, parents=True, exist_ok=True)
    if not (root / IDENTITY_FILE).exists():
        strangers = [entry.name for entry in os.scandir(root) if entry.name not in ("lost+found",)]
        if not any(name.startswith(IDENTITY_FILE) for name in strangers) and strangers:
            raise TiergateError(Kind.ENVIRONMENT, "media.volume_missing", volume=name)
        _write_identity(root)
    return read_identity(root, name)


def _write_identity(root: Path) -> None:
    """Two processes may do this at once: link(2) lets exactly one win."""
    temporary = root / f"{IDENTITY_FILE}.{uuid.uuid4().hex}"
    with temporary.open("x") as file:
        json.dump({"id": str(uuid.uuid4())}, file)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, root / IDENTITY_FILE)
    except FileExistsError:
        pass
    temporary.unlink()
    fsync_folder(root)


def recognise(connection: Connection, name: str, volume_id: str, place: str | None = None) -> None:
    """Remembers the volume's id the first time; raises media.volume_swapped when it is another one later.

    `name` is for people, `place` (default: `name`) is what the id is remembered by. A new disk gets a new place: that
    is how a person says that it is meant.
    """
    known = known_id(connection, place or name)
    if known is None:
        facts.set(connection, _key(place or name), volume_id)
    elif known != volume_id:
        raise TiergateError(Kind.ENVIRONMENT, "media.volume_swapped", volume=name)


def known_id(connection: Connection, place: str) -> str | None:
    """The id of the volume that was used at this place; None when none ever was."""
    known = facts.get(connection, _key(place))
    return None if known is None else str(known)


_FOLDERS = "volume.folder."


def _key(place: str) -> str:
    """A folder's path may be longer than a key."""
    if place.startswith("/"):
        return _FOLDERS + hashlib.sha256(place.encode(errors="surrogateescape")).hexdigest()[:32]
    return f"volume.{place}"


def known_ids(connection: Connection) -> set[str]:
    """Every volume that some place of this node is known to have had."""
    keys = fact.c.key.startswith(_key(""), autoescape=True)
    return {str(value) for value in connection.execute(select(fact.c.value).where(keys)).scalars()}


def forget_folders(connection: Connection) -> None:
    """Of another machine's disks, which are known by their folders; what has a name, as the store, stays."""
    connection.execute(delete(fact).where(fact.c.key.startswith(_FOLDERS, autoescape=True)))
