"""RTSP messages: whatever comes is taken apart, refused or waited for; never raised at, never kept."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.rtsp.message import (
    BODY_BYTES,
    HEAD_BYTES,
    Frame,
    Malformed,
    Message,
    Parser,
    Request,
    interleaved_channels,
    response,
    target_of,
)

CAMERA = "21021100011326000001"
PLAIN = b"OPTIONS rtsp://n/x RTSP/1.0\r\nCSeq: 7\r\nUser-Agent: x\r\n\r\n"


def fed(data: bytes, step: int = 0) -> tuple[list[Message], Parser]:
    """What a parser makes of `data`, given in pieces of `step` bytes."""
    parser, found = Parser(), list[Message]()
    for at in range(0, len(data), step or max(1, len(data))):
        found += parser.feed(data[at : at + (step or len(data))])
    return found, parser


@pytest.mark.parametrize("step", [0, 1, 2, 3, 7, 64])
def test_requests_and_frames_are_told_apart_however_they_are_cut(step: int) -> None:
    body = b"SET_PARAMETER rtsp://n/x RTSP/1.0\nCSeq: 8\nContent-Length: 6\n\nab\r\n\r\n"
    frame = b"$\x01\x00\x05\r\n\r\n$"
    found, parser = fed(b"\r\n\r\n" + PLAIN + frame + body + b"$\x00\x00\x00" + PLAIN, step)
    assert found == [
        Request("OPTIONS", "rtsp://n/x", 7, {"cseq": "7", "user-agent": "x"}, b""),
        Frame(1, 5),
        Request("SET_PARAMETER", "rtsp://n/x", 8, {"cseq": "8", "content-length": "6"}, b"ab\r\n\r\n"),
        Frame(0, 0),
        Request("OPTIONS", "rtsp://n/x", 7, {"cseq": "7", "user-agent": "x"}, b""),
    ]
    assert not parser.partial


@pytest.mark.parametrize(
    ("data", "status", "cseq"),
    [
        (b"OPTIONS rtsp://n/x RTSP/1.0\r\n\r\n", 400, None),
        (b"OPTIONS rtsp://n/x RTSP/1.0\r\nCSeq: one\r\n\r\n", 400, None),
        (b"OPTIONS rtsp://n/x RTSP/1.0\r\nCSeq: 1\r\nCSeq: 2\r\n\r\n", 400, 1),
        (b"OPTIONS rtsp://n/x RTSP/1.0\r\nCSeq: 1\r\nSession: a\r\nSession: b\r\n\r\n", 400, 1),
        (b"OPTIONS rtsp://n/x RTSP/1.0\r\nCSeq: 1\r\n folded\r\n\r\n", 400, 1),
        (b"OPTIONS rtsp://n/x RTSP/1.0\r\nCSeq: 1\r\nA: \x00\r\n\r\n", 400, 1),
        (b"OPTIONS rtsp://n/x RTSP/1.0\r\nCSeq: 1\r\nA: \xff\r\n\r\n", 400, 1),
        (b"OPTIONS rtsp://n/x RTSP/2.0\r\nCSeq: 1\r\n\r\n", 505, 1),
        (b"GET / HTTP/1.1\r\nCSeq: 1\r\n\r\n", 400, 1),
        (b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n", 400, 1),
        (b"OPTIONS  RTSP/1.0\r\nCSeq: 1\r\n\r\n", 400, 1),
        (b"OPTIONS x RTSP/1.0\r\nCSeq: 1\r\nContent-Length: -1\r\n\r\n", 400, 1),
        (b"OPTIONS x RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 999999999\r\n\r\n", 413, 1),
        (b"OPTIONS x RTSP/1.0\r\nCSeq: 1\r\n" + b"A: b\r\n" * 64 + b"\r\n", 400, 1),
        (b"OPTIONS " + b"x" * HEAD_BYTES, 413, None),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * HEAD_BYTES, 413, None),
    ],
)
def test_what_is_no_request_is_refused_and_nothing_after_it_is_heard(
    data: bytes, status: int, cseq: int | None
) -> None:
    for step in (0, 1):
        found, parser = fed(PLAIN + data + PLAIN, step)
        assert found[1:] == [Malformed(status, cseq)]
        assert parser.feed(PLAIN) == [] and not parser.partial


@settings(max_examples=500)
@given(st.binary(max_size=600), st.integers(1, 50))
def test_no_bytes_make_the_parser_raise_or_grow(data: bytes, step: int) -> None:
    parser = Parser()
    for at in range(0, len(data), step):
        parser.feed(data[at : at + step])
        assert len(parser._buffer) <= HEAD_BYTES + BODY_BYTES


def test_a_head_without_end_and_a_flood_of_frames_are_not_kept() -> None:
    parser = Parser()
    for _ in range(200):
        assert parser.feed(b"$\x00\xff\xff" + b"\0" * 65535) == [Frame(0, 65535)]
        assert len(parser._buffer) == 0
    for _ in range(2000):
        parser.feed(b"\r\n" * 100)
        assert len(parser._buffer) == 0


@pytest.mark.parametrize(
    ("uri", "wanted"),
    [
        (f"rtsp://n:8554/{CAMERA}/main", (CAMERA, "main", None)),
        (f"rtsps://n/{CAMERA}/sub/", (CAMERA, "sub", None)),
        (f"RTSP://n/{CAMERA}/main/trackid=2", (CAMERA, "main", 2)),
        (f"rtsp://u:p@n/{CAMERA}/main?x=1", (CAMERA, "main", None)),
        (f"rtsp://n/{CAMERA}/main/trackID=3", None),
        (f"rtsp://n/{CAMERA}/third", None),
        (f"rtsp://n/{CAMERA[:19]}/main", None),
        (f"rtsp://n/x/../{CAMERA}/main", None),
        (f"http://n/{CAMERA}/main", None),
        ("*", None),
    ],
)
def test_a_url_names_a_camera_a_stream_and_a_track(uri: str, wanted: tuple[str, str, int | None] | None) -> None:
    target = target_of(uri)
    assert (None if target is None else (target.camera, target.stream, target.track)) == wanted
    assert target is None or ("@" not in target.base and "?" not in target.base)


@pytest.mark.parametrize(
    ("transport", "taken", "wanted"),
    [
        ("RTP/AVP/TCP;unicast;interleaved=0-1", (), (0, 1)),
        ("RTP/AVP/TCP;interleaved=4", (), (4, 5)),
        ("RTP/AVP/TCP;unicast", (), (0, 1)),
        ("RTP/AVP/TCP;interleaved=0-1", (0, 1), (2, 3)),
        ("RTP/AVP/TCP;interleaved=254-255", (), (254, 255)),
        ("RTP/AVP/TCP;interleaved=255-256", (), (0, 1)),
        ("RTP/AVP/TCP;interleaved=3-9", (), (0, 1)),
        ('RTP/AVP;unicast;client_port=1-2,rtp/avp/tcp;mode="PLAY";interleaved=2-3', (), (2, 3)),
        ("RTP/AVP/TCP;mode=record;interleaved=0-1", (), None),
        ("RTP/AVP/TCP;multicast;interleaved=0-1", (), None),
        ("RTP/AVP;unicast;client_port=1-2", (), None),
        ("", (), None),
    ],
)
def test_only_this_connection_carries_media(
    transport: str, taken: tuple[int, ...], wanted: tuple[int, int] | None
) -> None:
    assert interleaved_channels(transport, frozenset(taken)) == wanted


def test_no_header_begins_a_line_of_its_own() -> None:
    assert response(200, 3, [("Session", "a")]) == b"RTSP/1.0 200 OK\r\nCSeq: 3\r\nSession: a\r\n\r\n"
    with pytest.raises(ValueError, match="two lines"):
        response(200, 3, [("Session", "a\r\nX: y")])
