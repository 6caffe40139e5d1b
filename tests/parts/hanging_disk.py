"""A disk that answers nothing: a FUSE file system whose server reads what the kernel asks, and is silent. Needs root.

As on a hung network mount, whoever asks it for anything waits, and no signal but a kill ends that. Ending it fails
every question that waits, as unmounting by force does.
"""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path
from typing import Self

from tests.parts import mounts
from tests.parts.mounts import Mounts

_DEVICE = "/dev/fuse"
_INIT = 26
_IN_HEADER, _OUT_HEADER = struct.Struct("<IIQ"), struct.Struct("<IiQ")


def usable() -> bool:
    return os.access(_DEVICE, os.R_OK | os.W_OK) and mounts.usable()


class HangingDisk:
    """Mounted at `place` in the namespace of `inside`; `path` is the same place for us outside."""

    def __init__(self, inside: Mounts, place: Path) -> None:
        self.path = inside.path(place)
        self._inside = inside
        self._place = place
        self._server: int | None = None

    def __enter__(self) -> Self:
        self._place.mkdir(parents=True, exist_ok=True)
        server = self._server = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={server},rootmode=40000,user_id=0,group_id=0"
        argv = [*self._inside.enter, "mount", "-i", "-t", "fuse", "-o", options, "hanging", str(self._place)]
        subprocess.run(argv, check=True, pass_fds=[server], timeout=60)
        self._greet(server)
        return self

    def __exit__(self, *exc: object) -> None:
        self.fail()

    def fail(self) -> None:
        """Whoever waits for it gets an error."""
        if self._server is not None:
            os.close(self._server)
            self._server = None

    @staticmethod
    def _greet(server: int) -> None:
        """FUSE_INIT is the one question that is answered: before it the kernel asks no other."""
        request = os.read(server, 1 << 17)
        _, operation, unique = _IN_HEADER.unpack_from(request)
        assert operation == _INIT
        answer = struct.pack("<IIIIHHI", 7, 31, 0, 0, 12, 9, 1 << 16).ljust(64, b"\0")
        os.write(server, _OUT_HEADER.pack(_OUT_HEADER.size + len(answer), 0, unique) + answer)
