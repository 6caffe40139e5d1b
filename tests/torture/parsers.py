"""The readers of foreign bytes, each with real input of its own, and a mutator that knows what breaks readers.

A reader answers, or raises its own kind of error. Everything here is Python of this repository; what libraries in C
decode (pictures, XML) is not.
"""

from __future__ import annotations

import io
import json
import random
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Self, SupportsIndex

from config import ids, redact, units, weekly
from config.clock import ManualClock
from config.crypto import DEFAULT_SUITE, Signed, b64, key_id, sign
from config.errors import TiergateError
from config.reasons import Reason
from config.redact import Secret
from gateway.access import digest
from gateway.access.keys import NodeKeys
from gateway.access.tokens import Tokens
from gateway.cameras import known_firmware
from gateway.cameras.onvif import Information
from gateway.cameras.replay import ReplayError, ReplayExchange
from gateway.evidence import verifier
from gateway.live import candidates
from gateway.live import wire as live
from gateway.playback import clip, hls
from gateway.rtsp import message
from storage import keys as object_keys
from storage.audit.log import Checkpoint
from storage.catalog import places
from storage.catalog.grants import TokenRow
from storage.media import boxes, codecs, fmp4, fragment_index, parameter_sets
from storage.media.access_unit import AccessUnit, StreamConfig, Track
from storage.media.boxes import Identity
from storage.media.codecs import VideoCodec
from storage.media.fragment_index import FragmentEntry
from tests import media
from tiering import cache, cmaf, lease, signing, wire
from tiering.lease import LeaseRequest, LeaseTerms, Person

_KEY = bytes(range(32))
_PUBLIC = DEFAULT_SUITE.public_key(_KEY)
_CAMERA = "21010200011326000001"
_ULID = "01JBQ8Y3M0AAAAAAAAAAAAAAAA"
_SDP = """v=0
o=- 4611731400430051336 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
m=video 9 UDP/TLS/RTP/SAVPF 96
c=IN IP4 0.0.0.0
a=candidate:1467250027 1 udp 2122260223 192.168.0.196 46243 typ host generation 0
a=candidate:2 1 udp 1686052607 ::ffff:10.1.2.3 46243 typ srflx raddr 192.168.0.196 rport 46243
a=candidate:3 1 tcp 1 0a1b2c3d.local 9 typ host tcptype active
a=end-of-candidates
a=ice-ufrag:F7gI
"""


@dataclass(frozen=True)
class Reader:
    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    refuses: type[Exception] = ValueError


def _text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    """A reader of text that gets what a caller of HTTP can send."""
    return lambda data: read(data.decode("utf-8", "surrogateescape"))


def _document(read: Callable[[dict[str, Any]], object]) -> Callable[[bytes], object]:
    return lambda data: read(wire.parse(data, wire.ANSWER_MAX_BYTES))


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _file_reader(data: bytes) -> boxes.Read:
    return lambda offset, count: data[offset : offset + count]


def _salvage(data: bytes) -> object:
    found = boxes.salvage(_file_reader(data), len(data))
    assert 0 <= found.good_length <= len(data)
    return found


def _cmaf(data: bytes) -> object:
    reader = cmaf.CmafReader()
    return [list(reader.feed(piece)) for piece in (data[:100], data[100:])]


def _live(data: bytes) -> object:
    length, kind = live.parse_head(data[: live.HEAD_BYTES].ljust(live.HEAD_BYTES, b"\0"))
    return live.parse_body(kind, data[live.HEAD_BYTES : live.HEAD_BYTES + length])


def _signed_head(data: bytes) -> object:
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    return signing.read_claim(dict(line.split(": ", 1) for line in lines if ": " in line))


def _range(data: bytes) -> object:
    return hls.parse_range(data.decode("utf-8", "surrogateescape"), 1_000_000)


def _firmware(text: str) -> object:
    return known_firmware.faults_of(Information("Hikvision", text[:60], text, ""))


def _requests(data: bytes) -> object:
    parser = message.Parser()
    return [parser.feed(piece) for piece in (data[:100], data[100:])]


def _replay(data: bytes) -> object:
    """What a recorder says to a whole conversation, in pieces."""
    exchange = ReplayExchange("rtsp://10.0.0.9/replay/1", "user", Secret("p"), 1_790_000_000_000, "c" * 16)
    exchange.start()
    sent = [exchange.feed(piece) for piece in (data[:300], data[300:])]
    return exchange.found, sent, exchange.teardown()


