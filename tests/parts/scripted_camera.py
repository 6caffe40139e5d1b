"""A camera that plays a script: really encoded pictures and sound, sent over RTSP (TCP interleaved) exactly as written.

GStreamer's server (`rtsp_server`) is a well-behaved camera; this one misbehaves to order. A script is a list of
`Shot`s, which a test may shift, repeat, drop, swap or damage before it is played; each shot says when it is sent and
which RTP time it carries, so that a lie is told by changing one number. Shots that a test has touched carry `hit`;
`sent` counts what went over the wire, hits apart, and a test asserts that its fault was really sent.

Every picture carries its number in an SEI unit and every G.711 packet in its first bytes, so that a file can be asked
which pictures it holds (`picture_number`, `sound_number`). Packets are RFC 6184 and RFC 7798 single units and
fragments, G.711 (RFC 3551) and AAC (RFC 3640). Sequence numbers start shortly before their 16-bit turn.
"""

from __future__ import annotations

import base64
import contextlib
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self

from storage.media.access_unit import AudioConfig
from storage.media.codecs import VideoCodec, is_parameter_set, nal_type, split_annexb
from tests.media import EncodedPacket

TrackName = Literal["video", "audio"]

VIDEO_RATE = 90_000
_NS = 1_000_000_000
_PAYLOAD_BYTES = 1400
#: Zero bytes would need emulation prevention; ASCII has none.
_MARK = b"tiergate-picture"
_DIGITS = 8
_FIRST_SEQUENCE = 65_500
_SSRC = {"video": 0x1111_1111, "audio": 0x2222_2222}
_CHANNEL = {"video": 0, "audio": 2}
_PAYLOAD_TYPE = {"video": 96, "pcma": 8, "pcmu": 0, "aac": 97}
_NTP_EPOCH_S = 2_208_988_800


@dataclass(slots=True)
class Shot:
    """One picture or one packet of sound."""

    at_s: float  #: when it is sent, from the beginning of the script
    track: TrackName
    ticks: int  #: RTP time in the track's clock; only its low 32 bits go over the wire
    units: tuple[bytes, ...]  #: NAL units of a picture; the payload of a sound
    number: int
    key: bool = True
    true_s: float = 0.0  #: when it was taken, whatever `at_s` and `ticks` pretend
    ssrc: int | None = None  #: of another sender than this camera
    hit: bool = False

    def touched(self, **changes: object) -> Shot:
        return replace(self, hit=True, **changes)  # type: ignore[arg-type]  # fields of this class


@dataclass
class Script:
    """What a camera declares, and what it then sends."""

    shots: list[Shot]
    codec: VideoCodec = "h264"
    sdp_sets: tuple[bytes, ...] = ()  #: parameter sets in the SDP
    audio: AudioConfig | None = None  #: declared sound, whether any is sent or not
    declared_fps: int | None = None
    sender_reports_s: float | None = None  #: RTCP sender reports so far apart

    @property
    def seconds(self) -> float:
        return max(shot.at_s for shot in self.shots)

    def of(self, track: TrackName) -> list[Shot]:
        return [shot for shot in self.shots if shot.track == track]

    def touch(self, which: Callable[[Shot], bool], change: Callable[[Shot], Shot]) -> Self:
        """Applies `change` where `which`; in place."""
        self.shots = [change(shot) if which(shot) else shot for shot in self.shots]
        return self


# -- making scripts --------------------------------------------------------------------------------------------------


def film(
    packets: Sequence[EncodedPacket], pictures: int, *, codec: VideoCodec = "h264", first: int = 0, start_s: float = 0.0
) -> list[Shot]:
    """`pictures` shots of an encoded clip, looped, numbered from `first`, sent from `start_s`, in decoding order."""
    turn = packets[-1].dts - packets[0].dts + packets[-1].duration
    shots = []
    for index in range(pictures):
        packet = packets[index % len(packets)]
        shift = index // len(packets) * turn
        units = tuple(split_annexb(packet.data))
        at_s = start_s + (packet.dts + shift) / VIDEO_RATE
        ticks = round(start_s * VIDEO_RATE) + packet.pts + shift
        number = first + index
        true_s = start_s + (packet.pts + shift) / VIDEO_RATE
        shots.append(Shot(at_s, "video", ticks, _numbered(units, number, codec), number, packet.key, true_s))
    return shots


