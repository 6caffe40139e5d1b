"""A narrow adapter over the ONVIF client (onvif-zeep-async on zeep), plus Media2.

What cameras do that shapes this file (MEASUREMENTS A2): H.265 profiles are often listed by Media2 alone, which the
library does not speak, so its two calls are made here with the same digest; the clock of a device is wrong, so its own
time is asked first and put into the digest; every optional service may be absent; some devices want HTTP digest
instead of WS-Security; addresses in answers point at other hosts, so each connection, redirects included, goes through
`_GuardedConnector`.

Belongs here: requests and answers as frozen values. Does not belong here: what to register
(`gateway.cameras.onboarding`).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import logging
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

import aiohttp
from lxml import etree

from config.clock import Clock
from config.errors import Kind, TiergateError
from config.redact import Secret, redact_text
from gateway.cameras import device_xml
from gateway.cameras.address import address_is_allowed

logger = logging.getLogger(__name__)

_MEDIA2 = "http://www.onvif.org/ver20/media/wsdl"
_PTZ = "http://www.onvif.org/ver20/ptz/wsdl"
_MAX_ANSWER_BYTES = 1024 * 1024  #: a GetProfiles answer of a 64-channel recorder is about 300 kB
_MAX_CHUNKS = 16_384  #: of one answer; in chunks of a byte each a mebibyte takes seconds to put together
_MAX_PROVISIONAL = 8  #: 1xx answers before the answer; none was ever needed


@dataclass(frozen=True, slots=True)
class Profile:
    """One media profile of a device."""

    token: str
    name: str
    source: str  #: video source token: one per channel of a recorder
    codec: str  #: "h264", "h265" or what the device calls it
    width: int
    height: int
    media2: bool
    ptz: bool


@dataclass(frozen=True, slots=True)
class Information:
    manufacturer: str
    model: str
    firmware: str
    serial: str


class _GuardedConnector(aiohttp.TCPConnector):
    """Connects to allowed addresses only, whatever name, redirect or XAddr led there (FAULTS S6)."""

    def __init__(self, networks: Sequence[str]) -> None:
        super().__init__(ssl=False, force_close=True)
        self._networks = tuple(networks)

    async def _resolve_host(self, host: str, port: int, traces: Any = None) -> Any:
        found = await super()._resolve_host(host, port, traces=traces)
        if not found or not all(address_is_allowed(str(a["host"]), self._networks) for a in found):
            raise TiergateError(
                Kind.INVALID, "camera.address_not_allowed", host=host[:120], networks=", ".join(self._networks)
            )
        return found


def device_address(text: str) -> tuple[str, int]:
    """`host`, `host:port` or a device service URL as (host, port). Raises camera.url_malformed."""
    value = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or urlsplit(value).scheme not in ("http", "https"):
        raise TiergateError(Kind.INVALID, "camera.url_malformed", url=redact_text(text)[:200])
    return host, port or (443 if value.startswith("https://") else 80)


class OnvifDevice:
    """A connected device. Made by `connect`; closed by leaving the context."""

    def __init__(
        self, address: str, camera: Any, clock: Clock, clock_offset_s: float, password: Secret, username: str
    ) -> None:  # fmt: skip
        self.address = address
        self._clock = clock
        self.clock_offset_s = clock_offset_s
        self._camera = camera
        self._username = username
        self._password = password

    async def information(self) -> Information:
        service = await self._camera.create_devicemgmt_service()
        answer = await service.GetDeviceInformation()

        def field(name: str) -> str:
            return str(getattr(answer, name, None) or "")[:120]

        return Information(field("Manufacturer"), field("Model"), field("FirmwareVersion"), field("SerialNumber"))

    async def profiles(self) -> list[Profile]:
        """All profiles, Media2 first; a profile known to both services stands once."""
        found: dict[str, Profile] = {}
        if self._camera.xaddrs.get(_MEDIA2):
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, ValueError):
                for profile in await self._media2_profiles():
                    found[profile.token] = profile
        try:
            for profile in await self._media1_profiles():
                found.setdefault(profile.token, profile)
        except Exception as exc:  # a T-only device has no Media1; the library raises many kinds of error for it
            if not found:
                raise
            logger.info("device without Media1", extra={"error": type(exc).__name__})
        return list(found.values())

    async def _media1_profiles(self) -> list[Profile]:
        service = await self._camera.create_media_service()
        profiles = []
        for item in await service.GetProfiles() or []:
            encoder, source = item.VideoEncoderConfiguration, item.VideoSourceConfiguration
            if encoder is None or source is None:
                continue
            size = encoder.Resolution
            profiles.append(
                Profile(
                    token=str(item.token),
                    name=str(item.Name or item.token)[:80],
                    source=str(source.SourceToken),
                    codec=_codec(str(encoder.Encoding)),
                    width=int(size.Width) if size else 0,
                    height=int(size.Height) if size else 0,
                    media2=False,
                    ptz=item.PTZConfiguration is not None,
                )
            )
        return profiles

    async def _media2_profiles(self) -> list[Profile]:
        body = '<GetProfiles xmlns="http://www.onvif.org/ver20/media/wsdl"><Type>All</Type></GetProfiles>'
        tree = await self._call(self._camera.xaddrs[_MEDIA2], f"{_MEDIA2}/GetProfiles", body)
        profiles = []
        for item in tree.iter(f"{{{_MEDIA2}}}Profiles"):
            encoding = _text(item, "VideoEncoder", "Encoding")
            if not encoding:
                continue
            profiles.append(
                Profile(
                    token=item.get("token", ""),
                    name=_text(item, "Name")[:80],
                    source=_text(item, "VideoSource", "SourceToken"),
                    codec=_codec(encoding),
                    width=int(_text(item, "VideoEncoder", "Resolution", "Width") or 0),
                    height=int(_text(item, "VideoEncoder", "Resolution", "Height") or 0),
                    media2=True,
                    ptz=_find(item, "PTZ") is not None,
                )
            )
        return profiles

    async def stream_url(self, profile: Profile) -> str:
        """The RTSP URL of a profile, as the device says it (host included: it is checked when it is opened)."""
        if profile.media2:
            body = (
                '<GetStreamUri xmlns="http://www.onvif.org/ver20/media/wsdl"><Protocol>RTSP</Protocol>'
                f"<ProfileToken>{escape(profile.token)}</ProfileToken></GetStreamUri>"
            )
            tree = await self._call(self._camera.xaddrs[_MEDIA2], f"{_MEDIA2}/GetStreamUri", body)
            return next((str(e.text) for e in tree.iter(f"{{{_MEDIA2}}}Uri") if e.text), "")
        service = await self._camera.create_media_service()
        setup = {"Stream": "RTP-Unicast", "Transport": {"Protocol": "RTSP"}}
        answer = await service.GetStreamUri({"StreamSetup": setup, "ProfileToken": profile.token})
        return str(answer.Uri)

    def offers(self, namespace: str) -> bool:
        """Whether the device lists a service, by the namespace of its WSDL."""
        return bool(self._camera.xaddrs.get(namespace))

    async def service(self, name: str) -> Any:
        """The library's client of a service that the device offers: `search`, `replay`, `recording`."""
        return await self._camera.create_onvif_service(name)

    async def has_ptz(self) -> bool:
        return bool(self._camera.xaddrs.get(_PTZ))

    async def move(self, profile_token: str, pan: float, tilt: float, zoom: float) -> None:
        """ContinuousMove with speeds −1…1."""
        service = await self._camera.create_ptz_service()
        velocity = {"PanTilt": {"x": pan, "y": tilt}, "Zoom": {"x": zoom}}
        await service.ContinuousMove({"ProfileToken": profile_token, "Velocity": velocity})

    async def stop(self, profile_token: str) -> None:
        service = await self._camera.create_ptz_service()
        await service.Stop({"ProfileToken": profile_token, "PanTilt": True, "Zoom": True})

    def _device_now(self) -> datetime:
        moment = datetime.fromtimestamp(self._clock.wall_ns() / 1e9, UTC)
        return moment + timedelta(seconds=self.clock_offset_s)

    async def _call(self, xaddr: str, action: str, body: str) -> Any:
        """One SOAP 1.2 call with WS-Security digest; the answer's element tree. Raises like the library's transport."""
        service = await self._camera.create_devicemgmt_service()  # its session carries our connector and HTTP digest
        envelope = (
            '<?xml version="1.0" encoding="utf-8"?>'
            '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Header>'
            + _security_header(self._username, self._password, self._device_now())
            + f"</s:Header><s:Body>{body}</s:Body></s:Envelope>"
        )
        headers = {"Content-Type": f'application/soap+xml; charset=utf-8; action="{action}"'}
        async with service._session.post(xaddr, data=envelope.encode(), headers=headers) as answer:
            answer.raise_for_status()
            return device_xml.parse(await answer.read())