def _package(data: bytes) -> object:
    return [one.name for one in verifier.read_zip(io.BytesIO(data))]


def _conversations() -> Iterator[tuple[str, Reader]]:
    """RTSP in both directions."""
    stream = f"rtsp://10.1.2.3:8554/{_CAMERA}/main"
    signed = (
        f'Digest username="u", realm="{digest.REALM}", nonce="{"n" * 32}", uri="{stream}", response="{"a" * 32}", '
        f'algorithm=MD5, qop=auth, nc=00000001, cnonce="{"c" * 16}"'
    )
    transport = "RTP/AVP/TCP;unicast;interleaved=0-1, RTP/AVP;unicast;client_port=5000-5001"
    asked = (
        f"DESCRIBE {stream} RTSP/1.0\r\nCSeq: 2\r\nAccept: application/sdp\r\nAuthorization: {signed}\r\n\r\n"
        f"SETUP {stream}/trackID=1 RTSP/1.0\r\nCSeq: 3\r\nTransport: {transport}\r\n\r\n"
        f"SET_PARAMETER {stream} RTSP/1.0\r\nCSeq: 4\r\nContent-Length: 4\r\n\r\na: b"
    ).encode()
    yield "requests of RTSP", Reader(_requests, (asked, b"$\1\0\4abcd" + asked))
    yield "addresses of streams", Reader(_text(message.target_of), (stream.encode(), f"{stream}/trackID=2".encode()))
    yield "transports of RTSP", Reader(_text(message.interleaved_channels), (transport.encode(),))
    yield "answers to challenges", Reader(_text(digest.parse), (signed.encode(),))
    described = "v=0\r\nm=video 0 RTP/AVP 96\r\na=control:track1\r\n"
    packet = bytes.fromhex("90e0000100000001000000ababac0003") + bytes.fromhex("eb1f2a5040000000a0000000") + b"picture"
    told = (
        (
            'RTSP/1.0 401 No\r\nCSeq: 1\r\nWWW-Authenticate: Digest realm="r", nonce="n", qop="auth"\r\n\r\n'
            f"RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Base: rtsp://10.0.0.9/replay/1/\r\nContent-Length: {len(described)}"
            f"\r\n\r\n{described}"
            "RTSP/1.0 200 OK\r\nCSeq: 3\r\nSession: 7;timeout=60\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n\r\n"
            "RTSP/1.0 200 OK\r\nCSeq: 4\r\nRange: clock=20260919T145320Z-20260919T145322Z\r\n\r\n"
        ).encode()
        + b"$\0"
        + len(packet).to_bytes(2, "big")
        + packet
    )
    yield "answers of recorders", Reader(_replay, (told,), ReplayError)


