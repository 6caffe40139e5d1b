"""The exchange of a replay: what is asked, and that nothing a recorder sends breaks it or passes for footage."""

from __future__ import annotations

import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.redact import Secret
from gateway.cameras import owner_answers
from gateway.cameras.replay import MAX_MEDIA_BYTES, Replayed, ReplayError, ReplayExchange, clock_text

AT_MS = 1_790_000_000_123
URL = "rtsp://10.0.0.1/replay/1"
_SDP = "v=0\r\ns=x\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\na=control:track1\r\n"


def exchange() -> ReplayExchange:
    made = ReplayExchange(URL, "admin", Secret("canary"), AT_MS, "0011")
    made.start()
    return made


def answer(sequence: int, *headers: str, status: int = 200, body: str = "") -> bytes:
    lines = [f"RTSP/1.0 {status} x", f"CSeq: {sequence}", *headers, f"Content-Length: {len(body)}", "", body]
    return "\r\n".join(lines).encode()


def packet(at_ms: int | None, size: int = 100, channel: int = 0) -> bytes:
    extension = b""
    if at_ms is not None:
        whole, part = divmod(at_ms, 1000)
        extension = struct.pack(">HHIII", 0xABAC, 3, whole + 2_208_988_800, (part << 32) // 1000, 0)
    rtp = struct.pack(">BBHII", 0x90 if extension else 0x80, 96, 1, 2, 3) + extension + b"x" * size
    return struct.pack(">BBH", 0x24, channel, len(rtp)) + rtp


OPENED = answer(1, f"Content-Base: {URL}/", body=_SDP) + answer(
    2, "Session: 9;timeout=60", "Transport: x;interleaved=0-1"
)
PLAYED = OPENED + answer(3, "Session: 9")


def played(made: ReplayExchange) -> list[str]:
    """What is asked on the way to PLAY."""
    asked = [made.feed(part) for part in (OPENED[: OPENED.rindex(b"RTSP/")], OPENED[OPENED.rindex(b"RTSP/") :])]
    made.feed(answer(3, "Session: 9"))
    return [one.decode() for one in asked]


def test_replay_is_asked_for_as_profile_g_wants_it() -> None:
    setup, play = played(exchange())
    assert setup.startswith(f"SETUP {URL}/track1 RTSP/1.0\r\n") and "interleaved=0-1" in setup
    assert play.startswith(f"PLAY {URL}/ RTSP/1.0\r\n") and "Session: 9\r\n" in play
    assert f"Range: clock={clock_text(AT_MS)}-{clock_text(AT_MS + 2_000)}\r\n" in play
    assert all("Require: onvif-replay\r\n" in one for one in (setup, play))


@pytest.mark.parametrize("control", ["rtsp://[/track1", "rtsp://[::1/x"])
def test_a_track_at_an_address_that_is_none_breaks_the_exchange_off(control: str) -> None:
    with pytest.raises(ReplayError):
        exchange().feed(answer(1, body=_SDP.replace("track1", control)))


def test_media_before_play_is_taken_does_not_count() -> None:
    made = exchange()
    made.feed(OPENED[: OPENED.rindex(b"RTSP/")] + packet(AT_MS))
    made.feed(OPENED[OPENED.rindex(b"RTSP/") :] + packet(AT_MS))
    assert made.found.packets == 0
    made.feed(answer(3, "Session: 9") + packet(AT_MS, channel=1) + packet(AT_MS))
    assert made.found.packets == 1, "and another track's does not either"


def test_a_second_of_stamped_packets_is_enough() -> None:
    made = exchange()
    played(made)
    for step in range(5):
        assert not made.done
        made.feed(packet(AT_MS + step * 250))
    assert made.done and (made.found.first_ms, made.found.last_ms) == (AT_MS, AT_MS + 1_000)


def test_what_keeps_to_no_range_is_cut_off() -> None:
    made = exchange()
    played(made)
    for _ in range(MAX_MEDIA_BYTES // 60_000 + 1):
        made.feed(packet(None, 60_000))
    assert made.done and made.found.media_bytes < MAX_MEDIA_BYTES + 60_001


@given(cuts=st.lists(st.integers(1, 50), max_size=30))
def test_pieces_of_any_size_mean_the_same(cuts: list[int]) -> None:
    made, rest = exchange(), PLAYED + packet(AT_MS) + packet(AT_MS + 40)
    for cut in [*cuts, len(rest)]:
        made.feed(rest[:cut])
        rest = rest[cut:]
        if not rest:
            break
    made.feed(rest)
    assert (made.found.status, made.found.packets, made.found.first_ms) == (200, 2, AT_MS)


@given(data=st.binary(max_size=400), opened=st.booleans(), framed=st.booleans())
def test_garbage_breaks_nothing_and_is_no_footage(data: bytes, opened: bool, framed: bool) -> None:
    made = exchange()
    if opened:
        played(made)
    try:
        made.feed(struct.pack(">BBH", 0x24, 0, len(data)) + data if framed else data)
    except ReplayError:
        pass
    verdict, _ = owner_answers.replayed(made.found, AT_MS, 0, answered=True)
    assert verdict != "present"


@pytest.mark.parametrize(
    "bad",
    [
        b"x" * 20_000,
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 999999\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: -1\r\n\r\n",
    ],
)
def test_what_is_no_rtsp_is_said_so(bad: bytes) -> None:
    with pytest.raises(ReplayError):
        exchange().feed(bad)


@pytest.mark.parametrize("algorithm", ["", ', algorithm=MD5, qop="auth"', ", algorithm=SHA-256, qop=auth"])
def test_a_login_is_tried_once_and_never_in_the_clear(algorithm: str) -> None:
    made = exchange()
    asked = made.feed(answer(1, f'WWW-Authenticate: Digest realm="r", nonce="n"{algorithm}', status=401)).decode()
    assert asked.count("\r\nCSeq: 2\r\n") == 1 and "canary" not in asked
    response = re.search(r'response="([0-9a-f]+)"', asked)
    assert response is not None and len(response[1]) == (64 if "SHA" in algorithm else 32)
    assert made.feed(answer(2, 'WWW-Authenticate: Digest realm="r", nonce="m"', status=401)) == b"" and made.done
    basic = exchange()
    assert basic.feed(answer(1, 'WWW-Authenticate: Basic realm="r"', status=401)) == b""
    assert basic.found.cleartext


def test_a_control_address_leads_to_no_other_host() -> None:
    made = exchange()
    sdp = _SDP.replace("track1", "rtsp://10.9.9.9:99/elsewhere")
    assert made.feed(answer(1, "Content-Base: rtsp://10.8.8.8/", body=sdp)).startswith(
        b"SETUP rtsp://10.0.0.1/elsewhere "
    )


def test_a_range_is_written_in_utc() -> None:
    assert clock_text(AT_MS) == "20260921T141320.123Z"


GOOD = Replayed(200, "PLAY", True, False, 10, 1_000, AT_MS, AT_MS + 1_000)


@pytest.mark.parametrize(
    ("first_ms", "verdict"),
    [(AT_MS, "present"), (AT_MS - 30_000, "present"), (AT_MS - 30_001, "absent"), (AT_MS + 2_000, "present"),
     (AT_MS + 2_001, "absent"), (None, "unknown")],
)  # fmt: skip
def test_only_the_time_asked_for_is_present(first_ms: int | None, verdict: str) -> None:
    made = Replayed(200, "PLAY", True, False, 10, 1_000, first_ms, first_ms)
    assert owner_answers.replayed(made, AT_MS, 0, answered=False)[0] == verdict
    assert owner_answers.replayed(GOOD, AT_MS - 3_600_000, 3_600_000, answered=True)[0] == "present", (
        "its clock is ahead"
    )