def _codec(encoding: str) -> str:
    return {"h264": "h264", "h265": "h265", "hevc": "h265"}.get(encoding.lower().replace(".", ""), encoding.lower())


def _find(item: Any, *names: str) -> Any:
    """First descendant by local names; Media2 answers mix two namespaces and vendors mix more."""
    for name in names:
        item = next((e for e in item.iter() if isinstance(e.tag, str) and etree.QName(e).localname == name), None)
        if item is None:
            return None
    return item


def _text(item: Any, *names: str) -> str:
    found = _find(item, *names)
    return str(found.text or "") if found is not None else ""


def _security_header(username: str, password: Secret, now: datetime) -> str:
    """UsernameToken with PasswordDigest (WS-Security UsernameToken Profile 1.0 §3.1), created by the device's clock."""
    if not username:
        return ""
    nonce = os.urandom(16)
    created = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    digest = hashlib.sha1(nonce + created.encode() + password.reveal().encode(), usedforsecurity=False).digest()
    wsse = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss"
    return (
        f'<Security xmlns="{wsse}-wssecurity-secext-1.0.xsd"><UsernameToken><Username>{escape(username)}</Username>'
        f'<Password Type="{wsse}-username-token-profile-1.0#PasswordDigest">'
        f"{base64.b64encode(digest).decode()}</Password>"
        f"<Nonce>{base64.b64encode(nonce).decode()}</Nonce>"
        f'<Created xmlns="{wsse}-wssecurity-utility-1.0.xsd">{created}</Created></UsernameToken></Security>'
    )


