"""Footage on its way from one store to another lies in a file without a name. (I11)

A name would outlive a process that is killed: footage that no row knows and no clock ends. Without one the kernel
frees the bytes with the last descriptor, whatever ends the process, and at the next mount after a loss of power.

Belongs here: such files. Does not belong here: files that must outlive a crash (`storage.spool`).
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def nameless(folder: Path | None = None) -> Iterator[tuple[IO[bytes], Path]]:
    """(file, path by which this process alone may open it again), gone with the block. In `folder`, or where temporary
    files of this machine lie. Raises OSError."""
    with tempfile.TemporaryFile(prefix="tiergate-", dir=folder) as file:
        yield file, Path(f"/proc/self/fd/{file.fileno()}")
