"""The file of one process for rows of the register that the catalog did not take, until it does.

A line is one JSON object in ASCII (U+2028 in somebody's reason ends no line) and its line feed. `append` leaves it on
the disk as a whole, or raises and leaves the file as it was. A journal that is being applied is called
``.replaying``, so that new lines begin a new one; lines that cannot be applied are kept in ``.bad``.

Belongs here: the bytes of the files. Does not belong here: what a line means (`gateway.access.register`). One thread
of a process writes its journal; those of dead processes may be taken by several at once.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

JOURNAL, REPLAYING, BAD = ".journal", ".replaying", ".bad"


def append(path: Path, value: Mapping[str, Any]) -> None:
    """Durable when it returns. Raises OSError: then `value` is not in the journal."""
    _add(path, json.dumps(value).encode("ascii") + b"\n")


def _add(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data  # the torn line before could not be taken back: it must not spoil this one
        try:
            if os.write(descriptor, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(descriptor)
            if not size:
                _sync_folder(path)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def waits(path: Path) -> bool:
    """Whether anything of the journal is still to be applied."""
    return path.exists() or path.with_suffix(REPLAYING).exists()


def take(path: Path) -> list[bytes] | None:
    """The lines to apply next; None: there is nothing. What was taken before and not `finish`-ed comes first."""
    taken = path.with_suffix(REPLAYING)
    try:
        if not taken.exists():
            path.rename(taken)
        return _lines(taken)
    except FileNotFoundError:  # nothing, or another process was quicker
        return None


def finish(path: Path, bad: Sequence[bytes] = ()) -> None:
    """What was taken is applied, but for the `bad` lines: they are kept, once. Raises OSError: then it is as before."""
    kept = path.with_suffix(BAD)
    if bad:
        known = set(_lines(kept)) if kept.exists() else set()
        fresh = [line for line in dict.fromkeys(bad) if line not in known]
        if fresh:
            _add(kept, b"\n".join(fresh) + b"\n")
    path.with_suffix(REPLAYING).unlink(missing_ok=True)


def _lines(path: Path) -> list[bytes]:
    return [line for line in path.read_bytes().split(b"\n") if line]


def unapplied(folder: Path) -> int:
    """How many lines of all journals of a run folder could not be applied."""
    return sum(len(_lines(path)) for path in folder.glob(f"register-*{BAD}"))
