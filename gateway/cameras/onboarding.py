"""Describes a device before it is registered: what it is, which channels and streams it has. Stores nothing.

One shape for both ways in: an RTSP URL is a device with one channel and the streams that were named; an ONVIF address
may be a recorder with many channels behind one account. Which profile becomes ``main`` and which ``sub`` is decided
here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from config.clock import Clock
from config.errors import Kind, TiergateError
from config.redact import Secret, split_credentials
from config.settings import Settings
from gateway.cameras import onvif as onvif_client
from gateway.cameras.address import allowed_address
from gateway.cameras.onvif import OnvifDevice, Profile

SCHEMES = ("rtsp", "rtsps")  #: of what can be a camera
#: A wall of 16 tiles decodes 640×360 comfortably; anything above 1280×720 is no sub stream (MEASUREMENTS B2).
_SUB_MAX_PIXELS = 1280 * 720
_SUB_BEST_PIXELS = 640 * 360


@dataclass(frozen=True, slots=True)
class StreamOffer:
    stream: str  #: "main" or "sub"
    url: str  #: without credentials
    profile: str | None
    codec: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Offer:
    """One channel of a device, ready to become a camera."""

    channel: str
    name: str
    streams: tuple[StreamOffer, ...]
    ptz: bool
    manufacturer: str = ""
    model: str = ""
    serial: str = ""
    firmware: str = ""
    onvif_url: str | None = None
    clock_offset_s: float = 0.0


def choose_streams(profiles: Sequence[Profile]) -> list[tuple[str, Profile]]:
    """The main and the sub profile of one channel.

    Main: the most pixels, H.264 before H.265 at equal size (more browsers). Sub: H.264 closest to 640×360 that is
    smaller than main; else an H.265 one; else none.
    """
    usable = [p for p in profiles if p.codec in ("h264", "h265")]
    if not usable:
        return []
    main = max(usable, key=lambda p: (p.width * p.height, p.codec == "h264"))
    smaller = [
        p
        for p in usable
        if p.token != main.token and 0 < p.width * p.height <= min(_SUB_MAX_PIXELS, main.width * main.height)
    ]
    sub = min(smaller, key=lambda p: (p.codec != "h264", abs(p.width * p.height - _SUB_BEST_PIXELS)), default=None)
    return [("main", main)] + ([("sub", sub)] if sub else [])


async def describe(
    settings: Settings,
    clock: Clock,
    *,
    url: str | None = None,
    sub_url: str | None = None,
    onvif: str | None = None,
    username: str | None = None,
    password: Secret | None = None,
) -> list[Offer]:
    """All channels that the device offers. Raises the `camera.…` reasons of the address, ONVIF and source rooms."""
    if onvif is not None:
        return await _describe_onvif(settings, clock, onvif, username or "", password or Secret(""))
    if url is None:
        raise TiergateError(Kind.INVALID, "camera.url_malformed", url="")
    streams = [("main", url)] + ([("sub", sub_url)] if sub_url else [])
    offers: list[StreamOffer] = []
    for stream, address in streams:
        offers.append(await _probe_rtsp(settings, stream, address, username, password))
    host = split_credentials(url)[0].partition("://")[2].partition("/")[0]
    return [Offer("1", host, tuple(offers), ptz=False)]


async def _probe_rtsp(
    settings: Settings, stream: str, url: str, username: str | None, password: Secret | None
) -> StreamOffer:
    from gateway.ingest.probe import probe

    clean, own_user, own_password = split_credentials(url)
    config = await asyncio.to_thread(probe, settings, clean, own_user or username, own_password or password)
    video = config.video
    return StreamOffer(stream, clean, None, video.codec, video.width, video.height)


async def _describe_onvif(
    settings: Settings, clock: Clock, address: str, username: str, password: Secret
) -> list[Offer]:
    networks, timeout_s = settings.cameras.allowed_networks, settings.cameras.connect_timeout_s
    async with onvif_client.connect(address, username, password, networks, timeout_s, clock) as device:
        information = await device.information()
        profiles = await device.profiles()
        has_ptz = await device.has_ptz()
        channels: dict[str, list[Profile]] = {}
        for profile in profiles:
            channels.setdefault(profile.source, []).append(profile)
        offers: list[Offer] = []
        for source, own in channels.items():
            streams = await _streams(device, choose_streams(own), networks)
            if not streams:
                continue
            number = f" {len(offers) + 1}" if len(channels) > 1 else ""
            offers.append(
                Offer(
                    channel=source,
                    name=(f"{information.manufacturer} {information.model}".strip() or device.address) + number,
                    streams=streams,
                    ptz=has_ptz and any(p.ptz for p in own),
                    manufacturer=information.manufacturer,
                    model=information.model,
                    serial=information.serial,
                    firmware=information.firmware,
                    onvif_url=f"http://{device.address}/onvif/device_service",
                    clock_offset_s=device.clock_offset_s,
                )
            )
        if not offers:
            raise TiergateError(Kind.INVALID, "camera.onvif_no_stream", address=device.address)
        return offers


async def _streams(
    device: OnvifDevice, chosen: Sequence[tuple[str, Profile]], networks: Sequence[str]
) -> tuple[StreamOffer, ...]:
    """URLs of the chosen profiles. A device that names an address outside the allowed networks, or something that is
    no camera stream, is refused here."""
    offers: list[StreamOffer] = []
    for stream, profile in chosen:
        url, _, _ = split_credentials(await device.stream_url(profile))
        parts = urlsplit(url)
        if parts.scheme.lower() not in SCHEMES:
            raise TiergateError(Kind.INVALID, "camera.scheme_refused", scheme=parts.scheme[:20].lower() or "?")
        await asyncio.to_thread(allowed_address, parts.hostname or "", networks)
        offers.append(StreamOffer(stream, url, profile.token, profile.codec, profile.width, profile.height))
    return tuple(offers)


def pick(offers: Sequence[Offer], channel: str | None, address: str) -> Offer:
    """The one offer that was meant. Raises camera.onvif_channels, camera.onvif_channel_unknown."""
    names = ", ".join(o.channel for o in offers)
    if channel is None:
        if len(offers) == 1:
            return offers[0]
        raise TiergateError(Kind.CONFLICT, "camera.onvif_channels", address=address, count=len(offers), channels=names)
    for offer in offers:
        if offer.channel == channel:
            return offer
    raise TiergateError(Kind.INVALID, "camera.onvif_channel_unknown", address=address, channel=channel, channels=names)
