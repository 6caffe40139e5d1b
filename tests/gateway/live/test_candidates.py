"""What is left of an offer's candidates, judged by the parser that will read the offer (FAULTS S27)."""

from __future__ import annotations

import pytest
from aiortc.sdp import SessionDescription

from gateway.live.candidates import Sifted, sifted

_HEAD = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\n"
VIEWER = "10.1.2.3"


def line(address: str, kind: str = "host") -> str:
    return f"a=candidate:1 1 udp 2113937151 {address} 51234 typ {kind}"


def judged(*lines: str, client: str | None = VIEWER, networks: tuple[str, ...] = (), loopback: bool = False) -> Sifted:
    return sifted(_HEAD + "\r\n".join(lines) + "\r\n", client, networks, loopback=loopback)


def left(offer: Sifted) -> list[str]:
    return [c.ip for media in SessionDescription.parse(offer.sdp).media for c in media.ice_candidates]


def test_the_viewers_own_address_stays() -> None:
    assert left(judged(line(VIEWER), line(VIEWER, "srflx raddr 192.168.1.2 rport 5"))) == [VIEWER, VIEWER]
    assert left(judged(line("fd00:0::A"), client="fd00::a")) == ["fd00:0::A"]
    assert left(judged(line(VIEWER), client=f"::ffff:{VIEWER}")) == [VIEWER]


def test_names_under_local_are_the_viewers_own_address_and_are_never_resolved() -> None:
    assert left(judged(line("5f1c-ab.local"), line("5F1C.LOCAL"))) == [VIEWER, VIEWER]
    assert left(judged(line("5f1c-ab.local"), client=None)) == []
    assert left(judged(line("5f1c-ab.local", "srflx"))) == []
    assert left(judged(line("localhost"), line("metadata.example.cn"))) == []


@pytest.mark.fault("S27")
@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.9", "192.168.1.1", "127.0.0.1", "127.0.0.9", "169.254.169.254", "0.0.0.0", "224.0.0.251",
        "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "8.8.8.8",
        "10.1.2.03", "167838211", "0x0a010203",
    ],
)  # fmt: skip
def test_no_other_address_stays(address: str) -> None:
    offer = judged(line(address), line(address, "srflx"), line(address, "relay"), line(VIEWER))
    assert left(offer) == [VIEWER]
    assert (offer.kept, offer.refused) == (1, 3)


@pytest.mark.fault("S27")
@pytest.mark.parametrize("end", ["\n", "\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_no_line_end_that_the_parser_knows_hides_a_candidate(end: str) -> None:
    assert left(judged(line(VIEWER) + end + line("10.0.0.9"), "a=x" + end + line("10.0.0.9"))) == [VIEWER]


def test_a_network_of_the_list_is_allowed_and_the_link_and_everybody_never_are() -> None:
    every = ("0.0.0.0/0", "::/0")
    assert left(judged(line("10.0.0.9"), line("10.0.1.9"), networks=("10.0.0.0/24",))) == ["10.0.0.9"]
    assert left(judged(line("169.254.169.254"), line("224.0.0.251"), line("fe80::1"), networks=every)) == []


def test_a_viewer_on_loopback_is_believed_only_where_the_web_listens_there() -> None:
    assert left(judged(line("127.0.0.1"), line("x.local"), client="127.0.0.1", loopback=True)) == ["127.0.0.1"] * 2
    assert left(judged(line("127.0.0.9"), client="127.0.0.1", loopback=True)) == []
    assert left(judged(line("127.0.0.1"), line("x.local"), client="127.0.0.1", loopback=False)) == []


def test_the_end_of_candidates_is_said_only_when_none_was_refused() -> None:
    assert "a=end-of-candidates" in judged(line(VIEWER), "a=end-of-candidates").sdp
    assert "a=end-of-candidates" not in judged(line("10.0.0.9"), "a=end-of-candidates").sdp
