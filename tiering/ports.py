"""What the node-to-node protocol needs from the rooms around it, as Protocols.

The relay fills them: live frames from the recorders' sockets, bytes from spool and store, the register from
`gateway.access.looks`, the signer from the node's key file.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from config.reasons import Reason
from storage.catalog.links import LinkRow
from storage.catalog.segments import SegmentRow
from storage.media.access_unit import AccessUnit, StreamConfig
from tiering.cmaf import Notice
from tiering.lease import LeaseTerms


class OpenLook(Protocol):
    """A register row that is open: it was written before the first byte (I7)."""

    @property
    def ended(self) -> asyncio.Event: ...

    @property
    def reason(self) -> Reason | None: ...

    def add_bytes(self, count: int) -> None: ...


class Register(Protocol):
    def open(
        self, link: LinkRow, terms: LeaseTerms, camera: str, function: str, stream: str
    ) -> AbstractAsyncContextManager[OpenLook]:
        """Decides and writes the row. Raises TiergateError when it may not be, or cannot be written."""
        ...


class LiveFrames(Protocol):
    def watch(self, camera: str, stream: str) -> AsyncGenerator[StreamConfig | AccessUnit | Notice, None]:
        """Own camera's stream: a config, then units from a key frame on; a new config begins a new epoch. Where it
        ends without a reason it may be had again at once. Raises TiergateError with the reason where there is one."""
        ...


class FootageReader(Protocol):
    async def read(self, segment: SegmentRow, offset: int, length: int) -> bytes:
        """Bytes of a sealed segment of ours, from spool or store."""
        ...