@contextlib.asynccontextmanager
async def connect(
    address: str, username: str, password: Secret, networks: Sequence[str], timeout_s: float, clock: Clock
) -> AsyncIterator[OnvifDevice]:
    """A device, its clock measured and its services known.

    Raises camera.onvif_unreachable, camera.onvif_credentials, camera.address_not_allowed, camera.url_malformed.
    """
    from onvif import ONVIFCamera, ONVIFError  # 0.5 s of import: only who talks ONVIF pays
    from onvif.util import normalize_url
    from zeep.exceptions import Error as ZeepError

    host, port = device_address(address)
    shown = f"{host}:{port}"

    class Guarded(ONVIFCamera):  # type: ignore[misc]  # the library ships no types
        async def create_onvif_service(self, *args: Any, **kwargs: Any) -> Any:
            known = set(map(id, self.services.values()))
            service = await super().create_onvif_service(*args, **kwargs)
            if id(service) not in known:
                await _guard(service, networks, username, password, timeout_s)
            return service

        async def _update_xaddrs_from_services(self, devicemgmt: Any) -> bool:
            """As the library does it, but a refused login ends it: the library would make the next call with the same
            account, and a device counts both (FAULTS A28)."""
            try:
                services = await devicemgmt.GetServices({"IncludeCapability": False})
            except (ONVIFError, ZeepError) as error:
                if _is_refusal(error):
                    raise
                return False
            for service in services or []:
                if service.Namespace and service.XAddr:
                    self.xaddrs[service.Namespace] = self.rewrite_url(normalize_url(service.XAddr))
            return bool(self.xaddrs)

    # Empty, never None: the library's security header breaks down on None, and a device without accounts ignores it.
    camera = Guarded(host, port, username, password.reveal(), no_cache=True, adjust_time=False)
    offset_s = 0.0
    try:
        async with asyncio.timeout(timeout_s * 3):
            offset_s = await _clock_offset_s(camera, clock)
            camera.adjust_time = abs(offset_s) > 2
            await camera.update_xaddrs()
            if not camera.xaddrs:
                raise ONVIFError("the device lists no services")
            yield OnvifDevice(shown, camera, clock, offset_s, password, username)
    except TiergateError:
        raise
    except (
        TimeoutError,
        aiohttp.ClientError,
        OSError,
        ONVIFError,
        ZeepError,
        ValueError,
        AttributeError,
        TypeError,
    ) as exc:
        cause = exc.__cause__ or exc
        if isinstance(cause, TiergateError):
            raise cause from None
        text = redact_text(str(exc))
        if _is_refusal(exc):
            raise TiergateError(
                Kind.INVALID, "camera.onvif_credentials", address=shown, offset_s=round(offset_s)
            ) from exc
        system = getattr(exc, "os_error", exc)
        if isinstance(system, OSError) and (system.errno or 0) > 0:
            text = os.strerror(system.errno or 0)  # the library's own words name its objects
        problem = text[:120] or type(exc).__name__
        raise TiergateError(Kind.UNAVAILABLE, "camera.onvif_unreachable", address=shown, problem=problem) from exc
    finally:
        with contextlib.suppress(Exception):  # nothing that fails while closing matters any more
            await camera.close()


