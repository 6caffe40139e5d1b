"""ONVIF against somebody else's device, and the parts that need none."""

from __future__ import annotations

import pytest

from config.clock import SystemClock
from config.errors import TiergateError
from config.redact import Secret
from config.settings import Settings, build
from gateway.cameras import address, discovery, onboarding
from gateway.cameras.onboarding import choose_streams
from gateway.cameras.onvif import Profile
from tests.parts.onvif_ipycam import OnvifCamera

LOOPBACK: Settings = build({"cameras": {"allowed_networks": ["127.0.0.0/8"], "connect_timeout_s": 3}})


def profile(token: str, codec: str, width: int, height: int) -> Profile:
    return Profile(token, token, "src", codec, width, height, False, False)


def test_main_is_the_largest_and_sub_the_wall_sized_h264() -> None:
    profiles = [
        profile("a", "h265", 3840, 2160),
        profile("b", "h264", 640, 360),
        profile("c", "h265", 640, 360),
        profile("d", "jpeg", 1920, 1080),
        profile("e", "h264", 320, 180),
    ]
    assert [(s, p.token) for s, p in choose_streams(profiles)] == [("main", "a"), ("sub", "b")]


def test_a_single_profile_has_no_sub() -> None:
    assert [s for s, _ in choose_streams([profile("a", "h264", 1920, 1080)])] == ["main"]


@pytest.mark.real
async def test_a_foreign_device_is_described_with_main_and_sub(onvif_camera: OnvifCamera) -> None:
    offers = await onboarding.describe(
        LOOPBACK,
        SystemClock(),
        onvif=onvif_camera.url,
        username=onvif_camera.user,
        password=Secret(onvif_camera.password),
    )
    offer = onboarding.pick(offers, None, onvif_camera.url)
    assert [s.stream for s in offer.streams] == ["main", "sub"]
    assert all(s.url.startswith("rtsp://127.0.0.1:") and "@" not in s.url for s in offer.streams)
    assert offer.model
    assert offer.ptz


@pytest.mark.fault("S4")
@pytest.mark.real
async def test_a_wrong_password_is_said_so_without_showing_it(onvif_camera: OnvifCamera) -> None:
    with pytest.raises(TiergateError) as caught:
        await onboarding.describe(
            LOOPBACK, SystemClock(), onvif=onvif_camera.url, username=onvif_camera.user, password=Secret("canary-wrong")
        )
    assert caught.value.reason.code == "camera.onvif_credentials"
    assert "canary" not in str(caught.value)


@pytest.mark.fault("S6")
@pytest.mark.real
async def test_a_device_outside_the_allowed_networks_gets_no_packet(onvif_camera: OnvifCamera) -> None:
    elsewhere = build({"cameras": {"allowed_networks": ["10.0.0.0/8"]}})
    with pytest.raises(TiergateError) as caught:
        await onboarding.describe(
            elsewhere,
            SystemClock(),
            onvif=onvif_camera.url,
            username=onvif_camera.user,
            password=Secret(onvif_camera.password),
        )
    assert caught.value.reason.code == "camera.address_not_allowed"


async def test_nobody_there_is_one_clear_sentence() -> None:
    with pytest.raises(TiergateError) as caught:
        await onboarding.describe(LOOPBACK, SystemClock(), onvif="127.0.0.1:9", username="a", password=Secret("b"))
    assert caught.value.reason.code == "camera.onvif_unreachable"


@pytest.mark.fault("S6")
@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "0.0.0.0",
        "::1",
        "::ffff:127.0.0.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "224.0.0.1",
        "127.1",
    ],
)
def test_addresses_outside_the_list_are_refused_in_every_spelling(host: str) -> None:
    with pytest.raises(TiergateError):
        address.allowed_address(host, ["10.0.0.0/8", "fc00::/7"])


_MATCH = b"""<?xml version="1.0"?><e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"
 xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"><e:Body><d:ProbeMatches><d:ProbeMatch>
 <d:Scopes>onvif://www.onvif.org/name/Front%20Gate onvif://www.onvif.org/hardware/X-100</d:Scopes>
 <d:XAddrs>http://10.1.2.3/onvif/device_service http://[fe80::1]/x</d:XAddrs></d:ProbeMatch></d:ProbeMatches></e:Body></e:Envelope>"""


def test_a_discovery_answer_is_read() -> None:
    found = discovery.parse_answer(_MATCH)
    assert found == discovery.Found("10.1.2.3", "http://10.1.2.3/onvif/device_service", "Front Gate", "X-100")


@pytest.mark.fault("S10")
@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\xff" * 100,
        b"<a/>",
        _MATCH[:200],
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b"<XAddrs>http://[</XAddrs>",
    ],
)
def test_hostile_discovery_answers_are_nothing(datagram: bytes) -> None:
    assert discovery.parse_answer(datagram) is None
