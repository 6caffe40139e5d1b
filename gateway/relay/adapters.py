"""The rooms of this node as the ports of `tiering.ports`: key file, looks, recorders' sockets, spool and store."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path

from config.crypto import Signed, sign
from config.errors import Kind, TiergateError
from gateway.access.keys import NodeKeys
from gateway.access.looks import Looks
from gateway.live.wire import Config, Event, Unit
from gateway.playback.footage import Footage, Piece
from storage.catalog import cameras
from storage.catalog.engine import Catalog
from storage.catalog.links import LinkRow
from storage.catalog.segments import SegmentRow
from storage.media.access_unit import AccessUnit, StreamConfig
from tiering.cmaf import Notice
from tiering.grants import Function, Principal
from tiering.lease import LeaseTerms
from tiering.ports import OpenLook

WatchSocket = Callable[[Path, str, str], AsyncIterator[Config | Unit | Event]]


class KeySigner:
    """The node's identity from its key file."""

    def __init__(self, keys: NodeKeys) -> None:
        self._private = keys.node
        self._public = keys.node_public
        self._id = keys.node_id

    @property
    def node_id(self) -> str:
        return self._id

    @property
    def public_key(self) -> bytes:
        return self._public

    def sign(self, message: bytes) -> Signed:
        return sign(self._private, message)


class LooksRegister:
    """Pictures that go up pass the one `decide` and the one register, in the names of the people on the lease."""

    def __init__(self, looks: Looks) -> None:
        self._looks = looks

    @contextlib.asynccontextmanager
    async def open(
        self, link: LinkRow, terms: LeaseTerms, camera: str, function: str, stream: str
    ) -> AsyncIterator[OpenLook]:
        names = dict.fromkeys(p.name for p in (terms.requester, *terms.persons))
        units = dict.fromkeys(p.unit for p in (terms.requester, *terms.persons))
        who = Principal("node", link.peer_node, link.peer_name, "、".join(names), "、".join(units))
        recorded = function in ("playback", "export")
        async with self._looks.open(
            who,
            Function(function),
            camera,
            stream="main" if stream == "main" else "sub",
            from_ms=terms.from_ms if recorded else None,
            to_ms=terms.to_ms if recorded else None,
            purpose="emergency" if terms.kind == "emergency" else "supervision_check",
            reason=terms.reason,
            case_no=terms.case_no,
            client=link.peer_node,
            lease_id=terms.id,
        ) as look:
            yield look


class RecorderFrames:
    """Own cameras' live units, from the socket of the recorder that has the camera."""

    def __init__(self, catalog: Catalog, run_dir: Path, watch: WatchSocket) -> None:
        self._catalog = catalog
        self._live_dir = run_dir / "live"
        self._watch = watch

    async def watch(self, camera: str, stream: str) -> AsyncGenerator[StreamConfig | AccessUnit | Notice, None]:
        found = (await self._catalog.aread(lambda c: cameras.cameras(c, [camera]))).get(camera)
        if found is None:
            raise TiergateError(Kind.NOT_FOUND, "tier.camera_unknown", camera=camera)
        socket = self._live_dir / f"{found.shard}.sock"
        messages = self._watch(socket, camera, stream)
        try:
            async for message in messages:
                if isinstance(message, Config):
                    yield message.stream
                elif isinstance(message, Unit):
                    yield message.unit
                elif message.state != "ended":
                    yield Notice(message.state, message.reason)
                elif message.reason is None:
                    return
                else:
                    raise TiergateError(Kind.UNAVAILABLE, message.reason["code"], **message.reason["params"])
        except (OSError, EOFError, ValueError, LookupError, TypeError) as exc:  # gone, or it speaks something else
            raise TiergateError(Kind.UNAVAILABLE, "tier.live_away") from exc
        finally:
            if isinstance(messages, AsyncGenerator):
                await messages.aclose()


class OwnFootage:
    """Sealed segments of ours, wherever they lie now: spool, else store."""

    def __init__(self, footage: Footage) -> None:
        self._footage = footage

    async def read(self, segment: SegmentRow, offset: int, length: int) -> bytes:
        piece = Piece(
            segment.id, segment.run_id, segment.camera_id, segment.stream, segment.start_ms, segment.end_ms,
            segment.start_wall_ns, (), segment.object_key,
        )  # fmt: skip
        return await self._footage.read(piece, offset, length)
