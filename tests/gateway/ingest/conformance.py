"""What every source must do, as functions over a factory. A new source passes them before it records anything."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from config.redact import Secret, split_credentials
from gateway.ingest.source import GapCause, Source, SourceError, SourceFactory, StreamAddress
from storage.media.access_unit import AccessUnit, StreamConfig, Track
from storage.media.codecs import has_picture, split_length_prefixed
from tests.parts.impostors import Impostor, plain_http, rtsp_redirect
from tests.parts.process import free_port
from tests.parts.relay import TcpRelay
from tests.parts.rtsp_server import RtspServer
from tests.parts.wait import until


def address(url: str, audio: bool = False) -> StreamAddress:
    clean, username, password = split_credentials(url)
    return StreamAddress(clean, username, password, audio)


@dataclass
class Taken:
    configs: list[StreamConfig] = field(default_factory=list)
    video: list[AccessUnit] = field(default_factory=list)
    audio: list[AccessUnit] = field(default_factory=list)


def take(factory: SourceFactory, where: StreamAddress, pictures: int) -> Taken:
    """One session, until so many pictures."""
    source, taken = factory(where), Taken()
    source.open()
    try:
        for item in source:
            if isinstance(item, StreamConfig):
                taken.configs.append(item)
                continue
            assert taken.configs, "a unit before its config"
            (taken.video if item.track is Track.VIDEO else taken.audio).append(item)
            if len(taken.video) >= pictures:
                source.stop()
    finally:
        source.close()
    return taken


def failure(factory: SourceFactory, where: StreamAddress) -> SourceError:
    with pytest.raises(SourceError) as caught:
        take(factory, where, 10_000)
    return caught.value


def check_units(factory: SourceFactory, url: str, codec: str, pictures: int = 60) -> None:
    taken = take(factory, address(url), pictures)
    (config,) = taken.configs
    assert config.video.codec == codec
    assert (config.video.width, config.video.height) == (320, 180)
    assert config.audio is None, "sound was not asked for"
    assert not taken.audio
    assert taken.video[0].key, "the first key frame, which comes without times, is lost"
    assert sum(unit.key for unit in taken.video) >= 2
    assert taken.video[0].dts == 0
    for before, unit in zip(taken.video, taken.video[1:], strict=False):
        assert unit.dts > before.dts
        assert unit.wall_ns > before.wall_ns
        assert unit.epoch == 0
    for unit in taken.video:
        assert unit.duration > 0
        assert has_picture(unit.data, config.video.codec)
        assert b"".join(split_length_prefixed(unit.data))
    elapsed = (taken.video[-1].wall_ns - taken.video[0].wall_ns) / 1e9
    assert abs(elapsed - (pictures - 1) / 25) < 1.5


def check_reordering(factory: SourceFactory, url: str) -> None:
    taken = take(factory, address(url), 60)
    assert any(unit.pts != unit.dts for unit in taken.video)
    assert all(b.dts > a.dts for a, b in zip(taken.video, taken.video[1:], strict=False))


def check_sound(factory: SourceFactory, url: str, codec: str) -> None:
    taken = take(factory, address(url, audio=True), 50)
    (config,) = taken.configs
    assert config.audio is not None
    assert config.audio.codec == codec
    assert taken.audio
    assert all(b.dts > a.dts for a, b in zip(taken.audio, taken.audio[1:], strict=False))
    ticks = sum(unit.duration for unit in taken.audio)
    assert abs(ticks / config.audio.timescale - 2.0) < 0.7


def check_failures(factory: SourceFactory, server: RtspServer) -> None:
    good = address(server.url("tiny"))
    wrong = StreamAddress(good.url, good.username, Secret("wr@ng:secret"))
    error = failure(factory, wrong)
    assert (error.cause, error.reason.code) == (GapCause.CREDENTIALS, "camera.bad_login")
    assert "wr@ng" not in str(error) + repr(error.__cause__) + repr(error.__context__ and error.__suppress_context__)
    error = failure(factory, StreamAddress(good.url + "-not-there", good.username, good.password))
    assert (error.cause, error.reason.code) == (GapCause.CAMERA_OFFLINE, "camera.stream_not_found")
    error = failure(factory, StreamAddress(f"rtsp://127.0.0.1:{free_port()}/x"))
    assert (error.cause, error.reason.code) == (GapCause.CAMERA_OFFLINE, "camera.refused")
    error = failure(factory, StreamAddress("rtsp://no-such-host.invalid/x"))
    assert (error.cause, error.reason.code) == (GapCause.NETWORK, "camera.address_unresolvable")
    for url, code in (
        ("rtsp://169.254.169.254/latest", "camera.address_not_allowed"),
        ("file:///etc/passwd", "camera.scheme_refused"),
        ("http://127.0.0.1/x", "camera.scheme_refused"),
    ):
        error = failure(factory, StreamAddress(url))
        assert (error.cause, error.reason.code) == (GapCause.UNSUPPORTED, code)


def check_redirects(factory: SourceFactory) -> None:
    """A camera that sends us elsewhere is refused before anything goes there, even inside the allowed networks."""
    for login_first in (False, True):
        with Impostor(host="127.0.0.9") as canary:
            target = f"rtsp://127.0.0.9:{canary.port}/x"
            with Impostor(rtsp_redirect(target, login_first)) as camera:
                where = StreamAddress(f"rtsp://127.0.0.1:{camera.port}/x", "admin", Secret("s3cret"))
                error = failure(factory, where)
            assert camera.knocks == 1 and canary.knocks == 0
            assert (error.cause, error.reason.code) == (GapCause.UNSUPPORTED, "camera.redirected")


def check_babble(factory: SourceFactory) -> None:
    """Something that answers whatever it is told, for ever, is left alone after a while."""
    with Impostor(plain_http) as camera:
        error = failure(factory, StreamAddress(f"rtsp://127.0.0.1:{camera.port}/x"))
    assert error.reason.code.startswith("camera.")


def check_end(factory: SourceFactory, make_server: Callable[..., RtspServer]) -> None:
    """A camera that goes is an error with a cause; `stop` is not."""
    server = make_server({"gate": "tiny"})
    source = factory(address(server.url("gate")))
    source.open()
    seen: list[object] = []

    def read() -> None:
        try:
            for item in source:
                seen.append(item)
            seen.append("end")
        except SourceError as error:
            seen.append(error)
        source.close()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    until(lambda: len(seen) > 5, 10, "pictures")
    server.unplug("gate")
    thread.join(15)
    assert isinstance(seen[-1], SourceError)
    assert seen[-1].cause in (GapCause.CAMERA_OFFLINE, GapCause.NETWORK)


def check_cut(factory: SourceFactory, server: RtspServer) -> None:
    """`cut` ends whatever a source waits for, while it opens and while it reads."""

    def taking(where: StreamAddress) -> tuple[Source, threading.Thread, list[object]]:
        source, said = factory(where), list[object]()

        def work() -> None:
            try:
                source.open()
                said.extend(source)
            except SourceError as error:
                said.append(error)
            finally:
                source.close()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return source, thread, said

    with Impostor() as silent:
        source, thread, said = taking(StreamAddress(f"rtsp://127.0.0.1:{silent.port}/x"))
        until(lambda: silent.knocks, 10, "it knocks")
        source.cut()
        thread.join(1.5)
        assert not thread.is_alive(), "it waits for an answer that does not come"
        (error,) = said
        assert isinstance(error, SourceError)
        assert (error.cause, error.reason.code) == (GapCause.NETWORK, "camera.timeout")
    with TcpRelay(server.port) as relay:
        source, thread, said = taking(address(server.url("tiny", port=relay.port)))
        until(lambda: relay.bytes_to_client > 20_000, 10, "pictures come")
        relay.stall()
        source.cut()
        source.cut()
        thread.join(1.5)
        assert not thread.is_alive(), "it waits for a picture that does not come"
        assert not isinstance(said[-1], SourceError), "an end that was asked for is no error"
