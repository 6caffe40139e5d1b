"""WHEP against a real peer: aiortc as the browser, which decodes what arrives."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RTCP_PSFB_PLI, RtcpPsfbPacket
from av import AudioFrame, VideoFrame

from config.clock import SystemClock
from config.errors import TiergateError
from gateway.live.aiortc_seam import UdpPorts, use_ports
from gateway.live.hub import Hub, Started, StreamKey
from gateway.live.whep import WhepSession, configure_ports
from storage.media.access_unit import AccessUnit, Track
from tests.gateway.live.serving import LiveSocket, shifted, watch_socket
from tests.media import access_units, encode_g711, encode_h264, stream_config

KEY = StreamKey("21000000001326000001", "main")
PACKETS = encode_h264(2.0, gop=25)
G711, TONE = encode_g711(2.0, law="pcmu")
CONFIG = stream_config("h264", PACKETS, G711)
UNITS = access_units("h264", PACKETS, audio=(G711, TONE))


@pytest.fixture(autouse=True)
def loopback() -> None:
    configure_ports(0, 0, loopback=True)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    async with LiveSocket(tmp_path / "live.sock") as camera:
        camera.config(CONFIG)
        pace = 2.0 / len(UNITS)

        def again(turn: int) -> list[AccessUnit]:
            audio = [
                replace(unit, dts=unit.dts + turn * 16_000, wall_ns=unit.wall_ns + turn * 2_000_000_000)
                for unit in UNITS
                if unit.track is Track.AUDIO
            ]
            video = shifted([unit for unit in UNITS if unit.track is Track.VIDEO], turn * 180_000)
            return sorted(video + audio, key=lambda unit: unit.wall_ns)

        async with camera.playing(UNITS, again, pace):
            hub = Hub(partial(watch_socket, camera.path), linger_s=0)
            yield hub
            await hub.close()


class Peer:
    """What a browser does: offer, answer, decode."""

    def __init__(self, kinds: tuple[str, ...] = ("video",)) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        for kind in kinds:
            self.connection.addTransceiver(kind, direction="recvonly")
        self.frames: dict[str, asyncio.Queue[VideoFrame | AudioFrame]] = {kind: asyncio.Queue() for kind in kinds}
        self._tasks: list[asyncio.Task[None]] = []
        self.connection.on("track", lambda track: self._tasks.append(asyncio.create_task(self._read(track))))

    async def _read(self, track: object) -> None:
        try:
            while True:
                frame = await track.recv()  # type: ignore[attr-defined]  # a MediaStreamTrack
                self.frames[track.kind].put_nowait(frame)  # type: ignore[attr-defined]  # as above
        except MediaStreamError:
            pass

    async def offer(self) -> str:
        await self.connection.setLocalDescription(await self.connection.createOffer())
        return str(self.connection.localDescription.sdp)

    async def accept(self, answer: str) -> None:
        await self.connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def close(self) -> None:
        await self.connection.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def session_of(hub: Hub, sent: list[int]) -> tuple[WhepSession, Started]:
    viewer = hub.join(KEY, audio=True)
    async with asyncio.timeout(5):
        started = next(e for e in await viewer.take() if isinstance(e, Started))
    viewer.close()
    return WhepSession(hub.join(KEY, audio=True), SystemClock(), sent.append), started


async def test_pictures_and_sound_pass_through_to_a_real_peer(hub: Hub) -> None:
    sent: list[int] = []
    session, started = await session_of(hub, sent)
    peer = Peer(("video", "audio"))
    answer = await session.answer(await peer.offer(), started)
    assert "VP8" not in answer
    assert "PCMU" in answer
    assert "PCMA" not in answer
    await peer.accept(answer)
    async with asyncio.timeout(20):
        frames = [await peer.frames["video"].get() for _ in range(40)]
        await peer.frames["audio"].get()
    assert all(isinstance(f, VideoFrame) and (f.width, f.height) == (320, 240) for f in frames)
    times = [int(frame.pts or 0) for frame in frames]
    assert times == sorted(set(times))
    assert sum(sent) > 10_000
    await session.close()
    assert session.ended.is_set()
    await peer.close()


async def test_picture_loss_brings_the_cached_pictures_again_and_not_at_every_request(hub: Hub) -> None:
    session, started = await session_of(hub, [])
    peer = Peer()
    await peer.accept(await session.answer(await peer.offer(), started))
    async with asyncio.timeout(20):
        await peer.frames["video"].get()
        sender = session._peer.getSenders()[0]
        for _ in range(5):
            await sender._handle_rtcp_packet(
                RtcpPsfbPacket(fmt=RTCP_PSFB_PLI, ssrc=1, media_ssrc=sender._ssrc)
            )  # fmt: skip
        assert session.rebursts == 1
        seen = [await peer.frames["video"].get() for _ in range(40)]
    times = [int(frame.pts or 0) for frame in seen]
    assert times == sorted(set(times)), "RTP time went back"
    await session.close()
    await peer.close()


async def test_the_session_ends_when_the_peer_leaves(hub: Hub) -> None:
    session, started = await session_of(hub, [])
    peer = Peer()
    await peer.accept(await session.answer(await peer.offer(), started))
    async with asyncio.timeout(20):
        await peer.frames["video"].get()
        await peer.close()
        await session.ended.wait()


async def test_the_session_ends_with_its_viewer(hub: Hub) -> None:
    session, started = await session_of(hub, [])
    peer = Peer()
    await peer.accept(await session.answer(await peer.offer(), started))
    async with asyncio.timeout(20):
        await peer.frames["video"].get()
        session.viewer.end()
        await session.ended.wait()
    await peer.close()


@pytest.mark.fault("S27")
@pytest.mark.parametrize("sdp", ["", "v=0", "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n", "\0" * 100, "m=audio x y z"])
async def test_a_hostile_offer_is_one_clear_error(hub: Hub, sdp: str) -> None:
    session, started = await session_of(hub, [])
    with pytest.raises(TiergateError) as failure:
        await session.answer(sdp, started)
    assert failure.value.reason.code == "media.live_whep_offer"
    assert session.ended.is_set()


@pytest.mark.fault("S27")
async def test_ports_come_from_the_range_and_their_end_is_said(hub: Hub) -> None:
    probe = UdpPorts().bind("127.0.0.1")
    port = probe.getsockname()[1]
    probe.close()
    use_ports(UdpPorts(port, port, loopback=True))
    first, started = await session_of(hub, [])
    second, _ = await session_of(hub, [])
    peer, other = Peer(), Peer()
    use_ports(UdpPorts(0, 0, loopback=True))
    offers = [await peer.offer(), await other.offer()]
    use_ports(UdpPorts(port, port, loopback=True))
    answer = await first.answer(offers[0], started)
    candidates = [line for line in answer.splitlines() if line.startswith("a=candidate")]
    assert candidates
    assert all(f"127.0.0.1 {port} typ host" in line for line in candidates)
    with pytest.raises(TiergateError) as failure:
        await second.answer(offers[1], started)
    assert failure.value.reason.code == "media.live_whep_ports"
    await first.close()
    await peer.close()
    await other.close()


def test_a_range_that_is_none_is_refused() -> None:
    with pytest.raises(TiergateError):
        configure_ports(50000, 40000, loopback=False)


class Canary:
    """A UDP port that nobody has a reason to speak to."""

    def __init__(self, host: str = "127.0.0.9") -> None:
        self.socket = UdpPorts().bind(host)
        self.host, self.port = self.socket.getsockname()

    def lines(self) -> str:
        """Candidates of every kind that name it, before all others in ICE's order (RFC 8445 §6.1.2.3)."""
        kinds = ("host", "srflx raddr 127.0.0.1 rport 9", "relay raddr 127.0.0.1 rport 9")
        return "".join(
            f"a=candidate:canary{n} 1 udp {2**32 - 1 - n} {self.host} {self.port} typ {kind}\r\n"
            for n, kind in enumerate(kinds)
        )

    def packets(self) -> int:
        """Of what has come. On loopback a datagram is in the queue when the sender's call returns."""
        count = 0
        with contextlib.suppress(BlockingIOError):
            while self.socket.recv(2048):
                count += 1
        return count