def _is_refusal(error: BaseException) -> bool:
    """Whether the device does not take the account; their faults say it in many ways."""
    from onvif.exceptions import ONVIFAuthError

    text = f"{error} {getattr(error, 'subcodes', '')}".lower()
    words = ("notauthorized", "not authorized", "unauthorized", "401", "authority failure")
    return isinstance(error, ONVIFAuthError) or any(word in text for word in words)


class HostileAnswer(ValueError):
    """What no device sends that means well."""


class BoundedResponse(aiohttp.ClientResponse):
    """An answer of a device that may be hostile: of a body without end, or one that unpacks to a hundred times its
    size, no more than `_MAX_ANSWER_BYTES` and a piece are ever held, nor is it put together from ever more pieces. The
    library parses what `read` gives it without the limits of its parser, so what is not fit for that never gets there;
    an error page (a document type of HTML, in most of them) counts as its status without a text."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        """Raises HostileAnswer."""
        protocol, heads = connection.protocol, 0
        next_head = protocol.read

        async def counted() -> Any:
            nonlocal heads
            heads += 1
            if heads > 1 + _MAX_PROVISIONAL:
                raise HostileAnswer("the device announces its answer and gives none")
            return await next_head()

        protocol.read = counted  # of this connection, which is closed after this answer
        return await super().start(connection)

    async def read(self) -> bytes:
        """Raises HostileAnswer."""
        if self._body is None:
            body, chunks = bytearray(), 0
            async for piece, ends in self.content.iter_chunks():
                body += piece
                chunks += ends
                if len(body) > _MAX_ANSWER_BYTES or chunks > _MAX_CHUNKS:
                    self.close()
                    raise HostileAnswer(
                        f"the answer is longer than {_MAX_ANSWER_BYTES >> 20} MiB or comes in too many pieces"
                    )
            self._body = self._fit_to_read(bytes(body))
        return await super().read()

    def _fit_to_read(self, body: bytes) -> bytes:
        try:
            if self.content_type.startswith("multipart/"):  # the library would parse a part of it
                raise HostileAnswer("an answer in several parts")
            if body:
                device_xml.refuse_hostile(body)
        except ValueError as exc:
            if self.status == 200:
                raise HostileAnswer(str(exc)) from exc
            return b""
        return body


async def _guard(service: Any, networks: Sequence[str], username: str, password: Secret, timeout_s: float) -> None:
    """Puts our connector, deadlines and HTTP digest (Profile T) under a freshly made service."""
    await service._session.close()
    await service._connector.close()
    digest = (aiohttp.DigestAuthMiddleware(username, password.reveal()),) if username else ()
    connector = _GuardedConnector(networks)
    timeout = aiohttp.ClientTimeout(total=timeout_s * 2, connect=timeout_s, sock_read=timeout_s)
    session = aiohttp.ClientSession(
        connector=connector, timeout=timeout, middlewares=digest, response_class=BoundedResponse
    )
    service._connector, service._session, service.transport.session = connector, session, session


async def _clock_offset_s(camera: Any, clock: Clock) -> float:
    """Device time minus ours. A device that does not tell its time unasked counts as right."""
    service = await camera.create_devicemgmt_service()
    try:
        utc = (await service.authless_GetSystemDateAndTime()).UTCDateTime
        device = datetime(
            utc.Date.Year, utc.Date.Month, utc.Date.Day, utc.Time.Hour, utc.Time.Minute, utc.Time.Second, tzinfo=UTC
        )
    except (aiohttp.ClientError, OSError, TimeoutError, HostileAnswer):
        raise
    except Exception as exc:  # faults, missing fields, dates of 1970 with month 0: none of them is fatal
        logger.info("device did not tell its time", extra={"error": type(exc).__name__})
        return 0.0
    return device.timestamp() - clock.wall_ns() / 1e9