def _media() -> Iterator[tuple[str, Reader]]:
    packets = {"h264": media.encode_h264(0.48, gop=4, size=(32, 32)), "h265": media.encode_h265(0.4)}
    sound, frames = media.encode_g711(0.48)
    config = StreamConfig(media.stream_config("h264", packets["h264"]).video, sound)
    with_aac = media.stream_config("h265", packets["h265"], media.encode_aac()[0])
    identity = Identity("node-1", _CAMERA, "main", "R1", "S1", "key", "own", media.WALL_NS, "synchronised")
    inits = tuple(fmp4.init_segment(one, identity=identity) for one in (config, with_aac))
    samples = [fmp4.Sample(u.data, u.duration, u.key) for u in media.access_units("h264", packets["h264"])]
    video = fmp4.fragment(Track.VIDEO, 1, 900_000, samples[:4])
    audio = fmp4.fragment(Track.AUDIO, 2, 80_000, [fmp4.Sample(frame[:40], 40) for frame in frames[:4]])
    entries = [FragmentEntry(len(inits[0]), len(video), Track.VIDEO, 900_000, 14_400, True, 4)]
    whole = inits[0] + video + audio + fmp4.random_access_index(entries, 900_000)
    yield "MP4 init segments", Reader(boxes.parse_init, inits)
    yield "MP4 fragments", Reader(boxes.parse_moof, (video, audio))
    yield "MP4 boxes", Reader(lambda data: list(boxes.walk(data)), (whole,))
    yield "torn MP4 files", Reader(_salvage, (whole, inits[0] + video + audio[:50]))
    yield "MP4 key frames", Reader(lambda data: fmp4.key_frame_fragment(data, 1), (video,))
    yield "MP4 fragments placed in a clip", Reader(lambda d: clip.placed(d, 1, 1), (video, audio), TiergateError)
    yield "identities of segments", Reader(boxes.parse_identity, (fmp4.identity_box(identity)[24:],))
    yield "fragment indexes", Reader(fragment_index.decode, (fragment_index.encode(entries * 40),))
    found: dict[VideoCodec, tuple[bytes, ...]] = {}
    for codec in ("h264", "h265"):
        first = packets[codec][0].data
        found[codec] = codecs.annexb_to_access_unit(first, codec)[2]
        record = codecs.build_record(codec, found[codec])
        yield f"{codec} records", Reader(lambda d, c=codec: codecs.video_config_of_record(c, d), (record,))  # type: ignore[misc]  # a bound default
        yield (
            f"{codec} extradata",
            Reader(
                lambda d, c=codec: codecs.parameter_sets_of_extradata(c, d),  # type: ignore[misc]  # a bound default
                (record, b"".join(b"\0\0\0\1" + one for one in found[codec])),
            ),
        )
        yield f"{codec} access units", Reader(lambda d, c=codec: codecs.annexb_to_access_unit(d, c), (first[:1_500],))  # type: ignore[misc]  # a bound default
    camera = bytes.fromhex("6764001facd9405005bb016a02020280000003008000001e478c18cb")
    yield "H.264 parameter sets", Reader(parameter_sets.parse_h264_sps, (found["h264"][0], camera))
    yield "H.264 keys of sets", Reader(parameter_sets.h264_set_key, found["h264"])
    h265 = tuple(one for one in found["h265"] if codecs.nal_type(one, "h265") == 33)
    yield "H.265 parameter sets", Reader(parameter_sets.parse_h265_sps, h265)
    yield "H.265 keys of sets", Reader(parameter_sets.h265_set_key, found["h265"])
    yield "AAC configurations", Reader(codecs.aac_config, (bytes.fromhex("1190"), bytes.fromhex("131056e598")))
    writer = cmaf.CmafWriter()
    sent = media.access_units("h264", packets["h264"])[:4]
    stream = writer.config(config) + b"".join(writer.unit(unit) for unit in sent)
    stream += writer.notice(cmaf.Notice("stream", Reason("tier.reduced_for_line").as_json(), "sub"))
    yield "live pictures between nodes", Reader(_cmaf, (stream,))
    unit = AccessUnit(Track.VIDEO, 0, 0, 3_600, media.WALL_NS, True, b"\0\0\0\2\x65a", 1)
    messages = (
        live.encode_config(live.Config(1, config)),
        live.encode_unit(unit),
        live.encode_event("ended", {"a": 1}),
    )
    yield "live pictures between processes", Reader(_live, messages)