def tone(
    sound: tuple[AudioConfig, Sequence[bytes]], seconds: float, *, start_s: float = 0.0, pace: float = 1.0
) -> list[Shot]:
    """Sound for so long, looped. `pace`: how fast its clock runs against the true one."""
    config, frames = sound
    shots: list[Shot] = []
    position = 0
    while (at_s := start_s + position / config.sample_rate_hz / pace) < start_s + seconds:
        number = len(shots)
        frame = frames[number % len(frames)]
        if config.codec != "aac":
            frame = b"%08x" % number + frame[8:]
        shots.append(Shot(at_s, "audio", position, (frame,), number, True, at_s))
        position += 1024 if config.codec == "aac" else len(frame)
    return shots


def mixed(*parts: Iterable[Shot]) -> list[Shot]:
    """Shots of several tracks in the order of sending."""
    return sorted((shot for part in parts for shot in part), key=lambda shot: shot.at_s)


def sets_of(packets: Sequence[EncodedPacket], codec: VideoCodec = "h264") -> tuple[bytes, ...]:
    """Parameter sets of a clip, for `Script.sdp_sets`."""
    return tuple(nal for nal in split_annexb(packets[0].data) if is_parameter_set(nal, codec))


def without_sets(shot: Shot, codec: VideoCodec = "h264", kinds: tuple[int, ...] | None = None) -> Shot:
    """The picture without its parameter sets, or those of `kinds` only."""
    kept = tuple(
        nal
        for nal in shot.units
        if not (is_parameter_set(nal, codec) and (kinds is None or nal_type(nal, codec) in kinds))
    )
    return shot.touched(units=kept) if len(kept) < len(shot.units) else shot


def flipped(shot: Shot, rate: float, dice: random.Random) -> Shot:
    """Each bit of the picture turned over with probability `rate`, headers and parameter sets included."""
    units = [bytearray(unit) for unit in shot.units]
    hit = False
    for unit in units:
        bits = len(unit) * 8
        at = int(dice.expovariate(rate))
        while at < bits:
            unit[at >> 3] ^= 1 << (at & 7)
            hit = True
            at += 1 + int(dice.expovariate(rate))
    return shot.touched(units=tuple(map(bytes, units))) if hit else shot


def _numbered(units: tuple[bytes, ...], number: int, codec: VideoCodec) -> tuple[bytes, ...]:
    """With an SEI unit (user data, unregistered) in front of the first slice."""
    body = _MARK + b"%08x" % number
    sei = (b"\x06" if codec == "h264" else b"\x4e\x01") + bytes((5, len(body))) + body + b"\x80"
    slices = range(1, 6) if codec == "h264" else range(32)
    at = next(index for index, nal in enumerate(units) if nal_type(nal, codec) in slices)
    return (*units[:at], sei, *units[at:])


def picture_number(sample: bytes) -> int | None:
    """The number of a recorded picture; None when its SEI is gone or damaged."""
    at = sample.find(_MARK)
    return _number(sample[at + len(_MARK) : at + len(_MARK) + _DIGITS]) if at >= 0 else None


def sound_number(payload: bytes) -> int | None:
    return _number(payload[:_DIGITS])


def _number(digits: bytes) -> int | None:
    try:
        return int(digits, 16)
    except ValueError:
        return None


# -- packets ---------------------------------------------------------------------------------------------------------


def payloads(shot: Shot, script: Script) -> list[bytes]:
    """RTP payloads of a shot."""
    if shot.track == "audio":
        unit = shot.units[0]
        if script.audio is not None and script.audio.codec == "aac":
            return [struct.pack(">HH", 16, len(unit) << 3) + unit]
        return [unit]
    return [payload for unit in shot.units for payload in _of_unit(unit, script.codec)]


def _of_unit(unit: bytes, codec: VideoCodec) -> Iterator[bytes]:
    if len(unit) <= _PAYLOAD_BYTES:
        yield unit
        return
    if codec == "h264":
        head, kind, body = bytes((unit[0] & 0xE0 | 28,)), unit[0] & 0x1F, unit[1:]
    else:
        head, kind, body = bytes((unit[0] & 0x81 | 49 << 1, unit[1])), unit[0] >> 1 & 0x3F, unit[2:]
    for at in range(0, len(body), _PAYLOAD_BYTES):
        first, last = at == 0, at + _PAYLOAD_BYTES >= len(body)
        yield head + bytes((first << 7 | last << 6 | kind,)) + body[at : at + _PAYLOAD_BYTES]


