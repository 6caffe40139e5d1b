"""What web processes ask of the worker, over ``run/worker.sock``.

Belongs here: the client's side of the worker's protocol (said in `gateway.processes.worker`). A connection per job: a
job takes tens of milliseconds, a Unix connection a tenth of one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from config.errors import Kind, TiergateError
from gateway.live.hub import StreamKey
from gateway.live.wire import HEAD_BYTES, Config, Event, Unit, acknowledge, encode, parse_body, parse_head
from gateway.processes.decoder import PAYLOAD_MAX_BYTES
from gateway.processes.decoding import read_message, video_to_json
from storage.media.access_unit import VideoConfig

ANSWER_S = 15.0  #: above the worker's own deadline for a job


class WorkerClient:
    """Jobs for the worker. Raises media.play_worker_away when it does not answer."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def snapshot(self, video: VideoConfig, data: bytes, width_max: int | None = None) -> bytes:
        """JPEG of one key access unit. Raises media.play_undecodable."""
        request: dict[str, Any] = {"op": "snapshot", "video": video_to_json(video)}
        if width_max is not None:
            request["width"] = width_max
        _, picture = await self._job(request, data)
        return picture

    async def _job(self, request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(str(self._path), limit=1 << 20)
                try:
                    writer.write(json.dumps({**request, "bytes": len(data)}).encode() + b"\n" + data)
                    await writer.drain()
                    answer: dict[str, Any] = json.loads(await reader.readline())
                    size = int(answer.get("bytes", 0))
                    if not 0 <= size <= PAYLOAD_MAX_BYTES:
                        raise ValueError("answer too long")
                    result = await reader.readexactly(size)
                finally:
                    writer.close()
        except (OSError, EOFError, TimeoutError, ValueError) as exc:
            raise TiergateError(Kind.UNAVAILABLE, "media.play_worker_away") from exc
        if not answer.get("ok"):
            reason = answer.get("reason") or {"code": "media.play_undecodable", "params": {}}
            raise TiergateError(Kind.UNAVAILABLE, reason["code"], **reason["params"])
        return answer, result

    async def burnt(
        self, mark: dict[str, Any], pictures: AsyncGenerator[Config | Unit, None]
    ) -> AsyncGenerator[Config | Unit, None]:
        """`pictures` as H.264 with the words of `mark` in each. Ends only when all are through; raises what `pictures`
        raises, and media.live_transcode_busy, media.live_transcode_failed, media.mark_glyphs, media.mark_font."""
        away = TiergateError(Kind.UNAVAILABLE, "media.play_worker_away")
        feeding: asyncio.Task[None] | None = None
        try:
            reader, writer = await asyncio.open_unix_connection(str(self._path), limit=1 << 20)
        except OSError as exc:
            raise away from exc
        try:
            writer.write(json.dumps({"op": "burn", "bytes": 0, "mark": mark}).encode() + b"\n")
            while not isinstance(message := await read_message(reader), Event) or message.state != "ended":
                if not isinstance(message, Event):
                    yield message
                elif feeding is None:  # the worker is ready
                    feeding = asyncio.create_task(_feed(pictures, writer), name="burn feed")
            if message.reason is not None:
                raise TiergateError(Kind.UNAVAILABLE, message.reason["code"], **message.reason["params"])
            if feeding is None:
                raise away
            await feeding
        except (OSError, EOFError, ValueError) as exc:
            if feeding is not None and feeding.done() and isinstance(cause := feeding.exception(), TiergateError):
                raise cause from exc
            raise away from exc
        finally:
            if feeding is not None:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)
            await pictures.aclose()
            writer.transport.abort()  # a close would wait for a worker that waits for us

    async def transcoded(self, key: StreamKey) -> AsyncGenerator[Config | Unit | Event, None]:
        """`key` as H.264, in the live socket's framing. Raises OSError, EOFError: the hub tries again."""
        reader, writer = await asyncio.open_unix_connection(str(self._path), limit=1 << 20)
        try:
            request = {"op": "transcode", "camera": key.camera, "stream": key.stream, "lease": key.lease, "bytes": 0}
            writer.write(json.dumps(request).encode() + b"\n")
            while True:
                length, kind = parse_head(await reader.readexactly(HEAD_BYTES))
                body = await reader.readexactly(length)
                writer.write(acknowledge(length))
                yield parse_body(kind, body)
        except ValueError as exc:
            raise ConnectionError("the worker answers nonsense") from exc
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _feed(pictures: AsyncGenerator[Config | Unit, None], writer: asyncio.StreamWriter) -> None:
    """All of `pictures`, then the word that these were all; without that word nobody takes them for the whole."""
    try:
        async for picture in pictures:
            writer.write(encode(picture))
            await writer.drain()
        writer.write(encode(Event("ended", None)))
        await writer.drain()
    except BaseException:
        writer.transport.abort()
        raise
