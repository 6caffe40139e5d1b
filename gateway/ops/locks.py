"""Locks between processes of one node: `flock` on a file beneath the run folder, gone with the process that held it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from config.errors import Kind, TiergateError

SWEEP_LOCK = "sweep.lock"  #: one sweep at a time, the keeper's or one that a person started
KEEPER_LOCK = "keeper.lock"  #: one keeper per node
NODE_LOCK = "node.lock"  #: one supervisor per node
#: One exchange of keys at a time, and none while a backup reads keys and rows, which must fit each other.
KEYS_LOCK = "keys.lock"
OWNERS_LOCK = "owners.lock"  #: one round of asking owners' recorders at a time


@contextlib.contextmanager
def alone(path: Path, code: str) -> Iterator[None]:
    """Holds the lock for the block. Raises CONFLICT with `code` at once when another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TiergateError(Kind.CONFLICT, code) from None
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def together(path: Path) -> Iterator[None]:
    """Holds the lock for the block beside others that do the same, after waiting for whoever is `alone` with it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


def is_held(path: Path) -> bool:
    """Whether some process has it now."""
    try:
        fd = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