@dataclass
class Sent:
    """What went over the wire."""

    shots: Counter[TrackName] = field(default_factory=Counter)
    packets: int = 0
    bytes: int = 0
    hits: int = 0  #: shots that the test had touched
    reports: int = 0
    sessions: int = 0  #: times somebody pressed PLAY


class _Wire:
    """One session's packets."""

    def __init__(self, script: Script, sent: Sent) -> None:
        self._script, self._sent = script, sent
        self._sequence: dict[tuple[TrackName, int], int] = {}
        self._reported_s: dict[TrackName, float] = {}

    def of(self, shot: Shot) -> bytes:
        out = bytearray(self._report(shot))
        ssrc = shot.ssrc if shot.ssrc is not None else _SSRC[shot.track]
        sequence = self._sequence.get((shot.track, ssrc), _FIRST_SEQUENCE)
        audio = self._script.audio if shot.track == "audio" else None
        kind = _PAYLOAD_TYPE[audio.codec if audio is not None else "video"]
        found = payloads(shot, self._script)
        for index, payload in enumerate(found):
            marker = (shot.track == "audio" or index == len(found) - 1) << 7
            out += struct.pack(">BBH", 0x24, _CHANNEL[shot.track], 12 + len(payload))
            out += struct.pack(">BBHII", 0x80, marker | kind, sequence, shot.ticks & 0xFFFF_FFFF, ssrc) + payload
            sequence = sequence + 1 & 0xFFFF
        self._sequence[shot.track, ssrc] = sequence
        self._sent.shots[shot.track] += 1
        self._sent.packets += len(found)
        self._sent.hits += shot.hit
        return bytes(out)

    def _report(self, shot: Shot) -> bytes:
        """A sender report (RFC 3550 §6.4.1) that ties the track's clock to one both tracks share."""
        every = self._script.sender_reports_s
        if every is None or shot.at_s - self._reported_s.get(shot.track, -1e9) < every:
            return b""
        self._reported_s[shot.track] = shot.at_s
        self._sent.reports += 1
        ntp = int((_NTP_EPOCH_S + 1_790_000_000 + shot.true_s) * 2**32)
        body = struct.pack(">BBHIQIII", 0x80, 200, 6, _SSRC[shot.track], ntp, shot.ticks & 0xFFFF_FFFF, 0, 0)
        return struct.pack(">BBH", 0x24, _CHANNEL[shot.track] + 1, len(body)) + body


# -- the server ------------------------------------------------------------------------------------------------------


