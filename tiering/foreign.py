"""The seam for peers that are not tiergate: GB/T 28181 will be one module behind it.

A foreign peer is a platform above or below that speaks another protocol. It gets no other rights than a tiergate
peer: its requests become `LeaseRequest`s, its pictures pass the same register and budget.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from storage.media.access_unit import AccessUnit, StreamConfig
from tiering.cmaf import Notice
from tiering.wire import DirectoryCamera, FootageIndex


class ForeignPeer(Protocol):
    """A platform below us, seen through its own protocol."""

    name: str  #: of the protocol, for the link's row

    async def directory(self) -> Sequence[DirectoryCamera]:
        """Its cameras and their state."""
        ...

    def live(self, camera: str, stream: str) -> AsyncGenerator[StreamConfig | AccessUnit | Notice, None]: ...

    async def index(self, camera: str, stream: str, from_ms: int, to_ms: int) -> FootageIndex: ...

    async def read(self, segment: str, offset: int, length: int) -> bytes: ...

    async def close(self) -> None: ...