def _documents() -> Iterator[tuple[str, Reader]]:
    who = Person("王", "中心")
    request = LeaseRequest(
        "emergency", 1, "A-1", "reason", who, (who,), (_CAMERA,), ("live",), 30, "sub", None, 5, 6, 7
    )  # fmt: skip
    asked = _json(wire.lease_request_to_json(request))
    yield "requests for leases", Reader(_document(wire.lease_request_from_json), (asked,), TiergateError)
    card = wire.Card(key_id(_PUBLIC), "name", "210102001", "street", "https://h:8090", _PUBLIC, bytes(32))
    yield "cards of nodes", Reader(_document(wire.Card.from_json), (_json(card.as_json()),), TiergateError)
    invite = wire.Invite("http://127.0.0.1:8090", card.node, bytes(32), None, "upper", bytes(20), 1_790_000_000_000)
    yield "codes of invitations", Reader(_text(wire.Invite.from_code), (invite.as_code().encode(),), TiergateError)
    camera = wire.DirectoryCamera(_CAMERA, "n", "street", "210102001", "r", "online", {"a": [1]})
    directory = wire.Directory("d", {"id": "n"}, (camera,) * 3, ({"id": _ULID, "ended_ms": 1, "reason": "over"},))
    yield "directories", Reader(_document(wire.Directory.from_json), (_json(directory.as_json()),), TiergateError)
    segment = wire.SegmentEntry(_ULID, _ULID, 1, 2, 3, "trusted", 4, bytes(32), 5, b"\1\0")
    index = wire.FootageIndex(
        _CAMERA, "main", 1, 2, 3, (wire.RunEntry(_ULID, b"init", "avc1.640028", None, 640, 360),), (segment,) * 2,
        (wire.GapEntry("network", 1, None, {"code": "x"}),), None,
    )  # fmt: skip
    yield "indexes of footage", Reader(_document(wire.FootageIndex.from_json), (_json(index.as_json()),), TiergateError)
    purge = wire.PurgeStatement(_ULID, 1, 2, "0" * 64, True, 0, 3)
    yield "purge statements", Reader(_document(wire.PurgeStatement.from_json), (_json(purge.as_json()),), TiergateError)
    numbers = dict.fromkeys(wire._REPORT_NUMBERS, 1)
    use = {
        "month": "2026-10", "from_ms": 1, "to_ms": 2, "whole": True,
        "items": [dict.fromkeys(wire._REPORT_TEXTS, "x") | numbers],
        "sum": dict.fromkeys(("all", "own", "lower"), numbers),
        "without_case": [dict.fromkeys(("unit", "person", "purpose", "function"), "x") | {"looks": 1}],
    }  # fmt: skip
    report = _document(lambda value: wire.use_report_from_json(value, "2026-10"))
    yield "reports of use", Reader(report, (_json(use),), TiergateError)
    terms = LeaseTerms(
        _ULID, card.node, "0" * 16, "emergency", 1, "emergency", "A-1", "reason", who, None, (who,), (_CAMERA,),
        ("live",), "sub", None, None, 1, 2, 3, None, 4, 0,
    )  # fmt: skip
    yield "documents of leases", Reader(_text(lease.from_document), (lease.to_document(terms).encode(),), TiergateError)
    signed = sign(_KEY, b"x")
    head = f"{signing.NODE}: {card.node}\n{signing.TIME}: 1790000000000\n{signing.NONCE}: {b64(bytes(16))}\n"
    yield (
        "heads of signed requests",
        Reader(_signed_head, (f"{head}{signing.SIGNATURE}: {signed.as_text()}".encode(),), TiergateError),
    )
    yield "signatures", Reader(_text(Signed.from_text), (signed.as_text().encode(),))
    checkpoint = Checkpoint(5, bytes(32), 6, _PUBLIC, signed)
    yield "checkpoints of the audit log", Reader(Checkpoint.from_text, (_json(checkpoint.as_json()),))
    sealed = cache.seal(_KEY, "x", b"plain", bytes(8))
    readme = b"a package"
    crc = zlib.crc32(readme)
    entry = verifier.central_header("README.txt", len(readme), crc, 0)
    package = verifier.local_header("README.txt", len(readme), crc) + readme
    package += entry + verifier.directory_end(1, len(entry), len(package))
    yield "packages of evidence", Reader(_package, (package,), verifier.Bad)
    value = {"format": verifier.FORMAT, "cameras": [{"id": _CAMERA}] * 2, "files": [{"name": "README.txt"}]}
    manifest = verifier.canonical_json(value)
    yield "manifests of evidence", Reader(lambda data: verifier._parsed(data, "m"), (manifest,), verifier.Bad)
    yield "heads of sealed objects", Reader(lambda data: cache._parse_head(data[:24]), (sealed,), TiergateError)


def _token(clock: ManualClock) -> TokenRow:
    now_ms = clock.wall_ns() // 1_000_000
    grant = {"effect": "allow", "resources": {"cameras": ["c"]}, "functions": ["live"], "conditions": {}}
    return TokenRow(_ULID, "dep", "教育局", "x", grant, now_ms, now_ms + 3_600_000, "admin")