class ScriptedCamera:
    """Plays its script once, from the first PLAY on; then it is gone: the connection ends and the port is closed.

    By itself it sends in real time, and whoever reconnects sees what comes from then on, as with any camera. With
    `conducted` it sends nothing until `send_until` says so: time is then the caller's.
    """

    def __init__(self, script: Script, *, conducted: bool = False) -> None:
        self.script = script
        self.sent = Sent()
        self._conducted = conducted
        self._began_ns: int | None = None
        self._next = 0
        self._stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._written: Counter[socket.socket] = Counter()
        self._viewer: tuple[socket.socket, _Wire] | None = None

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/script"

    @property
    def finished(self) -> bool:
        return self._next >= len(self.script.shots)

    @property
    def viewer(self) -> socket.socket | None:
        """Our end of the connection that plays."""
        return self._viewer[0] if self._viewer is not None else None

    @property
    def next_s(self) -> float:
        """When the next shot is due."""
        return self.script.shots[self._next].at_s

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopped.set()
        self.hang_up()
        for thread in self._threads:
            thread.join(5)
        for connection in self._connections:
            connection.close()

    def send_until(self, moment_s: float) -> None:
        """Everything that is due, in one piece. Raises OSError when nobody listens any more."""
        if self._viewer is None:
            raise BrokenPipeError("nobody plays")
        connection, wire = self._viewer
        out = bytearray()
        while not self.finished and self.next_s <= moment_s:
            out += wire.of(self.script.shots[self._next])
            self._next += 1
        try:
            self._write(connection, bytes(out))
        except OSError:
            self._viewer = None
            raise
        self.sent.bytes += len(out)

    def written(self, connection: socket.socket) -> int:
        """Bytes that this connection has been given, answers included."""
        return self._written[connection]

    def _write(self, connection: socket.socket, data: bytes) -> None:
        connection.sendall(data)
        self._written[connection] += len(data)

    def hang_up(self) -> None:
        """The camera is gone."""
        self._viewer = None
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._listener.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name=f"scripted-camera-{self.port}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(connection)
            self._spawn(self._talk, connection)

    def _talk(self, connection: socket.socket) -> None:
        buffer = b""
        with contextlib.suppress(OSError):
            while data := connection.recv(65_536):
                buffer += data
                while True:
                    if buffer[:1] == b"$":  # a receiver report
                        if len(buffer) < 4 or len(buffer) < 4 + int.from_bytes(buffer[2:4], "big"):
                            break
                        buffer = buffer[4 + int.from_bytes(buffer[2:4], "big") :]
                        continue
                    head, end, rest = buffer.partition(b"\r\n\r\n")
                    if not end:
                        break
                    buffer = rest
                    if not self._answer(connection, head.decode()):
                        return

    def _answer(self, connection: socket.socket, request: str) -> bool:
        lines = request.split("\r\n")
        method, url, _ = lines[0].split(" ", 2)
        sequence = next(line for line in lines if line.lower().startswith("cseq"))
        answer, body = [sequence], b""
        if method == "OPTIONS":
            answer.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN")
        elif method == "DESCRIBE":
            body = self._sdp().encode()
            answer += [f"Content-Base: {url}/", "Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        elif method == "SETUP":
            channel = _CHANNEL["audio" if url.endswith("track1") else "video"]
            answer.append(f"Transport: RTP/AVP/TCP;unicast;interleaved={channel}-{channel + 1}")
            answer.append("Session: 4711;timeout=60")
        else:
            answer.append("Session: 4711")
        self._write(connection, "\r\n".join(["RTSP/1.0 200 OK", *answer, "", ""]).encode() + body)
        if method == "PLAY":
            self.sent.sessions += 1
            self._viewer = (connection, _Wire(self.script, self.sent))
            if not self._conducted:
                self._spawn(self._play, connection)
        if method == "TEARDOWN" and self._viewer is not None and self._viewer[0] is connection:
            self._viewer = None
        return method != "TEARDOWN"

    def _sdp(self) -> str:
        script = self.script
        name = "H264" if script.codec == "h264" else "H265"
        lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=script", "t=0 0"]
        lines += ["m=video 0 RTP/AVP 96", "c=IN IP4 0.0.0.0", f"a=rtpmap:96 {name}/{VIDEO_RATE}"]
        if script.declared_fps is not None:
            lines.append(f"a=framerate:{script.declared_fps}")
        parameters = ["packetization-mode=1"] if script.codec == "h264" else []
        encoded = [base64.b64encode(nal).decode() for nal in script.sdp_sets]
        if script.codec == "h264" and encoded:
            parameters.append("sprop-parameter-sets=" + ",".join(encoded))
        elif encoded:
            for nal, text in zip(script.sdp_sets, encoded, strict=True):
                parameters.append(f"sprop-{ {32: 'vps', 33: 'sps', 34: 'pps'}[nal_type(nal, 'h265')] }={text}")
        lines += [f"a=fmtp:96 {'; '.join(parameters)}"] if parameters else []
        lines.append("a=control:track0")
        if script.audio is not None:
            audio, kind = script.audio, _PAYLOAD_TYPE[script.audio.codec]
            wire = {"pcma": "PCMA", "pcmu": "PCMU", "aac": "mpeg4-generic"}[audio.codec]
            lines += [f"m=audio 0 RTP/AVP {kind}", f"a=rtpmap:{kind} {wire}/{audio.sample_rate_hz}/{audio.channels}"]
            if audio.codec == "aac":
                lines.append(
                    f"a=fmtp:{kind} streamtype=5; mode=AAC-hbr; config={audio.record.hex()}; sizelength=13; "
                    "indexlength=3; indexdeltalength=3; profile-level-id=1"
                )
            lines.append("a=control:track1")
        return "\r\n".join([*lines, ""])

    def _play(self, connection: socket.socket) -> None:
        if self._began_ns is None:
            self._began_ns = time.monotonic_ns()
        else:
            while not self.finished and self.next_s < self._now_s():
                self._next += 1  # nobody was there to see it
        while not self.finished and not self._stopped.wait(0.005):
            if self.viewer is not connection:
                return  # left, or followed by another
            with contextlib.suppress(OSError):
                self.send_until(self._now_s())
        self.hang_up()

    def _now_s(self) -> float:
        return (time.monotonic_ns() - (self._began_ns or 0)) / _NS
