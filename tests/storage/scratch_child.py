"""Footage carried from one store to another by a process that is killed with half of it under way. Run by test_scratch.

Argument 1 is the work, 2 the folder. The process dies when the store that receives has begun to take the bytes.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from config.redact import Secret
from storage import rebuild
from storage.catalog import segments
from storage.damage import Mender
from storage.moving import Mover
from storage.objects.base import ObjectStore
from storage.objects.evidence import FolderEvidence
from storage.objects.folder import FolderStore
from storage.objects.s3_evidence import S3Evidence
from tests.storage.footage import NODE, make_catalog, make_spool


def die(*args: Any, **more: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


class Deadly(FolderStore):
    """Takes a file and dies when it has read some of it."""

    def put_file(self, key: str, path: Path, *args: Any, **more: Any) -> Any:
        with path.open("rb") as file:
            if len(file.read(1000)) == 1000:
                die()


def mend(folder: Path, store: ObjectStore) -> None:
    """A damaged object put aside, or a whole copy of another store brought in its place."""
    catalog, spool = make_catalog(folder), make_spool(folder)
    (row, *_) = catalog.read(lambda c: segments.all_segments(c, ("stored",)))
    Mender(catalog, store, spool, "test", [FolderEvidence(folder / "evidence")]).mend(row, 1)


def put_aside(folder: Path) -> None:
    mend(folder, Deadly(folder / "objects"))


def fetch(folder: Path) -> None:
    """The object is gone: the copy of the evidence store comes."""
    mend(folder, Deadly(folder / "objects"))


def move(folder: Path) -> None:
    scratch = folder / "run"
    scratch.mkdir()
    new = Deadly(folder / "new")
    new.ensure()
    Mover(make_catalog(folder), FolderStore(folder / "objects"), new, scratch, workers=1).copy()


def an_object(store: FolderStore) -> tuple[str, bytes, int]:
    info = next(iter(store.list(NODE)))
    return info.key, hashlib.sha256(store.read(info.key)).digest(), info.bytes


def evidence_s3(folder: Path) -> None:
    S3Evidence._versions = lambda *args, **more: []  # type: ignore[method-assign]  # dies there
    S3Evidence._put = die  # type: ignore[method-assign]  # dies there
    store = FolderStore(folder / "objects")
    key, digest, size = an_object(store)
    keys = Secret("a"), Secret("b")
    S3Evidence("http://127.0.0.1:9", "x", "bucket", *keys).copy_from(store, key, digest, size)


def evidence_folder(folder: Path) -> None:
    """A copy of its own of held footage, half written."""
    evidence = FolderEvidence(folder / "second")
    evidence.ensure()
    store = FolderStore(folder / "objects")
    key, digest, size = an_object(store)
    os.fsync = die
    evidence.copy_from(store, key, digest, size)


def read_again(folder: Path) -> None:
    """The rows of a lost catalog made anew from an object that is too large for memory."""
    rebuild._MEMORY_BYTES = 1000
    rebuild._read_file = die
    rebuild.rebuild(make_catalog(folder / "fresh"), FolderStore(folder / "objects"), NODE, 1, "test")


WORK: dict[str, Callable[[Path], None]] = {
    one.__name__: one for one in (put_aside, fetch, move, evidence_s3, evidence_folder, read_again)
}

if __name__ == "__main__":
    WORK[sys.argv[1]](Path(sys.argv[2]))