def _texts() -> Iterator[tuple[str, Reader]]:
    clock = ManualClock()
    tokens = Tokens(NodeKeys(_KEY, _KEY, _KEY, Path("/nowhere")), clock)
    row = _token(clock)
    yield "tokens", Reader(_text(tokens.verify), (tokens.sign(row).encode(),), TiergateError)
    sift = _text(lambda text: candidates.sifted(text, "10.1.2.3", ["10.0.0.0/8"], loopback=False))
    yield "offers of WebRTC", Reader(sift, (_SDP.replace("\n", "\r\n").encode(),))
    key = object_keys.segment_key("n" * 16, _CAMERA, media.WALL_NS // 1_000_000, _ULID)
    yield "names of objects", Reader(_text(object_keys.parse_segment_key), (key.encode(),))
    aside = object_keys.quarantine_key(key, 1_790_000_000_000)
    yield "names of objects put aside", Reader(_text(object_keys.parse_quarantine_key), (aside.encode(),))
    yield "ranges of bytes", Reader(_range, (b"bytes=0-499", b"bytes=-500", b"bytes=500-"))
    yield "speeds", Reader(_text(hls.parse_speed), (b"1", b"0.5", b"16"), TiergateError)
    yield "weeks", Reader(_text(weekly.parse_week), (b"mon-fri 07:30-19:00, sat 08:00-12:00",), TiergateError)
    yield "times", Reader(_text(units.parse_time_ms), (b"2026-11-28T20:00:00+08:00", b"1790000000000"), TiergateError)
    yield "durations", Reader(_text(units.parse_duration_ms), (b"90d", b"8h"), TiergateError)
    yield "ids of cameras", Reader(_text(ids.CameraId.parse), (_CAMERA.encode(),), TiergateError)
    regions = "code,name,tier,parent\n210211,甘井子区,district,2102\n210211001,兴华街道,street,210211\n"
    yield "lists of regions", Reader(_text(places.parse_regions), (regions.encode(),), TiergateError)
    url = b"rtsp://admin:p%40ss@10.0.0.9:554/h264?channel=1 and http://a:b@c/ failed"
    yield "addresses with passwords", Reader(_text(redact.split_credentials), (url,))
    yield "texts with passwords", Reader(_text(redact.redact_text), (url * 3,))
    firmware = (b"V5.4.0 build 160530", b"2.800.0000000.10.R, build: 2021-05-31", b"6.3.39")
    yield "versions of firmware", Reader(_text(_firmware), firmware)


def readers() -> dict[str, Reader]:
    return {name: reader for part in (_media(), _documents(), _texts(), _conversations()) for name, reader in part}


# --- breaking ---

_INTERESTING = (
    b"", b"\0", b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1", b"\0\0\0\0\0\0\0\1", b"\0\0\3",
    b"\xff" * 8, b"[" * 3_000, b'{"a":' * 500, b"-1", b"1e999", b"NaN", b"Infinity", b"null", b"true", b"9" * 40,
    b"9" * 5_000, b'""', b"\xed\xa0\x80", b"\xc3\x28", "\u202e".encode(), "٣".encode(), b"\r\n", b"%00", b":", b"/",
    b"-", b"=", b"@", b".",
)  # fmt: skip


class Mutator:
    """Inputs made of real ones: bits turned, pieces cut, doubled, exchanged with another seed's, interesting values."""

    def __init__(self, seed: int, seeds: tuple[bytes, ...]) -> None:
        self._random = random.Random(seed)
        self._seeds = seeds

    def __next__(self) -> bytes:
        draw = self._random
        data = bytearray(draw.choice(self._seeds))
        for _ in range(draw.choice((1, 1, 1, 2, 3, 6))):
            at = draw.randrange(len(data) + 1)
            if draw.random() < 0.5:
                at = min(at, draw.randrange(64))  # heads decide most
            span = draw.choice((1, 1, 2, 4, 8, draw.randrange(64)))
            match draw.randrange(8):
                case 0 | 1 if data:
                    data[at % len(data)] ^= 1 << draw.randrange(8)
                case 2 if data:
                    data[at % len(data)] = draw.randrange(256)
                case 3:
                    del data[at : at + span]
                case 4:
                    data[at : at + span] = draw.choice(_INTERESTING)
                case 5:
                    data[at:at] = data[at : at + span] * draw.choice((1, 2, 50))
                case 6:
                    other = draw.choice(self._seeds)
                    cut = draw.randrange(len(other) + 1)
                    data[at:] = other[cut : cut + 2_000]
                case _:
                    del data[draw.randrange(len(data) + 1) :]
        return bytes(data[:8_192])

    def __iter__(self) -> Self:
        return self


# --- counting work ---


class Counted(bytes):
    """Bytes that count how many of them are copied out of them."""

    copied = 0

    def __getitem__(self, at: SupportsIndex | slice) -> Any:
        found = super().__getitem__(at)
        if isinstance(found, bytes):
            Counted.copied += len(found)
            return Counted(found)
        return found


def work(read: Callable[[bytes], object], data: bytes) -> int:
    """Lines of Python that reading takes, and bytes that it copies."""
    lines = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    Counted.copied = 0
    counted = Counted(data)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        read(counted)
    except Exception:  # noqa: S110 - what was refused has been read, too
        pass
    finally:
        sys.settrace(before)
    return lines + Counted.copied
