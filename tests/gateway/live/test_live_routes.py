"""live.ws, live.mp4 and WHEP through the whole web process: what a browser gets, and how it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.access.ids import fresh_id
from gateway.live.fmp4_stream import init
from gateway.live.hub import Picture, StreamKey
from gateway.web.app import build
from gateway.web.downloads import SENT_BYTES
from gateway.web.routers import live
from storage.catalog import people, shifts
from storage.media.access_unit import AccessUnit
from tests.gateway.live.serving import shifted
from tests.gateway.live.test_whep import Peer
from tests.gateway.watching import Rig, rig
from tests.media import access_units, decode_mp4, encode_h264, encode_h265, stream_config
from tests.parts.wait import until_async
from tiering.access import Principal

PACKETS = encode_h264(2.0, gop=25)
CONFIG = stream_config("h264", PACKETS)
UNITS = access_units("h264", PACKETS)
HEVC = encode_h265(2.0, gop=25)


def again(turn: int) -> list[AccessUnit]:
    return shifted(UNITS, turn * 180_000)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as made:
        made.camera.config(CONFIG)
        yield made


async def collect(socket: ClientConnection, pictures_bytes: int) -> tuple[list[dict[str, Any]], bytes]:
    texts: list[dict[str, Any]] = []
    data = b""
    async with asyncio.timeout(15):
        while len(data) < pictures_bytes:
            message = await socket.recv()
            if isinstance(message, str):
                texts.append(json.loads(message))
            else:
                data += message
    return texts, data


async def closing(socket: ClientConnection) -> tuple[dict[str, Any], int]:
    """(the last text, the close code)."""
    last: dict[str, Any] = {}
    try:
        async with asyncio.timeout(10):
            while True:
                message = await socket.recv()
                if isinstance(message, str):
                    last = json.loads(message)
    except ConnectionClosed as closed:
        return last, closed.rcvd.code if closed.rcvd else 0


async def test_a_socket_announces_then_sends_init_and_fragments(node: Rig) -> None:
    headers = await node.sign_in("operator")
    async with node.camera.playing(UNITS, again, 0.01), connect(node.ws(), additional_headers=headers) as socket:
        texts, data = await collect(socket, 120_000)
    assert texts[0] == {
        "mime": f'video/mp4; codecs="{CONFIG.video.rfc6381}"', "width": 320, "height": 240,
        "codec": CONFIG.video.rfc6381, "stream": "main", "epoch": 0, "path": "pass", "note": None,
    }  # fmt: skip
    decoded = decode_mp4(data)
    assert decoded.pictures >= 15

    async def closed() -> Any:
        rows = await node.register()
        return rows and rows[0].closed_ms is not None and rows

    rows = await until_async(closed, 5, "the register row is closed")
    assert [(r.function, r.stream, r.result) for r in rows] == [("live", "main", "ended")]
    assert rows[0].bytes >= 120_000


async def test_revocation_cuts_a_running_socket_with_a_word(node: Rig) -> None:
    headers = await node.sign_in("operator")
    async with node.camera.playing(UNITS, again, 0.02), connect(node.ws(), additional_headers=headers) as socket:
        await collect(socket, 10_000)
        await node.revoke(headers)
        word, code = await closing(socket)
    assert word["state"] == "ended"
    assert word["reason"]["code"] == "access.revoked"
    assert code == 4000
    rows = await node.register()
    assert rows[0].result == "revoked"


async def test_a_stuck_reader_does_not_outlive_its_right(node: Rig) -> None:
    headers = await node.sign_in("operator")
    async with node.camera.playing(UNITS, again, 0.0005):
        async with connect(node.ws(), additional_headers=headers, max_queue=1) as socket:
            await collect(socket, 1000)
            await node.revoke(headers)  # and nobody reads any more

            async def over() -> bool:
                rows = await node.register()
                return rows[0].closed_ms is not None

            await until_async(over, 8, "the look is over")


async def test_no_right_no_socket(node: Rig) -> None:
    for headers, status in (({}, 401), (await node.sign_in("security_admin"), 403)):
        with pytest.raises(InvalidStatus) as refused:
            async with connect(node.ws(), additional_headers=headers):
                pass
        assert refused.value.response.status_code == status


async def test_a_camera_that_goes_away_is_told_and_returns(node: Rig) -> None:
    headers = await node.sign_in("operator")
    async with connect(node.ws(), additional_headers=headers) as socket:
        node_up = until_async(_watched(node), 5, "watched", every_s=0.01)
        await node_up
        node.camera.push(*UNITS[:5])
        await collect(socket, 5_000)
        node.camera.event("offline", {"code": "media.live_recorder_away", "params": {}})
        async with asyncio.timeout(5):
            while isinstance(message := await socket.recv(), bytes):
                pass
        assert json.loads(message)["state"] == "offline"
        node.camera.push(*shifted(UNITS[:3], 900_000))
        async with asyncio.timeout(5):
            message = await socket.recv()
        assert json.loads(message) == {"state": "online", "reason": None}


async def test_the_small_stream_instead_of_the_large_is_announced_with_its_reason(node: Rig) -> None:
    headers = await node.sign_in("operator")
    why: dict[str, object] = {"code": "tier.reduced_for_line", "en": "The line has no room.", "zh": "带宽不足。"}

    async def announced(socket: ClientConnection) -> dict[str, Any]:
        async with asyncio.timeout(30):
            while True:
                message = await socket.recv()
                if isinstance(message, str) and "mime" in (word := json.loads(message)):
                    return {name: word[name] for name in ("stream", "note")}

    async with connect(node.ws(), additional_headers=headers) as first:
        assert await announced(first) == {"stream": "main", "note": None}
        node.camera.event("stream", why | {"stream": "sub"})
        node.camera.config(CONFIG)
        async with asyncio.timeout(30):
            while isinstance(message := await first.recv(), bytes):
                pass
        assert json.loads(message) == {"state": "stream", "reason": why | {"stream": "sub"}}
        assert await announced(first) == {"stream": "sub", "note": why}
        async with connect(node.ws(), additional_headers=headers) as second:
            assert await announced(second) == {"stream": "sub", "note": why}
        node.camera.event("stream", {"stream": "main"})
        node.camera.config(CONFIG)
        assert await announced(first) == {"stream": "main", "note": None}


async def test_viewers_without_words_are_told_in_headers_what_a_lower_tier_gives(node: Rig) -> None:
    headers = await node.sign_in("operator")
    why: dict[str, object] = {"code": "tier.reduced_for_line", "en": "The line has no room.", "zh": "带宽不足。"}
    peer = Peer()

    def said(answer: httpx.Response) -> tuple[str, Any]:
        return answer.headers["X-Tiergate-Stream"], json.loads(answer.headers.get("X-Tiergate-Note", "null"))

    async with node.camera.playing(UNITS, again, 0.04), connect(node.ws(), additional_headers=headers) as first:
        await collect(first, 1000)
        async with node.http.stream("GET", node.path + "/live.mp4", headers=headers) as answer:
            assert said(answer) == ("main", None)
        node.camera.event("stream", why | {"stream": "sub"})
        node.camera.config(CONFIG)
        async with asyncio.timeout(30):
            while isinstance(message := await first.recv(), bytes) or "mime" not in json.loads(message):
                pass
        async with node.http.stream("GET", node.path + "/live.mp4", headers=headers) as answer:
            assert said(answer) == ("sub", why)
        answer = await node.http.post(node.path + "/whep", content=await peer.offer(), headers=headers)
        assert answer.status_code == 201 and said(answer) == ("sub", why)
        await peer.accept(answer.text)
        async with asyncio.timeout(30):
            await peer.frames["video"].get()
        node.camera.event("stream", why | {"stream": "sub"})  # the same again is no news
        async with asyncio.timeout(30):
            for _ in range(10):
                await peer.frames["video"].get()
        assert node.live.whep_sessions == 1
        node.camera.event("stream", {"stream": "main"})

        async def over() -> bool:
            return node.live.whep_sessions == 0

        await until_async(over, 30, "what is given now is another stream: the session is over")
    await peer.close()


def _watched(node: Rig) -> Any:
    async def there() -> bool:
        return bool(node.camera.watchers)

    return there


async def test_h265_for_a_browser_without_it_is_transcoded_and_said(node: Rig) -> None:
    node.camera.config(stream_config("h265", HEVC))
    units = access_units("h265", HEVC)
    headers = await node.sign_in("operator")
    async with (
        node.camera.playing(units, lambda turn: shifted(units, turn * 180_000), 0.04),
        connect(node.ws("?can=h264"), additional_headers=headers) as socket,
    ):
        texts, data = await collect(socket, 20_000)
    assert texts[0]["path"] == "transcode"
    assert texts[0]["codec"].startswith("avc1")
    assert texts[0]["note"]["code"] == "media.live_transcoded"
    assert decode_mp4(data).pictures > 5


async def test_h265_passes_to_whom_can_decode_it(node: Rig) -> None:
    config = stream_config("h265", HEVC)
    node.camera.config(config)
    units = access_units("h265", HEVC)
    headers = await node.sign_in("operator")
    async with (
        node.camera.playing(units, lambda turn: shifted(units, turn * 180_000), 0.01),
        connect(node.ws("?can=h264,h265"), additional_headers=headers) as socket,
    ):
        texts, _ = await collect(socket, 20_000)
    assert texts[0]["path"] == "pass"
    assert texts[0]["codec"] == config.video.rfc6381


async def test_a_reader_of_live_mp4_gets_a_file_without_end(node: Rig) -> None:
    headers = await node.sign_in("operator")
    data = b""
    async with node.camera.playing(UNITS, again, 0.01):
        async with node.http.stream("GET", node.path + "/live.mp4", headers=headers) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "video/mp4"
            assert answer.headers["x-tiergate-stream"] == "main"
            async for chunk in answer.aiter_bytes():
                data += chunk
                if len(data) > 150_000:
                    break

        async def closed() -> Any:
            return (await node.register())[0].closed_ms

        await until_async(closed, 5, "the register row is closed")
    # The last fragment may be cut where the reader left
    assert decode_mp4(data[: data.rindex(b"moof") - 4]).pictures > 15


async def test_live_mp4_ends_when_the_right_ends(node: Rig) -> None:
    headers = await node.sign_in("operator")
    async with (
        node.camera.playing(UNITS, again, 0.02),
        node.http.stream("GET", node.path + "/live.mp4", headers=headers) as answer,
    ):
        chunks = answer.aiter_bytes()
        await anext(chunks)
        await node.revoke(headers)
        async with asyncio.timeout(8):
            async for _ in chunks:
                pass


async def test_live_mp4_of_a_wall_ends_when_it_is_handed_over_and_the_next_opens_it_in_their_name(node: Rig) -> None:
    services = node.services

    async def principal_of(headers: dict[str, str]) -> Principal:
        found = await services.principals.of(headers["Authorization"], None)
        assert found is not None
        return found

    first, second = [await principal_of(await node.sign_in("operator")) for _ in range(2)]
    headers = await node.sign_in("operator")
    wall = await principal_of(headers)
    await services.write(lambda c: people.change_user(c, wall.id, {"wall": True}))

    async def on_duty(person: Principal) -> None:
        id_hash, now_ms = bytes.fromhex(wall.session or ""), services.now_ms()
        row = shifts.Shift(fresh_id(services.clock), id_hash, wall.id, person.id, now_ms, now_ms + 3_600_000, "")

        def write(connection: Connection) -> None:
            shifts.end_on(connection, id_hash, now_ms, "replaced")
            shifts.add(connection, row)

        await services.write(write)

    assert (await node.http.get(node.path + "/live.mp4", headers=headers)).json()["code"] == "access.nobody_on_duty"
    await on_duty(first)
    async with node.camera.playing(UNITS, again, 0.02):
        async with node.http.stream("GET", node.path + "/live.mp4", headers=headers) as answer:
            chunks = answer.aiter_bytes()
            await anext(chunks)
            await on_duty(second)
            async with asyncio.timeout(8):
                async for _ in chunks:
                    pass
        async with node.http.stream("GET", node.path + "/live.mp4", headers=headers) as answer:
            await anext(answer.aiter_bytes())
    assert [(r.person, r.principal["wall"]["login"]) for r in await node.register()] == [
        (first.name, wall.login), (second.name, wall.login),
    ]  # fmt: skip


async def test_a_camera_without_a_picture_is_a_sentence(node: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "FIRST_PICTURE_S", 0.3)
    headers = await node.sign_in("operator")
    answer = await node.http.get(node.path + "/live.mp4", headers=headers)
    assert answer.status_code == 503
    assert answer.json()["code"] == "media.live_no_picture"
    answer = await node.http.get(node.path + "/live.mp4?stream=third", headers=headers)
    assert answer.status_code == 422


async def test_whep_plays_and_ends_by_its_address(node: Rig) -> None:
    headers = await node.sign_in("operator")
    other = await node.sign_in("operator")
    peer = Peer()
    async with node.camera.playing(UNITS, again, 0.04):
        answer = await node.http.post(
            node.path + "/whep", content=await peer.offer(), headers={**headers, "Content-Type": "application/sdp"}
        )
        assert answer.status_code == 201, answer.text
        assert answer.headers["content-type"].startswith("application/sdp")
        await peer.accept(answer.text)
        async with asyncio.timeout(20):
            for _ in range(10):
                await peer.frames["video"].get()
        location = answer.headers["location"]
        assert (await node.http.delete(location, headers=other)).status_code == 404
        assert (await node.http.delete(location, headers=headers)).status_code == 204
        # hanging up twice is no fault: the page and the browser may both do it
        assert (await node.http.delete(location, headers=headers)).status_code == 204
    rows = await node.register()
    assert [(r.function, r.result) for r in rows] == [("live", "ended")]
    assert rows[0].bytes > 1000
    assert node.live.whep_sessions == 0
    await peer.close()


async def test_whep_ends_when_the_right_ends(node: Rig) -> None:
    headers = await node.sign_in("operator")
    peer = Peer()
    async with node.camera.playing(UNITS, again, 0.04):
        answer = await node.http.post(node.path + "/whep", content=await peer.offer(), headers=headers)
        await peer.accept(answer.text)
        async with asyncio.timeout(20):
            await peer.frames["video"].get()
        await node.revoke(headers)

        async def over() -> bool:
            return node.live.whep_sessions == 0

        await until_async(over, 8, "the session is over")
    assert (await node.register())[0].result == "revoked"
    await peer.close()


async def test_whep_refuses_what_it_cannot_carry(node: Rig) -> None:
    headers = await node.sign_in("operator")
    b_frames = encode_h264(2.0, gop=25, bframes=2)
    node.camera.config(stream_config("h264", b_frames))
    units = access_units("h264", b_frames)
    peer = Peer()
    async with node.camera.playing(units, lambda turn: shifted(units, turn * 180_000), 0.02):
        answer = await node.http.post(node.path + "/whep", content=await peer.offer(), headers=headers)
    assert answer.status_code == 409
    assert answer.json()["code"] == "media.live_whep_b_frames"
    assert (await node.http.post(node.path + "/whep", content=b"", headers=headers)).status_code == 422
    await peer.close()


@pytest.mark.fault("S16")
async def test_after_a_stall_little_is_given_to_the_server_at_once(node: Rig) -> None:
    """The server writes whole what it is given: behind a slow line that would go on after the right has ended."""
    headers = await node.sign_in("operator")
    sizes: list[int] = []
    connected, stalled, released, gone = (asyncio.Event() for _ in range(4))

    async def receive() -> dict[str, Any]:
        if not connected.is_set():
            connected.set()
            return {"type": "websocket.connect"}
        await gone.wait()
        return {"type": "websocket.disconnect", "code": 1001}

    async def send(message: Any) -> None:
        if message["type"] == "websocket.send" and message.get("bytes"):
            stalled.set()
            await released.wait()
            sizes.append(len(message["bytes"]))

    scope = {
        "type": "websocket", "asgi": {"version": "3.0"}, "scheme": "ws", "path": node.path + "/live.ws",
        "query_string": b"can=h264", "root_path": "", "client": ("127.0.0.1", 1), "server": ("node", 80),
        "headers": [(b"host", b"node"), (b"authorization", headers["Authorization"].encode())], "subprotocols": [],
    }  # fmt: skip
    serving = asyncio.create_task(build(node.services)(scope, receive, send))
    async with node.live.hub.viewer(StreamKey(node.camera_id, "main")) as beside:
        async with asyncio.timeout(30):
            await stalled.wait()  # with the init segment
            units = [unit for turn in range(3) for unit in again(turn)]
            node.camera.push(*units)
            pictures: list[Picture] = []
            while len(pictures) < len(units):
                pictures += [entry for entry in await beside.take() if isinstance(entry, Picture)]
            released.set()
            expected = len(init(CONFIG)) + sum(len(picture.fragment) for picture in pictures)
        assert expected > 4 * SENT_BYTES

        async def all_sent() -> bool:
            return sum(sizes) == expected

        await until_async(all_sent, 30, "all that waited was sent", every_s=0.01)
    gone.set()
    await serving
    assert max(sizes) <= SENT_BYTES
    assert len(sizes) < len(units) / 4, "small pictures still go together"