@pytest.fixture
def canary() -> Iterator[Canary]:
    made = Canary()
    yield made
    made.socket.close()


def led_astray(offer: str, canary: Canary) -> str:
    head, _, rest = offer.partition("a=candidate:")
    assert rest
    return f"{head}{canary.lines()}a=candidate:{rest}"


@pytest.mark.fault("S27")
@pytest.mark.parametrize("client", ["127.0.0.1", None])  # None: not one candidate is left, the peer's checks lead to it
async def test_no_packet_goes_where_an_offer_leads_and_the_picture_comes_all_the_same(
    hub: Hub, canary: Canary, client: str | None
) -> None:
    session, started = await session_of(hub, [])
    peer = Peer()
    await peer.accept(await session.answer(led_astray(await peer.offer(), canary), started, client))
    async with asyncio.timeout(20):
        await peer.frames["video"].get()
    assert canary.packets() == 0
    await session.close()
    await peer.close()
    assert canary.packets() == 0


@pytest.mark.fault("S27")
async def test_the_canary_hears_an_offer_that_is_allowed_to_name_it(hub: Hub, canary: Canary) -> None:
    session, started = await session_of(hub, [])
    peer = Peer()
    offer = led_astray(await peer.offer(), canary)
    await peer.accept(await session.answer(offer, started, "127.0.0.1", ["127.0.0.9/32"]))
    async with asyncio.timeout(20):
        heard = await asyncio.get_running_loop().sock_recv(canary.socket, 2048)
        await peer.frames["video"].get()
    assert heard[4:8] == b"\x21\x12\xa4\x42", "no STUN (RFC 8489 §5)"
    await session.close()
    await peer.close()


@pytest.mark.fault("S27")
async def test_an_offer_that_waits_for_a_call_to_a_refused_address_is_told_so(hub: Hub, canary: Canary) -> None:
    session, started = await session_of(hub, [])
    peer = Peer()
    offer = "".join(line for line in (await peer.offer()).splitlines(True) if "127.0.0.1" not in line)
    offer = offer.replace("m=video", "a=ice-lite\r\nm=video", 1) + canary.lines()
    with pytest.raises(TiergateError) as failure:
        await session.answer(offer, started, "127.0.0.1")
    assert failure.value.reason.code == "media.live_whep_candidates"
    assert session.ended.is_set() and canary.packets() == 0
    await peer.close()


async def test_a_session_ends_whose_viewer_never_comes(
    hub: Hub, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.live.whep.CONNECT_S", 0.2)
    session, started = await session_of(hub, [])
    peer = Peer()
    await session.answer(led_astray(await peer.offer(), canary), started, None)
    async with asyncio.timeout(20):
        await session.ended.wait()
    assert canary.packets() == 0
    await peer.close()
