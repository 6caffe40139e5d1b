"""The libav source passes the conformance suite."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from config.clock import SystemClock
from gateway.ingest.libav_source import libav_factory
from tests.gateway.ingest import conformance
from tests.parts.rtsp_server import RtspServer

pytestmark = pytest.mark.real

FACTORY = libav_factory(["127.0.0.0/8"], SystemClock(), 2.0, 4.0)


@pytest.mark.parametrize(("mount", "codec"), [("tiny", "h264"), ("tiny_hevc", "h265")])
def test_pictures(rtsp_server: RtspServer, mount: str, codec: str) -> None:
    conformance.check_units(FACTORY, rtsp_server.url(mount), codec)


@pytest.mark.fault("A18")
def test_reordered_pictures(rtsp_server: RtspServer) -> None:
    conformance.check_reordering(FACTORY, rtsp_server.url("bframes"))


@pytest.mark.parametrize(("mount", "codec"), [("tiny_pcma", "pcma"), ("tiny_pcmu", "pcmu"), ("tiny_aac", "aac")])
def test_sound(rtsp_server: RtspServer, mount: str, codec: str) -> None:
    conformance.check_sound(FACTORY, rtsp_server.url(mount), codec)


def test_sound_that_was_not_asked_for_is_not_even_sent(rtsp_server: RtspServer) -> None:
    conformance.check_units(FACTORY, rtsp_server.url("tiny_pcma"), "h264")


def test_failures_have_causes_and_no_secrets(rtsp_server: RtspServer) -> None:
    conformance.check_failures(FACTORY, rtsp_server)


def test_a_redirect_leads_nowhere() -> None:
    conformance.check_redirects(FACTORY)


def test_endless_talk_ends() -> None:
    conformance.check_babble(libav_factory(["127.0.0.0/8"], SystemClock(), 0.5, 0.5))


@pytest.mark.fault("A3")
def test_whatever_it_waits_for_can_be_cut(rtsp_server: RtspServer) -> None:
    conformance.check_cut(FACTORY, rtsp_server)


def test_the_end_of_a_stream_has_a_cause(rtsp_factory: Callable[..., RtspServer]) -> None:
    conformance.check_end(FACTORY, rtsp_factory)
